"""Copies of an embedded database, and putting one back."""

from __future__ import annotations

import os
import time
from pathlib import Path

import apsw

from threadkeep.errors import StartupError
from threadkeep.store import files

SIDE_FILES = ("-wal", "-shm")


def copy(source: Path, destination: Path) -> None:
    """Writes a consistent, compact copy of `source` to a new file while others read and write `source`."""
    if destination.exists():
        raise StartupError(f"{destination} exists already.", "Give a new name.")
    partial = destination.with_name(destination.name + ".partial")
    partial.unlink(missing_ok=True)
    files.make_private(partial)
    connection = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.execute("vacuum into ?", (str(partial),))
    except apsw.Error as error:
        partial.unlink(missing_ok=True)
        raise StartupError(f"Cannot write {destination}: {error}.") from None
    finally:
        connection.close()
    _sync(partial)
    partial.rename(destination)
    _sync(destination.parent)


def restore(backup: Path, database: Path) -> Path | None:
    """Puts the copy `backup` in the place of `database`; gives the new name of the file that was there, if any.

    Raises `StartupError` when the copy is damaged or a server is using the database.
    """
    _check(backup)
    files.make_private(database)
    lock = files.ServingLock(database)
    try:
        partial = database.with_name(database.name + ".partial")
        partial.unlink(missing_ok=True)
        copy(backup, partial)
        kept = _set_aside(database)
        partial.rename(database)
        _sync(database.parent)
        return kept
    finally:
        lock.release()


def _check(backup: Path) -> None:
    if not backup.is_file():
        raise StartupError(f"There is no file {backup}.")
    connection = apsw.Connection(str(backup), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        verdict = connection.pragma("quick_check")
        ours = connection.table_exists("main", "migrations")
    except apsw.Error as error:
        raise StartupError(f"{backup} is not a usable copy: {error}.") from None
    finally:
        connection.close()
    if verdict != "ok" or not ours:
        raise StartupError(f"{backup} is not a usable copy of a Threadkeep database.")


def _set_aside(database: Path) -> Path | None:
    """Keeps the present database under another name; an empty one is just removed."""
    connection = apsw.Connection(str(database))
    empty = not connection.table_exists("main", "migrations")
    # Closing the last connection empties the write-ahead log into the file.
    connection.close()
    for suffix in SIDE_FILES:
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    if empty:
        database.unlink()
        return None
    kept = database.with_name(f"{database.name}.before-restore-{int(time.time())}")
    database.rename(kept)
    return kept


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
