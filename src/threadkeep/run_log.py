"""The owner's end of a run's event log: what is appended under its fence.

What comes while a write is under way goes with the next one. Nobody is told of an event before it is committed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from threadkeep import events, run_rows
from threadkeep.context import Context
from threadkeep.errors import APIError
from threadkeep.events import Entry, Event
from threadkeep.run_rows import FenceLostError, HeldRun
from threadkeep.store.interface import Transaction


class LogTooLongError(Exception):
    """The run has written more events than it may."""


class RunLog:
    """Appends to the log of a run under a fence, and tells the followers once it is committed.

    Its methods are called by one task, one after the other. What was added is written without a task of its
    own: with a hundred streams, each switch to another task is felt.
    """

    def __init__(self, ctx: Context, held: HeldRun, last_seq: int, characters: int) -> None:
        self._ctx = ctx
        self._thread_id = held.run.thread_id
        self._run_id = held.run.id
        self._fence = held.fence
        self._last_seq = last_seq
        self._characters_left = ctx.settings.run_events_characters_max - characters
        self._pending: list[Event] = []
        self._pending_characters = 0
        # When the oldest of what is pending came.
        self._added_at = 0.0
        # The write of deltas that is under way. There is one at a time, so that events keep their order.
        self._writing: asyncio.Future[int] | None = None
        # What is added goes with the unit that is about to be run.
        self._is_committing = False
        self._failure: BaseException | None = None

    def add(self, event: Event) -> None:
        """Appends a delta soon. Raises what went wrong with those before."""
        if self._failure:
            raise self._failure
        self._pending_characters += len(event[1])
        if self._pending_characters > self._characters_left:
            raise LogTooLongError
        if not self._pending:
            self._added_at = time.perf_counter()
        self._pending.append(event)
        if self._writing is None:
            self._write()

    async def flush(self) -> None:
        """Returns when all that was added is committed. Raises `FenceLostError`."""
        if self._pending and self._writing is None and self._failure is None:
            self._write()
        await self._settle()

    async def commit(self, unit: Callable[[Transaction, HeldRun, list[Event]], Entry]) -> None:
        """Runs a unit that appends what was added and more. Raises `FenceLostError`."""

        def under_fence(tx: Transaction) -> Entry:
            return unit(tx, run_rows.hold(tx, self._thread_id, self._run_id, fence=self._fence), list(added))

        self._is_committing = True
        try:
            await self._settle()
            added_at = self._added_at if self._pending else None
            added = self._take_pending()
            self._tell(await self._ctx.store.write(under_fence), added_at)
        finally:
            self._is_committing = False

    async def _settle(self) -> None:
        while self._writing is not None:
            await asyncio.wait([self._writing])
        if self._failure:
            raise self._failure

    async def close(self) -> None:
        """Begins no further write; none is given up half way."""
        self._take_pending()
        if self._writing is not None:
            await asyncio.wait([self._writing])

    def _write(self) -> None:
        added_at = self._added_at
        added = self._take_pending()
        entry = events.entry(self._last_seq + 1, added)
        insertion = events.fenced_insertion(self._thread_id, self._run_id, entry, self._fence)
        try:
            self._writing = asyncio.ensure_future(self._ctx.store.run_all([insertion], is_patient=True))
        except APIError as error:
            self._failure = error
            return
        self._writing.add_done_callback(partial(self._written, entry, added_at))

    def _written(self, entry: Entry, added_at: float, writing: asyncio.Future[int]) -> None:
        self._writing = None
        if writing.cancelled():
            return
        if error := writing.exception():
            self._failure = error
        elif not writing.result():
            self._failure = FenceLostError()
        else:
            self._tell(entry, added_at)
            if self._pending and not self._is_committing:
                self._write()

    def _take_pending(self) -> list[Event]:
        pending, self._pending, self._pending_characters = self._pending, [], 0
        return pending

    def _tell(self, entry: Entry, added_at: float | None) -> None:
        if added_at is not None:
            self._ctx.metrics.log_lag.add(time.perf_counter() - added_at)
        if entry.status:
            self._ctx.tracing.rested(entry.status)
        self._last_seq = entry.last_seq
        self._characters_left -= len(entry.frames)
        self._ctx.events.publish(self._thread_id, self._run_id, entry)
