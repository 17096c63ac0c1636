"""Patient writes on PostgreSQL: one group at a time, each of them one statement.

A commit costs the database about as much for twenty changes as for one. While a group is under way, and for a few
milliseconds after it began, the next one gathers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from threadkeep.errors import APIError
from threadkeep.store.interface import Change

# How long after a group has begun the next one may begin.
PATIENCE_S = 0.01

# Runs changes as one transaction; gives how many rows each of them touched.
RunGroup = Callable[[Sequence[Change]], Awaitable[Sequence[int]]]


class PatientWrites:
    """Puts changes of different callers into one transaction. A change that fails does not fail the others."""

    def __init__(self, run: RunGroup, *, group_max: int) -> None:
        self._run = run
        self._group_max = group_max
        self._waiting: dict[asyncio.Future[int], Change] = {}
        self._writing: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, change: Change) -> asyncio.Future[int]:
        """The number of rows that the change touched, once it is committed."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[int] = loop.create_future()
        self._waiting[waiter] = change
        if self._writing is None:
            self._writing = loop.create_task(self._write())
        return waiter

    def close(self) -> None:
        """Nobody waits any more."""
        if self._writing is not None:
            self._writing.cancel()

    async def _write(self) -> None:
        now = asyncio.get_running_loop().time
        try:
            while self._waiting:
                # Other transactions that hold several rows took them in this order.
                ordered = sorted(self._waiting.items(), key=lambda item: str(item[1][1].get("thread_id", "")))
                group = dict(islice(ordered, self._group_max))
                for waiter in group:
                    del self._waiting[waiter]
                begun = now()
                await self._write_group(group)
                await asyncio.sleep(max(0, begun + PATIENCE_S - now()))
        finally:
            self._writing = None

    async def _write_group(self, group: dict[asyncio.Future[int], Change]) -> None:
        try:
            counts = await self._run(list(group.values()))
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may be left waiting for ever
            if len(group) == 1 or isinstance(error, APIError):
                # The database is away, for all of them.
                for waiter in group:
                    if not waiter.done():
                        waiter.set_exception(error)
                return
            for waiter, change in group.items():
                await self._write_group({waiter: change})
            return
        for waiter, count in zip(group, counts, strict=True):
            if not waiter.done():
                waiter.set_result(count)
