"""SQLite in WAL mode, embedded: one writer that commits in groups, reads on the event loop.

Units of work run on the event loop, a group of them in one transaction, each in a savepoint; a helper OS thread then
waits for the disk in COMMIT (`synchronous=full`), and the callers continue. While one group is being synced the next
one queues up, so under load many writes share one sync. Readers see what is committed, never what is not yet on disk.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import apsw

from threadkeep.errors import OverloadedError, StartupError, StorageUnavailableError
from threadkeep.store import backups, files, migrate
from threadkeep.store.checkpoints import Checkpointer
from threadkeep.store.interface import Row, Transaction
from threadkeep.store.queries import Query

log = logging.getLogger(__name__)
T = TypeVar("T")
Unit = Callable[[Transaction], Any]
# What a unit returned, or the exception that its caller gets.
Outcome = tuple[Any, Exception | None]

GROUP_UNITS_MAX = 128
MMAP_BYTES = 64 * 1024**3
STATEMENTS_CACHED = 256
BUSY_TIMEOUT_MS = 10_000
# A read that takes longer than this on the event loop is stopped and run again in a pool of OS threads.
READ_ON_LOOP_S = 0.005
STEPS_BETWEEN_CLOCK_LOOKS = 2000
LONG_READ_THREADS = 2

# What a failing disk, a full one, a read-only one or another process's lock looks like.
STORAGE_ERRORS = (
    apsw.FullError,
    apsw.IOError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.ProtocolError,
)


class SqliteTransaction:
    """`Transaction` on an apsw connection."""

    __slots__ = ("_connection", "_execute")

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute

    def one(self, query: Query, **parameters: Any) -> Row | None:
        rows = self._execute(query.sqlite, parameters).fetchall()
        return rows[0] if rows else None

    def all(self, query: Query, **parameters: Any) -> list[Row]:
        return self._execute(query.sqlite, parameters).fetchall()

    def run(self, query: Query, **parameters: Any) -> int:
        self._execute(query.sqlite, parameters)
        return self._connection.changes()

    def run_many(self, query: Query, rows: Iterable[Mapping[str, Any]]) -> None:
        self._connection.executemany(query.sqlite, rows)


class SqliteStore:
    """`Store` on one SQLite file. With `serving`, this process alone may serve the file."""

    def __init__(self, path: Path, *, serving: bool = False, write_queue_max: int = 4096) -> None:
        self.path = path
        self._serving = serving
        self._queue_max = write_queue_max
        self._queue: deque[tuple[Unit, asyncio.Future[Any]]] = deque()
        self._queued = asyncio.Event()
        self._closing = False

    async def open(self) -> None:
        files.make_private(self.path)
        self._lock = files.ServingLock(self.path) if self._serving else None
        try:
            self._writer = self._connect()
            self._reader = self._connect(read_only=True)
            # A command beside a server leaves the write-ahead log to that server.
            self._checkpointer = Checkpointer(self._connect()) if self._serving else None
        except apsw.NotADBError:
            raise StartupError(f"{self.path} is not a SQLite database.") from None
        except STORAGE_ERRORS as error:
            raise StartupError(f"Cannot open the database {self.path}: {error}.") from None
        self._log_pages = 0
        self._writer.set_wal_hook(self._after_commit)
        self._read_until = 0.0
        self._reader.set_progress_handler(self._read_is_overdue, STEPS_BETWEEN_CLOCK_LOOKS)
        self._transaction = SqliteTransaction(self._writer)
        self._snapshot = SqliteTransaction(self._reader)
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._long_readers = _LongReaders(lambda: self._connect(read_only=True))
        self._writing = asyncio.create_task(self._write_groups())

    async def close(self) -> None:
        self._closing = True
        self._queued.set()
        await self._writing
        self._long_readers.close()
        self._helper.shutdown()
        self._reader.close()
        if self._checkpointer:
            await self._checkpointer.close()
        self._writer.close()
        if self._lock:
            self._lock.release()

    async def read(self, unit: Callable[[Transaction], T]) -> T:
        self._read_until = time.monotonic() + READ_ON_LOOP_S
        try:
            return _on_snapshot(self._reader, self._snapshot, unit)
        except apsw.InterruptError:
            return await self._long_readers.run(unit)
        except STORAGE_ERRORS as error:
            raise _unavailable(error) from error

    async def write(self, unit: Callable[[Transaction], T]) -> T:
        if len(self._queue) >= self._queue_max:
            raise OverloadedError("The server is overloaded: too many writes are waiting. Try again shortly.")
        if self._closing:
            raise StorageUnavailableError("The server is stopping.")
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append((unit, waiter))
        self._queued.set()
        return await waiter

    async def migrate(self) -> list[str]:
        return await self.write(migrate.apply)

    async def checkpoint(self) -> None:
        if self._checkpointer:
            await self._checkpointer.truncate()

    async def backup(self, destination: str) -> None:
        await asyncio.to_thread(backups.copy, self.path, Path(destination))

    def _connect(self, *, read_only: bool = False) -> apsw.Connection:
        connection = apsw.Connection(str(self.path), statementcachesize=STATEMENTS_CACHED)
        # First of all: the next pragmas may meet another process's lock.
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("secure_delete", True)
        connection.pragma("mmap_size", MMAP_BYTES)
        connection.pragma("query_only", read_only)
        connection.wal_autocheckpoint(0)
        return connection

    # Reading

    def _read_is_overdue(self) -> bool:
        return time.monotonic() > self._read_until

    # Writing

    async def _write_groups(self) -> None:
        while not self._closing or self._queue:
            await self._queued.wait()
            self._queued.clear()
            while self._queue:
                group = [self._queue.popleft() for _ in range(min(len(self._queue), GROUP_UNITS_MAX))]
                await self._write_group(group)

    async def _write_group(self, group: list[tuple[Unit, asyncio.Future[Any]]]) -> None:
        units = [unit for unit, _ in group]
        try:
            outcomes = await self._run_together(units)
        except STORAGE_ERRORS:
            # The group is undone as a whole. One unit may be to blame (a full disk refuses the large, not the small):
            # each is run again alone.
            outcomes = [await self._run_alone(unit) for unit in units]
        except Exception as fault:  # noqa: BLE001 - a fault of ours must not leave callers waiting for ever
            outcomes = [(None, fault)] * len(units)
        if self._checkpointer:
            self._checkpointer.committed(self._log_pages)
        for (_, waiter), (result, error) in zip(group, outcomes, strict=True):
            if waiter.done():
                continue
            if error is not None:
                waiter.set_exception(error)
            else:
                waiter.set_result(result)

    def _run_in_savepoint(self, unit: Unit) -> Outcome:
        execute = self._writer.execute
        execute("savepoint unit")
        try:
            result = unit(self._transaction)
        except STORAGE_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to the caller of this unit, not to the group
            execute("rollback to unit")
            execute("release unit")
            return None, error
        execute("release unit")
        return result, None

    async def _run_alone(self, unit: Unit) -> Outcome:
        try:
            return (await self._run_together([unit]))[0]
        except STORAGE_ERRORS as error:
            return None, _unavailable(error)

    async def _run_together(self, units: list[Unit]) -> list[Outcome]:
        """One transaction, on disk when this returns. After a storage error nothing of it remains."""
        try:
            await self._begin()
        except apsw.BusyError as error:
            # Waiting as long again for each unit would help nobody.
            return [(None, _unavailable(error))] * len(units)
        try:
            outcomes = [self._run_in_savepoint(unit) for unit in units]
            await self._in_helper(self._commit)
        except Exception:
            # SQLite has already rolled back by itself when the disk is full.
            if self._writer.in_transaction:
                self._writer.execute("rollback")
            raise
        return outcomes

    async def _begin(self) -> None:
        self._writer.set_busy_timeout(0)
        try:
            self._writer.execute("begin immediate")
        except apsw.BusyError:
            # Another process (a command, a checkpoint) is writing: wait for it, but not on the event loop.
            self._writer.set_busy_timeout(BUSY_TIMEOUT_MS)
            await self._in_helper(lambda: self._writer.execute("begin immediate"))

    def _commit(self) -> None:
        self._writer.execute("commit")
        if self._checkpointer and self._checkpointer.rest_is_due:
            self._checkpointer.copy_rest()

    def _after_commit(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    async def _in_helper(self, step: Callable[[], Any]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._helper, step)


class _LongReaders:
    """Runs the reads that would hold up the event loop; each OS thread has a connection of its own."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect = connect
        self._connections: list[apsw.Connection] = []
        self._own = threading.local()
        self._executor = ThreadPoolExecutor(LONG_READ_THREADS, thread_name_prefix="read")

    async def run(self, unit: Callable[[Transaction], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, unit)

    def close(self) -> None:
        self._executor.shutdown()
        for connection in self._connections:
            connection.close()

    def _run(self, unit: Callable[[Transaction], T]) -> T:
        try:
            if not hasattr(self._own, "connection"):
                self._own.connection = self._connect()
                self._connections.append(self._own.connection)
            return _on_snapshot(self._own.connection, SqliteTransaction(self._own.connection), unit)
        except STORAGE_ERRORS as error:
            raise _unavailable(error) from error


def _on_snapshot(connection: apsw.Connection, transaction: Transaction, unit: Callable[[Transaction], T]) -> T:
    connection.execute("begin")
    try:
        return unit(transaction)
    finally:
        connection.execute("rollback")


def _unavailable(error: Exception) -> StorageUnavailableError:
    log.error("storage: %s: %s", type(error).__name__, error)
    match error:
        case apsw.FullError():
            why = "its disk is full"
        case apsw.ReadOnlyError():
            why = "its disk is read-only"
        case _:
            why = "its database does not answer as it should"
    return StorageUnavailableError(f"The server cannot store or read data now: {why}. Nothing was changed.")
