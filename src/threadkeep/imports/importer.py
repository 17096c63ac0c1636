"""Lines become objects, objects become batches that are stored; and what was told of them becomes the report."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec
from msgspec import Struct

from threadkeep import exports, foreign
from threadkeep.context import Context
from threadkeep.errors import BadRequestError
from threadkeep.foreign import NotUnderstoodError
from threadkeep.imports import entries, lines, storing
from threadkeep.imports.entries import Entry, RefusedError

# Objects, and bytes of them, that one unit of work stores.
OBJECTS_AT_ONCE = 1000
BYTES_AT_ONCE = 1024 * 1024
# After so many objects the batch before gets its turn, and so do others on the event loop.
OBJECTS_A_TURN = 100
PROBLEMS_MAX = 1000
# Threads that are remembered to be there.
REMEMBERED_MAX = 10_000


class Problem(Struct):
    """What could not be taken in, and why."""

    where: str
    kind: str
    id: str
    problem: str


class Report(Struct, kw_only=True):
    """What an import did: how many objects of each kind were new and how many were there already."""

    object: Literal["import.report"] = "import.report"
    dry_run: bool
    created: dict[str, int]
    known: dict[str, int]
    refused: int = 0
    # The first thousand.
    problems: list[Problem] = []


class Importer:
    """Takes in one or more files. While a batch is stored, the next one is gathered."""

    def __init__(self, ctx: Context, *, dry_run: bool = False) -> None:
        self._ctx = ctx
        self.report = Report(dry_run=dry_run, created=Counter(), known=Counter())
        self._foreign = foreign.Reader()
        self._batch: list[Entry] = []
        self._bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._threads_there: dict[str, None] = {}
        # What a dry run would have stored, by hash: what belongs to it is not missing.
        self._would: set[int] = set()

    async def take(self, source: AsyncIterator[bytes], name: str = "") -> None:
        """Takes in a file; `name` stands in the report if there are several."""
        is_ours = is_complete = False
        number = 0
        async for number, line in lines.split(source):
            where = f"{name} line {number}".strip()
            if number == lines.DOCUMENT:
                await self._take_foreign(name or "document", line)
                break
            told = lines.decode(line)
            if told is None or not (told.kind or told.format):
                await self._take_foreign(where, line)
            elif told.kind == "end":
                is_complete = True
            elif told.format:
                is_ours = True
                if (told.format, told.version) != (exports.FORMAT, exports.VERSION):
                    raise BadRequestError(f"{where}: the format {told.format!r} {told.version} is not known here.")
            else:
                await self._take_one(where, told.kind, told.object)
        for kind, found in self._foreign.rest():
            await self._take_one(f"{name} line {number}".strip(), kind, found)
        if is_ours and not is_complete:
            self._refuse(
                f"{name} line {number + 1}".strip(), "end", "", "the export is not complete: its end is missing"
            )

    async def finish(self) -> Report:
        """Stores the rest; gives the report."""
        await self._flush()
        await self._wait()
        return self.report

    async def rest(self) -> None:
        """Waits for what is being stored, whatever else went wrong."""
        await self._wait()

    async def _take_foreign(self, where: str, line: bytes) -> None:
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._refuse(where, "", "", "it is not JSON")
        else:
            await self._take_value(where, value)

    async def _take_value(self, where: str, value: Any) -> None:
        try:
            for kind, found in self._foreign.read(value):
                await self._take_one(where, kind, found)
        except NotUnderstoodError as error:
            self._refuse(where, "", "", str(error))
        except (KeyError, TypeError, AttributeError):
            self._refuse(where, "", "", "its parts are not what they should be")

    async def _take_one(self, where: str, kind: str, value: Any) -> None:
        if kind == "implied_thread" and value["id"] in self._threads_there:
            return
        try:
            entry = entries.prepare(where, kind, value)
        except RefusedError as error:
            self._refuse(where, kind, entries.id_of(value), str(error))
            return
        if len(self._batch) >= OBJECTS_AT_ONCE or (self._batch and self._bytes + len(entry.body) > BYTES_AT_ONCE):
            await self._flush()
        elif len(self._batch) % OBJECTS_A_TURN == 0:
            await asyncio.sleep(0)
        if kind in ("thread", "implied_thread"):
            if len(self._threads_there) >= REMEMBERED_MAX:
                self._threads_there.clear()
            self._threads_there[entry.places[0]] = None
        self._batch.append(entry)
        self._bytes += len(entry.body)

    async def _flush(self) -> None:
        """Begins to store what is gathered, when what was gathered before is stored."""
        batch, self._batch, self._bytes = self._batch, [], 0
        await self._wait()
        if batch:
            self._writing = asyncio.create_task(self._store(batch))

    async def _wait(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

    async def _store(self, batch: list[Entry]) -> None:
        would = self._would if self.report.dry_run else None
        # A dry run writes nothing, but holds what it looks at as an import does.
        await self._ctx.store.write(lambda tx: storing.store(tx, self._ctx.project_id, batch, would))
        for entry in batch:
            if entry.kind == "implied_thread":
                # Nobody asked for it. If it could not be made, its messages tell.
                if not entry.outcome:
                    self._count(self.report.created, "thread")
            elif not entry.outcome:
                self._count(self.report.created, entry.kind)
            elif entry.outcome == entries.KNOWN:
                self._count(self.report.known, entry.kind)
            else:
                self._refuse(entry.where, entry.kind, next(filter(None, reversed(entry.places))), entry.outcome)
            if would is not None and not entry.outcome:
                would.add(hash(entry.places))

    @staticmethod
    def _count(counts: dict[str, int], kind: str) -> None:
        counts[kind] = counts.get(kind, 0) + 1

    def _refuse(self, where: str, kind: str, object_id: str, problem: str) -> None:
        self.report.refused += 1
        if len(self.report.problems) < PROBLEMS_MAX:
            self.report.problems.append(Problem(where, kind, object_id, problem))
