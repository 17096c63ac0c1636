CREATE INDEX deleted_threads_by_time on deleted_threads (deleted_at);

CREATE INDEX messages_by_run on messages (thread_id, run_id, seq) where run_id is not null and body is not null;

CREATE INDEX messages_deleted on messages (thread_id) where body is null;

CREATE INDEX threads_by_time on threads (project_id, created_at, thread_id);

CREATE INDEX threads_deleted on threads (thread_id) where deleted_at is not null;

CREATE TABLE api_keys (
    key_id text primary key,
    project_id text not null,
    name text not null,
    hash text not null unique,
    hint text not null,
    created_at bigint not null,
    revoked_at bigint
);

CREATE TABLE deleted_threads (
    thread_id text primary key,
    project_id text not null,
    created_at bigint not null,
    deleted_at bigint not null
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
);

CREATE TABLE revisions (
    subject text primary key,
    revision bigint not null
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
) without rowid;

CREATE UNIQUE INDEX messages_by_id on messages (message_id, thread_id);

CREATE UNIQUE INDEX messages_by_seq on messages (thread_id, seq) where body is not null;
