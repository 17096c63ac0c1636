"""Fills a database with threads through the server's own operations, and writes their ids to a file."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from operations import LONG_THREAD, MATCHING_ONE_IN, MESSAGES, METADATA

from threadkeep import messages, threads
from threadkeep.context import Context
from threadkeep.ids import IdSource
from threadkeep.messages import MessageCreateParams
from threadkeep.projects import ensure_default
from threadkeep.settings import Settings
from threadkeep.store import create_store, migrate
from threadkeep.threads import ThreadCreateParams

AT_ONCE = 500


async def fill(database: str, count: int, messages_each: int, long_messages: int, ids_file: Path) -> None:
    """`count` threads of `messages_each` messages, and one of `long_messages` that is not in the file of ids.

    Works beside a running server too.
    """
    settings = Settings(database=database)
    store = create_store(settings)
    await store.open()
    await migrate.prepare(store)
    project = await ensure_default(store, 0)
    ctx = Context(store, settings, project.project_id, time.time, IdSource())
    given = [MessageCreateParams(**MESSAGES[n % 2]) for n in range(messages_each)]
    ids = [ctx.new_id("thread") for _ in range(count)]

    async def create(number: int) -> None:
        user = METADATA["user"] if number % MATCHING_ONE_IN == 0 else f"user{number}"
        params = ThreadCreateParams(id=ids[number], messages=given, metadata={**METADATA, "user": user})
        await threads.create(ctx, params)

    for start in range(0, count, AT_ONCE):
        await asyncio.gather(*(create(n) for n in range(start, min(start + AT_ONCE, count))))
    if long_messages:
        await threads.create(ctx, ThreadCreateParams(id=LONG_THREAD))
        message = MessageCreateParams(**MESSAGES[0])
        for _ in range(0, long_messages, AT_ONCE):
            await asyncio.gather(*(messages.create(ctx, LONG_THREAD, message) for _ in range(AT_ONCE)))
    ids_file.write_text("\n".join(ids) + "\n")
    await store.close()


if __name__ == "__main__":
    database, count, messages_each, long_messages, ids_file = sys.argv[1:]
    asyncio.run(fill(database, int(count), int(messages_each), int(long_messages), Path(ids_file)))
