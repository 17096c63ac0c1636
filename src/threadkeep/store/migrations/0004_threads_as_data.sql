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

-- Full-text search. A document has the words of one message (search_index.py tells which). Positions grow with the time
-- of the message, so that the newest come first; `seq` is the message's number in its thread.
-- Differs on SQLite: the position is the row's number, which the index of words knows it by.
-- name: create_search_documents [sqlite]
create table search_documents (
    position integer primary key,
    thread_id text not null,
    seq bigint not null,
    words text not null
)

-- name: create_search_documents [postgres]
create table search_documents (
    thread_id text collate "C" not null,
    seq bigint not null,
    project_id text collate "C" not null,
    position bigint not null,
    words tsvector not null,
    primary key (thread_id, seq)
)

-- name: create_search_documents_by_seq [sqlite]
create unique index search_documents_by_seq on search_documents (thread_id, seq)

-- name: create_search_documents_by_position [postgres]
create index search_documents_by_position on search_documents (project_id, position)

-- name: create_search_documents_by_second [postgres]
create index search_documents_by_second on search_documents (position)

-- What is not yet sorted in is read from end to end by every search: it may have 256 kB, not the usual 4 MB.
-- name: create_search_words [postgres]
create index search_words on search_documents using gin (words) with (gin_pending_list_limit = 256)

-- Differs on SQLite: an index of words is a table of its own. It folds nothing: the words come folded.
-- name: create_search_words [sqlite]
create virtual table search_words using fts5(
    words, content='search_documents', content_rowid='position', columnsize=0, detail=none, tokenize='ascii'
)

-- The revision is above zero while words of deleted text are still in the file (search_index.sql).
-- name: create_removed_words [sqlite]
insert into revisions (subject, revision) values ('removed_words', 0)

-- Messages whose documents may be out of date: those of a thread whose number is above `low` and not above `high`.
-- name: create_search_queue [sqlite]
create table search_queue (
    thread_id text not null,
    low bigint not null,
    high bigint not null
)

-- name: create_search_queue [postgres]
create table search_queue (
    thread_id text collate "C" not null,
    low bigint not null,
    high bigint not null
)

-- name: create_search_queue_by_thread
create index search_queue_by_thread on search_queue (thread_id, low)

-- Messages that were there before. Differs on SQLite: they are found as new ones are.
-- name: queue_what_is_there [postgres]
insert into search_queue (thread_id, low, high) select thread_id, 0, 9223372036854775807 from threads

-- Who brings documents up to date holds this row.
-- name: create_search_revision [postgres]
insert into revisions (subject, revision) values ('search', 0)

-- When somebody must look whether the thread is to go; null if it stays until its project's rule says otherwise.
-- name: add_expires_at
alter table threads add column expires_at bigint

-- name: create_threads_expiring
create index threads_expiring on threads (expires_at) where expires_at is not null and deleted_at is null

-- How long threads stay that say nothing of it themselves; null for ever.
-- name: add_retention_anchor
alter table projects add column retention_anchor text

-- name: add_retention_s
alter table projects add column retention_s bigint

-- 1, or 0 for a webhook that is switched off.
-- name: add_webhooks_enabled
alter table webhooks add column enabled bigint not null default 1

-- name: create_webhooks_off
create index webhooks_off on webhooks (webhook_id) where enabled = 0

-- Secrets that were replaced and sign for a while yet: a JSON array. `old_secret_until` is when the first of them is to
-- be erased; milliseconds.
-- name: add_webhooks_old_secrets
alter table webhooks add column old_secrets text not null default '[]'

-- name: add_webhooks_old_secret_until
alter table webhooks add column old_secret_until bigint

-- name: create_webhooks_by_old_secret
create index webhooks_by_old_secret on webhooks (old_secret_until, webhook_id) where old_secret_until is not null

-- What came of the last attempts, the newest first: a JSON array.
-- name: add_webhook_deliveries_last_attempts
alter table webhook_deliveries add column last_attempts text not null default '[]'

-- The thread whose run a delivery tells of, until that is removed.
-- name: add_webhook_deliveries_run_thread_id
alter table webhook_deliveries add column run_thread_id text

-- name: create_webhook_deliveries_by_thread
create index webhook_deliveries_by_thread on webhook_deliveries (run_thread_id) where run_thread_id is not null
