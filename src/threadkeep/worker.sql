-- What somebody must look at: queued, without a living owner, or with its client overdue. Oldest first, behind those
-- that can be ended without a free slot: a full server must not keep their threads.
-- name: list_due_runs
select thread_id, run_id, project_id from runs
where wake_at <= :now_ms and status in ('queued', 'in_progress', 'requires_action')
order by case status when 'requires_action' then 0 else 1 end, wake_at limit :limit

-- Runs that are over, whose events may go.
-- name: list_forgettable_runs
select thread_id, run_id from runs
where wake_at <= :now_ms and status in ('completed', 'incomplete', 'failed', 'cancelled', 'expired')
order by wake_at limit :limit

-- name: mark_forgotten
update runs set wake_at = null where thread_id = :thread_id and run_id = :run_id

-- Ends all leases, for a process that serves the database alone. The first condition is that of the index.
-- name: end_leases
update runs set wake_at = 0
where status in ('queued', 'in_progress', 'requires_action') and status = 'in_progress' and wake_at > 0

-- Confirms the lease of a run that is still its owner's.
-- name: extend_lease
update runs set wake_at = :lease_end where thread_id = :thread_id and run_id = :run_id and fence = :fence

-- Leaves a run alone that is still due.
-- name: put_off
update runs set wake_at = :wake_at where thread_id = :thread_id and run_id = :run_id and wake_at <= :now_ms
