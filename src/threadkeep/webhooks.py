"""Webhooks: addresses that are told when a run of their project ends, or waits for tool outputs.

What is to be told is written in the unit that changes the run (`change`), so nothing that was committed is forgotten,
and `webhook_delivery.py` sends it: at least once, signed by the Standard Webhooks specification. An event has one id,
by which a receiver knows it again; it says which run, and not what was said in it.

Differs from OpenAI: the original had no webhooks for runs. The form is that of its webhooks for other things, so the
SDKs' `webhooks.unwrap` and `verify_signature` work.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from threadkeep import idempotency, invalid
from threadkeep.addresses import is_disguised, is_public, literal
from threadkeep.context import Context
from threadkeep.errors import BadRequestError, NotFoundError
from threadkeep.pages import ListParams, Page, Stored, Window
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Change, Transaction

if TYPE_CHECKING:
    from threadkeep.run_rows import Run

sql = queries.load("webhooks")

WEBHOOKS_MAX = 20
# Deliveries that one unit of work removes.
REMOVED_AT_ONCE = 500
SECRET_BYTES = 32
# As the Standard Webhooks specification writes secrets.
SECRET_PREFIX = "whsec_"  # noqa: S105 - what it begins with is no secret

EventType: TypeAlias = Literal[
    "thread.run.completed",
    "thread.run.incomplete",
    "thread.run.failed",
    "thread.run.cancelled",
    "thread.run.expired",
    "thread.run.requires_action",
]
ALL_EVENTS: tuple[EventType, ...] = get_args(EventType)


class WebhookCreateParams(Struct, kw_only=True):
    """The body of create. Without `events` all of them are told."""

    url: Annotated[str, Meta(min_length=1, max_length=2048)]
    events: Annotated[list[EventType], Meta(min_length=1)] | None = None


class Webhook(Struct, kw_only=True, omit_defaults=True):
    """An address. The secret that signs what is sent there is shown when it is made, and not again."""

    id: str
    object: Literal["webhook"]
    created_at: int
    url: str
    events: list[EventType]
    secret: str | None = None


class WebhookDeleted(Struct, kw_only=True):
    """The answer of delete."""

    id: str
    object: Literal["webhook.deleted"] = "webhook.deleted"
    deleted: bool = True


class EventRun(Struct, kw_only=True):
    """The run that an event is about; the API has the rest."""

    id: str
    object: Literal["thread.run"] = "thread.run"
    thread_id: str
    assistant_id: str
    status: str
    metadata: dict[str, str]


class WebhookEvent(Struct, kw_only=True):
    """What is sent."""

    id: str
    object: Literal["event"] = "event"
    type: str
    created_at: int
    data: EventRun


class WebhookDelivery(Struct, kw_only=True):
    """What became of one event at one address. `status_code` and `error` are of the last attempt."""

    id: str
    object: Literal["webhook.delivery"] = "webhook.delivery"
    webhook_id: str
    type: str
    created_at: int
    data: EventRun
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    next_attempt_at: int | None
    last_attempt_at: int | None
    status_code: int | None
    error: str | None


_encode = msgspec.json.Encoder().encode
_event = msgspec.json.Decoder(WebhookEvent).decode


async def create(ctx: Context, params: WebhookCreateParams) -> Stored:
    """Adds an address that is told of the project's runs. The answer has the secret, which is not shown again."""
    check_url(params.url, allows_private=ctx.settings.webhook_private_addresses)
    webhook = Webhook(
        id=ctx.new_id("wh"),
        object="webhook",
        created_at=ctx.now(),
        url=params.url,
        events=params.events or list(ALL_EVENTS),
    )
    secret = SECRET_PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()
    row = {
        "webhook_id": webhook.id,
        "project_id": ctx.project_id,
        "created_at": webhook.created_at,
        "url": webhook.url,
        "secret": secret,
        "events": _encode(webhook.events).decode(),
        "body": _encode(webhook).decode(),
    }
    webhook.secret = secret
    answer = _encode(webhook)

    def unit(tx: Transaction) -> None:
        ctx.take_key(tx)
        counted = tx.one(sql.count_webhooks, project_id=ctx.project_id)
        if counted and counted[0] >= WEBHOOKS_MAX:
            raise BadRequestError(f"This project has {WEBHOOKS_MAX} webhooks, the most it can have.")
        tx.run(sql.insert_webhook, **row)
        ctx.keep_answer(tx, answer, webhook.id)

    await ctx.store.write(unit)
    return Stored(answer)


