-- What runs used, how much may be, and who is told of them.

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

-- Addresses that are told of runs. `events` is the JSON array of the names of events that it wants.
-- name: create_webhooks
create table webhooks (
    webhook_id text primary key,
    project_id text not null,
    created_at bigint not null,
    url text not null,
    secret text not null,
    events text not null,
    body text not null
)

-- name: create_webhooks_by_project
create index webhooks_by_project on webhooks (project_id, created_at, webhook_id)

-- What is to be told, written together with the change it tells of; and what came of it. Times are milliseconds.
-- `next_at` is when the next attempt is due; while one is under way, when its lease ends.
-- name: create_webhook_deliveries
create table webhook_deliveries (
    webhook_id text not null,
    event_id text not null,
    created_ms bigint not null,
    type text not null,
    payload text not null,
    status text not null,
    attempts bigint not null,
    next_at bigint,
    attempted_at bigint,
    http_status bigint,
    error text,
    primary key (webhook_id, event_id)
)

-- name: create_webhook_deliveries_due
create index webhook_deliveries_due on webhook_deliveries (webhook_id, next_at) where status = 'pending'

-- name: create_webhook_deliveries_by_time
create index webhook_deliveries_by_time on webhook_deliveries (webhook_id, created_ms, event_id)

-- name: create_webhook_deliveries_over
create index webhook_deliveries_over on webhook_deliveries (created_ms) where status <> 'pending'
