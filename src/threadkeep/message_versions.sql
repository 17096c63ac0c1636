-- name: find_last_version
select seq, replaced_at from message_versions
where thread_id = :thread_id and message_id = :message_id order by seq desc limit 1

-- name: insert_version
insert into message_versions (thread_id, message_id, seq, version_id, replaced_at, shape, body)
values (:thread_id, :message_id, :seq, :version_id, :replaced_at, :shape, :body)

-- name: locate_version
select seq from message_versions
where thread_id = :thread_id and message_id = :message_id and version_id = :version_id

-- name: list_versions
select version_id, body from message_versions
where thread_id = :thread_id and message_id = :message_id and seq > :low and seq < :high
order by seq {direction} limit :limit

-- name: delete_versions
delete from message_versions where thread_id = :thread_id and message_id = :message_id

-- name: remove_versions
delete from message_versions where thread_id = :thread_id and (message_id, seq) in (
    select message_id, seq from message_versions where thread_id = :thread_id limit :limit
)
