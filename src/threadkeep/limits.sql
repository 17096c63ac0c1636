-- name: list_limits
select subject, requests_per_minute, runs, tokens_per_day from limits

-- name: find_limits
select requests_per_minute, runs, tokens_per_day from limits where subject = :subject

-- name: put_limits
insert into limits (subject, requests_per_minute, runs, tokens_per_day)
values (:subject, :requests_per_minute, :runs, :tokens_per_day)
on conflict (subject) do update set requests_per_minute = excluded.requests_per_minute, runs = excluded.runs,
    tokens_per_day = excluded.tokens_per_day

-- Gives a node a part of what is left of a minute's requests. A node whose clock is behind takes of the newer minute.
-- name: take_requests
insert into limit_windows (subject, window_at, taken, granted) values (:subject, :window_at, :wanted, :wanted)
on conflict (subject) do update set
    window_at = case when limit_windows.window_at < excluded.window_at then excluded.window_at
        else limit_windows.window_at end,
    granted = case when limit_windows.window_at < excluded.window_at then excluded.granted
        when limit_windows.taken + excluded.granted <= cast(:maximum as bigint) then excluded.granted
        when limit_windows.taken < cast(:maximum as bigint) then cast(:maximum as bigint) - limit_windows.taken
        else 0 end,
    taken = case when limit_windows.window_at < excluded.window_at then excluded.taken
        when limit_windows.taken + excluded.granted <= cast(:maximum as bigint)
            then limit_windows.taken + excluded.granted
        when limit_windows.taken < cast(:maximum as bigint) then cast(:maximum as bigint)
        else limit_windows.taken end
returning granted, taken

-- Holds the project or the key, so that of two runs at the same moment the second one sees the first.
-- name: hold_project [sqlite]
-- Differs on SQLite: there is one writer.
select 1

-- name: hold_project [postgres]
select 1 from projects where project_id = :project_id for no key update

-- name: hold_key [sqlite]
-- Differs on SQLite: there is one writer.
select 1

-- name: hold_key [postgres]
select 1 from api_keys where key_id = :key_id for no key update

-- name: count_unfinished_runs_of_key [sqlite]
-- Differs on SQLite: its operator reads the text as it is.
select count(*) from runs
where project_id = :project_id and status in ('queued', 'in_progress', 'requires_action', 'cancelling')
    and plan ->> 'key_id' = :key_id

-- name: count_unfinished_runs_of_key [postgres]
select count(*) from runs
where project_id = :project_id and status in ('queued', 'in_progress', 'requires_action', 'cancelling')
    and cast(plan as json) ->> 'key_id' = :key_id
