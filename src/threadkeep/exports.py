"""All of a project as lines of JSON: assistants, threads, messages with their earlier versions, runs, steps.

    {"format": "threadkeep-export", "version": 1}
    {"kind": "thread", "object": {...}}
    ...
    {"kind": "end", "object": {"thread": 1, "message": 2}}

Objects stand as they are sent, for `imports/` and other programs to read. What belongs to a thread comes after it.
The last line counts them: without it, a file is not complete.

Differs from OpenAI: there was no export.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from functools import partial
from typing import NamedTuple

import msgspec

from threadkeep import assistants
from threadkeep.context import Context
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Row, Store, Transaction
from threadkeep.store.queries import Query
from threadkeep.streaming import Download

sql = queries.load("exports")

FORMAT = "threadkeep-export"
VERSION = 1
THREADS_AT_ONCE = 100
# What one unit of work reads of what belongs to threads, and holds in memory; a single row may be larger.
ROWS_AT_ONCE = 1000
BYTES_AT_ONCE = 4 * 1024 * 1024
# Each may have long instructions.
ASSISTANTS_AT_ONCE = 10


class Place(NamedTuple):
    """How far the threads of a page are written: which thread, which of its kinds, and the position within that."""

    thread: int = 0
    kind: int = 0
    low: int | str = 0
    low_within: int = 0
    # The last message, or run, that is written: versions, or steps, of later ones are not.
    high: int = 0


# In this order, with the query and where it begins.
_KINDS: tuple[tuple[str, Query, int | str], ...] = (
    ("message", sql.list_messages, 0),
    ("message_version", sql.list_versions, ""),
    ("run", sql.list_runs, 0),
    ("run_step", sql.list_steps, 0),
)


async def create(ctx: Context) -> Download:
    """The whole project, one JSON object a line, while others read and write it."""
    return Download(lines(ctx.store, ctx.project_id, Counter()), b"application/x-ndjson")


async def lines(store: Store, project_id: str, counts: Counter[str]) -> AsyncGenerator[bytes]:
    """The lines of the export, many at once. `counts` says how many of each kind there were so far."""
    yield _encode({"format": FORMAT, "version": VERSION}) + b"\n"
    async for piece in _assistants(store, project_id, counts):
        yield piece
    place = (-1, "")
    while page := await store.read(partial(_threads, project_id, place)):
        place = (page[-1][1], page[-1][0])
        yield b"".join(_line("thread", row[2], counts) for row in page)
        at = Place()
        while at.thread < len(page):
            at, found = await store.read(partial(_of_threads, page, at))
            yield b"".join(_line(kind, body, counts) for kind, body in found)
    yield _encode({"kind": "end", "object": dict(counts)}) + b"\n"


async def _assistants(store: Store, project_id: str, counts: Counter[str]) -> AsyncGenerator[bytes]:
    low = 0
    bounds = {"project_id": project_id, "high": BIGINT_MAX, "limit": ASSISTANTS_AT_ONCE}

    def unit(tx: Transaction) -> tuple[list[Row], int]:
        rows = tx.all(assistants.sql.list_assistants_ascending, low=low, **bounds)
        place = (
            tx.one(assistants.sql.locate_assistant, project_id=project_id, assistant_id=rows[-1][0]) if rows else None
        )
        return rows, place[0] if place else 0

    while True:
        rows, low = await store.read(unit)
        if not rows:
            return
        yield b"".join(_line("assistant", body, counts) for _, body in rows)


def _threads(project_id: str, place: tuple[int, str], tx: Transaction) -> list[Row]:
    return tx.all(sql.list_threads, project_id=project_id, at=place[0], id=place[1], limit=THREADS_AT_ONCE)


def _of_threads(page: list[Row], at: Place, tx: Transaction) -> tuple[Place, list[tuple[str, str]]]:
    """What belongs to the threads of `page` from a place on: as much as may be read at once.

    Gives where to go on, and what there is: kinds and stored objects.
    """
    found: list[tuple[str, str]] = []
    rows_left, bytes_left = ROWS_AT_ONCE, BYTES_AT_ONCE
    while at.thread < len(page) and rows_left > 0 and bytes_left > 0:
        thread_id, _, _, has_versions, has_runs = page[at.thread]
        kind, query, _ = _KINDS[at.kind]
        is_there = (True, has_versions, has_runs, has_runs)
        rows: list[Row] = []
        if is_there[at.kind]:
            bounds = {"low": at.low, "low_within": at.low_within, "high": at.high}
            rows = tx.all(query, thread_id=thread_id, limit=rows_left, bytes=bytes_left, **bounds)
        found += [(kind, body) for *_, body in rows]
        is_cut = len(rows) == rows_left
        rows_left -= len(rows)
        bytes_left -= sum(size for _, _, size, _ in rows)
        if rows:
            at = at._replace(low=rows[-1][0], low_within=rows[-1][1])
        if not is_cut and bytes_left > 0:
            at = _next(at)
    return at, found


def _next(at: Place) -> Place:
    """The beginning of the next kind, or of the next thread."""
    if at.kind + 1 == len(_KINDS):
        return Place(at.thread + 1)
    high = at.low if isinstance(at.low, int) else 0
    return Place(at.thread, at.kind + 1, low=_KINDS[at.kind + 1][2], high=high)


def _line(kind: str, body: str, counts: Counter[str]) -> bytes:
    counts[kind] += 1
    return f'{{"kind":"{kind}","object":{body}}}\n'.encode()


_encode = msgspec.json.Encoder().encode
