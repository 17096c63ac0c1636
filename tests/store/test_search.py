"""How the index for search keeps up with messages; on every database."""

from __future__ import annotations

import asyncio
import time

import pytest

from threadkeep import messages, search, search_index, threads
from threadkeep.context import outside_a_server
from threadkeep.messages import MessageCreateParams
from threadkeep.search import SearchParams
from threadkeep.search_index import Indexer
from threadkeep.settings import Settings
from threadkeep.store.queries import Query
from threadkeep.threads import ThreadCreateParams


def context(store):
    return outside_a_server(store, Settings(), "proj_a")


async def say(store, thread_id, *texts):
    said = [MessageCreateParams(role="user", content=text) for text in texts]
    await threads.create(context(store), ThreadCreateParams(id=thread_id, messages=said))


async def found(store, q):
    page = await search.find(context(store), SearchParams(q=q, limit=100))
    return len(page.data)


async def documents(store):
    count = "select count(*) from search_documents"
    return (await store.one(Query("count", count, count)))[0]


@pytest.mark.parametrize("count", [1, search_index.AT_ONCE, search_index.AT_ONCE * 2 + 1])
def test_every_message_gets_one_document(on_store, count):
    async def work(store):
        await say(store, "thread_one", *["word"] * count)
        await Indexer(store).catch_up()
        # One that knows nothing of what was done looks for its place.
        again = Indexer(store)
        await again.catch_up()
        await say(store, "thread_two", "word")
        await again.catch_up()
        return await documents(store)

    assert on_store(work) == count + 1


def test_several_at_once_give_each_message_one_document(on_store):
    async def work(store):
        for number in range(20):
            await say(store, f"thread_{number}", *["word"] * 20)
        await asyncio.gather(*(Indexer(store).catch_up() for _ in range(4)))
        return await documents(store), await found(store, "word")

    assert on_store(work) == (400, 100)


def test_messages_are_found_whose_rows_take_the_numbers_of_removed_ones(on_store):
    async def work(store):
        indexer = Indexer(store)
        await say(store, "thread_stays", "stays")
        for number in (1, 5, 20):
            await say(store, "thread_goes", *["goes"] * 10)
            await indexer.catch_up()
            await threads.delete(context(store), "thread_goes")
            await threads.sweep(store, int(time.time()))
            await say(store, f"thread_{number}", *[f"comes{number}"] * number)
            await indexer.catch_up()
        return [await found(store, word) for word in ("stays", "goes", "comes1", "comes5", "comes20")]

    assert on_store(work) == [1, 0, 1, 5, 20]


def test_an_edit_while_others_wait_hides_none_of_them(on_store):
    async def work(store):
        await say(store, "thread_one", *["word"] * (search_index.AT_ONCE * 2))
        page = await messages.list_(context(store), "thread_one", messages.MessageListParams(limit=1))
        edit = messages.MessageUpdateParams(content="edited")
        await messages.update(context(store), "thread_one", page.first_id, edit)
        await Indexer(store)._step()
        # As after a restart.
        await Indexer(store).catch_up()
        return await documents(store), await found(store, "edited")

    assert on_store(work) == (search_index.AT_ONCE * 2, 1)


@pytest.mark.parametrize("newest", [1, 10, 100])
def test_messages_are_found_among_the_newest_and_before(on_store, monkeypatch, newest):
    monkeypatch.setattr(search, "NEWEST", newest)

    async def work(store):
        await say(store, "thread_old", "needle", *["word"] * 30)
        await say(store, "thread_new", *["word"] * 10)
        await Indexer(store).catch_up()
        pages, after = [], None
        while not pages or after:
            page = await search.find(context(store), SearchParams(q="word", limit=15, after=after))
            pages.append(len(page.data))
            after = page.last_id if page.has_more else None
        return pages, await found(store, "needle")

    assert on_store(work) == ([15, 15, 10], 1)


def test_what_was_changed_twice_keeps_one_document(on_store):
    async def work(store):
        ctx = context(store)
        await say(store, "thread_one", "first", "second")
        await Indexer(store).catch_up()
        page = await messages.list_(ctx, "thread_one", messages.MessageListParams())
        for text in ("third", "fourth"):
            await messages.update(ctx, "thread_one", page.first_id, messages.MessageUpdateParams(content=text))
        await messages.delete(ctx, "thread_one", page.last_id)
        await Indexer(store).catch_up()
        return await documents(store), [await found(store, word) for word in ("first", "second", "third", "fourth")]

    assert on_store(work) == (1, [0, 0, 0, 1])


def test_many_deleted_messages_lose_their_documents_bit_by_bit(on_store):
    async def work(store):
        ctx = context(store)
        await say(store, "thread_one", *["word"] * 60)
        await Indexer(store).catch_up()
        page = await messages.list_(ctx, "thread_one", messages.MessageListParams(limit=50))
        for message in page.data:
            await messages.delete(ctx, "thread_one", messages.decode(message).id)
        await Indexer(store).catch_up()
        return await documents(store), await found(store, "word")

    assert on_store(work) == (10, 10)


def test_a_message_that_cannot_be_read_holds_up_no_other(on_store):
    async def work(store):
        await say(store, "thread_one", "word")
        await say(store, "thread_two", "word")
        text = "update messages set body = '{' where thread_id = 'thread_one'"
        spoil = Query("spoil", text, text)
        await store.write(lambda tx: tx.run(spoil))
        await Indexer(store).catch_up()
        return await found(store, "word")

    assert on_store(work) == 1
