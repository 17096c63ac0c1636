"""What deleted threads leave behind, and how it goes; on every database."""

from __future__ import annotations

import time

import pytest

from threadkeep import messages, threads
from threadkeep.context import outside_a_server
from threadkeep.errors import BadRequestError
from threadkeep.messages import MessageCreateParams
from threadkeep.settings import Settings
from threadkeep.store.queries import Query
from threadkeep.threads import ThreadCreateParams

MESSAGE = MessageCreateParams(role="user", content="x")
ROWS = "select (select count(*) from threads), (select count(*) from messages), (select count(*) from thread_metadata)"


def context(store):
    return outside_a_server(store, Settings(), "proj_a")


async def rows(store):
    """How many rows threads, messages and metadata have."""
    return tuple(await store.one(Query("count", ROWS, ROWS)))


async def create_and_delete(store, thread_id, count):
    """A deleted thread with metadata and `count` messages; every other one was deleted before."""
    ctx = context(store)
    said = [MESSAGE] * count
    await threads.create(ctx, ThreadCreateParams(id=thread_id, messages=said, metadata={"a": "1", "b": "2"}))
    page = await messages.list_(ctx, thread_id, messages.MessageListParams(limit=100))
    for message_id in [page.first_id, page.last_id] if count > 2 else []:
        await messages.delete(ctx, thread_id, message_id)
    await threads.delete(ctx, thread_id)


@pytest.mark.parametrize("count", [0, 2, messages.REMOVED_AT_ONCE, messages.REMOVED_AT_ONCE * 2 + 1])
def test_a_sweep_leaves_nothing_but_the_place_in_the_list(on_store, count):
    async def work(store):
        await create_and_delete(store, "thread_one", count)
        before = await rows(store)
        await threads.sweep(store, int(time.time()))
        place = threads.sql.locate_thread
        return before, await rows(store), await store.one(place, thread_id="thread_one", project_id="proj_a")

    before, after, place = on_store(work)
    assert before == (1, count, 2)
    assert after == (0, 0, 0)
    assert place is not None


def test_a_sweep_removes_many_threads_and_no_other(on_store):
    async def work(store):
        for number in range(threads.REMOVED_AT_ONCE * 2):
            await create_and_delete(store, f"thread_{number}", 1)
        await threads.create(context(store), ThreadCreateParams(messages=[MESSAGE], metadata={"a": "1"}))
        await threads.sweep(store, int(time.time()))
        return await rows(store)

    assert on_store(work) == (1, 1, 1)


def test_the_id_of_a_long_deleted_thread_can_be_given_again_once_it_is_removed(on_store):
    again = ThreadCreateParams(id="thread_long")

    async def work(store):
        await create_and_delete(store, "thread_long", messages.REMOVED_AT_ONCE + 1)
        with pytest.raises(BadRequestError, match="'thread_long' is still being removed, try again shortly"):
            await threads.create(context(store), again)
        await threads.sweep(store, int(time.time()))
        await threads.create(context(store), again)
        return await rows(store)

    assert on_store(work) == (1, 0, 0)
