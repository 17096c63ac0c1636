"""Webhooks: addresses to which an event is sent when a run of their project ends, or waits for tool outputs.

A *delivery* is one event for one webhook. It is written in the unit that changes the run (`change`), so that no change
goes unnoticed, and `webhook_delivery.py` sends it: at least once, signed by the Standard Webhooks specification. An
event has one id, by which a receiver knows it again; it says which run, and not what was said in it.

A webhook that is switched off gets no new deliveries. Those that are pending wait until it is switched on, but no
longer than they would be retried otherwise.

Differs from OpenAI: the original had no webhooks for runs. The form is that of its webhooks for other things, so the
SDKs' `webhooks.verify_signature` works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from threadkeep import idempotency, projects, webhook_events, webhook_urls
from threadkeep.context import Context
from threadkeep.errors import BadRequestError, NotFoundError
from threadkeep.pages import ListParams, Page, Stored, Window
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Change, Row, Store, Transaction
from threadkeep.webhook_events import ALL_EVENTS, EventRun, EventType, EventWebhook
from threadkeep.webhook_secrets import Secrets, new_secret

if TYPE_CHECKING:
    from threadkeep.run_rows import Run

sql = queries.load("webhooks")

WEBHOOKS_MAX = 20
# Deliveries that one unit of work removes.
REMOVED_AT_ONCE = 500
# For how long a secret that is replaced goes on to sign.
OVERLAP_S = 24 * 3600
OVERLAP_S_MAX = 7 * 24 * 3600
ERASED_AT_ONCE = 100
LAST_ATTEMPTS_MAX = 10

Url: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2048)]
Events: TypeAlias = Annotated[list[EventType], Meta(min_length=1, max_length=len(ALL_EVENTS))]


class WebhookCreateParams(Struct, kw_only=True):
    """The body of create. Without `events` all of them are sent."""

    url: Url
    events: Events | None = None
    enabled: bool = True


class WebhookUpdateParams(Struct, kw_only=True):
    """The body of modify. What is not given stays; `events` as null are all of them."""

    url: Url | UnsetType = UNSET
    events: Events | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET


class WebhookRotateSecretParams(Struct, kw_only=True):
    """The body of rotate secret: for how many seconds the secret that is replaced signs beside the new one."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=OVERLAP_S_MAX)] = OVERLAP_S


class Webhook(Struct, kw_only=True):
    """An address. The secret that signs what is sent there is shown when it is made, and not again.

    `old_secret_expires_at` is until when one that was replaced signs too.
    """

    id: str
    object: Literal["webhook"] = "webhook"
    created_at: int
    url: str
    events: list[EventType]
    enabled: bool
    old_secret_expires_at: int | None = None
    secret: str | UnsetType = UNSET


class WebhookDeleted(Struct, kw_only=True):
    """The answer of delete."""

    id: str
    object: Literal["webhook.deleted"] = "webhook.deleted"
    deleted: bool = True


class WebhookAttempt(Struct, kw_only=True):
    """One attempt: the status that the receiver answered with, or why there was none."""

    attempted_at: int
    duration_ms: int
    status_code: int | None
    error: str | None


class WebhookDelivery(Struct, kw_only=True):
    """What became of one event at one address. `status_code` and `error` are of the last attempt, or say why there was
    none.

    `attempts` counts them all; `last_attempts` are the newest of them, newest first. `next_attempt_at` is null when no
    other is planned, also while the webhook is off; during an attempt it is when another server would take over.
    """

    id: str
    object: Literal["webhook.delivery"] = "webhook.delivery"
    webhook_id: str
    type: str
    created_at: int
    data: EventRun | EventWebhook
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    next_attempt_at: int | None
    last_attempt_at: int | None
    status_code: int | None
    error: str | None
    last_attempts: list[WebhookAttempt]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Webhook).decode
# As a delivery's row has them.
decode_attempts = msgspec.json.Decoder(list[WebhookAttempt]).decode


async def create(ctx: Context, params: WebhookCreateParams) -> Stored:
    """Adds a webhook for the project's runs. The answer has its secret, which is not shown again."""
    _check_url(ctx, params.url)
    secret = new_secret()
    webhook = Webhook(
        id=ctx.new_id("wh"),
        created_at=ctx.now(),
        url=params.url,
        events=_each_once(params.events),
        enabled=params.enabled,
    )
    row = {
        "webhook_id": webhook.id,
        "project_id": ctx.project_id,
        "created_at": webhook.created_at,
        "secret": secret,
        **_chosen(webhook),
    }
    answer = _with_secret(webhook, secret)

    def unit(tx: Transaction) -> None:
        ctx.take_key(tx)
        projects.hold(tx, ctx.project_id)
        counted = tx.one(sql.count_webhooks, project_id=ctx.project_id)
        if counted and counted[0] >= WEBHOOKS_MAX:
            raise BadRequestError(f"This project has {WEBHOOKS_MAX} webhooks, the most it can have.")
        tx.run(sql.insert_webhook, **row)
        ctx.keep_answer(tx, answer, webhook.id)

    await ctx.store.write(unit)
    return Stored(answer)


