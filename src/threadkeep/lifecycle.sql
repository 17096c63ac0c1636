-- name: occupy_thread
update threads set active_run_id = :run_id where thread_id = :thread_id

-- name: release_thread
update threads set active_run_id = :next_run_id where thread_id = :thread_id and active_run_id = :run_id

-- name: find_waiting_run
select run_id from runs
where thread_id = :thread_id and status = 'queued' and wake_at is null order by seq limit 1

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
