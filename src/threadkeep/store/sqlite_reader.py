"""Reading SQLite: queries on a connection, and reads that stop when they take too long."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import apsw

from threadkeep.errors import OverloadedError, StorageUnavailableError
from threadkeep.store.interface import Change, Row, Transaction
from threadkeep.store.queries import Query

log = logging.getLogger(__name__)
T = TypeVar("T")

# How far a read may go is counted in steps of SQLite's machine (some 20 ns each), not in time: a read that only had to
# wait for the processor is not a long one.
STEPS_BETWEEN_LOOKS = 2000
LONG_READ_THREADS = 2
LONG_READ_STEPS = 2_000_000_000
# Those that run and those that wait for one of the OS threads.
LONG_READS_MAX = 256

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

    __slots__ = ("_connection", "_cursor", "_execute")

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        # One cursor for all: each result is fetched whole before the next query, and making one costs a microsecond.
        self._cursor = connection.cursor()
        self._execute = self._cursor.execute

    def one(self, query: Query, **parameters: Any) -> Row | None:
        return self.first(query, parameters)

    def first(self, query: Query, parameters: Mapping[str, Any]) -> Row | None:
        """`one`, for parameters that are a mapping already."""
        rows: list[Row] = self._execute(query.sqlite, parameters).fetchall()
        return rows[0] if rows else None

    def all(self, query: Query, **parameters: Any) -> list[Row]:
        return self._execute(query.sqlite, parameters).fetchall()

    def run(self, query: Query, **parameters: Any) -> int:
        self._execute(query.sqlite, parameters)
        return self._connection.changes()

    def run_all(self, changes: Sequence[Change]) -> int:
        for query, parameters in changes:
            if query.sqlite:
                self._execute(query.sqlite, parameters)
        return self._connection.changes()

    def run_many(self, query: Query, rows: Sequence[Mapping[str, Any]]) -> None:
        if query.sqlite:
            self._cursor.executemany(query.sqlite, rows)

    def control(self, statement: str) -> None:
        """Runs a statement of the transaction itself, such as `begin`."""
        self._execute(statement)


class Reader:
    """Runs units on snapshots of one connection; `apsw.InterruptError` stops a unit that goes too far."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._transaction = SqliteTransaction(connection)
        self._looks_left = math.inf
        self._is_stopped = False
        connection.set_progress_handler(self._has_gone_too_far, STEPS_BETWEEN_LOOKS)

    def run(self, unit: Callable[[Transaction], T], steps_max: int) -> T:
        """The result of `unit`, if it takes no more than about `steps_max`."""
        control = self._transaction.control
        control("begin")
        self._looks_left = steps_max / STEPS_BETWEEN_LOOKS
        try:
            return unit(self._transaction)
        finally:
            # SQLite asks the handler in any statement; this one must not be stopped.
            self._looks_left = math.inf
            control("rollback")

    def stop(self) -> None:
        """Stops the unit that is running and all that follow, from another OS thread."""
        self._is_stopped = True

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def _has_gone_too_far(self) -> bool:
        self._looks_left -= 1
        return self._looks_left < 0 or (self._is_stopped and self._looks_left < math.inf)


class LoopReader(Reader):
    """Reads on the event loop; what is read in one turn of it shares a snapshot, and so the price of the locks."""

    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__(connection)
        self._is_open = False

    def run(self, unit: Callable[[Transaction], T], steps_max: int) -> T:
        self._open()
        self._looks_left = steps_max / STEPS_BETWEEN_LOOKS
        try:
            return unit(self._transaction)
        finally:
            self._looks_left = math.inf

    def one(self, query: Query, parameters: Mapping[str, Any]) -> Row | None:
        """The first row of a query that finds it by a key."""
        self._open()
        return self._transaction.first(query, parameters)

    def renew(self) -> None:
        """Ends the snapshot: the next read sees what is committed now."""
        if self._is_open:
            self._is_open = False
            # After some errors SQLite has ended it already.
            if self._connection.in_transaction:
                self._transaction.control("rollback")

    def close(self) -> None:
        self.renew()
        super().close()

    def _open(self) -> None:
        if not self._is_open:
            self._transaction.control("begin")
            self._is_open = True
            asyncio.get_running_loop().call_soon(self.renew)


class LongReaders:
    """Runs the reads that would hold up the event loop; each OS thread has a reader of its own."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect = connect
        self._readers: list[Reader] = []
        self._reads = 0
        self._is_stopping = False
        self._own = threading.local()
        self._executor = ThreadPoolExecutor(LONG_READ_THREADS, thread_name_prefix="read")

    async def run(self, unit: Callable[[Transaction], T]) -> T:
        """The result of `unit`.

        Raises `OverloadedError` when too many wait, `StorageUnavailableError` when it takes too long even here.
        """
        if self._reads >= LONG_READS_MAX:
            raise OverloadedError("too many long reads are waiting")
        self._reads += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, unit)
        finally:
            self._reads -= 1

    async def close(self) -> None:
        """Stops what is running, and what waits when its turn comes."""
        self._is_stopping = True
        for reader in self._readers:
            reader.stop()
        await asyncio.to_thread(self._executor.shutdown)
        for reader in self._readers:
            reader.close()

    def _run(self, unit: Callable[[Transaction], T]) -> T:
        try:
            if not hasattr(self._own, "reader"):
                self._own.reader = Reader(self._connect())
                self._readers.append(self._own.reader)
            reader: Reader = self._own.reader
            if self._is_stopping:
                raise StorageUnavailableError("The server is stopping.")
            return reader.run(unit, LONG_READ_STEPS)
        except apsw.InterruptError:
            if self._is_stopping:
                raise StorageUnavailableError("The server is stopping.") from None
            log.warning("storage: a read was stopped, it took too long")
            raise StorageUnavailableError("Reading took too long.") from None
        except STORAGE_ERRORS as error:
            raise unavailable(error) from error


def unavailable(error: Exception) -> StorageUnavailableError:
    """What a client is told of a storage error; the log has the rest."""
    log.error("storage: %s: %s", type(error).__name__, error)
    match error:
        case apsw.FullError():
            why = "its disk is full"
        case apsw.ReadOnlyError():
            why = "its disk is read-only"
        case _:
            why = "its database does not answer as it should"
    return StorageUnavailableError(f"The server cannot store or read data now: {why}. Nothing was changed.")
