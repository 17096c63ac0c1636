"""What a dry run remembers."""

from __future__ import annotations

import apsw

from threadkeep.imports.entries import Places


class WouldBeStored:
    """The places of what a dry run would have stored: what belongs to it is not missing, and it is known from then on.

    They are kept in a temporary database of their own, which SQLite moves to a file when it grows: there may be more
    than memory has room for.
    """

    def __init__(self) -> None:
        self._cursor = apsw.Connection("").cursor()
        self._cursor.execute("create table places (a, b, c, primary key (a, b, c)) without rowid; begin")

    def add(self, places: Places) -> None:
        """Notes one."""
        self._cursor.execute("insert or ignore into places values (?, ?, ?)", places)

    def __contains__(self, places: Places) -> bool:
        return bool(self._cursor.execute("select 1 from places where (a, b, c) = (?, ?, ?)", places).fetchall())
