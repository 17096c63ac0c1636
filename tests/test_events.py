"""Followers of a run's events: each is told everything once, whoever else reads or writes meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from threadkeep import events
from threadkeep.events import EventLog
from threadkeep.metrics import Metrics
from threadkeep.settings import Settings
from threadkeep.store import create_store, is_shared, migrate

PLACE = {"thread_id": "thread_a", "run_id": "run_a"}
DELTA = ("thread.message.delta", b"{}")
END = ("thread.run.completed", b"{}")


@pytest.fixture
def with_log(database, postgres, postgres_settings, tmp_path):
    """Runs `work(log, store)` with an event log on a new database."""
    url = postgres() if database == "postgres" else f"sqlite:///{tmp_path / 'threadkeep.db'}"
    settings = Settings(database=url, **(postgres_settings if database == "postgres" else {}))

    def run(work):
        async def main():
            store = create_store(settings)
            await store.open()
            await migrate.prepare(store)
            try:
                async with asyncio.timeout(30):
                    log = EventLog(store, is_shared=is_shared(settings), metrics=Metrics())
                    return await work(log, store)
            finally:
                await store.close()

        return asyncio.run(main())

    return run


async def append(store, *added, status=None, run_id="run_a"):
    """Appends without telling anybody, as another process does."""
    return await store.write(lambda tx: events.append(tx, "thread_a", run_id, added, status))


def numbers(frames):
    return [int(line.removeprefix("id: ")) for line in frames.decode().splitlines() if line.startswith("id: ")]


async def rest_of(follower):
    given = [numbers(frames) async for frames in follower]
    await follower.aclose()
    return [number for some in given for number in some]


def test_what_one_follower_has_read_from_the_log_the_others_are_told_too(with_log):
    async def work(log, store):
        behind = log.follow(**PLACE, after=0, status="in_progress")
        waiting = asyncio.create_task(rest_of(behind))
        await append(store, DELTA)
        ahead = log.follow(**PLACE, after=0, status="in_progress")
        assert numbers(await anext(ahead)) == [1]
        entry = await append(store, DELTA, END, status="completed")
        last = log.follow(**PLACE, after=0, status="completed")
        assert await rest_of(last) == [1, 2, 3, 3]
        # Now that it is told here, all of it is known already.
        log.publish("thread_a", "run_a", entry)
        assert await rest_of(ahead) == [2, 3, 3]
        assert await waiting == [1, 2, 3, 3]
        return log.followers

    assert with_log(work) == 0


def test_who_waits_for_a_status_hears_of_one_that_a_follower_has_read_from_the_log(with_log):
    insert = events.queries.Query("insert", *[
        "insert into runs (thread_id, run_id, project_id, seq, status, fence, attempt, shape, body, plan)"
        " values ('thread_a', 'run_a', 'proj_a', 1, 'in_progress', 1, 1, 1, '{}', '{}')"
    ] * 2)  # fmt: skip
    complete = events.queries.Query("complete", *["update runs set status = 'completed'"] * 2)

    async def work(log, store):
        await store.write(lambda tx: tx.run(insert))
        await append(store, DELTA)
        waiting = asyncio.create_task(log.wait(**PLACE, is_reached=events.is_over))
        # Until it waits for news.
        while not log.followers or log._channels["thread_a", "run_a"]._change_of_status is None:  # noqa: ASYNC110 - unannounced
            await asyncio.sleep(0)
        await store.write(lambda tx: tx.run(complete))
        entry = await append(store, END, status="completed")
        assert await rest_of(log.follow(**PLACE, after=0, status="completed")) == [1, 2, 2]
        log.publish("thread_a", "run_a", entry)
        return await waiting, log.followers

    assert with_log(work) == (True, 0)


def test_what_is_told_while_a_follower_reads_the_log_is_not_skipped(with_log):
    async def work(log, _):
        follower = log.follow(**PLACE, after=0, status="in_progress")
        waiting = asyncio.create_task(rest_of(follower))
        # It has sent its query, where there is a network, and has no answer yet.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log.publish("thread_a", "run_a", events.entry(1, [DELTA]))
        log.publish("thread_a", "run_a", events.entry(2, [END], "completed"))
        return await waiting

    assert with_log(work) == [1, 2, 2]


def test_a_run_with_much_news_does_not_keep_the_others_waiting(with_log):
    async def work(log, store):
        if not log._is_shared:
            return
        for _ in range(events.READ_AT_ONCE + 1):
            await append(store, DELTA)
        await append(store, END, status="completed", run_id="run_b")
        channels = {("thread_a", run_id): log.open("thread_a", run_id) for run_id in ("run_a", "run_b")}
        found = await log._news_of(channels)
        assert [len(found[key]) for key in channels] == [events.READ_OF_EACH, 1]
        assert [entry.seq for entry in found["thread_a", "run_a"]] == list(range(1, events.READ_OF_EACH + 1))
        for _, run_id in channels:
            log.close("thread_a", run_id)

    with_log(work)


def test_the_stream_of_a_run_whose_log_is_gone_ends(with_log):
    async def work(log, store):
        follower = log.follow(**PLACE, after=0, status="in_progress")
        log.publish("thread_a", "run_a", await append(store, DELTA))
        assert numbers(await anext(follower)) == [1]
        # It is so slow that memory does not wait for it.
        large = ("thread.message.delta", b"x" * events.KEPT_CHARACTERS)
        for _ in range(2):
            log.publish("thread_a", "run_a", await append(store, large))
        await store.write(lambda tx: tx.run(events.sql.delete_events, **PLACE, limit=10))
        return await rest_of(follower)

    assert with_log(work) == [3]


def test_what_somebody_else_appended_can_be_made_up_for(with_log):
    async def work(log, store):
        follower = log.follow(**PLACE, after=0, status="in_progress")
        log.publish("thread_a", "run_a", await append(store, DELTA))
        assert numbers(await anext(follower)) == [1]
        await append(store, DELTA)
        await append(store, END, status="completed")
        await log.catch_up("thread_a", "run_a")
        return await rest_of(follower)

    assert with_log(work) == [2, 3, 3]