async def list_(ctx: Context, params: ListParams) -> Page[Stored]:
    """A page of the project's webhooks, newest first unless `order` says otherwise."""
    now = ctx.now()

    def unit(tx: Transaction) -> Page[Stored]:
        def locate(webhook_id: str) -> tuple[int, str]:
            row = tx.one(sql.locate_webhook, webhook_id=webhook_id, project_id=ctx.project_id)
            if row is None:
                raise NotFoundError.of("webhook", webhook_id)
            return int(row[0]), webhook_id

        window = Window.of(params, "wh", (-1, ""), (BIGINT_MAX, ""), locate)
        query = window.choose(sql.list_webhooks_ascending, sql.list_webhooks_descending)
        rows = tx.all(query, project_id=ctx.project_id, **window.bounds)
        return window.page([(webhook_id, _shown(body, now)) for webhook_id, body in rows])

    return await ctx.store.read(unit)


async def retrieve(ctx: Context, webhook_id: str) -> Stored:
    """One webhook, without its secret."""
    body, _ = await ctx.store.read(lambda tx: _find(tx, ctx, webhook_id))
    return Stored(_shown(body, ctx.now()))


async def update(ctx: Context, webhook_id: str, params: WebhookUpdateParams) -> Stored:
    """Changes the address, of pending deliveries too, chooses other events, or switches the webhook off or on."""
    if params.url is not UNSET:
        _check_url(ctx, params.url)

    def unit(tx: Transaction) -> str:
        webhook, _ = _hold(tx, ctx.project_id, webhook_id)
        if params.url is not UNSET:
            webhook.url = params.url
        if params.events is not UNSET:
            webhook.events = _each_once(params.events)
        if params.enabled is not UNSET:
            webhook.enabled = params.enabled
        chosen = _chosen(webhook)
        tx.run(sql.update_webhook, webhook_id=webhook_id, project_id=ctx.project_id, **chosen)
        return str(chosen["body"])

    return Stored(_shown(await ctx.store.write(unit), ctx.now()))


async def rotate_secret(ctx: Context, webhook_id: str, params: WebhookRotateSecretParams) -> Stored:
    """Gives a webhook a new secret, which is not shown again; for `overlap_seconds` the old one signs too."""
    now_ms, secret = ctx.now_ms(), new_secret()

    def unit(tx: Transaction) -> bytes:
        ctx.take_key(tx)
        webhook, secrets = _hold(tx, ctx.project_id, webhook_id)
        replaced = secrets.replaced(secret, now_ms, params.overlap_seconds * 1000)
        _keep_secrets(tx, ctx.project_id, webhook, secrets, replaced)
        answer = _with_secret(webhook, secret)
        ctx.keep_answer(tx, answer, webhook_id)
        return answer

    return Stored(await ctx.store.write(unit))


async def erase_old_secrets(store: Store, now_ms: int) -> None:
    """Erases replaced secrets whose time is over, wherever they are."""

    def unit(tx: Transaction) -> int:
        over = tx.all(sql.hold_old_secrets, now_ms=now_ms, limit=ERASED_AT_ONCE)
        for project_id, body, secret, old_secrets in over:
            secrets = Secrets.stored(secret, old_secrets)
            _keep_secrets(tx, project_id, _decode(body), secrets, secrets.at(now_ms))
        return len(over)

    while await store.write(unit) == ERASED_AT_ONCE:
        pass


async def delete(ctx: Context, webhook_id: str) -> WebhookDeleted:
    """Deletes a webhook and its deliveries; those that are pending are not sent."""

    def unit(tx: Transaction) -> None:
        if not tx.run(sql.delete_webhook, webhook_id=webhook_id, project_id=ctx.project_id):
            raise NotFoundError.of("webhook", webhook_id)
        idempotency.erase_object(tx, ctx.project_id, webhook_id)

    await ctx.store.write(unit)
    # There may be very many. If the process ends meanwhile, `webhook_delivery.py` removes the rest.
    while await ctx.store.write(lambda tx: delete_slice(tx, webhook_id)):
        pass
    return WebhookDeleted(id=webhook_id)


