"""The owner's end of a run's event log: what is appended under its fence.

What comes while a write is under way goes with the next one. Nobody is told of an event before it is committed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from threadkeep import events, lifecycle
from threadkeep.context import Context
from threadkeep.events import Entry, Event
from threadkeep.lifecycle import FenceLostError, HeldRun
from threadkeep.store.interface import Transaction


class LogTooLongError(Exception):
    """The run has written more events than it may."""


class RunLog:
    """Appends to the log of a run under a fence, and tells the followers once it is committed."""

    def __init__(self, ctx: Context, held: HeldRun, last_seq: int, characters: int) -> None:
        self._ctx = ctx
        self._thread_id = held.run.thread_id
        self._run_id = held.run.id
        self._fence = held.fence
        self._last_seq = last_seq
        self._characters_left = ctx.settings.run_events_characters_max - characters
        self._pending: list[Event] = []
        # When the oldest of them came.
        self._added_at = 0.0
        self._is_wanted = asyncio.Event()
        # One write at a time, so that events keep their order.
        self._writing = asyncio.Lock()
        self._failure: Exception | None = None

    def add(self, event: Event) -> None:
        """Appends a delta soon. Raises what went wrong with those before."""
        if self._failure:
            raise self._failure
        if self._characters_left < 0:
            raise LogTooLongError
        if not self._pending:
            self._added_at = time.perf_counter()
        self._pending.append(event)
        self._is_wanted.set()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Writes what is added, until the block ends; no write is given up half way."""
        task = asyncio.create_task(self._write_added())
        try:
            yield
        finally:
            try:
                async with self._writing:
                    pass
            finally:
                task.cancel()

    async def _write_added(self) -> None:
        try:
            while True:
                await self._is_wanted.wait()
                self._is_wanted.clear()
                async with self._writing:
                    await self._flush()
        except Exception as error:  # noqa: BLE001 - `add` raises it where the run is carried out
            self._failure = error

    async def flush(self) -> None:
        """Returns when all that was added is committed. Raises `FenceLostError`."""
        async with self._writing:
            await self._flush()

    async def commit(self, unit: Callable[[Transaction, HeldRun, list[Event]], Entry]) -> None:
        """Runs a unit that appends what was added and more. Raises `FenceLostError`."""

        def under_fence(tx: Transaction) -> Entry:
            return unit(tx, lifecycle.hold(tx, self._thread_id, self._run_id, fence=self._fence), list(added))

        async with self._writing:
            if self._failure:
                raise self._failure
            added, self._pending = self._pending, []
            added_at = self._added_at if added else None
            self._take(await self._ctx.store.write(under_fence), added_at)

    async def _flush(self) -> None:
        if not self._pending:
            return
        added, self._pending = self._pending, []
        added_at = self._added_at
        entry = events.entry(self._last_seq + 1, added)
        insertion = events.fenced_insertion(self._thread_id, self._run_id, entry, self._fence)
        if not await self._ctx.store.run_all([insertion], is_patient=True):
            raise FenceLostError
        self._take(entry, added_at)

    def _take(self, entry: Entry, added_at: float | None) -> None:
        if added_at is not None:
            self._ctx.metrics.log_lag.add(time.perf_counter() - added_at)
        if entry.status:
            self._ctx.tracing.rested(entry.status)
        self._last_seq = entry.last_seq
        self._characters_left -= len(entry.frames)
        self._ctx.events.publish(self._thread_id, self._run_id, entry)
