CREATE INDEX assistants_listed on assistants (project_id, seq) where body is not null;

CREATE INDEX deleted_threads_by_time on deleted_threads (deleted_at);

CREATE INDEX idempotency_keys_by_object on idempotency_keys (in_thread_id, object_id);

CREATE INDEX idempotency_keys_by_time on idempotency_keys (created_at);

CREATE INDEX messages_by_run on messages (thread_id, run_id, seq) where run_id is not null and body is not null;

CREATE INDEX messages_deleted on messages (thread_id) where body is null;

CREATE INDEX runs_due on runs (wake_at) where status in ('queued', 'in_progress', 'requires_action');

CREATE INDEX runs_over on runs (wake_at)
where wake_at is not null and status in ('completed', 'incomplete', 'failed', 'cancelled', 'expired');

CREATE INDEX runs_unfinished on runs (project_id, status)
where status in ('queued', 'in_progress', 'requires_action', 'cancelling');

CREATE INDEX runs_waiting on runs (thread_id, seq) where status = 'queued' and wake_at is null;

CREATE INDEX search_queue_by_thread on search_queue (thread_id, low);

CREATE INDEX threads_by_time on threads (project_id, created_at, thread_id);

CREATE INDEX threads_deleted on threads (thread_id) where deleted_at is not null;

CREATE INDEX threads_expiring on threads (expires_at) where expires_at is not null and deleted_at is null;

CREATE INDEX usage_by_day on usage (day);

CREATE INDEX webhook_deliveries_by_thread on webhook_deliveries (run_thread_id) where run_thread_id is not null;

CREATE INDEX webhook_deliveries_by_time on webhook_deliveries (webhook_id, created_ms, event_id);

CREATE INDEX webhook_deliveries_due on webhook_deliveries (webhook_id, next_at) where status = 'pending';

CREATE INDEX webhook_deliveries_over on webhook_deliveries (created_ms) where status <> 'pending';

CREATE INDEX webhooks_by_old_secret on webhooks (old_secret_until, webhook_id) where old_secret_until is not null;

CREATE INDEX webhooks_by_project on webhooks (project_id, created_at, webhook_id);

CREATE INDEX webhooks_off on webhooks (webhook_id) where enabled = 0;

CREATE TABLE 'search_words_config'(k PRIMARY KEY, v) WITHOUT ROWID;

CREATE TABLE 'search_words_data'(id INTEGER PRIMARY KEY, block BLOB);

CREATE TABLE 'search_words_idx'(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID;

CREATE TABLE api_keys (
    key_id text primary key,
    project_id text not null,
    name text not null,
    hash text not null unique,
    hint text not null,
    created_at bigint not null,
    revoked_at bigint
);

CREATE TABLE assistants (
    project_id text not null,
    assistant_id text not null,
    seq bigint not null,
    shape bigint not null,
    body text,
    primary key (project_id, assistant_id)
);

CREATE TABLE deleted_threads (
    thread_id text primary key,
    project_id text not null,
    created_at bigint not null,
    deleted_at bigint not null
) without rowid;

CREATE TABLE idempotency_keys (
    project_id text not null,
    key text not null,
    request_hash text not null,
    created_at bigint not null,
    object_id text,
    in_thread_id text,
    after_event bigint,
    answer text,
    primary key (project_id, key)
);

CREATE TABLE limit_windows (
    subject text primary key,
    window_at bigint not null,
    taken bigint not null,
    granted bigint not null
);

CREATE TABLE limits (
    subject text primary key,
    requests_per_minute bigint,
    runs bigint,
    tokens_per_day bigint
);

CREATE TABLE message_versions (
    thread_id text not null,
    message_id text not null,
    seq bigint not null,
    version_id text not null,
    replaced_at bigint not null,
    shape bigint not null,
    body text not null,
    primary key (thread_id, message_id, seq)
) without rowid;

CREATE TABLE messages (
    thread_id text not null,
    seq bigint not null,
    message_id text not null,
    run_id text,
    shape bigint not null,
    body text
);

CREATE TABLE migrations (
    version bigint primary key,
    name text not null,
    compatible_from bigint not null
);

CREATE TABLE projects (
    project_id text primary key,
    name text not null unique,
    created_at bigint not null
, retention_anchor text, retention_s bigint);

CREATE TABLE revisions (
    subject text primary key,
    revision bigint not null
);

CREATE TABLE run_events (
    thread_id text not null,
    run_id text not null,
    seq bigint not null,
    last_seq bigint not null,
    status text,
    frames text not null,
    primary key (thread_id, run_id, seq)
);

CREATE TABLE run_steps (
    thread_id text not null,
    run_id text not null,
    seq bigint not null,
    step_id text not null,
    first_event bigint not null,
    shape bigint not null,
    body text not null,
    primary key (thread_id, run_id, seq)
);

CREATE TABLE runs (
    thread_id text not null,
    run_id text not null,
    project_id text not null,
    seq bigint not null,
    status text not null,
    fence bigint not null,
    attempt bigint not null,
    wake_at bigint,
    shape bigint not null,
    body text not null,
    plan text not null,
    primary key (thread_id, run_id)
);

CREATE TABLE search_documents (
    position integer primary key,
    thread_id text not null,
    seq bigint not null,
    words text not null
);

CREATE TABLE search_queue (
    thread_id text not null,
    low bigint not null,
    high bigint not null
);

CREATE TABLE thread_metadata (
    project_id text not null,
    key text not null,
    value text not null,
    created_at bigint not null,
    thread_id text not null,
    primary key (project_id, key, value, created_at, thread_id)
) without rowid;

CREATE TABLE threads (
    thread_id text primary key,
    project_id text not null,
    created_at bigint not null,
    deleted_at bigint,
    deleted_seq bigint not null,
    shape bigint not null,
    body text not null
, active_run_id text, expires_at bigint) without rowid;

CREATE TABLE usage (
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
) without rowid;

CREATE TABLE webhook_deliveries (
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
    error text, last_attempts text not null default '[]', run_thread_id text,
    primary key (webhook_id, event_id)
);

CREATE TABLE webhooks (
    webhook_id text primary key,
    project_id text not null,
    created_at bigint not null,
    url text not null,
    secret text not null,
    events text not null,
    body text not null
, enabled bigint not null default 1, old_secrets text not null default '[]', old_secret_until bigint);

CREATE UNIQUE INDEX assistants_by_seq on assistants (project_id, seq);

CREATE UNIQUE INDEX messages_by_id on messages (message_id, thread_id);

CREATE UNIQUE INDEX messages_by_seq on messages (thread_id, seq) where body is not null;

CREATE UNIQUE INDEX runs_by_seq on runs (thread_id, seq);

CREATE UNIQUE INDEX search_documents_by_seq on search_documents (thread_id, seq);

CREATE VIRTUAL TABLE search_words using fts5(
    words, content='search_documents', content_rowid='position', columnsize=0, detail=none, tokenize='ascii'
);
