-- name: reserve_message_seq
update threads set message_seq = message_seq + 1, message_count = message_count + 1
where thread_id = :thread_id and project_id = :project_id
returning message_seq, message_count

-- name: release_message
update threads set message_count = message_count - 1
where thread_id = :thread_id and project_id = :project_id
returning thread_id

-- name: insert_message
insert into messages (thread_id, seq, message_id, run_id, shape, body)
values (:thread_id, :seq, :message_id, :run_id, :shape, :body)

-- name: find_thread
select thread_id from threads where thread_id = :thread_id and project_id = :project_id

-- No row: no such thread. A row with null: no such message in it.
-- name: retrieve_message
select (select body from messages where thread_id = :thread_id and message_id = :message_id) from threads
where thread_id = :thread_id and project_id = :project_id

-- name: take_message [sqlite]
-- Differs on SQLite: there is one writer, so reading the row is enough to hold it.
select body from messages where thread_id = :thread_id and message_id = :message_id and body is not null

-- name: take_message [postgres]
update messages set shape = shape
where thread_id = :thread_id and message_id = :message_id and body is not null
returning body

-- name: update_message
update messages set shape = :shape, body = :body where thread_id = :thread_id and message_id = :message_id

-- name: delete_message
update messages set body = null
where thread_id = :thread_id and message_id = :message_id and body is not null

-- Deleted messages too: their row remembers where they stood.
-- name: locate_message
select seq from messages where thread_id = :thread_id and message_id = :message_id

-- name: list_messages
select message_id, body from messages
where thread_id = :thread_id and seq > :low and seq < :high and body is not null
order by seq {direction} limit :limit

-- name: list_messages_of_run
select message_id, body from messages
where thread_id = :thread_id and run_id = :run_id and seq > :low and seq < :high and body is not null
order by seq {direction} limit :limit

-- name: remove_messages
delete from messages where thread_id = :thread_id and message_id in (
    select message_id from messages where thread_id = :thread_id limit :limit
)