def delete_slice(tx: Transaction, webhook_id: str) -> bool:
    """Removes some deliveries of a deleted webhook; gives whether there may be more."""
    return tx.run(sql.delete_deliveries, webhook_id=webhook_id, limit=REMOVED_AT_ONCE) == REMOVED_AT_ONCE


async def list_deliveries(ctx: Context, webhook_id: str, params: ListParams) -> Page[Stored]:
    """A page of a webhook's deliveries, made and pending, newest first unless `order` says otherwise."""

    def unit(tx: Transaction) -> Page[Stored]:
        _, is_enabled = _find(tx, ctx, webhook_id)

        def locate(event_id: str) -> tuple[int, str]:
            row = tx.one(sql.locate_delivery, webhook_id=webhook_id, event_id=event_id)
            if row is None:
                raise NotFoundError.of("event", event_id)
            return int(row[0]), event_id

        window = Window.of(params, "evt", (-1, ""), (BIGINT_MAX, ""), locate)
        query = window.choose(sql.list_deliveries_ascending, sql.list_deliveries_descending)
        rows = tx.all(query, webhook_id=webhook_id, **window.bounds)
        found = [_delivery(webhook_id, row, is_enabled=bool(is_enabled)) for row in rows]
        return window.page([(delivery.id, _encode(delivery).decode()) for delivery in found])

    return await ctx.store.read(unit)


async def retrieve_delivery(ctx: Context, webhook_id: str, event_id: str) -> WebhookDelivery:
    """One delivery of a webhook, with its last attempts."""

    def unit(tx: Transaction) -> WebhookDelivery:
        _, is_enabled = _find(tx, ctx, webhook_id)
        return _find_delivery(tx, webhook_id, event_id, is_enabled=bool(is_enabled))

    return await ctx.store.read(unit)


async def resend_delivery(ctx: Context, webhook_id: str, event_id: str) -> WebhookDelivery:
    """Sends an event to a webhook once more, and at once, whatever became of it before. The event keeps its id."""

    def unit(tx: Transaction) -> WebhookDelivery:
        _require_enabled(tx, ctx, webhook_id)
        tx.run(sql.resend_delivery, webhook_id=webhook_id, event_id=event_id, now_ms=ctx.now_ms())
        return _find_delivery(tx, webhook_id, event_id)

    return await ctx.store.write(unit)


async def test(ctx: Context, webhook_id: str) -> WebhookDelivery:
    """Sends a `webhook.test` event to a webhook, in the way that all events go; gives its delivery."""
    event = webhook_events.of_test(ctx, webhook_id)
    row = {
        "webhook_id": webhook_id,
        "event_id": event.id,
        "now_ms": ctx.now_ms(),
        "type": event.type,
        "payload": _encode(event).decode(),
    }

    def unit(tx: Transaction) -> WebhookDelivery:
        ctx.take_key(tx)
        _require_enabled(tx, ctx, webhook_id)
        tx.run(sql.insert_test_delivery, **row)
        delivery = _find_delivery(tx, webhook_id, event.id)
        ctx.keep_answer(tx, _encode(delivery), webhook_id)
        return delivery

    return await ctx.store.write(unit)


