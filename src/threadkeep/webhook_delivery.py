"""Sends what webhooks are to be told: signed, again and again until it is taken, by whichever process comes first.

A delivery is claimed by moving its due time behind a lease; a process that dies leaves it to the others, who send it
again. An address that does not answer holds up nobody else: few of its deliveries are under way at once.

Nothing is sent to private addresses unless the settings allow it: the name is looked up here, each address that comes
of it is checked, and the connection goes to the one that was checked. Redirects are not followed, proxies not used, and
of an answer only the status is kept.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from threadkeep import chance, webhooks
from threadkeep.addresses import is_public
from threadkeep.context import Context
from threadkeep.errors import APIError
from threadkeep.store.interface import Transaction
from threadkeep.tasks import for_ever
from threadkeep.webhooks import SECRET_PREFIX, sql

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
FORGET_EVERY_S = 60
GONE = 410
SUCCESS = range(200, 300)


class Delivery(Struct):
    """One event for one address, claimed."""

    webhook_id: str
    event_id: str
    created_ms: int
    payload: str
    attempts: int


class Attempt(Struct):
    """What came of sending it."""

    http_status: int | None = None
    error: str | None = None

    @property
    def is_taken(self) -> bool:
        """Whether the receiver has it."""
        return self.http_status in SUCCESS


class Deliverer:
    """Sends on behalf of one process. `ctx` belongs to no project."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._allows_private = ctx.settings.webhook_private_addresses
        self._timeout_s = ctx.settings.webhook_timeout_s
        self._http: HttpClient | None = None
        self._under_way: Counter[str] = Counter()
        self._sending: set[asyncio.Task[None]] = set()
        self._forget_at = 0.0

    def open(self) -> None:
        """Begins to look for what is to be sent."""
        self._looking = asyncio.create_task(self._look())

    async def close(self) -> None:
        """Stops. What is under way is sent again by whoever comes next."""
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
        """Claims some of what an address is to be told, and sends it."""
        room = OF_ONE_AT_ONCE - self._under_way[webhook_id]
        if room <= 0:
            return
        now_ms = self._ctx.now_ms()
        times = {"now_ms": now_ms, "lease_end": now_ms + int(self._timeout_s * LEASE_TIMEOUTS * 1000)}

        def unit(tx: Transaction) -> tuple[list[Delivery], tuple[str, str] | None]:
            address = tx.one(sql.find_address, webhook_id=webhook_id)
            if address is None:
                # It was deleted while a run ended, or by a process that was killed.
                webhooks.delete_slice(tx, webhook_id)
                return [], None
            rows = tx.all(sql.claim_deliveries, webhook_id=webhook_id, limit=room, **times)
            return [Delivery(webhook_id, *row) for row in rows], (address[0], address[1])

        claimed, address = await self._ctx.store.write(unit)
        for delivery in claimed if address else ():
            assert address is not None
            self._under_way[webhook_id] += 1
            task = asyncio.create_task(self._deliver(delivery, *address))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _deliver(self, delivery: Delivery, url: str, secret: str) -> None:
        try:
            attempt = await self._send(delivery, url, secret)
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

    async def _send(self, delivery: Delivery, url: str, secret: str) -> Attempt:
        # The HTTP client takes a tenth of a second to import.
        from threadkeep.outbound import ConnectionBrokenError, HttpClient  # noqa: PLC0415

        if self._http is None:
            guard = None if self._allows_private else is_public
            self._http = HttpClient(
                connect_timeout_s=self._timeout_s, idle_timeout_s=self._timeout_s, may_connect=guard
            )
            await self._http.open()
        body = delivery.payload.encode()
        headers = {"content-type": "application/json", **signature(secret, delivery.event_id, self._ctx.now(), body)}
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._http.request("POST", url, headers, body)
        except TimeoutError:
            return Attempt(error="no answer in time")
        except ConnectionBrokenError as error:
            log.info("webhook %s: %s", delivery.webhook_id, error)
            return Attempt(error="private address" if error.is_refused else "no connection")
        response.close()
        return Attempt(http_status=response.status)

    async def _note(self, delivery: Delivery, attempt: Attempt) -> None:
        ctx, now_ms = self._ctx, self._ctx.now_ms()
        pause_s = min(PAUSE_MAX_S, ctx.settings.webhook_retry_s * SLOWER ** (delivery.attempts - 1))
        next_at = now_ms + int(pause_s * chance.uniform(1, 1.1) * 1000)
        status = "pending"
        if attempt.is_taken:
            status = "delivered"
        elif attempt.http_status == GONE or next_at > delivery.created_ms + ctx.settings.webhook_give_up_s * 1000:
            status = "failed"
        row = {
            "webhook_id": delivery.webhook_id,
            "event_id": delivery.event_id,
            "attempts": delivery.attempts,
            "status": status,
            "next_at": next_at if status == "pending" else None,
            "attempted_at": now_ms,
            "http_status": attempt.http_status,
            "error": attempt.error,
        }
        await ctx.store.write(lambda tx: tx.run(sql.note_attempt, **row))
        ctx.metrics.webhook_attempts[status if status != "pending" else "again"] += 1

    async def _forget(self) -> None:
        """Removes what has been over for long, a slice at a time."""
        now = asyncio.get_running_loop().time()
        if now < self._forget_at:
            return
        self._forget_at = now + FORGET_EVERY_S
        before_ms = self._ctx.now_ms() - int(self._ctx.settings.webhook_deliveries_kept_s * 1000)
        while True:
            removed = await self._ctx.store.write(
                lambda tx: tx.run(sql.forget_deliveries, before_ms=before_ms, limit=webhooks.REMOVED_AT_ONCE)
            )
            if removed < webhooks.REMOVED_AT_ONCE:
                return


def signature(secret: str, event_id: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks: who holds the secret can tell that it comes from here, and when it was sent."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = hmac.new(key, f"{event_id}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }
