"""What is particular to PostgreSQL: many processes on one database, conflicts, lost connections, the keys' shape."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path

import asyncpg
import openai
import pytest
from tests import banner

from threadkeep import projects, search_index, testing, threads
from threadkeep.context import outside_a_server
from threadkeep.errors import CommandError, NotFoundError, OutcomeUnknownError, OverloadedError, StorageUnavailableError
from threadkeep.search_index import Indexer
from threadkeep.settings import Settings
from threadkeep.store import create_store, migrate, queries
from threadkeep.store import postgres as postgres_store
from threadkeep.store.queries import Query
from threadkeep.threads import ThreadCreateParams

sql = queries.load("projects")
PAGE = Path(__file__).parents[2] / "docs/how-to/use-postgresql.md"
UNIQUE_KEYS = """
    select t.relname, i.relname, a.attname from pg_index x
    join pg_class t on t.oid = x.indrelid join pg_class i on i.oid = x.indexrelid
    join pg_attribute a on a.attrelid = t.oid and a.attnum = x.indkey[0]
    where x.indisunique and t.relname = any($1)
"""
TABLES = "select table_name from information_schema.tables where table_schema = current_schema()"
THREAD_IDS = """
    select table_name, data_type, collation_name, is_nullable from information_schema.columns
    where table_schema = current_schema() and column_name = 'thread_id'
