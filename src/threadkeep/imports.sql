-- `ids` is a JSON array of thread ids. Deleted threads too: their ids are not free yet (deleted_at).
-- name: hold_threads [sqlite]
-- Differs on SQLite: there is one writer, so reading the rows is enough to hold them.
select t.thread_id, t.project_id, t.deleted_at is not null, t.deleted_seq,
    (select coalesce(max(m.seq), 0) from messages m where m.thread_id = t.thread_id and m.body is not null),
    (select coalesce(max(r.seq), 0) from runs r where r.thread_id = t.thread_id)
from json_each(:ids) i cross join threads t where t.thread_id = i.value

-- name: hold_threads [postgres]
select t.thread_id, t.project_id, t.deleted_at is not null, t.deleted_seq,
    (select coalesce(max(m.seq), 0) from messages m where m.thread_id = t.thread_id and m.body is not null),
    (select coalesce(max(r.seq), 0) from runs r where r.thread_id = t.thread_id)
from threads t where t.thread_id in (select json_array_elements_text(cast(:ids as json)))
order by t.thread_id for no key update

-- `places` is a JSON array of [thread_id, id, id of what belongs to that]; deleted messages are known too.
-- name: list_known_messages [sqlite]
select m.thread_id, m.message_id, '' from json_each(:places) p cross join messages m
where m.message_id = p.value ->> 1 and m.thread_id = p.value ->> 0

-- name: list_known_messages [postgres]
select m.thread_id, m.message_id, '' from json_array_elements(cast(:places as json)) p
join messages m on m.thread_id = p ->> 0 and m.message_id = p ->> 1

-- name: list_known_versions [sqlite]
select v.thread_id, v.message_id, v.version_id from json_each(:places) p cross join message_versions v
where v.thread_id = p.value ->> 0 and v.message_id = p.value ->> 1 and v.version_id = p.value ->> 2

-- name: list_known_versions [postgres]
select v.thread_id, v.message_id, v.version_id from json_array_elements(cast(:places as json)) p
join message_versions v on v.thread_id = p ->> 0 and v.message_id = p ->> 1 and v.version_id = p ->> 2

-- name: list_known_runs [sqlite]
select r.thread_id, r.run_id, '' from json_each(:places) p cross join runs r
where r.thread_id = p.value ->> 0 and r.run_id = p.value ->> 1

-- name: list_known_runs [postgres]
select r.thread_id, r.run_id, '' from json_array_elements(cast(:places as json)) p
join runs r on r.thread_id = p ->> 0 and r.run_id = p ->> 1

-- name: list_known_steps [sqlite]
select s.thread_id, s.run_id, s.step_id from json_each(:places) p cross join run_steps s
where s.thread_id = p.value ->> 0 and s.run_id = p.value ->> 1 and s.step_id = p.value ->> 2

-- name: list_known_steps [postgres]
select s.thread_id, s.run_id, s.step_id from json_array_elements(cast(:places as json)) p
join run_steps s on s.thread_id = p ->> 0 and s.run_id = p ->> 1 and s.step_id = p ->> 2

-- name: find_last_step
select coalesce(max(seq), 0) from run_steps where thread_id = :thread_id and run_id = :run_id

-- name: insert_run
insert into runs (thread_id, run_id, project_id, seq, status, fence, attempt, wake_at, shape, body, plan)
values (:thread_id, :run_id, :project_id, :seq, :status, 1, 1, null, 1, :body, '{}')

-- name: insert_step
insert into run_steps (thread_id, run_id, seq, step_id, first_event, shape, body)
values (:thread_id, :run_id, :seq, :step_id, 0, 1, :body)
