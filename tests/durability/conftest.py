"""Servers as processes of their own, to be killed, starved of disk space and started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import apsw
import openai
import pytest

START_TIMEOUT_S = 30
API = "  api       "


class Process:
    """`threadkeep serve` on a database file."""

    def __init__(self, database, log, *flags):
        self.database = Path(database)
        self.log = log
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                command("serve", database, "--port", "0", "--no-request-log", *flags),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.pid = self._process.pid
        address = next((line for line in self._process.stdout if line.startswith(API)), None)
        if address is None:
            self.wait()
            raise AssertionError(f"the server did not start: {log.read_text()}")
        self.base_url = address.removeprefix(API).strip()
        self.client = openai.OpenAI(base_url=self.base_url, api_key="none", max_retries=0, timeout=60)

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


def command(name, database, *arguments):
    return [sys.executable, "-m", "threadkeep", name, "--database", f"sqlite:///{database}", *map(str, arguments)]


@pytest.fixture
def run():
    """Runs another command on a database file; gives the finished process."""

    def run(name, database, *arguments):
        return subprocess.run(
            command(name, database, *arguments), capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False
        )

    return run


@pytest.fixture
def start_command():
    """Starts another command on a database file; it is killed at the end."""
    with ExitStack() as stack:

        def start(name, database, *arguments):
            process = stack.enter_context(subprocess.Popen(command(name, database, *arguments)))
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def db(tmp_path):
    """Where a database will be."""
    return tmp_path / "threadkeep.db"


@pytest.fixture
def serve(tmp_path):
    """Starts a server on a database file; whatever still runs at the end is killed."""
    with ExitStack() as stack:

        def start(database, *flags):
            process = Process(database, tmp_path / "server.log", *flags)
            stack.callback(process.close)
            return process

        yield start


@pytest.fixture
def eventually():
    """Waits until something becomes true that nobody announces."""

    def wait(is_true):
        deadline = time.monotonic() + 15
        while not is_true():
            assert time.monotonic() < deadline, "it did not become true in time"
            time.sleep(0.02)

    return wait


@pytest.fixture
def assert_sound():
    """Asserts what SQLite can say about a file, and that what threads remember of deleted messages and the filters are right."""

    def check(db):
        connection = apsw.Connection(str(db))
        try:
            assert connection.pragma("integrity_check") == "ok"
            assert not connection.execute(
                "select thread_id from messages m where body is null and seq >"
                " (select deleted_seq from threads t where t.thread_id = m.thread_id)"
            ).fetchall()
            filters = set(connection.execute("select thread_id, key, value from thread_metadata"))
            assert filters == set(
                connection.execute("select thread_id, key, value from threads, json_each(body, '$.metadata')")
            )
        finally:
            connection.close()

    return check


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
