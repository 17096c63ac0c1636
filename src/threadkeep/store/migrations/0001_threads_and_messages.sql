-- Projects and their keys, threads, messages.
-- Every key of the thread family begins with thread_id, so that one thread lives on one shard; on PostgreSQL the
-- collation of thread_id is the same everywhere, without which Citus does not keep tables together.

-- name: create_projects
create table projects (
    project_id text primary key,
    name text not null unique,
    created_at bigint not null
)

-- name: create_api_keys
create table api_keys (
    key_id text primary key,
    project_id text not null,
    name text not null,
    hash text not null unique,
    hint text not null,
    created_at bigint not null,
    revoked_at bigint
)

-- A number that grows with each change of its subject, so that processes see cheaply that theirs is out of date.
-- name: create_revisions
create table revisions (
    subject text primary key,
    revision bigint not null
)

-- A row with deleted_at is gone for clients; it and what belongs to it is removed soon after.
-- Differs on SQLite: clustered by id, one B-tree instead of two.
-- name: create_threads [sqlite]
create table threads (
    thread_id text primary key,
    project_id text not null,
    created_at bigint not null,
    deleted_at bigint,
    deleted_seq bigint not null,
    shape bigint not null,
    body text not null
) without rowid

-- name: create_threads [postgres]
create table threads (
    thread_id text collate "C" primary key,
    project_id text collate "C" not null,
    created_at bigint not null,
    deleted_at bigint,
    deleted_seq bigint not null,
    shape bigint not null,
    body text not null
)

-- name: create_threads_by_time
create index threads_by_time on threads (project_id, created_at, thread_id)

-- name: create_threads_deleted
create index threads_deleted on threads (thread_id) where deleted_at is not null

-- Differs on SQLite: the table is its own index.
-- name: create_thread_metadata [sqlite]
create table thread_metadata (
    project_id text not null,
    key text not null,
    value text not null,
    created_at bigint not null,
    thread_id text not null,
    primary key (project_id, key, value, created_at, thread_id)
) without rowid

-- name: create_thread_metadata [postgres]
create table thread_metadata (
    project_id text collate "C" not null,
    key text collate "C" not null,
    value text collate "C" not null,
    created_at bigint not null,
    thread_id text collate "C" not null
)

-- name: create_thread_metadata_by_pair [postgres]
create index thread_metadata_by_pair on thread_metadata (project_id, key, value, created_at, thread_id)

-- Where a thread that was removed stood in the list.
-- Differs on SQLite: clustered by id; it compares bytes without being told.
-- name: create_deleted_threads [sqlite]
create table deleted_threads (
    thread_id text primary key,
    project_id text not null,
    created_at bigint not null,
    deleted_at bigint not null
) without rowid

-- name: create_deleted_threads [postgres]
create table deleted_threads (
    thread_id text collate "C" primary key,
    project_id text not null,
    created_at bigint not null,
    deleted_at bigint not null
)

-- name: create_deleted_threads_by_time
create index deleted_threads_by_time on deleted_threads (deleted_at)

-- A deleted message keeps its row without its text: a cursor that points at it still finds its place.
-- Differs on SQLite: it compares bytes without being told.
-- name: create_messages [sqlite]
create table messages (
    thread_id text not null,
    seq bigint not null,
    message_id text not null,
    run_id text,
    shape bigint not null,
    body text
)

-- name: create_messages [postgres]
create table messages (
    thread_id text collate "C" not null,
    seq bigint not null,
    message_id text not null,
    run_id text,
    shape bigint not null,
    body text
)

-- Differs on SQLite: ids begin with the time, so that new messages of all threads land side by side in this index.
-- name: create_messages_by_id [sqlite]
create unique index messages_by_id on messages (message_id, thread_id)

-- name: create_messages_by_id [postgres]
create unique index messages_by_id on messages (thread_id, message_id)

-- Differs on SQLite: the index by id does not find all messages of a thread.
-- name: create_messages_deleted [sqlite]
create index messages_deleted on messages (thread_id) where body is null

-- name: create_messages_by_seq
create unique index messages_by_seq on messages (thread_id, seq) where body is not null

-- name: create_messages_by_run
create index messages_by_run on messages (thread_id, run_id, seq) where run_id is not null and body is not null
