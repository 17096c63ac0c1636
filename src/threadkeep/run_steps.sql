-- name: insert_step
insert into run_steps (thread_id, run_id, seq, step_id, first_event, shape, body)
values (:thread_id, :run_id, :seq, :step_id, :first_event, :shape, :body)

-- name: update_step
update run_steps set shape = :shape, body = :body
where thread_id = :thread_id and run_id = :run_id and seq = :seq

-- name: list_last_steps
select seq, first_event, body from run_steps
where thread_id = :thread_id and run_id = :run_id order by seq desc limit 2

-- name: list_all_steps
select body from run_steps where thread_id = :thread_id and run_id = :run_id order by seq

-- No row: no such thread. Nulls: no such run in it, no such step in that.
-- name: retrieve_step
select r.run_id, s.body from threads t
left join runs r on r.thread_id = t.thread_id and r.run_id = :run_id
left join run_steps s on s.thread_id = r.thread_id and s.run_id = r.run_id and s.step_id = :step_id
where t.thread_id = :thread_id and t.project_id = :project_id and t.deleted_at is null

-- name: find_run
select r.run_id from threads t
left join runs r on r.thread_id = t.thread_id and r.run_id = :run_id
where t.thread_id = :thread_id and t.project_id = :project_id and t.deleted_at is null

-- name: locate_step
select seq from run_steps where thread_id = :thread_id and run_id = :run_id and step_id = :step_id

-- name: list_steps
select step_id, body from run_steps
where thread_id = :thread_id and run_id = :run_id and seq > :low and seq < :high
order by seq {direction} limit :limit
