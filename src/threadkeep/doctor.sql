-- Differs on SQLite: PostgreSQL looks after its files itself, and says nothing about them in a moment.
-- name: check_integrity [sqlite]
pragma quick_check(1)

-- name: check_integrity [postgres]
select 'ok'

-- Version, its number, whether it is a standby, most connections, its clock, size.
-- Differs on SQLite: it has no server; only version and size mean something.
-- name: describe_database [sqlite]
select sqlite_version(), 0, 0, 0, 0, p.page_count * s.page_size from pragma_page_count p, pragma_page_size s

-- name: describe_database [postgres]
select current_setting('server_version'), cast(current_setting('server_version_num') as bigint), pg_is_in_recovery(),
    cast(current_setting('max_connections') as bigint), cast(extract(epoch from clock_timestamp()) as float8),
    pg_database_size(current_database())

-- Of each project the newest, which an index knows.
-- name: find_newest_thread
select max(x.created_at) from (
    select (select max(t.created_at) from threads t where t.project_id = p.project_id) as created_at from projects p
) x
