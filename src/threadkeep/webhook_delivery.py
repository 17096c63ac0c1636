"""Sends the pending deliveries of webhooks: signed, retried until they are accepted, by whichever process claims them.

A delivery is claimed by moving its due time behind a lease; a process that dies leaves it to the others, who send it
again. A receiver that does not answer holds up nobody else: few of its deliveries are under way at once.

Nothing is sent to private addresses unless the settings allow it: the name is looked up here, each address that it
leads to is checked, and the connection goes to one that was checked. Redirects are not followed, proxies not used, and
of an answer only the status is kept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from threadkeep import chance, webhooks
from threadkeep.addresses import is_public
from threadkeep.context import Context
from threadkeep.errors import APIError
from threadkeep.store.interface import Transaction
from threadkeep.store.queries import Query
from threadkeep.tasks import for_ever
from threadkeep.webhook_secrets import Secrets, signed_headers
from threadkeep.webhooks import LAST_ATTEMPTS_MAX, WebhookAttempt, sql

if TYPE_CHECKING:
    from threadkeep.outbound import HttpClient

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
# A process that is at work on a delivery for so many times what it may take is dead.
LEASE_TIMEOUTS = 2
WEBHOOKS_LOOKED_AT = 1000
AT_ONCE = 256
OF_ONE_AT_ONCE = 4
# The pause after a failure is this much longer than the one before, up to the longest.
SLOWER = 4
PAUSE_MAX_S = 6 * 3600
# More often than that would only make a number that is too large: an event may be sent again and again by hand.
SLOWINGS_MAX = 20
FORGET_EVERY_S = 60
GONE = 410
# The error of deliveries that were given up while their webhook was off.
SWITCHED_OFF = "switched off"
SUCCESS = range(200, 300)


class Delivery(Struct):
    """One event for one webhook, claimed."""

    webhook_id: str
    event_id: str
    created_ms: int
    payload: str
    attempts: int
    last_attempts: str


class Outcome(Struct):
    """What came of an attempt: the status of the answer, or why there is none."""

    status_code: int | None = None
    error: str | None = None


class Address(Struct):
    """Where deliveries go, and what signs them."""

    url: str
    secrets: Secrets


_encode = msgspec.json.Encoder().encode


class Deliverer:
    """Makes the deliveries of one process. `ctx` belongs to no project."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._allows_private = ctx.settings.webhook_private_addresses
        self._timeout_s = ctx.settings.webhook_timeout_s
        self._give_up_ms = int(ctx.settings.webhook_give_up_s * 1000)
        self._http: HttpClient | None = None
        self._under_way: Counter[str] = Counter()
        self._sending: set[asyncio.Task[None]] = set()
        self._forget_at = 0.0

    def open(self) -> None:
        """Begins to look for due deliveries."""
        self._looking = asyncio.create_task(self._look())

    async def close(self) -> None:
        """Stops. Deliveries under way are made again by whoever claims them next."""
        tasks = [self._looking, *self._sending]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if self._http:
            await self._http.close()

    async def _look(self) -> None:
        async def step() -> None:
            await self._begin_due()
            await self._forget()

        await for_ever("look for webhooks", LOOK_EVERY_S, step)

    async def _begin_due(self) -> None:
        now_ms = self._ctx.now_ms()
        due = await self._ctx.store.read(
            lambda tx: tx.all(sql.list_due_webhooks, now_ms=now_ms, limit=WEBHOOKS_LOOKED_AT)
        )
        # Those that never answer must not always come first.
        chance.shuffle(due)
        for (webhook_id,) in due:
            if len(self._sending) >= AT_ONCE:
                return
            await self._begin(webhook_id)

    async def _begin(self, webhook_id: str) -> None:
        """Claims some of a webhook's due deliveries, and begins to send them."""
        room = OF_ONE_AT_ONCE - self._under_way[webhook_id]
        if room <= 0:
            return
        now_ms = self._ctx.now_ms()
        times = {"now_ms": now_ms, "lease_end": now_ms + int(self._timeout_s * LEASE_TIMEOUTS * 1000)}

        def unit(tx: Transaction) -> tuple[Address | None, list[Delivery]]:
            row = tx.one(sql.find_address, webhook_id=webhook_id)
            if row is None:
                # It was deleted while a run ended, or its process was killed before the deliveries were removed.
                webhooks.delete_slice(tx, webhook_id)
                return None, []
            url, secret, old_secrets, is_enabled = row
            claimed = tx.all(sql.claim_deliveries, webhook_id=webhook_id, limit=room, **times) if is_enabled else []
            return Address(url, Secrets.stored(secret, old_secrets)), [Delivery(webhook_id, *row) for row in claimed]

        address, claimed = await self._ctx.store.write(unit)
        for delivery in claimed:
            assert address is not None
            self._under_way[webhook_id] += 1
            task = asyncio.create_task(self._deliver(delivery, address))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _deliver(self, delivery: Delivery, address: Address) -> None:
        try:
            at_ms, begun = self._ctx.now_ms(), time.perf_counter()
            outcome = await self._send(delivery, address)
            attempt = WebhookAttempt(
                attempted_at=at_ms // 1000,
                duration_ms=round((time.perf_counter() - begun) * 1000),
                status_code=outcome.status_code,
                error=outcome.error,
            )
            await self._note(delivery, attempt)
        except APIError as error:
            # It is sent again when its lease has ended.
            log.warning("cannot note what became of %s: %s", delivery.event_id, error)
        except Exception:
            log.exception("sending %s failed", delivery.event_id)
        finally:
            self._under_way[delivery.webhook_id] -= 1
            if not self._under_way[delivery.webhook_id]:
                del self._under_way[delivery.webhook_id]

    async def _send(self, delivery: Delivery, address: Address) -> Outcome:
        # The HTTP client takes a tenth of a second to import.
        from threadkeep.outbound import ConnectionBrokenError, HttpClient  # noqa: PLC0415

        if self._http is None:
            guard = None if self._allows_private else is_public
            self._http = HttpClient(
                connect_timeout_s=self._timeout_s, idle_timeout_s=self._timeout_s, may_connect=guard
            )
            await self._http.open()
        body = delivery.payload.encode()
        signing = address.secrets.at(self._ctx.now_ms()).all()
        signed = signed_headers(signing, delivery.event_id, self._ctx.now(), body)
        headers = {"content-type": "application/json", **signed}
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._http.request("POST", address.url, headers, body)
        except TimeoutError:
            return Outcome(error="no answer in time")
        except ConnectionBrokenError as error:
            log.info("webhook %s: %s", delivery.webhook_id, error)
            return Outcome(error=error.kind)
        response.close()
        return Outcome(status_code=response.status)

    async def _note(self, delivery: Delivery, attempt: WebhookAttempt) -> None:
        ctx, now_ms = self._ctx, self._ctx.now_ms()
        pause_s = min(PAUSE_MAX_S, ctx.settings.webhook_retry_s * SLOWER ** min(delivery.attempts - 1, SLOWINGS_MAX))
        next_at = now_ms + int(pause_s * chance.uniform(1, 1.1) * 1000)
        status = "pending"
        if attempt.status_code in SUCCESS:
            status = "delivered"
        elif attempt.status_code == GONE or next_at > delivery.created_ms + self._give_up_ms:
            status = "failed"
        last_attempts = [attempt, *webhooks.decode_attempts(delivery.last_attempts)][:LAST_ATTEMPTS_MAX]
        row = {
            "webhook_id": delivery.webhook_id,
            "event_id": delivery.event_id,
            "attempts": delivery.attempts,
            "status": status,
            "next_at": next_at if status == "pending" else None,
            "attempted_at": attempt.attempted_at * 1000,
            "http_status": attempt.status_code,
            "error": attempt.error,
            "last_attempts": _encode(last_attempts).decode(),
        }
        await ctx.store.write(lambda tx: tx.run(sql.note_attempt, **row))
        ctx.metrics.webhook_attempts[status if status != "pending" else "again"] += 1

    async def _forget(self) -> None:
        """Removes old secrets, and deliveries that have been over for long, a slice at a time."""
        now = asyncio.get_running_loop().time()
        if now < self._forget_at:
            return
        self._forget_at = now + FORGET_EVERY_S
        now_ms = self._ctx.now_ms()
        await webhooks.erase_old_secrets(self._ctx.store, now_ms)
        await self._in_slices(sql.give_up_deliveries, before_ms=now_ms - self._give_up_ms, error=SWITCHED_OFF)
        kept_ms = int(self._ctx.settings.webhook_deliveries_kept_s * 1000)
        await self._in_slices(sql.forget_deliveries, before_ms=now_ms - kept_ms)

    async def _in_slices(self, query: Query, **parameters: int | str) -> None:
        limit = webhooks.REMOVED_AT_ONCE
        while await self._ctx.store.write(lambda tx: tx.run(query, limit=limit, **parameters)) == limit:
            pass
