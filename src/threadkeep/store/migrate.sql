-- How many there are, and whether `migrations` is ours: other programs have a table of that name too.
-- One statement, because another node may be making the tables at this moment.
-- name: count_tables [sqlite]
select count(*), (select count(*) from pragma_table_info('migrations') where name = 'compatible_from')
from sqlite_master where type = 'table'

-- name: count_tables [postgres]
-- Extensions such as Citus and pg_stat_statements put views there.
select count(*), (
    select count(*) from information_schema.columns
    where table_schema = current_schema() and table_name = 'migrations' and column_name = 'compatible_from'
)
from information_schema.tables where table_schema = current_schema() and table_type = 'BASE TABLE'

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
