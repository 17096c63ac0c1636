"""SQLite in WAL mode, embedded: one writer that commits in groups, reads on the event loop.

Units of work run on the event loop, a group of them in one transaction; a helper OS thread then waits for the disk in
COMMIT (`synchronous=full`), and the callers continue. While one group is being synced the next one queues up, so under
load many writes share one sync. Readers see what is committed, never what is not yet on disk.

A unit that fails before it has changed anything, as nearly all that fail do, just takes no part. When one fails later,
the group is undone and run again with each unit in a savepoint.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import apsw

from threadkeep.errors import CommandError, OverloadedError, StorageUnavailableError, ThreadkeepError
from threadkeep.metrics import GROUP_BOUNDS, Histogram
from threadkeep.store import files, migrate
from threadkeep.store.checkpoints import Checkpointer
from threadkeep.store.interface import Change, Load, Row, Transaction
from threadkeep.store.queries import Query
from threadkeep.store.sqlite_reader import STORAGE_ERRORS, LongReaders, LoopReader, SqliteTransaction, unavailable

log = logging.getLogger(__name__)
T = TypeVar("T")
GROUP_UNITS_MAX = 128
# A group takes no further units after this long on the event loop.
GROUP_S = 0.01
# How long after a group the next one may be that holds patient writes alone.
PATIENCE_S = 0.02
MMAP_BYTES = 64 * 1024**3
STATEMENTS_CACHED = 256
# What was changed is in the log, where the memory map does not reach: the writer keeps such pages in memory.
WRITER_CACHE_KIB = 32 * 1024
BUSY_TIMEOUT_MS = 10_000
# A read that goes further than this on the event loop (a few milliseconds) is stopped and run again in an OS thread.
READ_ON_LOOP_STEPS = 200_000

Unit = Callable[[Transaction], Any]
# What a unit returned, or the exception that its caller gets.
Outcome = tuple[Any, Exception | None]


class HalfDoneError(Exception):
    """A unit failed when it may have changed something already."""


class SqliteStore:
    """`Store` on one SQLite file. With `serving`, this process alone may serve the file.

    A process that does not serve leaves the write-ahead log to the one that does. One that `writes_much` sees to it
    itself: there may be no server.
    """

    def __init__(
        self, path: Path, *, serving: bool = False, writes_much: bool = False, write_queue_max: int = 4096
    ) -> None:
        self.path = path
        self._serving = serving
        self._checkpoints = serving or writes_much
        self._queue_max = write_queue_max
        self._queue: deque[tuple[Unit, asyncio.Future[Any], float]] = deque()
        self._groups = Histogram(GROUP_BOUNDS)
        self._queued = asyncio.Event()
        # When the last group was begun, and what ends the time in which patient writes wait for others.
        self._written_at = 0.0
        self._gathering: asyncio.TimerHandle | None = None
        self._closing = False
        self._log_pages = 0

    async def open(self) -> None:
        files.make_private(self.path)
        with ExitStack() as undo:
            self._connect_all(undo)
            # A killed server leaves its log behind, and deleted text may still be in it.
            if self._checkpointer:
                await self._checkpointer.truncate()
            undo.pop_all()
        self._identity = files.identity(self.path)
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._long_readers = LongReaders(lambda: self._connect(read_only=True))
        self._writing = asyncio.create_task(self._write_groups())

    def _connect_all(self, undo: ExitStack) -> None:
        try:
            _refuse_foreign(self.path)
            self._lock = files.ServingLock(self.path) if self._serving else None
            if self._lock:
                undo.callback(self._lock.release)
            self._writer = self._connect()
            undo.callback(self._writer.close)
            self._writer.set_wal_hook(self._after_commit)
            self._writer.set_busy_timeout(0)
            self._writer.pragma("cache_size", -WRITER_CACHE_KIB)
            self._transaction = SqliteTransaction(self._writer)
            self._reader = LoopReader(self._connect(read_only=True))
            undo.callback(self._reader.close)
            # A short command beside a server leaves the write-ahead log to that server.
            self._checkpointer = Checkpointer(self._connect()) if self._checkpoints else None
        except apsw.NotADBError:
            raise CommandError(f"{self.path} is not a SQLite database.") from None
        except STORAGE_ERRORS as error:
            raise CommandError(f"Cannot open the database {self.path}: {error}.") from None

    async def close(self) -> None:
        self._closing = True
        self._queued.set()
        await self._writing
        await self._long_readers.close()
        self._helper.shutdown()
        self._reader.close()
        if self._checkpointer:
            await self._checkpointer.close()
        self._writer.close()
        if self._lock:
            self._lock.release()

    async def ping(self) -> None:
        self._require_file()
        await self.read(migrate.version)

    async def one(self, query: Query, **parameters: Any) -> Row | None:
        try:
            return self._reader.one(query, parameters)
        except STORAGE_ERRORS as error:
            raise unavailable(error) from error

    async def read(self, unit: Callable[[Transaction], T]) -> T:
        try:
            return self._reader.run(unit, READ_ON_LOOP_STEPS)
        except apsw.InterruptError:
            return await self._long_readers.run(unit)
        except STORAGE_ERRORS as error:
            raise unavailable(error) from error

    async def read_aside(self, unit: Callable[[Transaction], T]) -> T:
        return await self._long_readers.run(unit)

    async def write(self, unit: Callable[[Transaction], T]) -> T:
        return await self._enqueue(unit, is_patient=False)

    def _enqueue(self, unit: Callable[[Transaction], T], *, is_patient: bool) -> asyncio.Future[T]:
        if len(self._queue) >= self._queue_max:
            raise OverloadedError("too many writes are waiting")
        if self._closing:
            raise StorageUnavailableError("The server is stopping.")
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T] = loop.create_future()
        now = loop.time()
        self._queue.append((unit, waiter, now))
        wait_s = self._written_at + PATIENCE_S - now if is_patient else 0
        if wait_s <= 0:
            self._queued.set()
        elif self._gathering is None:
            self._gathering = loop.call_later(wait_s, self._end_gathering)
        return waiter

    def _end_gathering(self) -> None:
        self._gathering = None
        self._queued.set()

    def run_all(self, changes: Sequence[Change], *, is_patient: bool = False) -> asyncio.Future[int]:
        return self._enqueue(lambda tx: tx.run_all(changes), is_patient=is_patient)

    async def migrate(self) -> list[str]:
        return await self.write(migrate.apply)

    def load(self) -> Load:
        oldest_wait_s = asyncio.get_running_loop().time() - self._queue[0][2] if self._queue else 0.0
        return Load(len(self._queue), oldest_wait_s, self._groups)

    async def checkpoint(self) -> None:
        if self._checkpointer:
            await self._checkpointer.truncate()

    def _connect(self, *, read_only: bool = False) -> apsw.Connection:
        connection = apsw.Connection(str(self.path), statementcachesize=STATEMENTS_CACHED)
        # First of all: the next pragmas may meet another process's lock.
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("secure_delete", True)
        connection.pragma("mmap_size", MMAP_BYTES)
        connection.pragma("query_only", read_only)
        # Otherwise SQLite plans a query anew whenever a bound value changes that could matter to the plan.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        connection.wal_autocheckpoint(0)
        return connection

    async def _write_groups(self) -> None:
        while not self._closing or self._queue:
            await self._queued.wait()
            await self._gather()
            self._queued.clear()
            self._written_at = asyncio.get_running_loop().time()
            group = [self._queue.popleft() for _ in range(min(len(self._queue), GROUP_UNITS_MAX))]
            is_more = bool(self._queue)
            done = await self._write_group(group) if group else 0
            self._queue.extendleft(reversed(group[done:]))
            if is_more or done < len(group):
                self._queued.set()

    async def _gather(self) -> None:
        """Waits while each turn of the event loop brings more: two small groups cost more than a large one."""
        waiting = 0
        while waiting < len(self._queue) < GROUP_UNITS_MAX:
            waiting = len(self._queue)
            await asyncio.sleep(0)

    async def _write_group(self, group: list[tuple[Unit, asyncio.Future[Any], float]]) -> int:
        """Writes as many of the group as fit the time; gives how many that were."""
        units = [unit for unit, _, _ in group]
        try:
            outcomes = await self._run_lightly_or_carefully(units)
        except STORAGE_ERRORS:
            # The group is undone as a whole. One unit may be to blame (a full disk refuses the large, not the small):
            # each is run again alone.
            outcomes = [await self._run_alone(unit) for unit in units]
        except Exception as fault:  # noqa: BLE001 - a fault of ours must not leave callers waiting for ever
            outcomes = [(None, fault)] * len(units)
        self._groups.add(len(outcomes))
        self._after_group()
        for (_, waiter, _), (result, error) in zip(group, outcomes, strict=False):
            if waiter.done():
                continue
            if error is not None:
                waiter.set_exception(error)
            else:
                waiter.set_result(result)
        return len(outcomes)

    def _after_group(self) -> None:
        """Readers see the group, and the log may be moved into the file."""
        try:
            self._reader.renew()
            if self._checkpointer:
                self._checkpointer.committed(self._log_pages)
        except Exception:
            # What is committed stays so; and without the writer's task nobody would ever be answered again.
            log.exception("storage: trouble after a commit")

    async def _run_lightly_or_carefully(self, units: list[Unit]) -> list[Outcome]:
        try:
            return await self._run_together(units, self._run_unit)
        except HalfDoneError:
            return await self._run_together(units, self._run_in_savepoint)

    async def _run_alone(self, unit: Unit) -> Outcome:
        try:
            return (await self._run_together([unit], self._run_in_savepoint))[0]
        except STORAGE_ERRORS as error:
            return None, unavailable(error)
        except Exception as fault:  # noqa: BLE001 - as above
            return None, fault

    async def _run_together(self, units: list[Unit], run: Callable[[Unit], Outcome]) -> list[Outcome]:
        """One transaction, on disk when this returns. After an error nothing of it remains.

        Gives the outcomes of the first units, and leaves the rest when they hold up the event loop for too long.
        """
        try:
            self._require_file()
            await self._begin()
        except (apsw.BusyError, StorageUnavailableError) as error:
            # Waiting as long again for each unit would help nobody.
            refusal = error if isinstance(error, StorageUnavailableError) else unavailable(error)
            return [(None, refusal)] * len(units)
        try:
            until = time.monotonic() + GROUP_S
            outcomes = [run(units[0])]
            for unit in units[1:]:
                if time.monotonic() > until:
                    break
                outcomes.append(run(unit))
            await self._in_helper(self._commit)
        except Exception:
            self._roll_back()
            raise
        return outcomes

    def _run_unit(self, unit: Unit) -> Outcome:
        before = self._writer.total_changes()
        try:
            return unit(self._transaction), None
        except STORAGE_ERRORS:
            raise
        except ThreadkeepError as error:
            if self._writer.total_changes() != before:
                raise HalfDoneError from error
            return None, error
        except Exception as fault:
            # Nobody knows what it did; changes of the schema are not counted.
            raise HalfDoneError from fault

    def _run_in_savepoint(self, unit: Unit) -> Outcome:
        control = self._transaction.control
        control("savepoint unit")
        try:
            result = unit(self._transaction)
        except STORAGE_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to the caller of this unit, not to the group
            control("rollback to unit")
            control("release unit")
            return None, error
        control("release unit")
        return result, None

    async def _begin(self) -> None:
        self._roll_back()
        try:
            self._writer.execute("begin immediate")
        except apsw.BusyError:
            # Another process (a command, a checkpoint) is writing: wait for it, but not on the event loop.
            await self._in_helper(self._begin_waiting)

    def _begin_waiting(self) -> None:
        self._writer.set_busy_timeout(BUSY_TIMEOUT_MS)
        try:
            self._writer.execute("begin immediate")
        finally:
            self._writer.set_busy_timeout(0)

    def _commit(self) -> None:
        self._writer.execute("commit")
        if self._checkpointer and self._checkpointer.rest_is_due:
            self._checkpointer.copy_rest()

    def _roll_back(self) -> None:
        # SQLite rolls back by itself when the disk is full.
        if self._writer.in_transaction:
            self._writer.execute("rollback")

    def _after_commit(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _require_file(self) -> None:
        """A file that was removed under the server still takes writes, which nobody would ever find again."""
        if files.identity(self.path) != self._identity:
            log.error("storage: the database %s was removed or replaced while it is served", self.path)
            raise StorageUnavailableError("The server's database file is gone. Nothing was changed.")

    async def _in_helper(self, step: Callable[[], Any]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._helper, step)


def _refuse_foreign(path: Path) -> None:
    """Refuses another program's database before anything in it is changed."""
    if path.stat().st_size == 0:
        return
    # Not read-only: what a process that was killed left half written must be undone before anything can be read.
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.pragma("query_only", True)
        migrate.version(SqliteTransaction(connection))
    finally:
        connection.close()
