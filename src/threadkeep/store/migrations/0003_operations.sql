-- What runs used, and how much may be.

-- Tokens of finished runs. `day` counts from the epoch; the slots spread runs that end at the same moment over rows.
-- Differs on SQLite: clustered by its key, one B-tree instead of two.
-- name: create_usage [sqlite]
create table usage (
    project_id text not null,
    day bigint not null,
    key_id text not null,
    assistant_id text not null,
    slot bigint not null,
    runs bigint not null,
    prompt_tokens bigint not null,
    cached_tokens bigint not null,
    completion_tokens bigint not null,
    primary key (project_id, day, key_id, assistant_id, slot)
) without rowid

-- name: create_usage [postgres]
create table usage (
    project_id text collate "C" not null,
    day bigint not null,
    key_id text collate "C" not null,
    assistant_id text collate "C" not null,
    slot bigint not null,
    runs bigint not null,
    prompt_tokens bigint not null,
    cached_tokens bigint not null,
    completion_tokens bigint not null,
    primary key (project_id, day, key_id, assistant_id, slot)
)

-- name: create_usage_by_day
create index usage_by_day on usage (day)

-- What projects and keys may use; `subject` is the id of either. Null is the default of the settings, 0 is no limit.
-- name: create_limits
create table limits (
    subject text primary key,
    requests_per_minute bigint,
    runs bigint,
    tokens_per_day bigint
)

-- How many requests of the minute `window_at` (counted from the epoch) nodes have taken, and what was given to the last
-- that asked.
-- name: create_limit_windows
create table limit_windows (
    subject text primary key,
    window_at bigint not null,
    taken bigint not null,
    granted bigint not null
)
