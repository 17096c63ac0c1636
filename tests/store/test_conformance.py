"""What any store must do. Every test runs on every database; there is nothing to skip with."""

from __future__ import annotations

import asyncio
import threading

import pytest

from threadkeep import projects
from threadkeep.errors import NotFoundError, OverloadedError
from threadkeep.store import migrate, queries
from threadkeep.store.queries import Query

sql = queries.load("projects")


def add(name):
    def unit(tx):
        return tx.run(sql.insert_project, project_id=f"proj_{name}", name=name, created_at=1)

    return unit


def names(tx):
    return [row[1] for row in tx.all(sql.list_projects)]


def test_a_write_is_seen_by_the_next_read(on_store):
    async def work(store):
        assert await store.write(add("a")) == 1
        return await store.read(names)

    assert on_store(work) == ["a"]


def test_a_query_that_a_database_has_no_text_for_finds_nothing(on_store):
    nothing = Query("nothing")

    async def work(store):
        read = await store.read(lambda tx: (tx.one(nothing, name="a"), tx.all(nothing, name="a")))
        return await store.one(nothing, name="a"), read

    assert on_store(work) == (None, (None, []))


def added(number):
    name = f"{number:03}"
    return sql.insert_project, {"project_id": f"proj_{name}", "name": name, "created_at": 1}


@pytest.mark.parametrize("count", [1, 2, 100])
def test_changes_that_go_together_are_all_there(on_store, count):
    async def work(store):
        await store.run_all([added(n) for n in range(count)])
        await store.write(lambda tx: tx.run_all([added(n) for n in range(count, 2 * count)]))
        return await store.read(names)

    assert on_store(work) == [f"{n:03}" for n in range(2 * count)]


def test_changes_that_go_together_tell_how_many_rows_the_last_one_touched(on_store):
    revoked = sql.revoke_key, {"key_id": "key_none", "revoked_at": 1}

    async def work(store):
        found = [await store.run_all(changes) for changes in ([added(1)], [added(2), revoked], [revoked, added(3)])]
        return found, await store.write(lambda tx: [tx.run_all([revoked, added(4)]), tx.run_all([added(5), revoked])])

    assert on_store(work) == ([1, 0, 1], [1, 0])


@pytest.mark.parametrize("count", [2, 100])
def test_of_changes_that_go_together_none_is_there_when_one_fails(on_store, count):
    changes = [*map(added, range(count - 1)), (sql.insert_project, {**added(0)[1], "name": "other"})]

    async def work(store):
        for write in (store.run_all(changes), store.write(lambda tx: tx.run_all(changes))):
            with pytest.raises(Exception, match=r"(?i)unique"):
                await write
        return await store.read(names)

    assert on_store(work) == []


def test_patient_changes_each_tell_how_many_rows_they_touched_and_fail_alone(on_store):
    none = sql.revoke_key, {"key_id": "key_none", "revoked_at": 1}
    twice = sql.insert_project, {**added(0)[1], "name": "other"}

    async def work(store):
        changes = [*map(added, range(30)), none, twice, *map(added, range(30, 60))]
        waiting = [store.run_all([change], is_patient=True) for change in changes]
        return await asyncio.gather(*waiting, return_exceptions=True), await store.read(names)

    outcomes, stored = on_store(work)
    assert [outcome for outcome in outcomes if not isinstance(outcome, Exception)] == [1] * 30 + [0] + [1] * 30
    assert "unique" in str(outcomes[31]).lower()
    assert stored == [f"{n:03}" for n in range(60)]


def test_what_was_written_is_there_after_reopening(on_store):
    on_store(lambda store: store.write(add("a")))
    assert on_store(lambda store: store.read(names)) == ["a"]


def test_a_unit_that_raises_leaves_nothing_and_hurts_no_other(on_store):
    def failing(tx):
        add("bad")(tx)
        raise NotFoundError.of("thread", "thread_x")

    async def work(store):
        units = [store.write(failing if n % 3 == 0 else add(str(n))) for n in range(9)]
        outcomes = await asyncio.gather(*units, return_exceptions=True)
        return outcomes, await store.read(names)

    outcomes, stored = on_store(work)
    assert [type(o) for o in outcomes] == [NotFoundError if n % 3 == 0 else int for n in range(9)]
    assert sorted(stored) == ["1", "2", "4", "5", "7", "8"]


