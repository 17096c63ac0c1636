from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from threadkeep.settings import Settings
from threadkeep.store import create_store


@pytest.fixture
def url(tmp_path, postgres, database):
    """A database of its own for one test."""
    return postgres() if database == "postgres" else f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def new_store(url, postgres_settings):
    """Makes a store on that database, not yet open: `new_store()`."""

    def make(*, serving=False, **settings):
        return create_store(Settings(database=url, **postgres_settings, **settings), serving=serving)

    return make


@pytest.fixture
def on_store(new_store):
    """Runs a coroutine function on an open, migrated store: `on_store(work)`."""

    @asynccontextmanager
    async def opened(**settings):
        store = new_store(serving=True, **settings)
        await store.open()
        try:
            await store.migrate()
            yield store
        finally:
            await store.close()

    def run(work, **settings):
        async def main():
            async with opened(**settings) as store:
                return await work(store)

        return asyncio.run(main())

    return run
