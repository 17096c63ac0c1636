-- Holds the thread and its run, in this order everywhere; no row when either is gone.
-- name: hold_run [sqlite]
-- Differs on SQLite: there is one writer, so reading the rows is enough to hold them.
select t.deleted_seq, r.project_id, r.seq, r.fence, r.attempt, r.wake_at, r.body, r.plan
from threads t join runs r on r.thread_id = t.thread_id
where t.thread_id = :thread_id and r.run_id = :run_id and t.deleted_at is null

-- name: hold_run [postgres]
select t.deleted_seq, r.project_id, r.seq, r.fence, r.attempt, r.wake_at, r.body, r.plan
from threads t join runs r on r.thread_id = t.thread_id
where t.thread_id = :thread_id and r.run_id = :run_id and t.deleted_at is null
for no key update of t, r

-- name: insert_run
insert into runs (thread_id, run_id, project_id, seq, status, fence, attempt, wake_at, shape, body, plan)
values (:thread_id, :run_id, :project_id, :seq, :status, :fence, :attempt, :wake_at, :shape, :body, :plan)

-- name: update_run
update runs set status = :status, fence = :fence, attempt = :attempt, wake_at = :wake_at, shape = :shape, body = :body,
    plan = :plan
where thread_id = :thread_id and run_id = :run_id

-- name: occupy_thread
update threads set active_run_id = :run_id where thread_id = :thread_id

-- name: release_thread
update threads set active_run_id = :next_run_id where thread_id = :thread_id and active_run_id = :run_id

-- name: find_waiting_run
select run_id from runs
where thread_id = :thread_id and status = 'queued' and wake_at is null order by seq limit 1

-- name: find_message_end
select coalesce(max(seq), 0) from messages where thread_id = :thread_id and body is not null

-- What follows is about deleted threads too.
-- name: remove_events
delete from run_events where thread_id = :thread_id and (run_id, seq) in (
    select run_id, seq from run_events where thread_id = :thread_id limit :limit
)

-- name: remove_steps
delete from run_steps where thread_id = :thread_id and (run_id, seq) in (
    select run_id, seq from run_steps where thread_id = :thread_id limit :limit
)

-- name: remove_runs
delete from runs where thread_id = :thread_id and run_id in (
    select run_id from runs where thread_id = :thread_id limit :limit
)
