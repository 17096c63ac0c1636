-- Threads as their owner's data: earlier versions of edited messages.

-- What a message said before it was edited, as ready objects, numbered from 1 within their message.
-- Differs on SQLite: clustered, one B-tree instead of two; it compares bytes without being told.
-- name: create_message_versions [sqlite]
create table message_versions (
    thread_id text not null,
    message_id text not null,
    seq bigint not null,
    version_id text not null,
    replaced_at bigint not null,
    shape bigint not null,
    body text not null,
    primary key (thread_id, message_id, seq)
) without rowid

-- name: create_message_versions [postgres]
create table message_versions (
    thread_id text collate "C" not null,
    message_id text not null,
    seq bigint not null,
    version_id text not null,
    replaced_at bigint not null,
    shape bigint not null,
    body text not null,
    primary key (thread_id, message_id, seq)
)
