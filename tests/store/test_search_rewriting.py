"""That removed words leave the embedded database's index for search, and when."""

from __future__ import annotations

import asyncio

import apsw
import pytest
from tests import another_program

from threadkeep import messages, search_index, threads
from threadkeep.context import outside_a_server
from threadkeep.messages import MessageCreateParams
from threadkeep.search_index import Indexer
from threadkeep.settings import Settings
from threadkeep.store import create_store
from threadkeep.threads import ThreadCreateParams

# More than a page of the index has room for.
MANY = 100


@pytest.fixture
def path(tmp_path):
    return tmp_path / "test.db"


@pytest.fixture
def with_index(path):
    """Runs a coroutine function on the context of a project and an indexer: `with_index(work)`."""

    async def main(work):
        store = create_store(Settings(database=f"sqlite:///{path}"), serving=True)
        await store.open()
        try:
            await store.migrate()
            return await work(outside_a_server(store, Settings(), "proj_a"), Indexer(store))
        finally:
            await store.close()

    return lambda work: asyncio.run(main(work))


@pytest.fixture
def is_in_index(path):
    """Whether the index of words has a word, or the mark that it was removed: `is_in_index("word")`."""

    def look(word):
        blocks = another_program.opened(path).execute("select block from search_words_data")
        return any(word.encode() in block for (block,) in blocks)

    return look


@pytest.fixture
def segments(path):
    """How many pieces the index of words has; all of it rewritten is one: `segments()`."""
    count = "select count(distinct segid) from search_words_idx"
    return lambda: another_program.opened(path).execute(count).get


async def say(ctx, indexer, *texts):
    """Gives what deletes the newest of these messages."""
    said = [MessageCreateParams(role="user", content=text) for text in texts]
    thread = threads.decode(await threads.create(ctx, ThreadCreateParams(messages=said)))
    page = await messages.list_(ctx, thread.id, messages.MessageListParams(limit=1))
    await indexer.catch_up()
    return lambda: messages.delete(ctx, thread.id, page.first_id)


def test_a_removed_word_leaves_the_index_and_the_others_stay(with_index, is_in_index):
    async def work(ctx, indexer):
        delete = await say(ctx, indexer, "stayingword", "goingword")
        before = is_in_index("goingword")
        await delete()
        await indexer.catch_up()
        return before, is_in_index("goingword"), is_in_index("stayingword")

    assert with_index(work) == (True, False, True)


def test_the_index_is_rewritten_only_when_words_were_removed(with_index, segments):
    async def work(ctx, indexer):
        for number in range(3):
            delete = await say(ctx, indexer, f"word{number}")
        pieces = [segments()]
        await indexer.catch_up()
        pieces.append(segments())
        await delete()
        await indexer.catch_up()
        return [*pieces, segments()]

    assert with_index(work) == [3, 3, 1]


def test_words_that_are_removed_while_the_index_is_rewritten_leave_it_the_next_time(
    with_index, is_in_index, monkeypatch
):
    monkeypatch.setattr(search_index, "REWRITTEN_AT_ONCE", 1)

    async def work(ctx, indexer):
        delete_first = await say(ctx, indexer, *(f"some{n:0100} words{n:0100}" for n in range(MANY)), "firstword")
        delete_second = await say(ctx, indexer, "secondword")
        await delete_first()
        while indexer._rewriting is None:
            assert await indexer._step()
        await delete_second()
        while await indexer._step():
            pass
        after_one = is_in_index("firstword"), is_in_index("secondword")
        await indexer.catch_up()
        return after_one, (is_in_index("firstword"), is_in_index("secondword"))

    assert with_index(work) == ((False, True), (False, False))


def test_the_index_rests_after_it_was_rewritten(with_index, is_in_index, monkeypatch):
    monkeypatch.setattr(search_index, "REST_AFTER_REWRITING_S", 3600)

    async def work(ctx, indexer):
        for delete in [await say(ctx, indexer, word) for word in ("firstword", "secondword")]:
            await delete()
            while await indexer._step():
                pass
        return is_in_index("firstword"), is_in_index("secondword")

    assert with_index(work) == (False, True)


def test_all_is_caught_up_with_when_words_are_removed_while_the_index_is_rewritten(with_index, is_in_index):
    async def work(ctx, indexer):
        delete_first = await say(ctx, indexer, "firstword")
        delete_second = await say(ctx, indexer, "secondword")
        await delete_first()
        while indexer._rewriting is None:
            assert await indexer._step()
        await delete_second()
        await indexer.catch_up()
        return is_in_index("firstword"), is_in_index("secondword")

    assert with_index(work) == (False, False)


def test_a_step_whose_commit_fails_is_taken_again(with_index, is_in_index):
    """The first step begins with all of the index; one that only went on would find nothing to do."""

    async def work(ctx, indexer):
        delete = await say(ctx, indexer, "goingword")
        await say(ctx, indexer, "stayingword")
        await delete()
        failures = [apsw.FullError("the disk is full")]
        commit = ctx.store._commit

        def commit_or_fail():
            if indexer._rewriting and failures:
                raise failures.pop()
            commit()

        ctx.store._commit = commit_or_fail
        await indexer.catch_up()
        return failures, is_in_index("goingword"), is_in_index("stayingword")

    assert with_index(work) == ([], False, True)


def test_another_process_goes_on_where_one_was_killed(with_index, is_in_index):
    async def work(ctx, indexer):
        delete = await say(ctx, indexer, "goingword")
        await delete()
        while indexer._rewriting is None:
            assert await indexer._step()
        await Indexer(ctx.store).catch_up()
        return is_in_index("goingword")

    assert not with_index(work)
