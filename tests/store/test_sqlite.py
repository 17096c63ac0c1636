"""What is particular to the embedded database: its files, who may open them, and that deleted text is gone."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import apsw
import pytest
from tests import another_program

from threadkeep.errors import CommandError, OverloadedError, StorageUnavailableError
from threadkeep.settings import Settings
from threadkeep.store import backups, create_store, files, migrate, queries, sqlite_reader
from threadkeep.store.checkpoints import PAGES_BEFORE_CHECKPOINT
from threadkeep.store.queries import Query

sql = queries.load("projects")
SCHEMA = Path(__file__).parent / "schema.sqlite.sql"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "test.db"


def with_store(path, work, *, serving=True, writes_much=False):
    async def main():
        store = create_store(Settings(database=f"sqlite:///{path}"), serving=serving, writes_much=writes_much)
        await store.open()
        try:
            await store.migrate()
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(main())


async def nothing(_store):
    pass


def test_folder_and_files_are_private(path):
    async def work(_store):
        return {file.name: file.stat().st_mode & 0o777 for file in [path.parent, *path.parent.iterdir()]}

    os.umask(0o022)
    modes = with_store(path, work)
    assert modes.pop("data") == 0o700
    assert {"test.db", "test.db-wal", "test.db-shm", "test.db.lock"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_all_migrations_give_the_schema_that_is_written_down(path):
    async def work(_store):
        connection = another_program.opened(path)
        return [row[0] for row in connection.execute("select sql from sqlite_master where sql is not null order by 1")]

    assert ";\n\n".join(with_store(path, work)) + ";\n" == SCHEMA.read_text()


def test_one_database_is_served_once(path):
    async def work(_store):
        with pytest.raises(CommandError, match=f"already being served by process {os.getpid()}"):
            await create_store(Settings(database=f"sqlite:///{path}"), serving=True).open()

    with_store(path, work)
    with_store(path, nothing)


def test_a_command_writes_beside_the_server(path):
    async def work(store):
        beside = create_store(Settings(database=f"sqlite:///{path}"))
        await beside.open()
        writes = [
            (beside if n % 2 else store).write(
                lambda tx, n=n: tx.run(sql.insert_project, project_id=str(n), name=str(n), created_at=n)
            )
            for n in range(100)
        ]
        await asyncio.gather(*writes)
        await beside.close()
        return await store.read(lambda tx: len(tx.all(sql.list_projects)))

    assert with_store(path, work) == 100


def test_deleted_text_is_gone_from_every_file_after_a_checkpoint(path):
    secret = "a secret that must not stay " * 200
    delete = Query("delete", "delete from projects where name = :name", "")

    def on_disk():
        # The log before the database: what a checkpoint moves meanwhile is seen in one of them.
        files = sorted(path.parent.iterdir(), reverse=True)
        return any(b"must not stay" in file.read_bytes() for file in files)

    async def work(store):
        await store.write(lambda tx: tx.run(sql.insert_project, project_id="x", name=secret, created_at=1))
        assert on_disk()
        await store.write(lambda tx: tx.run(delete, name=secret))
        await store.checkpoint()
        assert not on_disk()

    with_store(path, work)


@pytest.mark.parametrize("who", [{"serving": True}, {"serving": False, "writes_much": True}])
def test_the_log_does_not_grow_without_bound_under_constant_writes(path, who):
    async def work(store):
        async def write_on(start):
            for n in range(start, start + 250):
                name = f"{n} " + "x" * 8000
                await store.write(
                    lambda tx, n=n, name=name: tx.run(sql.insert_project, project_id=str(n), name=name, created_at=n)
                )

        await asyncio.gather(*(write_on(start * 1000) for start in range(16)))
        return path.with_name("test.db-wal").stat().st_size, path.stat().st_size

    log_bytes, file_bytes = with_store(path, work, **who)
    assert file_bytes > 32_000_000
    assert log_bytes < 3 * PAGES_BEFORE_CHECKPOINT * 4096


def test_a_database_that_was_left_half_written_is_repaired_and_opened(path):
    with_store(path, nothing)
    child = os.fork()
    if child == 0:
        connection = another_program.opened(path)
        connection.pragma("journal_mode", "delete")
        # So that it has to write before it commits.
        connection.pragma("cache_size", 1)
        connection.execute("begin")
        connection.execute("insert into revisions select hex(randomblob(500)), 1 from pragma_function_list")
        os._exit(0)
    os.waitpid(child, 0)
    assert path.with_name("test.db-journal").stat().st_size

    async def work(store):
        return await store.read(lambda tx: tx.all(sql.list_projects))

    assert with_store(path, work) == []


def test_a_long_read_leaves_the_event_loop_and_still_answers(path):
    count = Query(
        "count",
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000000) select max(i) from n",
        "",
    )

    async def work(store):
        reading = asyncio.create_task(store.read(lambda tx: tx.one(count)))
        await asyncio.sleep(0)
        assert not reading.done()
        assert await store.read(lambda tx: tx.all(sql.list_projects)) == []
        return await reading

    assert with_store(path, work) == (2_000_000,)


FOR_EVER = Query("count", "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n", "")


def test_only_so_many_long_reads_wait_and_all_end_when_the_store_closes(path, monkeypatch):
    reading = []

    async def work(store):
        reading.extend(asyncio.create_task(store.read_aside(lambda tx: tx.one(FOR_EVER))) for _ in range(5))
        with pytest.raises(OverloadedError):
            await reading[-1]

    async def main():
        store = create_store(Settings(database=f"sqlite:///{path}"))
        await store.open()
        await work(store)
        await store.close()
        return await asyncio.gather(*reading[:4], return_exceptions=True)

    monkeypatch.setattr(sqlite_reader, "LONG_READS_MAX", 4)
    assert [str(error) for error in asyncio.run(main())] == ["The server is stopping."] * 4


def test_trouble_after_a_commit_does_not_end_the_writer(path, monkeypatch):
    def add(number):
        return lambda tx: tx.run(sql.insert_project, project_id=f"{number}", name=f"{number}", created_at=1)

    def fail(_pages):
        raise apsw.IOError

    async def work(store):
        with monkeypatch.context() as broken:
            broken.setattr(store._checkpointer, "committed", fail)
            await store.write(add(1))
        await store.write(add(2))
        return await store.read(lambda tx: [row[0] for row in tx.all(sql.list_projects)])

    assert with_store(path, work) == ["1", "2"]


@pytest.mark.parametrize("step", ["fsync", "link", "rename"])
def test_a_copy_that_the_disk_refuses_is_said_plainly_and_leaves_nothing(path, tmp_path, monkeypatch, step):
    def refuse(*_arguments, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with_store(path, nothing)
    backup = tmp_path / "backup.db"
    backups.copy(path, backup)
    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(CommandError, match="No space left on device"):
        backups.restore(backup, path)
    monkeypatch.undo()
    left = {entry.name for entry in path.parent.iterdir()}
    assert left <= {"test.db", "test.db-wal", "test.db-shm", "test.db.lock"}
    assert with_store(path, lambda store: store.read(migrate.version)) == migrate.LATEST


@pytest.mark.parametrize("content", ["0", "-1", "99999999999999999999", "4194305", "", "me"])
def test_a_lock_file_without_the_number_of_a_process_tells_of_none(path, content):
    path.parent.mkdir()
    path.with_name("test.db.lock").write_text(content)
    assert files.serving_process(path) is None


def test_a_lock_file_that_cannot_be_read_tells_of_no_process(path):
    path.with_name("test.db.lock").mkdir(parents=True)
    assert files.serving_process(path) is None


def test_a_full_database_refuses_the_large_unit_keeps_the_small_and_recovers(path):
    def add(number, size):
        return lambda tx: tx.run(
            sql.insert_project, project_id=f"{number}", name=f"{number} " + "x" * size, created_at=number
        )

    async def work(store):
        writer = store._writer
        writer.pragma("max_page_count", writer.pragma("page_count") + 10)
        group = [store.write(add(1, 100)), store.write(add(2, 1_000_000)), store.write(add(3, 100))]
        first, large, third = await asyncio.gather(*group, return_exceptions=True)
        assert (first, third) == (1, 1)
        assert isinstance(large, StorageUnavailableError)
        assert (large.status, large.code) == (503, "storage_unavailable")
        assert "disk is full" in large.message
        writer.pragma("max_page_count", 1_000_000)
        assert await store.write(add(2, 1_000_000)) == 1
        return await store.read(lambda tx: [row[0] for row in tx.all(sql.list_projects)])

    assert with_store(path, work) == ["1", "2", "3"]


def test_a_backup_taken_while_writing_is_whole_and_private(path, tmp_path):
    copy = tmp_path / "copy.db"

    def add(number):
        return lambda tx: tx.run(sql.insert_project, project_id=f"{number:04}", name=f"{number:04}", created_at=1)

    async def work(store):
        await asyncio.gather(*(store.write(add(n)) for n in range(200)))
        backup = asyncio.create_task(asyncio.to_thread(backups.copy, path, copy))
        written = 200
        while not backup.done():
            await store.write(add(written))
            written += 1
        await backup
        return written

    written = with_store(path, work)
    assert copy.stat().st_mode & 0o777 == 0o600

    async def read(store):
        return await store.read(lambda tx: [row[0] for row in tx.all(sql.list_projects)])

    kept = with_store(copy, read)
    assert 200 <= len(kept) <= written
    assert kept == [f"{n:04}" for n in range(len(kept))]


def test_two_commands_do_not_write_one_file_at_the_same_time(path, tmp_path):
    with_store(path, nothing)
    copy = tmp_path / "copy.db"
    with files.new_file(copy) as partial:
        with pytest.raises(CommandError, match="Another command is writing"):
            backups.copy(path, copy)
        partial.write_bytes(b"whole")
    assert copy.read_bytes() == b"whole"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["copy.db"]


@pytest.mark.parametrize("content", [b"not a database, but long enough to look at " * 100])
def test_a_file_that_is_no_database_is_refused(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(CommandError, match="is not a SQLite database"):
        with_store(path, nothing)
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_refused(path):
    path.parent.mkdir()
    another_program.opened(path).execute("create table theirs (x)")
    with pytest.raises(CommandError, match="not a Threadkeep database"):
        with_store(path, nothing)


@pytest.mark.parametrize("url", ["mysql://x", "sqlite:///", "threads.db", ""])
def test_an_unusable_database_url_is_refused_with_what_would_work(url):
    with pytest.raises(CommandError) as caught:
        create_store(Settings(database=url))
    assert "sqlite:////absolute.db" in caught.value.hint


def test_every_query_is_valid_and_uses_an_index(path):
    """No hot query may walk a whole table; a plan that says SCAN of a table does."""
    allowed = {"list_projects", "list_keys", "list_usable_keys", "find_any_key", "list_migrations"}
    # They walk as far as something is found.
    allowed |= {"find_queued", "list_queued", "find_last_seen"}
    # For metrics, when they are asked for.
    allowed |= {"count_failing_deliveries"}
    small = ("CONSTANT ROW", "VIRTUAL TABLE", "counted", "sqlite_master", "threads_deleted", "leftover", "SCAN owed")
    # Of these an index has nothing but what is looked for.
    small += ("webhooks_off",)
    walking = []

    async def work(_store):
        connection = another_program.opened(path)
        for noun in ("threads", "copies", "messages", "search", "idempotency", "projects", "webhooks", "store/migrate"):
            for query in queries.load(noun):
                if query.name == "create_migrations" or not query.sqlite:
                    continue
                plan = [row[3] for row in connection.execute(f"explain query plan {query.sqlite}", _AnyValue())]
                walks = [step for step in plan if step.startswith("SCAN") and not any(map(step.__contains__, small))]
                if walks and query.name not in allowed:
                    walking.append((query.name, walks))

    with_store(path, work)
    assert walking == []


class _AnyValue(dict):
    """Parameters of any name."""

    def __missing__(self, _name):
        return None


def test_the_schema_version_is_that_of_the_newest_migration(path):
    async def work(store):
        return await store.read(migrate.version)

    assert with_store(path, work) == migrate.LATEST == len(migrate.MIGRATIONS)
