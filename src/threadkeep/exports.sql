-- name: list_threads
select thread_id, created_at, body,
    exists (select 1 from message_versions v where v.thread_id = t.thread_id),
    exists (select 1 from runs r where r.thread_id = t.thread_id)
from threads t
where project_id = :project_id and (created_at, thread_id) > (:at, :id) and deleted_at is null
order by created_at, thread_id limit :limit

-- name: list_messages
select seq, body from messages
where thread_id = :thread_id and seq > :low and body is not null order by seq limit :limit

-- name: list_versions
select body from message_versions where thread_id = :thread_id order by message_id, seq

-- name: list_runs
select run_id, body from runs where thread_id = :thread_id order by seq

-- name: list_steps
select body from run_steps where thread_id = :thread_id and run_id = :run_id order by seq
