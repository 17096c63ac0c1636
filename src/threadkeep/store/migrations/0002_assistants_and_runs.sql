-- Assistants; runs, their steps and their events; answers remembered under an Idempotency-Key.

-- The run that holds the thread, if any: its messages and runs wait for it.
-- name: add_active_run
alter table threads add column active_run_id text

-- A deleted assistant keeps its row without its body: a cursor that points at it still finds its place.
-- Differs on SQLite: it compares bytes without being told.
-- name: create_assistants [sqlite]
create table assistants (
    project_id text not null,
    assistant_id text not null,
    seq bigint not null,
    shape bigint not null,
    body text,
    primary key (project_id, assistant_id)
)

-- name: create_assistants [postgres]
create table assistants (
    project_id text collate "C" not null,
    assistant_id text collate "C" not null,
    seq bigint not null,
    shape bigint not null,
    body text,
    primary key (project_id, assistant_id)
)

-- name: create_assistants_by_seq
create unique index assistants_by_seq on assistants (project_id, seq)

-- For lists, which must not walk over what is left of the deleted: some programs make an assistant for each request.
-- name: create_assistants_listed
create index assistants_listed on assistants (project_id, seq) where body is not null

-- `fence` grows whenever a run changes hands: who holds the number may write, who held an older one may not.
-- `wake_at` is when somebody must look at the run (milliseconds): a queued one at once, one that is executed when its
-- lease ends, one that waits for its client when it expires, a finished one when its events may go; null for one that
-- is queued behind another run of its thread.
-- `plan` is what the server remembers of a run beside the wire object.
-- Differs on SQLite: it compares bytes without being told.
-- name: create_runs [sqlite]
create table runs (
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
)

-- name: create_runs [postgres]
create table runs (
    thread_id text collate "C" not null,
    run_id text collate "C" not null,
    project_id text collate "C" not null,
    seq bigint not null,
    status text not null,
    fence bigint not null,
    attempt bigint not null,
    wake_at bigint,
    shape bigint not null,
    body text not null,
    plan text not null,
    primary key (thread_id, run_id)
)

-- name: create_runs_by_seq
create unique index runs_by_seq on runs (thread_id, seq)

-- name: create_runs_due
create index runs_due on runs (wake_at) where status in ('queued', 'in_progress', 'requires_action')

-- name: create_runs_over
create index runs_over on runs (wake_at)
where wake_at is not null and status in ('completed', 'incomplete', 'failed', 'cancelled', 'expired')

-- Queued behind the run that holds the thread.
-- name: create_runs_waiting
create index runs_waiting on runs (thread_id, seq) where status = 'queued' and wake_at is null

-- name: create_runs_unfinished
create index runs_unfinished on runs (project_id, status)
where status in ('queued', 'in_progress', 'requires_action', 'cancelling')

-- `first_event` is the number of the event that told of the step.
-- Differs on SQLite: it compares bytes without being told.
-- name: create_run_steps [sqlite]
create table run_steps (
    thread_id text not null,
    run_id text not null,
    seq bigint not null,
    step_id text not null,
    first_event bigint not null,
    shape bigint not null,
    body text not null,
    primary key (thread_id, run_id, seq)
)

-- name: create_run_steps [postgres]
create table run_steps (
    thread_id text collate "C" not null,
    run_id text collate "C" not null,
    seq bigint not null,
    step_id text collate "C" not null,
    first_event bigint not null,
    shape bigint not null,
    body text not null,
    primary key (thread_id, run_id, seq)
)

-- What followers of a run are sent: rows of one or more frames, ready to send, numbered from `seq` to `last_seq`.
-- `status` is the run's after the row, null where the row does not change it.
-- Differs on SQLite: it compares bytes without being told.
-- name: create_run_events [sqlite]
create table run_events (
    thread_id text not null,
    run_id text not null,
    seq bigint not null,
    last_seq bigint not null,
    status text,
    frames text not null,
    primary key (thread_id, run_id, seq)
)

-- name: create_run_events [postgres]
create table run_events (
    thread_id text collate "C" not null,
    run_id text collate "C" not null,
    seq bigint not null,
    last_seq bigint not null,
    status text,
    frames text not null,
    primary key (thread_id, run_id, seq)
)

-- `answer` is null until the unit of work that takes the key has its answer, and empty once what it is about is deleted.
-- `object_id` is what was created, `in_thread_id` the thread that it is or is in. A stream of this run begins behind event
-- `after_event`.
-- Differs on SQLite: it compares bytes without being told.
-- name: create_idempotency_keys [sqlite]
create table idempotency_keys (
    project_id text not null,
    key text not null,
    request_hash text not null,
    created_at bigint not null,
    object_id text,
    in_thread_id text,
    after_event bigint,
    answer text,
    primary key (project_id, key)
)

-- name: create_idempotency_keys [postgres]
create table idempotency_keys (
    project_id text collate "C" not null,
    key text collate "C" not null,
    request_hash text not null,
    created_at bigint not null,
    object_id text collate "C",
    in_thread_id text collate "C",
    after_event bigint,
    answer text,
    primary key (project_id, key)
)

-- name: create_idempotency_keys_by_time
create index idempotency_keys_by_time on idempotency_keys (created_at)

-- For what is deleted.
-- name: create_idempotency_keys_by_object
create index idempotency_keys_by_object on idempotency_keys (in_thread_id, object_id)
