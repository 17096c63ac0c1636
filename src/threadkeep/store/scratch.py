"""A set of keys that may be larger than memory has room for, and ends with the process."""

from __future__ import annotations

from collections.abc import Iterable

import apsw

Key = tuple[str, str, str]


class Scratch:
    """Keys of three texts, in a temporary database that SQLite moves to a file of its own when it grows."""

    def __init__(self) -> None:
        self._connection = apsw.Connection("")
        self._connection.execute("create table keys (a, b, c, primary key (a, b, c)) without rowid; begin")

    def add_all(self, keys: Iterable[Key]) -> None:
        """Adds those that are not there."""
        self._connection.executemany("insert or ignore into keys values (?, ?, ?)", keys)

    def __contains__(self, key: Key) -> bool:
        return bool(self._connection.execute("select 1 from keys where (a, b, c) = (?, ?, ?)", key).fetchall())

    def close(self) -> None:
        """Forgets all of them."""
        self._connection.close()
