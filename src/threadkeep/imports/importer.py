"""Entries become batches that are stored; what became of them, and problems, become the report."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Literal, TypeVar

from msgspec import Struct

from threadkeep import exports
from threadkeep.context import Context
from threadkeep.errors import BadRequestError
from threadkeep.imports import entries, foreign, lines, reading, storing
from threadkeep.imports.entries import Entry
from threadkeep.imports.reading import Problem
from threadkeep.imports.values import RefusedError
from threadkeep.store.scratch import Scratch

T = TypeVar("T")

# Objects, and bytes of them, that one unit of work stores.
OBJECTS_AT_ONCE = 1000
BYTES_AT_ONCE = 1024 * 1024
# After so many objects the batch before gets its turn, and so do others on the event loop.
OBJECTS_A_TURN = 100
# Longer lines, and documents, are looked at in an OS thread, one at a time because of the memory it takes.
READ_ON_LOOP_BYTES_MAX = 256 * 1024
PROBLEMS_MAX = 1000
PROBLEM_CHARACTERS_MAX = 500
# Threads that are remembered to be there.
REMEMBERED_MAX = 10_000


_large_lines = ThreadPoolExecutor(1, thread_name_prefix="import")


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

    def __init__(self, ctx: Context, *, dry_run: bool = False, hold: Callable[[int], None] = lambda _: None) -> None:
        """`hold` is called again and again with the number of bytes in memory; it may raise."""
        self._ctx = ctx
        self._hold = hold
        self.report = Report(dry_run=dry_run, created=Counter(), known=Counter())
        self._foreign = foreign.Reader()
        self._batch: list[Entry] = []
        self._bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._bytes_writing = 0
        self._threads_there: dict[str, None] = {}
        # What a dry run would have stored is known from then on, and what belongs to it is not missing.
        self._pretended = Scratch() if dry_run else None

    async def take(self, source: AsyncIterator[bytes], name: str = "") -> None:
        """Takes in a file; `name` stands in the report if there are several."""
        is_ours = is_complete = False
        number = None
        async for number, line in lines.split(source, self._hold_with_batches):
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
                    its_format = f"{told.format!r} {told.version}"[:PROBLEM_CHARACTERS_MAX]
                    raise BadRequestError(f"{where}: the format {its_format} is not known here.")
            elif len(line) <= READ_ON_LOOP_BYTES_MAX:
                await self._gather(reading.read(where, told.kind, told.object))
            else:
                await self._gather(await _in_thread(reading.read, where, told.kind, told.object))
        if number is None:
            # What should have written it has failed.
            self._refuse(Problem(name or "the input", "", "", "it is empty"))
            return
        await self._gather_foreign(reading.read_told(f"{name} line {number}".strip(), self._foreign.rest()), 0)
        if is_ours and not is_complete:
            where = f"{name} after line {number}".strip()
            self._refuse(Problem(where, "", "", "the export is not complete, its end is missing"))

    async def finish(self) -> Report:
        """Stores the rest; gives the report."""
        await self._flush()
        await self._wait()
        return self.report

    async def close(self) -> None:
        """Waits for what is being stored, whatever else went wrong; nothing more can be taken in."""
        try:
            await self._wait()
        finally:
            if self._pretended is not None:
                self._pretended.close()

    async def _take_foreign(self, where: str, line: bytes) -> None:
        await self._gather_foreign(reading.read_foreign(self._foreign, where, line), len(line))

    async def _gather_foreign(self, found: Iterator[Entry | Problem], size: int) -> None:
        # With the last page of a list come those before it.
        if size + self._foreign.bytes_held <= READ_ON_LOOP_BYTES_MAX:
            for one in found:
                await self._gather_with_thread(one)
            return
        while some := await _in_thread(_next_of, found):
            for one in some:
                await self._gather_with_thread(one)

    async def _gather_with_thread(self, one: Entry | Problem) -> None:
        """Others often export messages and runs without their thread: a first one brings it, made of what it knows."""
        if isinstance(one, Entry) and one.kind in {"message", "run"} and one.places[0] not in self._threads_there:
            try:
                await self._gather(entries.implied_thread(one))
            except RefusedError as error:
                one = Problem(one.where, one.kind, one.places[1], str(error))
        await self._gather(one)

    async def _gather(self, one: Entry | Problem) -> None:
        if isinstance(one, Problem):
            self._refuse(one)
            return
        for name in one.left_out:
            self._refuse(Problem(one.where, one.kind, one.own_id, f"its {name!r} are not imported"))
        if len(self._batch) >= OBJECTS_AT_ONCE or (self._batch and self._bytes + len(one.body) > BYTES_AT_ONCE):
            await self._flush()
        elif len(self._batch) % OBJECTS_A_TURN == 0:
            await asyncio.sleep(0)
        if one.kind == "thread":
            if len(self._threads_there) >= REMEMBERED_MAX:
                self._threads_there.clear()
            self._threads_there[one.places[0]] = None
        self._batch.append(one)
        self._bytes += len(one.body)

    def _hold_with_batches(self, bytes_of_line: int) -> None:
        self._hold(bytes_of_line + self._foreign.bytes_held + self._bytes + self._bytes_writing)

    async def _flush(self) -> None:
        """Begins to store what is gathered, when what was gathered before is stored."""
        await self._wait()
        batch, self._batch = self._batch, []
        self._bytes_writing, self._bytes = self._bytes, 0
        if batch:
            self._writing = asyncio.create_task(self._store(batch))

    async def _wait(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing
            self._bytes_writing = 0

    async def _store(self, batch: list[Entry]) -> None:
        target = storing.Target(self._ctx.project_id, self._ctx.settings.thread_messages_max)
        # A dry run writes nothing, but holds what it looks at as an import does.
        await self._ctx.store.write(lambda tx: storing.store(tx, target, batch, self._pretended))
        for entry in batch:
            if not entry.outcome:
                self._count(self.report.created, entry.kind)
            elif entry.outcome == entries.KNOWN:
                self._count(self.report.known, entry.kind)
            elif not entry.is_implied:
                # A thread that nobody named is not reported, but what belongs to it is.
                self._refuse(Problem(entry.where, entry.kind, entry.own_id, entry.outcome))

        if self._pretended is not None:
            self._pretended.add_all([entry.places for entry in batch if not entry.outcome])

    @staticmethod
    def _count(counts: dict[str, int], kind: str) -> None:
        counts[kind] = counts.get(kind, 0) + 1

    def _refuse(self, problem: Problem) -> None:
        self.report.refused += 1
        if len(self.report.problems) < PROBLEMS_MAX:
            # What is told of the line is not to be as long as the line.
            kind, its_id, why = (text[:PROBLEM_CHARACTERS_MAX] for text in (problem.kind, problem.id, problem.problem))
            self.report.problems.append(Problem(problem.where, kind, its_id, why))


async def _in_thread(call: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(_large_lines, call, *arguments)


def _next_of(found: Iterator[Entry | Problem]) -> list[Entry | Problem]:
    return list(islice(found, OBJECTS_A_TURN))
