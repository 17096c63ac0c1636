-- A thread that is being copied has a `deleted_at` in the future: nobody sees it, and what a copy that was broken off
-- left behind is removed when that time has come.
-- name: begin_copy
insert into threads (thread_id, project_id, created_at, deleted_at, deleted_seq, shape, body, expires_at)
values (:thread_id, :project_id, :created_at, :deleted_at, 0, :shape, :body, :expires_at)

-- name: schedule_removal
update threads set deleted_at = :deleted_at where thread_id = :thread_id and deleted_at is not null

-- name: finish_copy
update threads set deleted_at = null where thread_id = :thread_id and deleted_at is not null
