-- name: insert_webhook
insert into webhooks (webhook_id, project_id, created_at, url, secret, events, enabled, body)
values (:webhook_id, :project_id, :created_at, :url, :secret, :events, :enabled, :body)

-- name: count_webhooks
select count(*) from webhooks where project_id = :project_id

-- name: retrieve_webhook
select body, enabled from webhooks where webhook_id = :webhook_id and project_id = :project_id

-- name: hold_webhook [sqlite]
-- Differs on SQLite: there is one writer, so reading the row is enough to hold it.
select body, secret, old_secrets from webhooks where webhook_id = :webhook_id and project_id = :project_id

-- name: hold_webhook [postgres]
select body, secret, old_secrets from webhooks where webhook_id = :webhook_id and project_id = :project_id
for no key update

-- name: update_webhook
update webhooks set url = :url, events = :events, enabled = :enabled, body = :body
where webhook_id = :webhook_id and project_id = :project_id

-- name: update_secrets
update webhooks
set secret = :secret, old_secrets = :old_secrets, old_secret_until = :old_secret_until, body = :body
where webhook_id = :webhook_id and project_id = :project_id

-- name: hold_old_secrets [sqlite]
-- Differs on SQLite: there is one writer, so reading the rows is enough to hold them.
select project_id, body, secret, old_secrets from webhooks
where old_secret_until <= :now_ms order by old_secret_until, webhook_id limit :limit

-- In one order, so that two processes do not wait for each other.
-- name: hold_old_secrets [postgres]
select project_id, body, secret, old_secrets from webhooks
where old_secret_until <= :now_ms order by old_secret_until, webhook_id limit :limit
for no key update

-- name: locate_webhook
select created_at from webhooks where webhook_id = :webhook_id and project_id = :project_id

-- name: list_webhooks
select webhook_id, body from webhooks
where project_id = :project_id
    and (created_at, webhook_id) > (:low_at, :low_id) and (created_at, webhook_id) < (:high_at, :high_id)
order by created_at {direction}, webhook_id {direction} limit :limit

-- name: delete_webhook
delete from webhooks where webhook_id = :webhook_id and project_id = :project_id

-- name: delete_deliveries
delete from webhook_deliveries where webhook_id = :webhook_id and event_id in (
    select event_id from webhook_deliveries where webhook_id = :webhook_id limit :limit
)

-- For each address of the project that is switched on and wants the event.
-- name: insert_deliveries
insert into webhook_deliveries (
    webhook_id, event_id, run_thread_id, created_ms, type, payload, status, attempts, next_at
)
select webhook_id, cast(:event_id as text), cast(:thread_id as text), cast(:now_ms as bigint), cast(:type as text),
    cast(:payload as text), 'pending', 0, cast(:now_ms as bigint)
from webhooks where project_id = :project_id and enabled = 1 and events like cast(:wanted as text)
on conflict (webhook_id, event_id) do nothing

-- name: insert_test_delivery
insert into webhook_deliveries (webhook_id, event_id, created_ms, type, payload, status, attempts, next_at)
values (:webhook_id, :event_id, :now_ms, :type, :payload, 'pending', 0, :now_ms)

-- name: locate_delivery
select created_ms from webhook_deliveries where webhook_id = :webhook_id and event_id = :event_id

-- name: list_deliveries
select event_id, payload, created_ms, status, attempts, next_at, attempted_at, http_status, error, last_attempts
from webhook_deliveries
where webhook_id = :webhook_id
    and (created_ms, event_id) > (:low_at, :low_id) and (created_ms, event_id) < (:high_at, :high_id)
order by created_ms {direction}, event_id {direction} limit :limit

-- name: retrieve_delivery
select event_id, payload, created_ms, status, attempts, next_at, attempted_at, http_status, error, last_attempts
from webhook_deliveries where webhook_id = :webhook_id and event_id = :event_id

-- What follows is about deleted threads.
-- name: list_deliveries_of_thread
select webhook_id, event_id, payload from webhook_deliveries where run_thread_id = :thread_id limit :limit

-- name: erase_delivery
update webhook_deliveries set payload = :payload, run_thread_id = null
where webhook_id = :webhook_id and event_id = :event_id

-- What is under way is sent once more beside that; its receiver knows the event by its id.
-- name: resend_delivery
update webhook_deliveries set status = 'pending', next_at = :now_ms
where webhook_id = :webhook_id and event_id = :event_id

-- From one address with something to tell to the next: one that is away may have very many deliveries waiting, which
-- nobody is to walk over. One that was deleted is among them: what it left is removed.
-- name: list_due_webhooks
with recursive owed (webhook_id) as (
    select min(webhook_id) from webhook_deliveries where status = 'pending'
    union all
    select (
        select min(d.webhook_id) from webhook_deliveries d where d.status = 'pending' and d.webhook_id > owed.webhook_id
    )
    from owed where owed.webhook_id is not null
)
select webhook_id from owed where webhook_id is not null and exists (
    select 1 from webhook_deliveries d
    where d.webhook_id = owed.webhook_id and d.status = 'pending' and d.next_at <= :now_ms
) and not exists (
    select 1 from webhooks w where w.webhook_id = owed.webhook_id and w.enabled = 0
)
limit :limit

-- Each goes to one process: another that reaches for it at the same time finds that it is no longer due.
-- name: claim_deliveries
update webhook_deliveries set next_at = :lease_end, attempts = attempts + 1
where webhook_id = :webhook_id and status = 'pending' and next_at <= :now_ms and event_id in (
    select event_id from webhook_deliveries
    where webhook_id = :webhook_id and status = 'pending' and next_at <= :now_ms order by next_at limit :limit
)
returning event_id, created_ms, payload, attempts, last_attempts

-- name: find_address
select url, secret, old_secrets, enabled from webhooks where webhook_id = :webhook_id

-- Only for who made that attempt.
-- name: note_attempt
update webhook_deliveries set status = :status, next_at = :next_at, attempted_at = :attempted_at,
    http_status = :http_status, error = :error, last_attempts = :last_attempts
where webhook_id = :webhook_id and event_id = :event_id and attempts = :attempts and status = 'pending'

-- What waits for an address to be switched on, and has waited for long. From those addresses to what they wait for, not
-- over all that waits: both databases know `cross join`, and SQLite keeps to its order.
-- name: give_up_deliveries
update webhook_deliveries set status = 'failed', next_at = null, http_status = null, error = :error
where status = 'pending' and (webhook_id, event_id) in (
    select d.webhook_id, d.event_id from webhooks w cross join webhook_deliveries d
    where w.enabled = 0 and d.webhook_id = w.webhook_id and d.status = 'pending' and d.created_ms < :before_ms
    limit :limit
)

-- name: forget_deliveries
delete from webhook_deliveries where status <> 'pending' and (webhook_id, event_id) in (
    select webhook_id, event_id from webhook_deliveries
    where status <> 'pending' and created_ms < :before_ms order by created_ms limit :limit
)

-- name: count_failing_deliveries
select count(*) from webhook_deliveries where status = 'pending' and attempts > 2
    and webhook_id not in (select webhook_id from webhooks where enabled = 0)
