-- On PostgreSQL this waits for a unit that has the key and is not committed yet.
-- name: take_key
insert into idempotency_keys (project_id, key, request_hash, created_at)
values (:project_id, :key, :request_hash, :created_at)
on conflict (project_id, key) do update
set request_hash = excluded.request_hash, created_at = excluded.created_at,
    object_id = null, in_thread_id = null, after_event = null, answer = null
where idempotency_keys.answer is null or idempotency_keys.created_at <= :expired_at

-- name: find_answer
select request_hash, answer, after_event, object_id from idempotency_keys
where project_id = :project_id and key = :key

-- name: keep_answer
update idempotency_keys
set answer = :answer, object_id = :object_id, in_thread_id = :thread_id, after_event = :after_event
where project_id = :project_id and key = :key

-- name: erase_answers_of_thread
update idempotency_keys set answer = '' where in_thread_id = :thread_id

-- name: erase_answer_of_message
update idempotency_keys set answer = '' where in_thread_id = :thread_id and object_id = :message_id

-- name: erase_answer_of_object
update idempotency_keys set answer = ''
where in_thread_id is null and object_id = :object_id and project_id = :project_id

-- name: erase_text
update idempotency_keys set answer = replace(answer, cast(:text as text), '')
where in_thread_id is null and object_id = :object_id and project_id = :project_id

-- name: find_old_key
select key from idempotency_keys where created_at < :before limit 1

-- name: forget_keys
delete from idempotency_keys where (project_id, key) in (
    select project_id, key from idempotency_keys where created_at < :before limit :limit
)
