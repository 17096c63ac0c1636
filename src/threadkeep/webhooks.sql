-- name: insert_webhook
insert into webhooks (webhook_id, project_id, created_at, url, secret, events, body)
values (:webhook_id, :project_id, :created_at, :url, :secret, :events, :body)

-- name: count_webhooks
select count(*) from webhooks where project_id = :project_id

-- name: retrieve_webhook
select body from webhooks where webhook_id = :webhook_id and project_id = :project_id

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

-- For each address of the project that wants the event.
-- name: insert_deliveries
insert into webhook_deliveries (webhook_id, event_id, created_ms, type, payload, status, attempts, next_at)
select webhook_id, cast(:event_id as text), cast(:now_ms as bigint), cast(:type as text), cast(:payload as text),
    'pending', 0, cast(:now_ms as bigint)
from webhooks where project_id = :project_id and events like cast(:wanted as text)
on conflict (webhook_id, event_id) do nothing

-- name: locate_delivery
select created_ms from webhook_deliveries where webhook_id = :webhook_id and event_id = :event_id

-- name: list_deliveries
select event_id, payload, created_ms, status, attempts, next_at, attempted_at, http_status, error
from webhook_deliveries
where webhook_id = :webhook_id
    and (created_ms, event_id) > (:low_at, :low_id) and (created_ms, event_id) < (:high_at, :high_id)
order by created_ms {direction}, event_id {direction} limit :limit

-- What is under way is sent once more beside that; its receiver knows the event by its id.
-- name: resend_delivery
update webhook_deliveries set status = 'pending', next_at = :now_ms
where webhook_id = :webhook_id and event_id = :event_id
returning event_id, payload, created_ms, status, attempts, next_at, attempted_at, http_status, error

-- From one address with something to tell to the next: one that is away may have very many deliveries waiting, which
-- nobody is to walk over.
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
)
limit :limit

-- Each goes to one process: another that reaches for it at the same time finds that it is no longer due.
-- name: claim_deliveries
update webhook_deliveries set next_at = :lease_end, attempts = attempts + 1
where webhook_id = :webhook_id and status = 'pending' and next_at <= :now_ms and event_id in (
    select event_id from webhook_deliveries
    where webhook_id = :webhook_id and status = 'pending' and next_at <= :now_ms order by next_at limit :limit
)
returning event_id, created_ms, payload, attempts

-- name: find_address
select url, secret from webhooks where webhook_id = :webhook_id

-- Only for who made that attempt.
-- name: note_attempt
update webhook_deliveries set status = :status, next_at = :next_at, attempted_at = :attempted_at,
    http_status = :http_status, error = :error
where webhook_id = :webhook_id and event_id = :event_id and attempts = :attempts and status = 'pending'

-- name: forget_deliveries
delete from webhook_deliveries where status <> 'pending' and (webhook_id, event_id) in (
    select webhook_id, event_id from webhook_deliveries
    where status <> 'pending' and created_ms < :before_ms order by created_ms limit :limit
)

-- name: count_failing_deliveries
select count(*) from webhook_deliveries where status = 'pending' and attempts > 2
