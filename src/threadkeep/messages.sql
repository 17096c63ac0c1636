-- What adds or deletes messages holds the thread first, so that nobody else looks for its end meanwhile.
-- name: hold_thread [sqlite]
-- Differs on SQLite: there is one writer, so reading the row is enough to hold it.
select deleted_seq, active_run_id from threads where thread_id = :thread_id and project_id = :project_id and deleted_at is null

-- name: hold_thread [postgres]
select deleted_seq, active_run_id from threads where thread_id = :thread_id and project_id = :project_id and deleted_at is null
for no key update

-- After the last message, counting deleted ones: a number is never used twice.
-- name: append_message [sqlite]
-- Differs on SQLite: search finds new messages by the number of their row, and need not be told.
insert into messages (thread_id, seq, message_id, run_id, shape, body)
values (:thread_id, 1 + (select max(ends.seq) from (
    select cast(:deleted_seq as bigint) as seq
    union all
    select max(seq) from messages where thread_id = :thread_id and body is not null
) as ends), :message_id, :run_id, :shape, :body)
returning seq

-- name: append_message [postgres]
with added as (
    insert into messages (thread_id, seq, message_id, run_id, shape, body)
    values (:thread_id, 1 + (select max(ends.seq) from (
        select cast(:deleted_seq as bigint) as seq
        union all
        select max(seq) from messages where thread_id = :thread_id and body is not null
    ) as ends), :message_id, :run_id, :shape, :body)
    returning thread_id, seq
), queued as (
    insert into search_queue (thread_id, low, high) select thread_id, seq - 1, seq from added
)
select seq from added

-- What search is to look at again.
-- name: queue_range
insert into search_queue (thread_id, low, high) values (:thread_id, :low, :high)

-- name: queue_message
insert into search_queue (thread_id, low, high)
select thread_id, seq - 1, seq from messages where thread_id = :thread_id and message_id = :message_id

-- New messages. Differs on SQLite: search finds them by itself.
-- name: queue_added [postgres]
insert into search_queue (thread_id, low, high) values (:thread_id, :low, :high)

-- name: queue_removed [sqlite]
-- Differs on SQLite: nobody can be about to make a document, so no more need to be removed than are there. Short ranges
-- are worked off together.
insert into search_queue (thread_id, low, high)
select thread_id, :low, max(seq) from search_documents where thread_id = :thread_id group by thread_id

-- name: queue_removed [postgres]
insert into search_queue (thread_id, low, high) values (:thread_id, :low, :high)

-- name: count_messages
select count(*) from messages where thread_id = :thread_id and body is not null

-- name: insert_message
insert into messages (thread_id, seq, message_id, run_id, shape, body)
values (:thread_id, :seq, :message_id, :run_id, :shape, :body)

-- name: find_thread
select thread_id from threads where thread_id = :thread_id and project_id = :project_id and deleted_at is null

-- No row: no such thread. A row with null: no such message in it.
-- name: retrieve_message
select (select body from messages where thread_id = :thread_id and message_id = :message_id) from threads
where thread_id = :thread_id and project_id = :project_id and deleted_at is null

-- name: hold_message [sqlite]
-- Differs on SQLite: there is one writer, so reading the row is enough to hold it.
select body from messages where thread_id = :thread_id and message_id = :message_id and body is not null

-- name: hold_message [postgres]
select body from messages where thread_id = :thread_id and message_id = :message_id and body is not null
for no key update

-- name: find_message
select body from messages where thread_id = :thread_id and message_id = :message_id and body is not null

-- name: find_last_seq
select coalesce(max(seq), 0) from messages where thread_id = :thread_id and body is not null

-- name: find_first_message
select seq, body from messages where thread_id = :thread_id and body is not null order by seq limit 1

-- name: update_message
update messages set shape = :shape, body = :body where thread_id = :thread_id and message_id = :message_id

-- name: delete_message
update messages set body = null
where thread_id = :thread_id and message_id = :message_id and body is not null
returning seq, run_id

-- name: remember_deleted_message
update threads set deleted_seq = :seq where thread_id = :thread_id and deleted_seq < :seq

-- Deleted messages too: their row remembers where they stood.
-- name: locate_message
select seq, body is null from messages where thread_id = :thread_id and message_id = :message_id

-- name: list_messages
select message_id, body from messages
where thread_id = :thread_id and seq > :low and seq < :high and body is not null
order by seq {direction} limit :limit

-- name: list_messages_of_run
select message_id, body from messages
where thread_id = :thread_id and run_id = :run_id and seq > :low and seq < :high and body is not null
order by seq {direction} limit :limit

-- name: list_messages_up_to
select seq, body from messages
where thread_id = :thread_id and seq > :low and seq <= :high and body is not null order by seq limit :limit

-- name: list_last_messages
select seq, body from messages
where thread_id = :thread_id and seq < :before and body is not null order by seq desc limit :limit

-- What follows is about deleted messages too. Each half of a condition has an index of its own on SQLite.
-- name: remove_all_messages
delete from messages where (thread_id = :thread_id and body is not null) or (thread_id = :thread_id and body is null)

-- name: remove_messages
delete from messages where thread_id = :thread_id and message_id in (
    select message_id from messages
    where (thread_id = :thread_id and body is not null) or (thread_id = :thread_id and body is null)
    limit :limit
)
