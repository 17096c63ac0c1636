-- name: find_migrations_table [sqlite]
select name from sqlite_master where type = 'table' and name = 'migrations'

-- name: find_migrations_table [postgres]
select table_name from information_schema.tables
where table_schema = current_schema() and table_name = 'migrations'

-- name: find_any_table [sqlite]
select name from sqlite_master where type = 'table' limit 1

-- name: find_any_table [postgres]
select table_name from information_schema.tables where table_schema = current_schema() limit 1

-- name: create_migrations
create table migrations (
    version bigint primary key,
    name text not null,
    compatible_from bigint not null
)

-- name: list_migrations
select version, compatible_from from migrations order by version

-- name: insert_migration
insert into migrations (version, name, compatible_from) values (:version, :name, :compatible_from)

-- Holds off other nodes that start at the same time.
-- name: hold_migrations [sqlite]
-- Differs on SQLite: there is one writer, and this is it.
select 1

-- name: hold_migrations [postgres]
lock table migrations in exclusive mode
