-- name: insert_thread
insert into threads (thread_id, project_id, created_at, deleted_seq, shape, body, expires_at)
values (:thread_id, :project_id, :created_at, 0, :shape, :body, :expires_at)
on conflict (thread_id) do nothing

-- name: retrieve_thread
select body from threads where thread_id = :thread_id and project_id = :project_id and deleted_at is null

-- name: hold_thread [sqlite]
-- Differs on SQLite: there is one writer, so reading the row is enough to hold it.
select body from threads
where thread_id = :thread_id and project_id = :project_id and deleted_at is null

-- name: hold_thread [postgres]
select body from threads
where thread_id = :thread_id and project_id = :project_id and deleted_at is null for no key update

-- name: update_thread
update threads set shape = :shape, body = :body, expires_at = :expires_at where thread_id = :thread_id

-- name: delete_thread
update threads set deleted_at = :deleted_at
where thread_id = :thread_id and project_id = :project_id and deleted_at is null and active_run_id is null

-- A thread that is being copied counts as deleted at a time to come, and is left alone until then (copies.sql).
-- In the order of their ids: neighbours are removed together, and processes that do this at once meet in no deadlock.
-- name: list_leftovers
select thread_id from threads where deleted_at <= :now and thread_id > :after order by thread_id limit :limit

-- Each half of the inner condition has an index of its own on SQLite.
-- name: hold_leftover [sqlite]
-- Differs on SQLite: there is one writer, so reading the row is enough to hold it.
select project_id, created_at, deleted_at, body, exists (select 1 from runs where thread_id = :thread_id),
    exists (select 1 from message_versions where thread_id = :thread_id), (
    select count(*) from (
        select 1 from messages
        where (thread_id = :thread_id and body is not null) or (thread_id = :thread_id and body is null)
        limit :counted_max
    ) as counted
)
from threads where thread_id = :thread_id and deleted_at is not null

-- name: hold_leftover [postgres]
select project_id, created_at, deleted_at, body, exists (select 1 from runs where thread_id = :thread_id),
    exists (select 1 from message_versions where thread_id = :thread_id), (
    select count(*) from (select 1 from messages where thread_id = :thread_id limit :counted_max) as counted
)
from threads where thread_id = :thread_id and deleted_at is not null for no key update

-- name: remove_thread
delete from threads where thread_id = :thread_id

-- name: remember_deleted_thread
insert into deleted_threads (thread_id, project_id, created_at, deleted_at)
values (:thread_id, :project_id, :created_at, :deleted_at)
on conflict (thread_id) do update
set project_id = excluded.project_id, created_at = excluded.created_at, deleted_at = excluded.deleted_at

-- name: find_sweepable
select thread_id from (select thread_id from threads where deleted_at <= :now limit 1) as leftover
union all
select thread_id from deleted_threads where deleted_at < :before
limit 1

-- name: forget_deleted_threads
delete from deleted_threads where thread_id in (
    select thread_id from deleted_threads where deleted_at < :before limit :limit
)

-- name: insert_thread_metadata
insert into thread_metadata (project_id, key, value, created_at, thread_id)
values (:project_id, :key, :value, :created_at, :thread_id)

-- name: delete_thread_metadata
delete from thread_metadata
where project_id = :project_id and key = :key and value = :value
    and created_at = :created_at and thread_id = :thread_id

-- name: locate_thread
select created_at from threads where thread_id = :thread_id and project_id = :project_id
union all
select created_at from deleted_threads where thread_id = :thread_id and project_id = :project_id
limit 1

-- name: list_threads
select thread_id, body from threads
where project_id = :project_id
    and (created_at, thread_id) > (:low_at, :low_id) and (created_at, thread_id) < (:high_at, :high_id)
    and deleted_at is null
order by created_at {direction}, thread_id {direction} limit :limit

-- name: count_threads_by_metadata
select count(*) from (
    select 1 from thread_metadata
    where project_id = :project_id and key = :key and value = :value limit :limit
) as counted

-- name: list_threads_by_metadata [sqlite]
select t.thread_id, t.body from thread_metadata m cross join threads t
where m.project_id = :project_id and m.key = :key and m.value = :value
    and (m.created_at, m.thread_id) > (:low_at, :low_id) and (m.created_at, m.thread_id) < (:high_at, :high_id)
    and t.thread_id = m.thread_id and t.deleted_at is null
    and not exists (
        select 1 from json_each(:others) o where not exists (
            select 1 from thread_metadata x
            where x.project_id = m.project_id and x.key = o.value ->> 0 and x.value = o.value ->> 1
                and x.created_at = m.created_at and x.thread_id = m.thread_id
        )
    )
order by m.created_at {direction}, m.thread_id {direction} limit :limit

-- name: list_threads_by_metadata [postgres]
select t.thread_id, t.body from thread_metadata m cross join threads t
where m.project_id = :project_id and m.key = :key and m.value = :value
    and (m.created_at, m.thread_id) > (:low_at, :low_id) and (m.created_at, m.thread_id) < (:high_at, :high_id)
    and t.thread_id = m.thread_id and t.deleted_at is null
    and not exists (
        select 1 from json_array_elements(cast(:others as json)) o where not exists (
            select 1 from thread_metadata x
            where x.project_id = m.project_id and x.key = o ->> 0 and x.value = o ->> 1
                and x.created_at = m.created_at and x.thread_id = m.thread_id
        )
    )
order by m.created_at {direction}, m.thread_id {direction} limit :limit
