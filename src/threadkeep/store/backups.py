"""Copies of an embedded database, and putting one back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw

from threadkeep.errors import CommandError
from threadkeep.store import files, migrate
from threadkeep.store.interface import Transaction
from threadkeep.store.sqlite_reader import SqliteTransaction

BUSY_TIMEOUT_MS = 2000


def copy(source: Path, destination: Path, finish: Callable[[Transaction], None] | None = None) -> None:
    """Writes a consistent, compact copy of `source` to a new file while others read and write `source`.

    `finish` changes the copy before it gets its name.
    """
    if not source.is_file():
        raise CommandError(f"There is no database at {source}.")
    if not destination.parent.is_dir():
        raise CommandError(f"There is no folder {destination.parent}.")
    try:
        with files.new_file(destination) as partial:
            with closing(apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
                connection.set_busy_timeout(BUSY_TIMEOUT_MS)
                connection.execute("vacuum into ?", (str(partial),))
            if finish:
                _change(partial, finish)
            _sync(partial)
        _sync(destination.parent)
    except apsw.ReadOnlyError:
        raise CommandError(
            f"Cannot read {source}: its folder is read-only for this user, and SQLite keeps files of its own there.",
            "Run this as the user of the server; or stop the server, copy the folder, and back up the copy.",
        ) from None
    except (apsw.Error, OSError) as error:
        raise CommandError(f"Cannot copy {source} to {destination}: {_why(error)}.") from None


def restore(backup: Path, database: Path) -> Path | None:
    """Puts the copy `backup` in the place of `database`; gives the new name of the file that was there, if any.

    Raises `CommandError` when the copy is damaged or the database is in use.
    """
    _check(backup)
    files.make_private(database)
    lock = files.ServingLock(database)
    fresh = database.with_name(database.name + ".restoring")
    try:
        fresh.unlink(missing_ok=True)
        copy(backup, fresh)
        return _replace(database, fresh)
    except OSError as error:
        raise CommandError(f"Cannot put {backup} in the place of {database}: {_why(error)}.") from None
    finally:
        fresh.unlink(missing_ok=True)
        lock.release()


def _change(path: Path, unit: Callable[[Transaction], None]) -> None:
    """Runs `unit` on a database that nobody else uses and that is thrown away if this fails."""
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("journal_mode", "memory")
        connection.pragma("secure_delete", True)
        with connection:
            unit(SqliteTransaction(connection))


def _check(backup: Path) -> None:
    if not backup.is_file():
        raise CommandError(f"There is no file at {backup}.")
    try:
        connection = apsw.Connection(str(backup), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            usable = connection.pragma("quick_check") == "ok" and migrate.is_ours(SqliteTransaction(connection))
        finally:
            connection.close()
    except apsw.Error:
        usable = False
    if not usable:
        raise CommandError(f"{backup} is not a usable copy of a Threadkeep database.")


def _replace(database: Path, fresh: Path) -> Path | None:
    """Renames `fresh` to `database` in one step; what was there keeps all its data under another name."""
    connection = apsw.Connection(str(database))
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        kept = _unused_name(database) if _hold(connection) else None
        # Held until the new file is in place, so that no command writes into the old one meanwhile.
        if kept:
            kept.hardlink_to(database)
        _clear_side_files(database, kept)
        fresh.replace(database)
    except apsw.BusyError:
        raise CommandError(f"The database {database} is in use.", "Wait for the other command to finish.") from None
    finally:
        connection.close()
    _sync(database.parent)
    return kept


def _hold(connection: apsw.Connection) -> bool:
    """Empties the log into the file and keeps others from writing; gives whether the file holds anything."""
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        connection.execute("begin immediate")
        # Whosoever it is: a slip may have named another program's database.
        return bool(connection.execute("select count(*) from sqlite_master").get)
    except apsw.BusyError:
        raise
    except apsw.Error:
        # Damaged: it is kept as it is.
        return True


def _clear_side_files(database: Path, kept: Path | None) -> None:
    """The old log must not be taken for the new file's. What a damaged database's log still holds is kept with it."""
    log = database.with_name(f"{database.name}-wal")
    if kept and log.exists() and log.stat().st_size:
        log.rename(kept.with_name(f"{kept.name}-wal"))
    else:
        log.unlink(missing_ok=True)
    # The index of the log, which SQLite makes anew.
    database.with_name(f"{database.name}-shm").unlink(missing_ok=True)


def _unused_name(database: Path) -> Path:
    stem = f"{database.name}.before-restore-{time.strftime('%Y%m%d-%H%M%S')}"
    numbered = (database.with_name(f"{stem}-{number}") for number in range(2, 1000))
    return next(path for path in (database.with_name(stem), *numbered) if not path.exists())


def _why(error: Exception) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
