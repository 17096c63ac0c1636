"""What a store is.

A *unit of work* is a plain function of a transaction. It cannot await, so nothing slow can ever sit inside a
transaction; it may be run more than once (after a lost connection, a conflict, a full disk), so it changes nothing
outside the transaction, or the same each time. What it gives counts once it is committed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from threadkeep.metrics import Histogram
from threadkeep.store.queries import Query

T = TypeVar("T")
Row = tuple[Any, ...]
# A query and its parameters.
Change: TypeAlias = tuple[Query, Mapping[str, Any]]
# What SQLite and PostgreSQL can both hold in a bigint.
BIGINT_MAX = 2**63 - 1


class Transaction(Protocol):
    """Runs named queries; parameters are given by name."""

    def one(self, query: Query, **parameters: Any) -> Row | None:
        """The first row, or None."""

    def all(self, query: Query, **parameters: Any) -> list[Row]:
        """All rows."""

    def run(self, query: Query, **parameters: Any) -> int:
        """Runs a change; gives the number of rows it touched."""

    def run_all(self, changes: Sequence[Change]) -> int:
        """Runs changes of which none needs to see what another did: on PostgreSQL in one statement.

        Gives the number of rows that the last one touched.
        """

    def run_many(self, query: Query, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs one change for each of `rows`; none may need to see what another did."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much a store has to do. `groups`: how many units were written together, where they are."""

    waiting_writes: int
    oldest_wait_s: float
    groups: Histogram | None = None


class Store(Protocol):
    """A database. An exception that a unit raises undoes that unit and reaches its caller."""

    async def open(self) -> None:
        """Connects. Raises `CommandError` when the database cannot be used."""

    async def close(self) -> None:
        """Finishes what is queued and lets go of the database."""

    async def ping(self) -> None:
        """Raises `APIError` unless the database answers and can be used."""

    async def one(self, query: Query, **parameters: Any) -> Row | None:
        """The first row of one query, which is its own snapshot: what `read` with `tx.one` gives, for less."""

    async def read(self, unit: Callable[[Transaction], T]) -> T:
        """Runs `unit` on one consistent snapshot."""

    async def read_aside(self, unit: Callable[[Transaction], T]) -> T:
        """`read` for what is known to take long: nobody else waits for it."""

    async def write(self, unit: Callable[[Transaction], T]) -> T:
        """Runs `unit` and returns once its changes are on disk.

        Raises `OverloadedError` when too many writes wait, `StorageUnavailableError` when the database cannot take it.
        """

    def run_all(self, changes: Sequence[Change], *, is_patient: bool = False) -> Awaitable[int]:
        """All of the changes or none: what `write` with `tx.run_all` does, for less.

        `OverloadedError` may be raised by the call already, not only by what it gives: call it where both are caught.
        A patient caller lets others join its transaction: it waits a few milliseconds when one has just been written.
        """

    async def migrate(self) -> list[str]:
        """Brings the schema up to date; gives the names of the migrations that were applied."""

    def load(self) -> Load:
        """The writes that wait now, on PostgreSQL with those under way."""

    async def checkpoint(self) -> None:
        """Moves all that is committed into the main file, so that deleted text is gone from every file."""
