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
