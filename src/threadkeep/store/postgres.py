"""PostgreSQL, for many processes on many nodes: each unit of work in a transaction of its own, on pooled connections.

Each wait for the network costs more than the work it waits for. So changes that need not see each other go together as
one statement, and one that is a whole unit needs no transaction around it.

Units are plain functions, the driver is asynchronous: a unit runs in a greenlet, and each of its queries switches back
to the event loop until the rows are there. So a unit reads the same as on SQLite, and no OS threads are needed.

Nothing depends on session state, advisory locks or NOTIFY, so a pooler in transaction mode may stand in between.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, TypeVar

import asyncpg
import greenlet

from threadkeep import chance, database_urls
from threadkeep.errors import CommandError, OutcomeUnknownError, OverloadedError, StorageUnavailableError
from threadkeep.store import migrate
from threadkeep.store.interface import Change, Load, Row, Transaction
from threadkeep.store.outage import Outage
from threadkeep.store.patience import PatientWrites
from threadkeep.store.queries import Query, positional

log = logging.getLogger(__name__)
T = TypeVar("T")

LOCK_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 30
# The database's own limit comes first: what it says is known to have changed nothing.
ANSWER_TIMEOUT_S = STATEMENT_TIMEOUT_S + 5
CONNECT_TIMEOUT_S = 10
# Reads that wait for a connection or an answer: about what a database that is well gives in a second.
READS_MAX = 2000
ATTEMPTS = 6
# Changes that become one statement, and how many such statements are remembered.
TOGETHER_MAX = 24
COMPOSED_MAX = 256
BACK_OFF_S = 0.02
# A process that freezes between two statements keeps its locks no longer than this: others cancel its runs meanwhile.
# One that is merely busy must not be taken for frozen: its units would be run again and again.
FROZEN_AFTER_MS = 3000

LIMITS = {
    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
    "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
    "idle_in_transaction_session_timeout": f"{FROZEN_AFTER_MS}ms",
}
BEGIN_READ = "begin isolation level repeatable read read only"
BEGIN_WRITE = "begin isolation level read committed"
# A migration may take long, and it must wait for the node that is at it already.
BEGIN_MIGRATION = f"{BEGIN_WRITE}; set local lock_timeout = 0; set local statement_timeout = 0"

# Another transaction was in the way: the same unit may succeed at once.
CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
# The database went away, is starting, or hung up.
LOST_CONNECTIONS = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.CannotConnectNowError,
    OSError,
)
# It answers, but cannot do it now.
REFUSALS = (
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.QueryCanceledError,
    asyncpg.PostgresSystemError,
    # A new connection is not let in: the password was changed, or the database is closed to us, renamed, gone.
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)


class PostgresTransaction:
    """`Transaction` on an asyncpg connection, inside a greenlet."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def one(self, query: Query, **parameters: Any) -> Row | None:
        if not query.postgres:
            return None
        sql, names = _positional(query)
        row = _wait(self._connection.fetchrow(sql, *map(parameters.__getitem__, names)))
        return None if row is None else tuple(row)

    def all(self, query: Query, **parameters: Any) -> list[Row]:
        if not query.postgres:
            return []
        sql, names = _positional(query)
        return [tuple(row) for row in _wait(self._connection.fetch(sql, *map(parameters.__getitem__, names)))]

    def run(self, query: Query, **parameters: Any) -> int:
        sql, names = _positional(query)
        return _touched(_wait(self._connection.execute(sql, *map(parameters.__getitem__, names))))

    def run_all(self, changes: Sequence[Change]) -> int:
        touched = 0
        for some in _batches(changes):
            sql, arguments = _together(some)
            touched = _touched(_wait(self._connection.execute(sql, *arguments)))
        return touched

    def run_many(self, query: Query, rows: Sequence[Mapping[str, Any]]) -> None:
        if not query.postgres:
            return
        sql, names = _positional(query)
        arguments = [[row[name] for name in names] for row in rows]
        _wait(self._connection.executemany(sql, arguments))


