"""The laws of pages: whatever the page sizes and whatever others do meanwhile, a walk meets every item once."""

from __future__ import annotations

import dataclasses
import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threadkeep import threads
from threadkeep.threads import ThreadCreateParams

ITEMS = 60
WALKS_WHILE_OTHERS_WRITE = 40
OTHER = {"asc": "desc", "desc": "asc"}
FILTERS = [{}, {"metadata[kind]": "a"}, {"metadata[kind]": "a", "metadata[half]": "0"}]
any_sizes = settings(max_examples=30)
sizes = st.lists(st.integers(1, ITEMS + 2) | st.integers(1, 5), min_size=1, max_size=5)
orders = st.sampled_from(["asc", "desc"])


def walk(fetch, sizes, *, order, towards="after", cursor=None):
    """The ids that a walk from `cursor` meets, in the requested order; the page sizes are taken in turn."""
    met = []
    for limit in itertools.cycle(sizes):
        page = fetch(order=order, limit=limit, **{towards: cursor})
        ids = [item["id"] for item in page["data"]]
        assert len(ids) <= limit
        assert len(ids) == limit or not page["has_more"]
        assert [page["first_id"], page["last_id"]] == ([ids[0], ids[-1]] if ids else [None, None])
        met = met + ids if towards == "after" else ids + met
        if not page["has_more"]:
            return met
        cursor = ids[-1] if towards == "after" else ids[0]
    return met


