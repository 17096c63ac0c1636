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

import msgspec

from threadkeep import assistants
from threadkeep.context import Context
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Row, Store, Transaction
from threadkeep.streaming import Download

sql = queries.load("exports")

FORMAT = "threadkeep-export"
VERSION = 1
THREADS_AT_ONCE = 100
# Rows that one unit of work reads, not counting the steps of a thread's runs.
ROWS_AT_ONCE = 1000
ASSISTANTS_AT_ONCE = 100


async def create(ctx: Context) -> Download:
    """The whole project, one JSON object a line, while others read and write it."""
    return Download(lines(ctx.store, ctx.project_id, Counter()), b"application/x-ndjson")


async def lines(store: Store, project_id: str, counts: Counter[str]) -> AsyncGenerator[bytes]:
    """The lines of the export, many at once. `counts` says how many of each kind there were so far."""
    yield _encode({"format": FORMAT, "version": VERSION}) + b"\n"
    async for piece in _assistants(store, project_id, counts):
        yield piece
    place = (-1, "")
    while page := await store.read(lambda tx, place=place: _threads(tx, project_id, place)):  # type: ignore[misc]
        place = (page[-1][1], page[-1][0])
        yield b"".join(_line("thread", row[2], counts) for row in page)
        number, low = 0, 0
        while number < len(page):
            slice_ = await store.read(lambda tx, at=(number, low), page=page: _of_threads(tx, page, *at))  # type: ignore[misc]
            number, low, told = slice_
            yield b"".join(_line(kind, body, counts) for kind, body in told)
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


def _threads(tx: Transaction, project_id: str, place: tuple[int, str]) -> list[Row]:
    return tx.all(sql.list_threads, project_id=project_id, at=place[0], id=place[1], limit=THREADS_AT_ONCE)


def _of_threads(tx: Transaction, page: list[Row], number: int, low: int) -> tuple[int, int, list[tuple[str, str]]]:
    """What belongs to the threads of `page` from one on, and to that one its messages above `low`.

    Gives where to go on, and what there is: kinds and stored objects.
    """
    told: list[tuple[str, str]] = []
    while number < len(page):
        thread_id, _, _, has_versions, has_runs = page[number]
        room = ROWS_AT_ONCE - len(told)
        if room <= 0:
            return number, low, told
        rows = tx.all(sql.list_messages, thread_id=thread_id, low=low, limit=room)
        told += [("message", body) for _, body in rows]
        if len(rows) == room:
            return number, rows[-1][0], told
        if has_versions:
            told += [("message_version", row[0]) for row in tx.all(sql.list_versions, thread_id=thread_id)]
        for run_id, body in tx.all(sql.list_runs, thread_id=thread_id) if has_runs else ():
            told.append(("run", body))
            steps = tx.all(sql.list_steps, thread_id=thread_id, run_id=run_id)
            told += [("run_step", row[0]) for row in steps]
        number, low = number + 1, 0
    return number, low, told


def _line(kind: str, body: str, counts: Counter[str]) -> bytes:
    counts[kind] += 1
    return f'{{"kind":"{kind}","object":{body}}}\n'.encode()


_encode = msgspec.json.Encoder().encode