"""

DATABASE = Query("database", "", "select current_database()")
END_ALL = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = $1"


@pytest.fixture
def url(postgres):
    return postgres()


def with_stores(url, work, count=1):
    """Runs `work(*stores)`, each store as another process would have it."""

    async def main():
        async with AsyncExitStack() as stack:
            stores = [create_store(Settings(database=url)) for _ in range(count)]
            for store in stores:
                await store.open()
                stack.push_async_callback(store.close)
            await asyncio.gather(*(store.migrate() for store in stores))
            return await work(*stores)

    return asyncio.run(main())


def add(number):
    return lambda tx: tx.run(sql.insert_project, project_id=f"{number:04}", name=f"{number:04}", created_at=1)


def ask_about_schema(url, question, *arguments):
    """The rows that PostgreSQL answers about a migrated database."""

    async def work(_store):
        connection = await asyncpg.connect(url)
        rows = await connection.fetch(question, *arguments)
        await connection.close()
        return rows

    return with_stores(url, work)


def test_every_unique_key_of_the_thread_family_begins_with_thread_id(url):
    keys = ask_about_schema(url, UNIQUE_KEYS, list(migrate.THREAD_FAMILY))
    assert {table for table, _, _ in keys} >= {"threads", "messages", "deleted_threads"}
    assert {column for _, _, column in keys} == {"thread_id"}


def test_every_table_belongs_to_the_thread_family_or_is_shared(url):
    tables = [table for [table] in ask_about_schema(url, TABLES)]
    assert sorted(tables) == sorted([*migrate.THREAD_FAMILY, *migrate.SHARED_TABLES])


def test_the_tables_of_the_thread_family_can_be_kept_together_by_thread_id(url):
    columns = ask_about_schema(url, THREAD_IDS)
    assert {table for table, *_ in columns} == set(migrate.THREAD_FAMILY)
    assert {tuple(rest) for _, *rest in columns} == {("text", "C", "NO")}


def test_nodes_that_start_together_migrate_once(url):
    async def work(*stores):
        return await stores[0].read(lambda tx: tx.all(migrate.sql.list_migrations))

    assert len(with_stores(url, work, count=8)) == len(migrate.MIGRATIONS)


def run_sql(url, statements):
    """Does something to the database without Threadkeep."""

    async def main():
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statements)
        finally:
            await connection.close()

    asyncio.run(main())


def test_views_of_extensions_do_not_make_a_database_that_of_others(url):
    run_sql(url, "create view of_an_extension as select 1")
    assert with_stores(url, lambda store: store.read(migrate.version)) == migrate.LATEST


@pytest.mark.parametrize("name", ["of_others", "migrations"])
def test_a_database_with_other_tables_is_refused_and_left_alone(url, name):
    run_sql(url, f"create table {name} (n int)")
    with pytest.raises(CommandError, match="holds other tables"):
        with_stores(url, None)
    run_sql(url, f"drop table {name}")
    assert with_stores(url, lambda store: store.read(migrate.version)) == migrate.LATEST


def test_units_that_deadlock_are_tried_again_until_both_succeed(url):
    touch = Query("touch", "", "update projects set created_at = created_at + 1 where name = :name")

    def both(first, second):
        def unit(tx):
            tx.run(touch, name=first)
            tx.run(touch, name=second)

        return unit

    async def work(one, other):
        await asyncio.gather(one.write(add(1)), one.write(add(2)))
        units = [
            store.write(both(*names))
            for store, names in ((one, ("0001", "0002")), (other, ("0002", "0001")))
            for _ in range(2)
        ]
        await asyncio.gather(*units)
        return await one.read(lambda tx: [row[2] for row in tx.all(sql.list_projects)])

    assert with_stores(url, work, count=2) == [5, 5]


def test_a_lost_connection_is_replaced_and_the_unit_run_again(url):
    end_others = Query(
        "end", "", "select count(pg_terminate_backend(pid)) from pg_stat_activity where pid <> pg_backend_pid() "
        "and datname = current_database() and backend_type = 'client backend'"
    )  # fmt: skip

    async def work(store, killer):
        await asyncio.gather(*(store.write(add(n)) for n in range(20)))
        await killer.read(lambda tx: tx.one(end_others))
        await asyncio.gather(*(store.write(add(n)) for n in range(20, 40)))
        return await store.read(lambda tx: len(tx.all(sql.list_projects)))

    assert with_stores(url, work, count=2) == 40


def test_the_log_is_told_once_that_the_database_is_away_and_once_that_it_is_back(url, caplog):
    away = True

    def unit(_tx):
        if away:
            raise ConnectionResetError("hung up")

    async def work(store):
        nonlocal away
        for _ in range(2):
            with pytest.raises(StorageUnavailableError):
                await store.read(unit)
        away = False
        await store.read(unit)
        await store.read(unit)

    caplog.set_level("INFO")
    with_stores(url, work)
    gone, back = [record.getMessage() for record in caplog.records]
    assert gone == "storage: PostgreSQL is away, until it is back the answer is 503: ConnectionResetError: hung up"
    assert back.startswith("storage: PostgreSQL is back after ")


def test_a_unit_that_never_succeeds_ends_in_a_503(url):
    runs = []

    def unit(_tx):
        runs.append(1)
        raise asyncpg.SerializationError("always in the way")

    async def work(store):
        with pytest.raises(StorageUnavailableError) as caught:
            await store.write(unit)
        return caught.value.status, caught.value.code

    assert with_stores(url, work) == (503, "storage_unavailable")
    assert len(runs) == postgres_store.ATTEMPTS


@pytest.fixture(params=["limits of the session", "limits of each transaction"])
def hurried(request, url, monkeypatch):
    """A store, not yet open, that waits 100 ms for a lock and 200 ms for a statement; as it is and behind a pooler."""
    monkeypatch.setitem(postgres_store.LIMITS, "lock_timeout", "100ms")
    monkeypatch.setitem(postgres_store.LIMITS, "statement_timeout", "200ms")
    cached = 0 if "transaction" in request.param else 100
    return create_store(Settings(database=url, postgres_statements_cached=cached))


async def refusal_of(store, unit):
    """What a caller is told; the store is opened before, and must be of use afterwards."""
    await store.open()
    await store.migrate()
    with pytest.raises(StorageUnavailableError) as caught:
        await store.write(unit)
    await store.close()
    return caught.value.status, caught.value.code


def test_a_lock_that_another_does_not_give_back_ends_in_a_503(url, hurried):
    async def work(store):
        await store.write(add(1))
        other = await asyncpg.connect(url)
        async with other.transaction():
            await other.execute("select 1 from projects for update")
            refused = await refusal_of(hurried, lambda tx: tx.run(rename, name="x"))
        await other.close()
        return refused

    rename = Query("rename_projects", "", "update projects set name = :name")
    assert with_stores(url, work) == (503, "storage_unavailable")


def test_a_process_that_freezes_in_a_transaction_holds_nobody_up_and_goes_on_when_it_wakes(url):
    rename = Query("rename_projects", "", "update projects set name = name || :more")
    names = Query("names", "", "select name from projects")

    async def work(frozen, other):
        await other.write(add(1))
        has_lock, wakes = asyncio.Event(), asyncio.Event()

        def freeze(tx):
            tx.run(rename, more=" frozen")
            has_lock.set()
            postgres_store._wait(wakes.wait())
            tx.run(rename, more=" awake")

        writing = asyncio.create_task(frozen.write(freeze))
        await has_lock.wait()
        await other.write(lambda tx: tx.run(rename, more=" other"))
        wakes.set()
        await writing
        return await other.read(lambda tx: tx.all(names))

    [(name,)] = with_stores(url, work, count=2)
    assert name.endswith(" other frozen awake")
    assert name.count(" frozen") == 1


def test_a_statement_that_takes_too_long_ends_in_a_503(hurried):
    assert asyncio.run(refusal_of(hurried, lambda tx: tx.one(SLEEP))) == (503, "storage_unavailable")


SLEEP = Query("sleep", "", "select pg_sleep(60)")


def test_a_read_that_is_not_answered_in_time_is_not_asked_again(url, monkeypatch, caplog):
    async def work(store):
        with pytest.raises(StorageUnavailableError):
            await store.one(SLEEP)

    monkeypatch.setattr(postgres_store, "ANSWER_TIMEOUT_S", 0.1)
    with_stores(url, work)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("is_patient", [True, False])
def test_a_write_that_is_not_answered_in_time_may_have_happened(url, monkeypatch, is_patient):
    change = Query("slowly", "", "update projects set created_at = 2 where pg_sleep(60) is not null")

    async def work(store):
        await store.write(add(1))
        with pytest.raises(OutcomeUnknownError):
            await store.run_all([(change, {})], is_patient=is_patient)

    monkeypatch.setattr(postgres_store, "ANSWER_TIMEOUT_S", 0.1)
    with_stores(url, work)


@contextmanager
def held(store):
    """Keeps the only connection of a store."""
    wakes = asyncio.Event()
    holding = asyncio.create_task(store.write(lambda _tx: postgres_store._wait(wakes.wait())))
    try:
        yield holding
    finally:
        wakes.set()


async def with_one_connection(url, work):
    store = create_store(Settings(database=url, postgres_connections_max=1))
    await store.open()
    await store.migrate()
    try:
        with held(store) as holding:
            await work(store)
        await holding
    finally:
        await store.close()


def test_a_read_that_gets_no_connection_waits_for_one_once(url, monkeypatch, caplog):
    async def work(store):
        await asyncio.sleep(0)
        monkeypatch.setattr(postgres_store, "CONNECT_TIMEOUT_S", 0.5)
        with pytest.raises(StorageUnavailableError):
            await store.read(migrate.version)

    asyncio.run(with_one_connection(url, work))
    assert len(caplog.records) == 1


def test_an_idle_search_index_asks_for_nothing_but_its_queue(url):
    asked = []

    async def work(store):
        indexer = Indexer(store)
        await indexer.catch_up()
        async with store._pool.acquire() as connection:
            connection.add_query_logger(lambda record: asked.append(record.query))
        await indexer.catch_up()

    with_stores(url, work)
    assert [text for text in asked if text.startswith("select")] == [search_index.sql.find_queued.postgres]


def test_only_so_many_reads_wait(url, monkeypatch):
    reading = []

    async def work(store):
        reading.extend(asyncio.create_task(store.read(migrate.version)) for _ in range(4))
        with pytest.raises(OverloadedError):
            await reading[-1]

    async def main():
        await with_one_connection(url, work)
        return await asyncio.gather(*reading[:3])

    monkeypatch.setattr(postgres_store, "READS_MAX", 3)
    assert asyncio.run(main()) == [migrate.LATEST] * 3


def test_an_error_of_the_unit_is_not_tried_again(url):
    runs = []

    def unit(tx):
        runs.append(1)
        add(1)(tx)
        raise NotFoundError.of("thread", "thread_x")

    async def work(store):
        with pytest.raises(NotFoundError):
            await store.write(unit)
        return await store.read(lambda tx: tx.all(sql.list_projects))

    assert with_stores(url, work) == []
    assert len(runs) == 1


def test_a_thread_under_the_id_of_one_that_another_process_just_removed_is_left_alone(url):
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"

    async def work(store):
        ctx = outside_a_server(store, Settings(), "proj_a")
        await threads.create(ctx, ThreadCreateParams(id="thread_again", metadata={"n": "1"}))
        await threads.delete(ctx, "thread_again")
        other = await asyncpg.connect(url)
        async with other.transaction():
            # What the other process does: it removes the thread, and a client makes it anew.
            await other.execute("delete from threads")
            sweeping = asyncio.create_task(threads.sweep(store, ctx.now()))
            while not await other.fetchval(waiting):
                pass
            await other.execute("insert into threads values ('thread_again', 'proj_a', 1, null, 0, 1, '{}')")
        await other.close()
        await sweeping
        return bytes(await threads.retrieve(ctx, "thread_again"))

    assert with_stores(url, work) == b"{}"


def test_a_database_that_is_not_there_is_said_plainly():
    with pytest.raises(CommandError, match="Cannot use the PostgreSQL database") as caught:
        with_stores("postgresql://nobody@127.0.0.1:1/nothing", None)
    assert caught.value.hint == "Check --database."


def test_a_database_that_does_not_answer_is_said_plainly(monkeypatch):
    monkeypatch.setattr(postgres_store, "CONNECT_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(CommandError, match="does not answer"):
        with_stores(f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/nothing", None)


@pytest.mark.parametrize("how", ["alter database {} rename to {}_away", "drop database {}"])
def test_a_database_that_lets_nobody_in_any_more_ends_in_a_503(postgres, how):
    url, other = postgres(), postgres()

    async def work(store):
        operator = await asyncpg.connect(other)
        name = await store.read(lambda tx: tx.one(DATABASE)[0])
        await operator.execute(f"alter database {name} allow_connections false")
        # Nobody is left in it, not even between two sessions of a pooler.
        while await operator.fetchval(END_ALL, name):
            pass
        await operator.execute(how.format(name, name))
        await operator.close()
        with pytest.raises(StorageUnavailableError):
            await store.read(lambda tx: tx.all(sql.list_projects))

    with_stores(url, work)


def command(url, *words):
    """A command of its own process on the database."""
    return [sys.executable, "-m", "threadkeep", *words, "--database", url]


def ask(url, *words):
    """What a command prints for programs."""
    return json.loads(subprocess.run([*command(url, *words), "--json"], capture_output=True, check=True).stdout)


@contextmanager
def serving(url):
    """A server in a process of its own; gives its base URL."""
    serve = command(url, "serve", "--port", "0", "--no-request-log")
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield banner.read(process.stdout)
        finally:
            process.terminate()


class TestTwoProcesses:
    """Two server processes on one database."""

    @pytest.fixture
    def clients(self, url):
        key = ask(url, "keys", "create")["key"]
        with serving(url) as one, serving(url) as other, ExitStack() as stack:
            options = {"api_key": key, "max_retries": 0, "timeout": 60}
            yield [stack.enter_context(openai.OpenAI(base_url=base_url, **options)) for base_url in (one, other)]

    def test_what_one_writes_the_other_reads(self, clients):
        one, other = clients
        thread = one.beta.threads.create(messages=[{"role": "user", "content": "x"}])
        assert other.beta.threads.retrieve(thread.id) == thread
        other.beta.threads.messages.create(thread.id, role="user", content="y")
        texts = [m.content[0].text.value for m in one.beta.threads.messages.list(thread.id, order="asc")]
        assert texts == ["x", "y"]
        other.beta.threads.delete(thread.id)
        with pytest.raises(openai.NotFoundError):
            one.beta.threads.retrieve(thread.id)

    def test_both_soon_refuse_a_revoked_key(self, url, clients):
        for client in clients:
            client.beta.threads.create()
        [key] = ask(url, "keys", "list")
        subprocess.run(command(url, "keys", "revoke", key["key_id"]), stdout=subprocess.DEVNULL, check=True)
        revoked_at = time.monotonic()

        def create_for_a_minute(client):
            while time.monotonic() < revoked_at + 60:
                client.beta.threads.create()

        # `make bench-runs` measures the promised second.
        for client in clients:
            with pytest.raises(openai.AuthenticationError):
                create_for_a_minute(client)

    def test_messages_that_both_take_at_once_have_one_order_that_respects_time(self, clients):
        thread_id = clients[0].beta.threads.create().id
        said = []

        def say(n):
            sent_at = time.monotonic()
            create = clients[n % 2].beta.threads.messages.create
            message_id = create(thread_id, role="user", content=str(n)).id
            said.append((message_id, sent_at, time.monotonic()))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(say, range(80)))
        listed, seen_by_other = (
            [message.id for message in client.beta.threads.messages.list(thread_id, order="asc", limit=100)]
            for client in clients
        )
        assert listed == seen_by_other
        assert sorted(listed) == sorted(message_id for message_id, *_ in said)
        place = {message_id: n for n, message_id in enumerate(listed)}
        for early, _, answered_at in said:
            for late, sent_at, _ in said:
                assert answered_at > sent_at or place[early] < place[late]

    def test_64_keys_that_both_merge_at_once_all_survive(self, clients):
        threads_of_16 = [clients[0].beta.threads.create().id for _ in range(4)]

        def merge(n):
            clients[n % 2].beta.threads.update(threads_of_16[n // 16], metadata={f"key {n}": str(n)})

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(merge, range(64)))
        for start, thread_id in enumerate(threads_of_16):
            expected = {f"key {n}": str(n) for n in range(start * 16, start * 16 + 16)}
            for client in clients:
                assert client.beta.threads.retrieve(thread_id).metadata == expected


class TestARoleThatCanDoLess:
    """An owner that migrates and a role that serves, made by the statements of the page."""

    @pytest.fixture
    def urls(self, url):
        name = re.search(r"/(test_\d+)\?", url)[1]
        of_owner, of_server = self.statements(name)
        # One by one: a database is not made in a transaction with others.
        for statement in of_owner.splitlines():
            run_sql(url, statement)
        administrator, owner, server = (
            re.sub(r"//.*\?", f"//{role}@/{name}_kept?", url)
            for role in ("postgres", f"{name}_kept", f"{name}_kept_server")
        )
        with_stores(owner, lambda store: store.read(migrate.version))
        run_sql(administrator, of_server)
        return owner, server

    def statements(self, name):
        """What makes the owner and its database, and what makes the other role; under names of their own."""
        page = PAGE.read_text(encoding="utf-8").replace("\\connect threadkeep\n", "")
        blocks = re.findall(r"^```sql\n(create role .*?)^```$", page, re.MULTILINE | re.DOTALL)
        return [re.sub(r"\bthreadkeep", f"{name}_kept", block) for block in blocks]

    def test_it_can_do_all_that_a_server_does(self, urls):
        with (
            testing.serve(database=urls[1]) as server,
            openai.OpenAI(base_url=server.base_url, api_key=server.new_key("new project"), max_retries=0) as client,
        ):
            created = client.beta.threads.create(messages=[{"role": "user", "content": "x"}], metadata={"a": "b"})
            client.beta.threads.messages.create(created.id, role="user", content="y")
            client.beta.threads.update(created.id, metadata={"c": "d"})
            [listed] = client.get("/threads?metadata[a]=b&metadata[c]=d", cast_to=object)["data"]
            assert listed["id"] == created.id
            client.beta.threads.delete(created.id)
            later = created.created_at + threads.REMEMBERED_S + 60
            # The thread is removed, and then forgotten.
            for _ in range(2):
                server.run(threads.sweep(server.app.store, later))
            assert not server.run(threads.needs_sweep(server.app.store, later))
            [key] = server.run(projects.list_keys(server.app.store))
            server.run(projects.revoke_key(server.app.store, key.key_id, 1))
            server.run(server.app.authenticator.look())
            with pytest.raises(openai.AuthenticationError):
                client.beta.threads.create()

    @pytest.mark.parametrize(
        "statement", ["drop table {}", "alter table {} add n int", "truncate {}", "create table {}_2 (n int)"]
    )
    def test_it_can_change_no_table(self, urls, statement):
        for table in (*migrate.THREAD_FAMILY, *migrate.SHARED_TABLES):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                run_sql(urls[1], statement.format(table))

    def test_it_is_told_plainly_that_it_cannot_migrate(self, urls):
        with_stores(urls[1], lambda store: store.read(migrate.version))
        run_sql(urls[0], f"delete from migrations where version = {migrate.LATEST}")
        with pytest.raises(CommandError, match="This role may not make or change the tables: ") as caught:
            with_stores(urls[1], None)
        assert caught.value.hint.startswith("Run `threadkeep migrate` as their owner")

    def test_it_can_use_the_tables_of_later_versions(self, urls):
        owner, server = urls
        run_sql(owner, "create table of_a_later_version (n int)")
        run_sql(server, "insert into of_a_later_version values (1); delete from of_a_later_version")
