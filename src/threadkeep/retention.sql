-- name: list_expired
select thread_id, project_id from threads
where expires_at <= :now and expires_at is not null and deleted_at is null order by expires_at limit :limit

-- name: hold_thread [sqlite]
-- Differs on SQLite: there is one writer, so reading the row is enough to hold it.
select created_at, active_run_id, body from threads
where thread_id = :thread_id and project_id = :project_id and deleted_at is null

-- name: hold_thread [postgres]
select created_at, active_run_id, body from threads
where thread_id = :thread_id and project_id = :project_id and deleted_at is null for no key update

-- name: look_again
update threads set expires_at = :expires_at where thread_id = :thread_id

-- Threads that are old enough, oldest first.
-- name: list_old
select thread_id, created_at from threads
where project_id = :project_id and (created_at, thread_id) > (:at, :id) and created_at <= :created_by
    and deleted_at is null and (expires_at is null or :also_own = 1)
order by created_at, thread_id limit :limit

-- name: list_rules
select project_id, retention_anchor, retention_s from projects where retention_s is not null

-- `revision` is the second in which a process began to apply the rules. One in the time to come is of a clock that was
-- wrong.
-- name: find_pass
select revision from revisions where subject = 'retention' and revision > :after and revision < :before

-- Only one process does it, whatever the others saw at the same moment.
-- name: claim_pass
insert into revisions (subject, revision) values ('retention', :now)
on conflict (subject) do update set revision = excluded.revision
where revisions.revision <= :after or revisions.revision >= :before
