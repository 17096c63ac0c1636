"""A server that cannot start, or not stop in good order, leaves nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from threadkeep.app import Threadkeep
from threadkeep.settings import Settings


@pytest.fixture
def app(tmp_path):
    return Threadkeep(Settings(database=f"sqlite:///{tmp_path}/test.db", upstream_url="http://127.0.0.1:1/v1"))


async def fail():
    raise ValueError("cannot go on")


@pytest.mark.parametrize("step", ["start", "stop"])
def test_what_was_opened_is_closed_when_a_step_fails(app, monkeypatch, step):
    async def start_and_stop():
        async with app.running():
            for task in app.worker._tasks:
                task.cancel()

    async def main():
        before = asyncio.all_tasks()
        monkeypatch.setattr(app.worker, "open" if step == "start" else "close", fail)
        with pytest.raises(ValueError, match="cannot go on"):
            await start_and_stop()
        await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() - before if not task.get_coro().__qualname__.startswith("Worker.")]
        return left, app.authenticator._watching.done()

    assert asyncio.run(main()) == ([], True)
