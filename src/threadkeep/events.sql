-- name: find_last_seq
select last_seq from run_events where thread_id = :thread_id and run_id = :run_id order by seq desc limit 1

-- name: append_events
insert into run_events (thread_id, run_id, seq, last_seq, status, frames)
values (:thread_id, :run_id, :seq, :last_seq, :status, :frames)

-- Only for who holds the fence: no row is written for anybody else.
-- name: append_events_fenced [sqlite]
-- Differs on SQLite: there is one writer, so nobody can change the fence meanwhile.
insert into run_events (thread_id, run_id, seq, last_seq, status, frames)
select thread_id, run_id, :seq, :last_seq, null, :frames from runs
where thread_id = :thread_id and run_id = :run_id and fence = :fence

-- name: append_events_fenced [postgres]
-- One statement: a process that freezes must not leave the row locked.
with held as (
    select thread_id, run_id from runs
    where thread_id = :thread_id and run_id = :run_id and fence = :fence for no key update
)
insert into run_events (thread_id, run_id, seq, last_seq, status, frames)
select thread_id, run_id, cast(:seq as bigint), cast(:last_seq as bigint), null, cast(:frames as text) from held

-- From the row in which the event after `after` stands.
-- name: list_events
select seq, last_seq, status, frames from run_events
where thread_id = :thread_id and run_id = :run_id and last_seq > :after and seq >= coalesce((
    select max(seq) from run_events where thread_id = :thread_id and run_id = :run_id and seq <= :after
), 0)
order by seq limit :limit

-- `followed` is a JSON array of [thread_id, run_id, after]; `limit` holds for each run.
-- name: list_events_of_followed [sqlite]
-- Differs on SQLite: it has no `lateral`; nobody asks there, as one process appends all there is.
select e.thread_id, e.run_id, e.seq, e.last_seq, e.status, e.frames
from json_each(:followed) f join run_events e
    on e.thread_id = f.value ->> 0 and e.run_id = f.value ->> 1 and e.seq > f.value ->> 2
order by e.thread_id, e.run_id, e.seq limit :limit

-- name: list_events_of_followed [postgres]
select e.thread_id, e.run_id, e.seq, e.last_seq, e.status, e.frames
from json_array_elements(cast(:followed as json)) f cross join lateral (
    select thread_id, run_id, seq, last_seq, status, frames from run_events
    where thread_id = f ->> 0 and run_id = f ->> 1 and seq > cast(f ->> 2 as bigint)
    order by seq limit :limit
) e
order by e.seq

-- name: measure_events
select coalesce(sum(length(frames)), 0) from run_events where thread_id = :thread_id and run_id = :run_id

-- name: delete_events
delete from run_events where thread_id = :thread_id and run_id = :run_id and seq in (
    select seq from run_events where thread_id = :thread_id and run_id = :run_id order by seq limit :limit
)

-- A message of the run was deleted: its events are for nobody but who follows it already, and go soon after its end.
-- The rest of `plan` is the owner's, who reads it anew in each unit.
-- name: withhold_events [sqlite]
update runs set plan = json_set(plan, '$.is_withheld', json('true')), wake_at = case
    when wake_at > :soon and status in ('completed', 'incomplete', 'failed', 'cancelled', 'expired') then :soon
    else wake_at
end
where thread_id = :thread_id and run_id = :run_id

-- name: withhold_events [postgres]
-- Differs on SQLite: the two have other functions for JSON.
update runs set plan = cast(jsonb_set(cast(plan as jsonb), '{is_withheld}', 'true') as text), wake_at = case
    when wake_at > :soon and status in ('completed', 'incomplete', 'failed', 'cancelled', 'expired') then :soon
    else wake_at
end
where thread_id = :thread_id and run_id = :run_id

-- name: find_status
select status, coalesce((
    select last_seq from run_events where thread_id = :thread_id and run_id = :run_id order by seq desc limit 1
), 0) from runs
where thread_id = :thread_id and run_id = :run_id
