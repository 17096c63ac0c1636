-- The number of a new assistant is one more than the highest: the unit holds the project.
-- name: insert_assistant
insert into assistants (project_id, assistant_id, seq, shape, body)
values (
    :project_id, :assistant_id,
    (select coalesce(max(seq), 0) + 1 from assistants where project_id = :project_id),
    :shape, :body
)
on conflict (project_id, assistant_id) do update set seq = excluded.seq, shape = excluded.shape, body = excluded.body
where assistants.body is null

-- name: retrieve_assistant
select body from assistants where project_id = :project_id and assistant_id = :assistant_id and body is not null

-- name: hold_assistant [sqlite]
-- Differs on SQLite: there is one writer, so reading the row is enough to hold it.
select body from assistants where project_id = :project_id and assistant_id = :assistant_id and body is not null

-- name: hold_assistant [postgres]
select body from assistants where project_id = :project_id and assistant_id = :assistant_id and body is not null
for no key update

-- name: update_assistant
update assistants set shape = :shape, body = :body where project_id = :project_id and assistant_id = :assistant_id

-- name: delete_assistant
update assistants set body = null
where project_id = :project_id and assistant_id = :assistant_id and body is not null

-- name: locate_assistant
select seq from assistants where project_id = :project_id and assistant_id = :assistant_id

-- name: list_assistants
select assistant_id, body from assistants
where project_id = :project_id and seq > :low and seq < :high and body is not null
order by seq {direction} limit :limit
