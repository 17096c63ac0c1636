"""Every contestant gets the same threads, and every burst the threads it needs."""

from __future__ import annotations

import time
from pathlib import Path

from bench.contest import IDS_PER_BURST, Contestant
from bench.data import LONG_THREAD, METADATA, Data
from bench.operations import LIST, OPERATIONS, RETRIEVE

DATA = Data(threads=100, full_one_in=20, long_thread_messages=1000)


def test_the_threads_are_those_that_are_told():
    *threads, long = DATA.each()
    assert [len(thread.messages) for thread in threads].count(20) == 5
    assert [len(thread.messages) for thread in threads].count(2) == 95
    assert [thread.metadata["user"] for thread in threads].count(METADATA["user"]) == 10
    assert [thread.created_at for thread in threads] == sorted({thread.created_at for thread in threads})
    assert (long.thread_id, len(long.messages)) == (LONG_THREAD, 1000)
    assert long.created_at <= time.time()


def test_data_survives_a_command_line():
    assert Data.of(DATA.arguments) == DATA


def contestant(ids):
    return Contestant("threadkeep", server=None, data=DATA, ids=ids)


def test_a_list_of_messages_is_asked_of_full_threads():
    ids = [f"thread_{number}" for number, _ in enumerate(DATA.each())][:-1]
    full = {thread_id for thread_id, thread in zip(ids, DATA.each(), strict=False) if len(thread.messages) == 20}
    assert set(contestant(ids).ids_for(LIST, "burst", 1, Path())) == full
    assert set(contestant(ids).ids_for(RETRIEVE, "burst", 1, Path())) == set(ids)


def test_contestants_get_the_same_threads_and_bursts_get_others():
    ours, theirs = [str(number) for number in range(100_000)], [f"their {number}" for number in range(100_000)]
    some = contestant(ours).ids_for(RETRIEVE, "first", 1, Path())
    assert len(set(some)) == IDS_PER_BURST
    assert contestant(theirs).ids_for(RETRIEVE, "first", 1, Path()) == [f"their {number}" for number in some]
    assert contestant(ours).ids_for(RETRIEVE, "second", 1, Path()) != some


def test_a_burst_whose_requests_need_fresh_threads_ends_when_they_are_used_up():
    for operation in OPERATIONS:
        script = operation.script(Path("ids"), "burst")
        assert ("wrk.thread:stop()" in script) == (operation.name == "delete")
        assert ("% #ids + 1" in script) == (operation.name != "delete")