async def list_(ctx: Context, params: ListParams) -> Page[Stored]:
    """A page of the project's webhooks, newest first unless `order` says otherwise."""

    def unit(tx: Transaction) -> Page[Stored]:
        def locate(webhook_id: str) -> tuple[int, str]:
            row = tx.one(sql.locate_webhook, webhook_id=webhook_id, project_id=ctx.project_id)
            if row is None:
                raise NotFoundError.of("webhook", webhook_id)
            return int(row[0]), webhook_id

        window = Window.of(params, "wh", (-1, ""), (BIGINT_MAX, ""), locate)
        query = sql.list_webhooks_ascending if window.ascending else sql.list_webhooks_descending
        return window.page(tx.all(query, project_id=ctx.project_id, **_bounds(window)))

    return await ctx.store.read(unit)


async def retrieve(ctx: Context, webhook_id: str) -> Stored:
    """One webhook, without its secret."""
    row = await ctx.store.one(sql.retrieve_webhook, webhook_id=webhook_id, project_id=ctx.project_id)
    if row is None:
        raise NotFoundError.of("webhook", webhook_id)
    return Stored(row[0])


async def delete(ctx: Context, webhook_id: str) -> WebhookDeleted:
    """Removes an address, with all that it has not been told."""

    def unit(tx: Transaction) -> None:
        if not tx.run(sql.delete_webhook, webhook_id=webhook_id, project_id=ctx.project_id):
            raise NotFoundError.of("webhook", webhook_id)
        idempotency.erase_object(tx, ctx.project_id, webhook_id)

    await ctx.store.write(unit)
    # There may be very many. If the process ends meanwhile, who would send the others removes them.
    while await ctx.store.write(lambda tx: delete_slice(tx, webhook_id)):
        pass
    return WebhookDeleted(id=webhook_id)


def delete_slice(tx: Transaction, webhook_id: str) -> bool:
    """Removes some of what a deleted address was told, or was to be; gives whether there may be more."""
    return tx.run(sql.delete_deliveries, webhook_id=webhook_id, limit=REMOVED_AT_ONCE) == REMOVED_AT_ONCE


async def list_deliveries(ctx: Context, webhook_id: str, params: ListParams) -> Page[Stored]:
    """A page of what was told to an address, or is still to be, newest first unless `order` says otherwise."""

    def unit(tx: Transaction) -> Page[Stored]:
        if tx.one(sql.retrieve_webhook, webhook_id=webhook_id, project_id=ctx.project_id) is None:
            raise NotFoundError.of("webhook", webhook_id)

        def locate(event_id: str) -> tuple[int, str]:
            row = tx.one(sql.locate_delivery, webhook_id=webhook_id, event_id=event_id)
            if row is None:
                raise NotFoundError.of("event", event_id)
            return int(row[0]), event_id

        window = Window.of(params, "evt", (-1, ""), (BIGINT_MAX, ""), locate)
        query = sql.list_deliveries_ascending if window.ascending else sql.list_deliveries_descending
        rows = tx.all(query, webhook_id=webhook_id, **_bounds(window))
        return window.page([(row[0], _encode(_delivery(webhook_id, *row)).decode()) for row in rows])

    return await ctx.store.read(unit)