def test_a_failing_statement_is_undone_with_its_unit_alone(on_store):
    def twice(tx):
        add("a")(tx)
        tx.run(sql.insert_project, project_id="proj_a", name="other", created_at=1)

    async def work(store):
        outcomes = await asyncio.gather(store.write(twice), store.write(add("b")), return_exceptions=True)
        return outcomes, await store.read(names)

    (first, second), stored = on_store(work)
    assert isinstance(first, Exception)
    assert second == 1
    assert stored == ["b"]


def test_a_long_read_sees_one_moment(on_store, new_store):
    text = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000) select max(i) from n"
    slow = Query("slow", text, text)
    begun, written = threading.Event(), threading.Event()

    def write_beside():
        async def write():
            store = new_store()
            await store.open()
            await store.write(add("later"))
            await store.close()

        assert begun.wait(30)
        asyncio.run(write())
        written.set()

    def unit(tx):
        before = names(tx)
        # The unit cannot await, but on every database its queries leave the event loop when they are long.
        for _ in range(1000):
            tx.one(slow)
            # Only now: SQLite stops a long unit on the event loop once, and runs it again elsewhere.
            begun.set()
            if written.is_set():
                return before, names(tx)
        return pytest.fail("nothing was written meanwhile")

    async def work(store):
        writer = threading.Thread(target=write_beside)
        writer.start()
        seen = await store.read(unit)
        writer.join()
        return seen, await store.read(names)

    assert on_store(work) == (([], []), ["later"])


def test_concurrent_writes_all_survive(on_store):
    async def work(store):
        await asyncio.gather(*(store.write(add(f"{n:04}")) for n in range(1000)))
        return await store.read(names)

    assert on_store(work) == [f"{n:04}" for n in range(1000)]


def test_a_full_queue_refuses_and_what_was_accepted_is_done(on_store):
    async def work(store):
        outcomes = await asyncio.gather(*(store.write(add(str(n))) for n in range(20)), return_exceptions=True)
        return outcomes, await store.read(names)

    outcomes, stored = on_store(work, write_queue_max=5)
    refused = [outcome for outcome in outcomes if isinstance(outcome, OverloadedError)]
    assert len(refused) == 15
    assert (refused[0].status, refused[0].code) == (503, "overloaded")
    assert dict(refused[0].headers)[b"retry-after"] == b"1"
    assert len(stored) == 5


def test_closing_finishes_what_is_queued(on_store):
    async def work(store):
        return [asyncio.create_task(store.write(add(str(n)))) for n in range(50)] and await asyncio.sleep(0)

    on_store(work)
    assert len(on_store(lambda store: store.read(names))) == 50


def test_text_of_every_kind_is_kept(on_store):
    texts = ["", " ", "'; drop table projects; --", "é漢🧵", "\u202e\x01\x7f\n", "%s :name ? $1", "x" * 1_000_000]

    async def work(store):
        project = await projects.create(store, "mine", 1)
        for number, text in enumerate(texts):
            await projects.create_key(store, project, text, number)
        return [key.name for key in await projects.list_keys(store)]

    assert on_store(work) == texts


def test_migrating_twice_changes_nothing(on_store):
    async def work(store):
        return await store.migrate(), await store.read(migrate.version)

    assert on_store(work) == ([], migrate.LATEST)


def test_a_newer_database_is_declined_and_left_alone(on_store):
    async def work(store):
        newer = migrate.LATEST + 1
        await store.write(
            lambda tx: tx.run(migrate.sql.insert_migration, version=newer, name="future", compatible_from=newer)
        )
        with pytest.raises(migrate.CommandError, match="made by a newer Threadkeep") as caught:
            await store.read(migrate.version)
        assert "nothing was changed" in caught.value.hint

    on_store(work)


def test_a_newer_database_that_stayed_compatible_is_used(on_store):
    async def work(store):
        newer = migrate.LATEST + 1
        await store.write(
            lambda tx: tx.run(migrate.sql.insert_migration, version=newer, name="future", compatible_from=1)
        )
        await store.read(migrate.require_latest)
        return await store.write(add("a"))

    assert on_store(work) == 1


def test_keys_are_found_by_hash_until_they_are_revoked(on_store):
    async def work(store):
        project = await projects.create(store, "mine", 1)
        key_id, secret = await projects.create_key(store, project, "laptop", 1)
        first = await projects.usable_keys(store)
        assert first.of_hash == {projects.hash_of(secret): (project.project_id, key_id)}
        assert await projects.usable_keys(store, first) is first
        await projects.revoke_key(store, key_id, 2)
        second = await projects.usable_keys(store, first)
        assert second.of_hash == {}
        assert second.any_ever
        assert secret not in str(await projects.list_keys(store))

    on_store(work)