def change(project_id: str, run: Run, seq: int, now_ms: int) -> Change:
    """What stores a delivery for each of the project's webhooks that wants the status the run has entered at `now_ms`.

    `seq` is the number of the run's event with that status.
    """
    event = webhook_events.of_run(run, seq, now_ms // 1000)
    return sql.insert_deliveries, {
        "project_id": project_id,
        "event_id": event.id,
        "thread_id": run.thread_id,
        "now_ms": now_ms,
        "type": event.type,
        "payload": _encode(event).decode(),
        "wanted": f'%"{event.type}"%',
    }


def erase_slice(tx: Transaction, thread_id: str, limit: int) -> bool:
    """Erases what some deliveries hold of a deleted thread: the metadata of its run. Gives whether these were the last.

    The event itself stays, and is still sent if it is pending: its receiver may not yet know how the run ended.
    """
    found = tx.all(sql.list_deliveries_of_thread, thread_id=thread_id, limit=limit)
    erased = []
    for webhook_id, event_id, payload in found:
        event = webhook_events.decode(payload)
        assert isinstance(event.data, EventRun)
        event.data.metadata = {}
        erased.append({"webhook_id": webhook_id, "event_id": event_id, "payload": _encode(event).decode()})
    tx.run_many(sql.erase_delivery, erased)
    return len(found) < limit


def _check_url(ctx: Context, url: str) -> None:
    webhook_urls.check(url, allows_private=ctx.settings.webhook_private_addresses)


def _each_once(events: list[EventType] | None) -> list[EventType]:
    return list(dict.fromkeys(events or ALL_EVENTS))


def _find(tx: Transaction, ctx: Context, webhook_id: str) -> Row:
    """The stored object, and whether it is switched on. Raises `NotFoundError`."""
    row = tx.one(sql.retrieve_webhook, webhook_id=webhook_id, project_id=ctx.project_id)
    if row is None:
        raise NotFoundError.of("webhook", webhook_id)
    return row


def _require_enabled(tx: Transaction, ctx: Context, webhook_id: str) -> None:
    """Raises `BadRequestError` when the webhook is off, so that nothing would be sent."""
    _, is_enabled = _find(tx, ctx, webhook_id)
    if not is_enabled:
        raise BadRequestError(
            f"Webhook {webhook_id} is off, so nothing is sent to it. Switch it on first: 'enabled': true, or "
            f"`threadkeep webhooks modify {webhook_id} --on`."
        )


def _hold(tx: Transaction, project_id: str, webhook_id: str) -> tuple[Webhook, Secrets]:
    """Holds a webhook for a change in this unit. Raises `NotFoundError`."""
    row = tx.one(sql.hold_webhook, webhook_id=webhook_id, project_id=project_id)
    if row is None:
        raise NotFoundError.of("webhook", webhook_id)
    body, secret, old_secrets = row
    return _decode(body), Secrets.stored(secret, old_secrets)


def _chosen(webhook: Webhook) -> dict[str, str | int]:
    """The columns of what a client chooses."""
    return {
        "url": webhook.url,
        "events": _encode(webhook.events).decode(),
        "enabled": int(webhook.enabled),
        "body": _encode(webhook).decode(),
    }


def _shown(body: str, now: int) -> str:
    """The stored object as it is now: an old secret whose time is over signs no more, though it waits to be erased."""
    webhook = _decode(body)
    if webhook.old_secret_expires_at is None or webhook.old_secret_expires_at > now:
        return body
    webhook.old_secret_expires_at = None
    return _encode(webhook).decode()


def _with_secret(webhook: Webhook, secret: str) -> bytes:
    return _encode(msgspec.structs.replace(webhook, secret=secret))


def _keep_secrets(tx: Transaction, project_id: str, webhook: Webhook, before: Secrets, after: Secrets) -> None:
    """Stores the secrets that a held webhook has now; those that are gone are gone from every row."""
    webhook.old_secret_expires_at = _seconds(after.last_end_ms)
    row = {
        "secret": after.current,
        "old_secrets": after.stored_old,
        "old_secret_until": after.first_end_ms,
        "body": _encode(webhook).decode(),
    }
    tx.run(sql.update_secrets, webhook_id=webhook.id, project_id=project_id, **row)
    for secret in set(before.all()).difference(after.all()):
        # As it stands in the kept answers that showed it, where it is the last field.
        idempotency.erase_text(tx, project_id, webhook.id, f',"secret":{_encode(secret).decode()}')


class _DeliveryRow(NamedTuple):
    """A delivery as `list_deliveries` and `retrieve_delivery` give it."""

    event_id: str
    payload: str
    created_ms: int
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    next_at: int | None
    attempted_at: int | None
    http_status: int | None
    error: str | None
    last_attempts: str


def _find_delivery(tx: Transaction, webhook_id: str, event_id: str, *, is_enabled: bool = True) -> WebhookDelivery:
    """Raises `NotFoundError`."""
    row = tx.one(sql.retrieve_delivery, webhook_id=webhook_id, event_id=event_id)
    if row is None:
        raise NotFoundError.of("event", event_id)
    return _delivery(webhook_id, row, is_enabled=is_enabled)


def _delivery(webhook_id: str, row: Row, *, is_enabled: bool) -> WebhookDelivery:
    stored = _DeliveryRow(*row)
    event = webhook_events.decode(stored.payload)
    return WebhookDelivery(
        id=stored.event_id,
        webhook_id=webhook_id,
        type=event.type,
        created_at=stored.created_ms // 1000,
        data=event.data,
        status=stored.status,
        attempts=stored.attempts,
        next_attempt_at=_seconds(stored.next_at) if is_enabled else None,
        last_attempt_at=_seconds(stored.attempted_at),
        status_code=stored.http_status,
        error=stored.error,
        last_attempts=decode_attempts(stored.last_attempts),
    )


def _seconds(at_ms: int | None) -> int | None:
    return None if at_ms is None else at_ms // 1000
