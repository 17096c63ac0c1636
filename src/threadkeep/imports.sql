-- On PostgreSQL each place of a list is looked up by itself: a plan for a join may be from when the tables were small, and
-- read all of them each time.

-- `ids` is a JSON array of thread ids. Deleted threads too: their ids are not free yet (deleted_at).
-- name: hold_threads [sqlite]
-- Differs on SQLite: there is one writer, so reading the rows is enough to hold them.
select t.thread_id, t.project_id, t.deleted_at is not null, t.deleted_seq
from json_each(:ids) i cross join threads t where t.thread_id = i.value

-- name: hold_threads [postgres]
-- In the order of the ids, as everybody holds several.
select t.thread_id, t.project_id, t.is_deleted, t.deleted_seq
from json_array_elements_text(cast(:ids as json)) i
cross join lateral (
    select thread_id, project_id, deleted_at is not null as is_deleted, deleted_seq
    from threads where thread_id = i limit 1 for no key update
) t

-- `rows` is a JSON array of objects with the columns of a new thread; gives the ids of those that were not there.
-- name: insert_threads [sqlite]
insert into threads (thread_id, project_id, created_at, deleted_seq, shape, body, expires_at)
select r.value ->> 'thread_id', r.value ->> 'project_id', r.value ->> 'created_at', 0, r.value ->> 'shape',
    r.value ->> 'body', r.value ->> 'expires_at'
from json_each(:rows) r where true
on conflict (thread_id) do nothing returning thread_id

-- name: insert_threads [postgres]
insert into threads (thread_id, project_id, created_at, deleted_seq, shape, body, expires_at)
select r.thread_id, r.project_id, r.created_at, 0, r.shape, r.body, r.expires_at
from json_to_recordset(cast(:rows as json)) as r (
    thread_id text, project_id text, created_at bigint, shape bigint, body text, expires_at bigint
)
on conflict (thread_id) do nothing returning thread_id

-- The numbers of the last message and the last run of each thread.
-- name: list_ends [sqlite]
select i.value,
    (select coalesce(max(m.seq), 0) from messages m where m.thread_id = i.value and m.body is not null),
    (select coalesce(max(r.seq), 0) from runs r where r.thread_id = i.value)
from json_each(:ids) i

-- name: list_ends [postgres]
select i,
    (select coalesce(max(m.seq), 0) from messages m where m.thread_id = i and m.body is not null),
    (select coalesce(max(r.seq), 0) from runs r where r.thread_id = i)
from json_array_elements_text(cast(:ids as json)) i

-- `places` is a JSON array of [thread_id, id, id of what belongs to that]; deleted messages are known too.
-- name: list_known_messages [sqlite]
select m.thread_id, m.message_id, '' from json_each(:places) p cross join messages m
where m.message_id = p.value ->> 1 and m.thread_id = p.value ->> 0

-- name: list_known_messages [postgres]
select m.thread_id, m.message_id, '' from json_array_elements(cast(:places as json)) p
cross join lateral (
    select thread_id, message_id from messages where thread_id = p ->> 0 and message_id = p ->> 1 limit 1
) m

-- name: list_known_versions [sqlite]
select v.thread_id, v.message_id, v.version_id from json_each(:places) p cross join message_versions v
where v.thread_id = p.value ->> 0 and v.message_id = p.value ->> 1 and v.version_id = p.value ->> 2

-- name: list_known_versions [postgres]
select v.thread_id, v.message_id, v.version_id from json_array_elements(cast(:places as json)) p
cross join lateral (
    select thread_id, message_id, version_id from message_versions
    where thread_id = p ->> 0 and message_id = p ->> 1 and version_id = p ->> 2 limit 1
) v

-- name: list_known_runs [sqlite]
select r.thread_id, r.run_id, '' from json_each(:places) p cross join runs r
where r.thread_id = p.value ->> 0 and r.run_id = p.value ->> 1

-- name: list_known_runs [postgres]
select r.thread_id, r.run_id, '' from json_array_elements(cast(:places as json)) p
cross join lateral (
    select thread_id, run_id from runs where thread_id = p ->> 0 and run_id = p ->> 1 limit 1
) r

-- name: list_known_steps [sqlite]
select s.thread_id, s.run_id, s.step_id from json_each(:places) p cross join run_steps s
where s.thread_id = p.value ->> 0 and s.run_id = p.value ->> 1 and s.step_id = p.value ->> 2

-- name: list_known_steps [postgres]
select s.thread_id, s.run_id, s.step_id from json_array_elements(cast(:places as json)) p
cross join lateral (
    select thread_id, run_id, step_id from run_steps
    where thread_id = p ->> 0 and run_id = p ->> 1 and step_id = p ->> 2 limit 1
) s

-- The number of the last part of each message or run.
-- name: list_last_versions [sqlite]
select p.value ->> 0, p.value ->> 1, (
    select coalesce(max(v.seq), 0) from message_versions v
    where v.thread_id = p.value ->> 0 and v.message_id = p.value ->> 1
)
from json_each(:places) p

-- name: list_last_versions [postgres]
select p ->> 0, p ->> 1, (
    select coalesce(max(v.seq), 0) from message_versions v where v.thread_id = p ->> 0 and v.message_id = p ->> 1
)
from json_array_elements(cast(:places as json)) p

-- name: list_last_steps [sqlite]
select p.value ->> 0, p.value ->> 1, (
    select coalesce(max(s.seq), 0) from run_steps s
    where s.thread_id = p.value ->> 0 and s.run_id = p.value ->> 1
)
from json_each(:places) p

-- name: list_last_steps [postgres]
select p ->> 0, p ->> 1, (
    select coalesce(max(s.seq), 0) from run_steps s where s.thread_id = p ->> 0 and s.run_id = p ->> 1
)
from json_array_elements(cast(:places as json)) p

-- name: insert_run
insert into runs (thread_id, run_id, project_id, seq, status, fence, attempt, wake_at, shape, body, plan)
values (:thread_id, :run_id, :project_id, :seq, :status, 1, 1, null, 1, :body, '{}')

-- name: insert_step
insert into run_steps (thread_id, run_id, seq, step_id, first_event, shape, body)
values (:thread_id, :run_id, :seq, :step_id, 0, 1, :body)