async def resend_delivery(ctx: Context, webhook_id: str, event_id: str) -> WebhookDelivery:
    """Tells an address of an event at once, whatever became of it before. It is the same event, under the same id."""

    def unit(tx: Transaction) -> WebhookDelivery:
        if tx.one(sql.retrieve_webhook, webhook_id=webhook_id, project_id=ctx.project_id) is None:
            raise NotFoundError.of("webhook", webhook_id)
        row = tx.one(sql.resend_delivery, webhook_id=webhook_id, event_id=event_id, now_ms=ctx.now_ms())
        if row is None:
            raise NotFoundError.of("event", event_id)
        return _delivery(webhook_id, *row)

    return await ctx.store.write(unit)


def change(project_id: str, run: Run, seq: int, now_ms: int) -> Change:
    """What notes that the project's webhooks are to be told of the status that the run has entered at `now_ms`.

    `seq` is the number of the run's event that tells of it.
    """
    event_type = f"thread.run.{run.status}"
    event = WebhookEvent(
        # The same however often the unit is run.
        id=f"evt_{run.id.removeprefix('run_')}_{seq}",
        type=event_type,
        created_at=now_ms // 1000,
        data=EventRun(
            id=run.id,
            thread_id=run.thread_id,
            assistant_id=run.assistant_id,
            status=run.status,
            metadata=run.metadata,
        ),
    )
    return sql.insert_deliveries, {
        "project_id": project_id,
        "event_id": event.id,
        "now_ms": now_ms,
        "type": event_type,
        "payload": _encode(event).decode(),
        "wanted": f'%"{event_type}"%',
    }


def check_url(url: str, *, allows_private: bool) -> None:
    """Refuses what cannot be told anything, or must not be; a name's addresses are looked at when it is told."""
    try:
        parts = urlsplit(url)
        is_url = bool(parts.hostname) and parts.port != 0 and url.isascii() and url.isprintable() and " " not in url
    except ValueError:
        is_url = False
    schemes = ("https", "http") if allows_private else ("https",)
    if not is_url or parts.scheme not in schemes or parts.username or parts.password or parts.fragment:
        raise invalid.invalid_value(
            "url",
            f"expected an address such as {schemes[0]}://app.example.com/hook, without user and fragment"
            + ("" if allows_private else "; plain http needs --webhook-private-addresses on the server"),
        )
    host = parts.hostname or ""
    if is_disguised(host):
        raise invalid.invalid_value("url", f"expected a name or an address with four numbers, not {host!r}")
    address = literal(host)
    is_local = host.removesuffix(".") == "localhost" if address is None else not is_public(address)
    if is_local and not allows_private:
        raise invalid.invalid_value(
            "url", "private addresses are refused, unless the server allows them with --webhook-private-addresses"
        )


def _bounds(window: Window[tuple[int, str]]) -> dict[str, object]:
    return {
        "low_at": window.low[0],
        "low_id": window.low[1],
        "high_at": window.high[0],
        "high_id": window.high[1],
        "limit": window.limit,
    }


def _delivery(
    webhook_id: str,
    event_id: str,
    payload: str,
    created_ms: int,
    status: Literal["pending", "delivered", "failed"],
    attempts: int,
    *times_and_outcome: int | str | None,
) -> WebhookDelivery:
    next_at, attempted_at, http_status, error = times_and_outcome
    event = _event(payload)
    return WebhookDelivery(
        id=event_id,
        webhook_id=webhook_id,
        type=event.type,
        created_at=created_ms // 1000,
        data=event.data,
        status=status,
        attempts=attempts,
        next_attempt_at=_seconds(next_at),
        last_attempt_at=_seconds(attempted_at),
        status_code=http_status,  # type: ignore[arg-type]
        error=error,  # type: ignore[arg-type]
    )


def _seconds(at_ms: int | str | None) -> int | None:
    return None if at_ms is None else int(at_ms) // 1000