def assert_laws(fetch, sizes, order, expected):
    """`expected` are all ids in `order`."""
    assert walk(fetch, sizes, order=order) == expected
    # The same way back: from the last item towards the first.
    assert walk(fetch, sizes, order=order, towards="before", cursor=expected[-1]) == expected[:-1]
    # `before` in one order is `after` in the other.
    middle = expected[len(expected) // 2]
    back = walk(fetch, sizes, order=order, towards="before", cursor=middle)
    assert back[::-1] == walk(fetch, sizes, order=OTHER[order], cursor=middle)


@pytest.fixture
def messages(api):
    """A thread with many messages, every third of them deleted: its address, what fetches its pages, the ids."""
    texts = [{"role": "user", "content": str(n)} for n in range(ITEMS)]
    path = f"/threads/{api.ok('POST', '/threads', {'messages': texts})['id']}/messages"
    ids = [message["id"] for message in api.ok("GET", path, order="asc", limit=100)["data"]]
    for gone in ids[1::3]:
        api.ok("DELETE", f"{path}/{gone}")
    del ids[1::3]
    return path, lambda **query: api.ok("GET", path, **query), ids


@pytest.fixture
def assistants(api):
    """Many assistants, every third of them deleted: what fetches pages of them, and their ids."""
    ids = [api.ok("POST", "/assistants", {"model": "m"})["id"] for _ in range(ITEMS)]
    for gone in ids[1::3]:
        api.ok("DELETE", f"/assistants/{gone}")
    del ids[1::3]
    return lambda **query: api.ok("GET", "/assistants", **query), ids


@pytest.fixture
def create_thread(server, api):
    """Creates a thread at a given time, which no client can choose."""
    ctx = server.app.context_of(api.project_id)

    def create(at, metadata):
        at_that_time = dataclasses.replace(ctx, clock=lambda: at)
        server.run(threads.create(at_that_time, ThreadCreateParams(id=ctx.new_id("thread"), metadata=metadata)))

    return create


@pytest.fixture
def thread_pages(api, create_thread):
    """Many threads, made in no order of time and several in each second; gives what fetches pages of them."""
    at = [second % 7 for second in range(ITEMS)]
    random.Random(1).shuffle(at)
    for n, second in enumerate(at):
        create_thread(second, {"kind": "ab"[n % 2], "half": str(n % 4 // 2)})
    return lambda **query: api.ok("GET", "/threads", **query)


@any_sizes
@given(sizes=sizes, order=orders)
def test_a_walk_meets_every_message_once_in_both_directions(messages, sizes, order):
    _, fetch, ids = messages
    assert_laws(fetch, sizes, order, ids if order == "asc" else ids[::-1])


@any_sizes
@given(sizes=sizes, order=orders)
def test_a_walk_meets_every_assistant_once_in_both_directions(assistants, sizes, order):
    fetch, ids = assistants
    assert_laws(fetch, sizes, order, ids if order == "asc" else ids[::-1])


@pytest.mark.parametrize("filters", FILTERS, ids=["all", "one filter", "two filters"])
@any_sizes
@given(sizes=sizes, order=orders)
def test_a_walk_meets_every_thread_once_in_both_directions(thread_pages, filters, sizes, order):
    listed = thread_pages(limit=100, order=order, **filters)["data"]
    assert len(listed) == ITEMS / 2 ** len(filters)
    in_order = sorted(listed, key=lambda thread: (thread["created_at"], thread["id"]), reverse=order == "desc")
    assert listed == in_order
    assert_laws(lambda **query: thread_pages(**query, **filters), sizes, order, [thread["id"] for thread in in_order])


def assert_walks_are_undisturbed(fetch, stable, disturb):
    """Walks while two OS threads `disturb`; `stable` are the ids, in ascending order, that are there all the time."""
    done = threading.Event()
    disturbed = threading.Semaphore(0)

    def keep_disturbing(seed):
        for chance in itertools.repeat(random.Random(seed)):
            if done.is_set():
                return
            disturb(chance)
            disturbed.release()

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(keep_disturbing, seed) for seed in range(2)]
        try:
            for n in range(WALKS_WHILE_OTHERS_WRITE):
                # Each walk begins after some more disturbance, and meets more of it on its way.
                assert all(disturbed.acquire(timeout=60) for _ in range(5)), [other.exception(0) for other in others]
                order = ["asc", "desc"][n % 2]
                towards, cursor = [("after", None), ("before", stable[::-1][0 if order == "asc" else -1])][n // 2 % 2]
                met = walk(fetch, [1 + n % 5, 7], order=order, towards=towards, cursor=cursor)
                assert len(met) == len(set(met))
                expected = [item for item in stable if item != cursor]
                assert [item for item in met if item in set(stable)] == (expected if order == "asc" else expected[::-1])
        finally:
            done.set()
    for other in others:
        other.result()


def test_a_walk_meets_every_message_that_stays_while_others_come_and_go(api, messages):
    path, fetch, ids = messages
    stable, volatile = ids[::2], ids[1::2]

    def disturb(chance):
        volatile.append(api.ok("POST", path, {"role": "user", "content": "new"})["id"])
        api.ok("DELETE", f"{path}/{volatile.pop(chance.randrange(ITEMS // 4))}")

    assert_walks_are_undisturbed(fetch, stable, disturb)


def test_a_walk_meets_every_assistant_that_stays_while_others_come_and_go(api, assistants):
    fetch, ids = assistants
    stable, volatile = ids[::2], ids[1::2]

    def disturb(chance):
        volatile.append(api.ok("POST", "/assistants", {"model": "m"})["id"])
        api.ok("DELETE", f"/assistants/{volatile.pop(chance.randrange(ITEMS // 4))}")

    assert_walks_are_undisturbed(fetch, stable, disturb)


@pytest.mark.parametrize("filters", FILTERS, ids=["all", "one filter", "two filters"])
def test_a_walk_meets_every_thread_that_stays_while_others_come_and_go(api, create_thread, thread_pages, filters):
    listed = thread_pages(limit=100, order="asc", **filters)["data"]
    ids = [thread["id"] for thread in listed]
    stable = ids[::2]

    def disturb(chance):
        volatile = [thread["id"] for thread in thread_pages(limit=100)["data"] if thread["id"] not in set(stable)]
        # The two may have deleted all the others.
        match chance.randrange(3) if volatile else 2:
            case 0:
                # Gone meanwhile, if the other one was quicker.
                assert api("DELETE", f"/threads/{chance.choice(volatile)}")[0] in {200, 404}
            case 1:
                other, metadata = f"/threads/{chance.choice(volatile)}", {"kind": chance.choice("ab")}
                assert api("POST", other, {"metadata": metadata})[0] in {200, 404}
            case 2:
                create_thread(chance.randrange(7), {"kind": "a", "half": "0"})

    assert_walks_are_undisturbed(lambda **query: thread_pages(**query, **filters), stable, disturb)
