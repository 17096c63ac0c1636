-- name: insert_project
insert into projects (project_id, name, created_at) values (:project_id, :name, :created_at)
on conflict (name) do nothing

-- name: find_project
select project_id, name, created_at, retention_anchor, retention_s from projects where name = :name or project_id = :name

-- Of two units that number or count what is in a project, the second sees what the first has added.
-- name: hold_project [sqlite]
-- Differs on SQLite: there is one writer.
select 1

-- name: hold_project [postgres]
select 1 from projects where project_id = :project_id for no key update

-- name: list_projects
select project_id, name, created_at, retention_anchor, retention_s from projects order by created_at, name

-- name: set_retention
update projects set retention_anchor = :anchor, retention_s = :seconds where project_id = :project_id

-- name: insert_key
insert into api_keys (key_id, project_id, name, hash, hint, created_at)
values (:key_id, :project_id, :name, :hash, :hint, :created_at)

-- name: list_keys
select k.key_id, p.name, k.name, k.hint, k.created_at, k.revoked_at
from api_keys k join projects p on p.project_id = k.project_id
order by k.created_at, k.key_id

-- name: revoke_key
update api_keys set revoked_at = :revoked_at where key_id = :key_id and revoked_at is null

-- name: find_key
select key_id from api_keys where key_id = :key_id

-- name: find_key_by_hash
select key_id from api_keys where hash = :hash

-- name: list_usable_keys
select hash, project_id, key_id from api_keys where revoked_at is null

-- name: find_any_key
select key_id from api_keys limit 1

-- name: raise_key_revision
insert into revisions (subject, revision) values ('api_keys', 1)
on conflict (subject) do update set revision = revisions.revision + 1

-- name: find_key_revision
select revision from revisions where subject = 'api_keys'
