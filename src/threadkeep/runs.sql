-- No row: no such thread. A row with null: no such run in it.
-- name: retrieve_run
select r.body from threads t left join runs r on r.thread_id = t.thread_id and r.run_id = :run_id
where t.thread_id = :thread_id and t.project_id = :project_id and t.deleted_at is null

-- name: retrieve_run_with_plan
select r.body, r.plan from threads t left join runs r on r.thread_id = t.thread_id and r.run_id = :run_id
where t.thread_id = :thread_id and t.project_id = :project_id and t.deleted_at is null

-- name: locate_run
select seq from runs where thread_id = :thread_id and run_id = :run_id

-- name: list_runs
select run_id, body from runs
where thread_id = :thread_id and seq > :low and seq < :high
order by seq {direction} limit :limit

-- name: find_last_run
select coalesce(max(seq), 0) from runs where thread_id = :thread_id

-- name: count_unfinished_runs
select count(*) from (
    select 1 from runs
    where project_id = :project_id and status in ('queued', 'in_progress', 'requires_action', 'cancelling')
    limit :limit
) as counted

-- name: count_due_runs
select count(*) from (
    select 1 from runs
    where wake_at <= :now_ms and status in ('queued', 'in_progress', 'requires_action') limit :limit
) as counted

-- name: count_runs_by_status
select status, count(*) from runs
where status in ('queued', 'in_progress', 'requires_action', 'cancelling') group by status

-- What somebody should have looked at by now, and since when.
-- name: measure_due_runs
select count(*), min(case when wake_at > 0 then wake_at end) from runs
where wake_at <= :now_ms and status in ('queued', 'in_progress', 'requires_action')
