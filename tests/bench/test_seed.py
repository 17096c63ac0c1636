"""The server's database is filled through the server's own operations."""

from __future__ import annotations

import asyncio

from bench.data import METADATA, Data
from bench.seed import fill

from threadkeep.settings import Settings
from threadkeep.store import create_store
from threadkeep.store.queries import Query

DATA = Data(threads=30, full_one_in=10, long_thread_messages=500)
COUNTS = Query(
    "counts",
    *["select (select count(*) from threads), (select count(*) from messages), (select count(*) from thread_metadata"
      " where key = 'user' and value = :user)"] * 2,
)  # fmt: skip


def test_every_thread_and_message_is_there_afterwards(database, postgres, tmp_path):
    url = postgres() if database == "postgres" else f"sqlite:///{tmp_path / 'bench.db'}"
    ids = tmp_path / "ids"

    async def counts():
        await fill(url, ids, DATA)
        store = create_store(Settings(database=url))
        await store.open()
        try:
            return await store.one(COUNTS, user=METADATA["user"])
        finally:
            await store.close()

    assert asyncio.run(counts()) == (31, 27 * 2 + 3 * 20 + 500, 3)
    assert len(ids.read_text().splitlines()) == 30