class PostgresStore:
    """`Store` on a PostgreSQL database, shared with any number of other processes."""

    def __init__(self, url: str, *, connections_max: int, statements_cached: int, write_queue_max: int) -> None:
        self._url = url
        self._connections_max = connections_max
        self._statements_cached = statements_cached
        # Behind a pooler, where no statements are cached, the next transaction may get another session: there the
        # limits are set in each.
        is_pooled = not statements_cached
        self._session = {} if is_pooled else LIMITS
        limits = "".join(f"; set local {name} = '{value}'" for name, value in LIMITS.items()) if is_pooled else ""
        self._begin_read, self._begin_write = BEGIN_READ + limits, BEGIN_WRITE + limits
        self._queue_max = write_queue_max
        # When each that is under way began; the oldest is first.
        self._writes: dict[object, float] = {}
        self._reads = 0
        self._units = 0
        self._patient = PatientWrites(
            lambda changes: self._run(lambda: self._run_group(changes)), group_max=TOGETHER_MAX
        )
        self._outage = Outage()
        self._idle = asyncio.Event()
        self._idle.set()

    async def open(self) -> None:
        try:
            self._pool = await asyncpg.create_pool(
                self._url,
                # With any more the pool would try to have so many while PostgreSQL is away, and log each try.
                min_size=0,
                max_size=self._connections_max,
                statement_cache_size=self._statements_cached,
                timeout=CONNECT_TIMEOUT_S,
                server_settings=self._session,
                reset=_no_reset,
            )
            # Whether it can be reached.
            await self._pool.release(await self._pool.acquire(timeout=CONNECT_TIMEOUT_S))
        except (*LOST_CONNECTIONS, *REFUSALS, asyncpg.PostgresError) as error:
            why = "it does not answer" if isinstance(error, TimeoutError) else str(error)
            raise CommandError(f"Cannot use the PostgreSQL database: {why}.", "Check --database.") from None
        except ValueError:
            # Its words quote the URL, and where that is wrong, perhaps the password.
            raise CommandError(
                f"Cannot read the database's URL {database_urls.shown(self._url)!r}.",
                "Check --database. In a password, characters such as / and @ are written as %2F and %40.",
            ) from None

    async def close(self) -> None:
        await self._idle.wait()
        self._patient.close()
        await self._pool.close()

    async def ping(self) -> None:
        await self.read(migrate.version)

    async def one(self, query: Query, **parameters: Any) -> Row | None:
        if not query.postgres:
            return None
        return await self._read(lambda: self._fetch_one(query, parameters))

    async def read(self, unit: Callable[[Transaction], T]) -> T:
        return await self._read(lambda: self._in_transaction(unit, self._begin_read))

    async def read_aside(self, unit: Callable[[Transaction], T]) -> T:
        return await self.read(unit)

    async def write(self, unit: Callable[[Transaction], T]) -> T:
        return await self._write(lambda: self._in_transaction(unit, self._begin_write))

    async def _read(self, work: Callable[[], Awaitable[T]]) -> T:
        if self._reads >= READS_MAX:
            raise OverloadedError("too many reads are waiting")
        self._reads += 1
        try:
            return await self._run(work)
        finally:
            self._reads -= 1

    async def _write(self, work: Callable[[], Awaitable[T]]) -> T:
        if len(self._writes) >= self._queue_max:
            raise OverloadedError("too many writes are waiting")
        mark = object()
        self._writes[mark] = time.monotonic()
        try:
            return await self._run(work)
        finally:
            del self._writes[mark]

    def run_all(self, changes: Sequence[Change], *, is_patient: bool = False) -> Awaitable[int]:
        if is_patient and len(changes) == 1:
            if len(self._writes) + len(self._patient) >= self._queue_max:
                raise OverloadedError("too many writes are waiting")
            return self._patient.add(changes[0])
        if len(changes) > TOGETHER_MAX:
            return self.write(lambda tx: tx.run_all(changes))
        return self._write(lambda: self._run_at_once(changes))

    async def migrate(self) -> list[str]:
        try:
            return await self._run(lambda: self._in_transaction(migrate.apply, BEGIN_MIGRATION))
        except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError):
            # Another node made the first table at the same moment; now it is there to wait for.
            return await self._run(lambda: self._in_transaction(migrate.apply, BEGIN_MIGRATION))
        except asyncpg.InsufficientPrivilegeError as error:
            raise CommandError(
                f"This role may not make or change the tables: {error}.",
                "Run `threadkeep migrate` as their owner, then grant this role to read and write them.",
            ) from None

    def load(self) -> Load:
        oldest_at = next(iter(self._writes.values()), None)
        return Load(len(self._writes) + len(self._patient), 0.0 if oldest_at is None else time.monotonic() - oldest_at)

    async def checkpoint(self) -> None:
        """PostgreSQL does this by itself."""

    async def _run(self, work: Callable[[], Awaitable[T]]) -> T:
        self._units += 1
        self._idle.clear()
        try:
            return await self._try(work)
        finally:
            self._units -= 1
            if not self._units:
                self._idle.set()

    async def _try(self, work: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                result = await work()
            except TimeoutError as error:
                # Also an `OSError`. A database that is stuck, or has no connection to spare, is not asked for more.
                raise _refused(error) from error
            except LOST_CONNECTIONS as error:
                if attempt == ATTEMPTS:
                    self._outage.begins(error)
                    raise _unavailable() from error
            except CONFLICTS as error:
                if attempt == ATTEMPTS:
                    raise _refused(error) from error
                log.info("transaction will be tried again: %s", error)
            except REFUSALS as error:
                raise _refused(error) from error
            except OutcomeUnknownError as error:
                self._outage.begins(error.__cause__ or error)
                raise
            else:
                self._outage.ends()
                return result
            # Jitter, so that those who met do not meet again.
            await asyncio.sleep(BACK_OFF_S * 2**attempt * chance.uniform(0, 1))
        raise AssertionError

    async def _fetch_one(self, query: Query, parameters: Mapping[str, Any]) -> Row | None:
        sql, names = _positional(query)
        arguments = map(parameters.__getitem__, names)
        async with self._pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
            row = await connection.fetchrow(sql, *arguments, timeout=ANSWER_TIMEOUT_S)
            return None if row is None else tuple(row)

    async def _run_at_once(self, changes: Sequence[Change]) -> int:
        """One statement, which is its own transaction."""
        sql, arguments = _together(changes)
        async with self._pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
            try:
                return _touched(await connection.execute(sql, *arguments, timeout=ANSWER_TIMEOUT_S))
            except asyncpg.InterfaceError:
                # The connection was closed before; nothing was sent.
                raise
            except LOST_CONNECTIONS as error:
                raise OutcomeUnknownError from error

    async def _run_group(self, changes: Sequence[Change]) -> Sequence[int]:
        """One statement; gives the number of rows that each of the changes touched."""
        sql, arguments = _together(changes, counts=True)
        async with self._pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
            try:
                row = await connection.fetchrow(sql, *arguments, timeout=ANSWER_TIMEOUT_S)
            except asyncpg.InterfaceError:
                # The connection was closed before; nothing was sent.
                raise
            except LOST_CONNECTIONS as error:
                raise OutcomeUnknownError from error
        return tuple(row)

    async def _in_transaction(self, unit: Callable[[Transaction], T], begin: str) -> T:
        async with self._pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
            try:
                await connection.execute(begin)
                result = await _in_greenlet(unit, PostgresTransaction(connection))
            except Exception as error:
                if isinstance(error, LOST_CONNECTIONS):
                    connection.terminate()
                else:
                    await _undo(connection)
                raise
            except BaseException:
                # Cancelled in the middle of a query: nothing more can be said on this connection.
                connection.terminate()
                raise
            await _commit(connection)
            return result


async def _in_greenlet(work: Callable[..., T], *arguments: Any) -> T:
    """Runs `work`, a plain function, on the event loop; inside, `_wait` gives the loop something to await."""
    child: Any = greenlet.greenlet(work)
    # An awaitable while `work` waits for something, its result at the end.
    step = child.switch(*arguments)
    while not child.dead:
        try:
            value = await step
        except BaseException as error:  # noqa: BLE001 - it is raised again inside `work`
            step = child.throw(error)
        else:
            step = child.switch(value)
    result: T = step
    return result


def _wait(awaitable: Awaitable[Any]) -> Any:
    return greenlet.getcurrent().parent.switch(awaitable)


def _touched(status: str) -> int:
    """The number of rows in what PostgreSQL says of a statement, such as `UPDATE 1`."""
    count = status.rpartition(" ")[2]
    return int(count) if count.isdigit() else 0


@cache
def _positional(query: Query) -> tuple[str, tuple[str, ...]]:
    return positional(query.postgres)


def _together(changes: Sequence[Change], *, counts: bool = False) -> tuple[str, list[Any]]:
    """The changes as one statement, and its arguments. With `counts` it gives the number of rows that each touched."""
    sql, names = _composed(tuple(query for query, _ in changes), counts=counts)
    return sql, [parameters[name] for (_, parameters), part in zip(changes, names, strict=True) for name in part]


@lru_cache(COMPOSED_MAX)
def _composed(queries: tuple[Query, ...], *, counts: bool) -> tuple[str, tuple[tuple[str, ...], ...]]:
    parts: list[tuple[str, tuple[str, ...]]] = []
    first = 1
    for query in queries:
        parts.append(positional(query.postgres, first))
        first += len(parts[-1][1])
    texts = [text for text, _ in parts]
    if counts:
        texts = [f"{text} returning 1" for text in texts]
        found = [f"(select count(*) from part_{number})" for number in range(len(texts))]  # noqa: S608 - numbers alone
        last = f"select {', '.join(found)}"
    else:
        last = texts.pop()
    # PostgreSQL runs each part of a `with` that changes something, whether or not the rest looks at it.
    before = ", ".join(f"part_{number} as ({text})" for number, text in enumerate(texts))
    return f"with {before} {last}" if before else last, tuple(names for _, names in parts)


def _batches(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    for start in range(0, len(changes), TOGETHER_MAX):
        yield changes[start : start + TOGETHER_MAX]


async def _commit(connection: Any) -> None:
    try:
        await connection.execute("commit")
    except (asyncpg.InterfaceError, asyncpg.IdleInTransactionSessionTimeoutError):
        # The connection was closed before, and the transaction with it: nothing was sent.
        raise
    except LOST_CONNECTIONS as error:
        raise OutcomeUnknownError from error


async def _undo(connection: Any) -> None:
    try:
        await connection.execute("rollback")
    except (asyncpg.PostgresError, *LOST_CONNECTIONS):
        connection.terminate()


async def _no_reset(_connection: Any) -> None:
    """Transactions leave no session state behind, so nothing is sent when a connection goes back to the pool."""


def _refused(error: Exception) -> StorageUnavailableError:
    log.error("storage: %s: %s", type(error).__name__, error)
    return _unavailable()


def _unavailable() -> StorageUnavailableError:
    return StorageUnavailableError("The server cannot reach its database now. Nothing was changed.")
