"""Fills the server's database through the server's own operations, and writes the threads' ids to a file.

python -m bench.seed DATABASE IDS_FILE THREADS FULL_ONE_IN LONG_THREAD_MESSAGES

Works beside a running server too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from pathlib import Path

import apsw

from bench.data import Data
from threadkeep import search_index, threads
from threadkeep.context import outside_a_server
from threadkeep.ids import IdSource
from threadkeep.messages import MessageCreateParams
from threadkeep.projects import ensure_default
from threadkeep.settings import Settings
from threadkeep.store import create_store, is_shared, migrate, sqlite_path
from threadkeep.threads import ThreadCreateParams

AT_ONCE = 500


class Gathering:
    """A store that keeps units of work back until `flush` runs them in one transaction."""

    def __init__(self, store):
        self._store = store
        self._units = []

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def write(self, unit):
        self._units.append(unit)

    async def flush(self):
        units, self._units = self._units, []

        def together(tx):
            for unit in units:
                unit(tx)

        await self._store.write(together)


async def fill(database: str, ids_file: Path, data: Data) -> None:
    """Adds the data to the project `default`."""
    settings = Settings(database=database, thread_create_messages_max=max(data.long_thread_messages, 1000))
    store = create_store(settings)
    await store.open()
    await migrate.prepare(store)
    project = await ensure_default(store, 0)
    gathering = Gathering(store)
    ctx = outside_a_server(gathering, settings, project.project_id)
    with ids_file.open("w") as ids:
        for number, given in enumerate(data.each(), start=1):
            ids.write(await _add(ctx, given))
            if number % AT_ONCE == 0:
                await gathering.flush()
    await gathering.flush()
    if data.long_thread_messages:
        # The first data of a database: no server is there yet to index it, and none has to in the middle of a burst.
        await search_index.Indexer(store).catch_up()
    await store.close()
    if not is_shared(settings):
        _empty_log(database)


async def _add(ctx, given) -> str:
    """The line for the file of ids: empty where the id was given."""

    def clock():
        return given.created_at

    new_id = IdSource(clock)
    thread_id = given.thread_id or new_id("thread")
    first_messages = [MessageCreateParams(**message) for message in given.messages]
    params = ThreadCreateParams(id=thread_id, messages=first_messages, metadata=given.metadata)
    await threads.create(dataclasses.replace(ctx, clock=clock, new_id=new_id), params)
    return "" if given.thread_id else f"{thread_id}\n"


def _empty_log(database: str) -> None:
    """So that a running server does not do it in the middle of the next burst."""
    connection = apsw.Connection(str(sqlite_path(database)))
    connection.pragma("wal_checkpoint(truncate)")
    connection.close()


if __name__ == "__main__":
    asyncio.run(fill(sys.argv[1], Path(sys.argv[2]), Data.of(sys.argv[3:])))
