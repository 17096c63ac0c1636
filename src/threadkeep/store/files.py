"""Files: who may read those of an embedded database, which process serves them, and how a new one is written."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from threadkeep.errors import CommandError


def make_private(path: Path) -> None:
    """Makes the folder (0700) and the file (0600) where they are missing. SQLite's side files take the file's mode."""
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise CommandError(
            f"Cannot open the database {path}: {os.strerror(error.errno or 0)}.",
            "Give another place with --database sqlite:////path/to/file.db.",
        ) from None


def identity(path: Path) -> tuple[int, int] | None:
    """Which file is at `path`: device and inode, None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """An empty private file beside `path`, which gets that name when the block has ended well, and goes otherwise.

    Two commands never write the same one; what was left by one that was killed is replaced. Raises `CommandError`.
    """
    if path.exists():
        raise CommandError(f"{path} exists already.", "Give a new name.")
    partial = path.with_name(path.name + ".partial")
    lock_path = path.with_name(path.name + ".partial.lock")
    try:
        lock = _sole_writer(path, lock_path)
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {os.strerror(error.errno or 0)}.") from None
    try:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        yield partial
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
        lock_path.unlink(missing_ok=True)
        os.close(lock)


def _sole_writer(path: Path, lock_path: Path) -> int:
    """An open file that is locked while `path` is being written. It has none of the data: SQLite locks what has."""
    lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    is_busy = False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network file systems know no locks; a copy there is better than none.
        is_busy = isinstance(error, BlockingIOError)
    status = os.fstat(lock)
    # Whoever has just let go of it has also removed it.
    if is_busy or identity(lock_path) != (status.st_dev, status.st_ino):
        os.close(lock)
        raise CommandError(f"Another command is writing {path}.", "Wait for it, or give a new name.")
    return lock


class ServingLock:
    """Held by the one process that serves a database file; the system lets go of it when the process dies."""

    def __init__(self, path: Path) -> None:
        # The real path, so that a symbolic link is no way around it.
        real = path.resolve()
        try:
            self._file = os.open(real.with_name(real.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CommandError(f"Cannot lock the database {path}: {os.strerror(error.errno or 0)}.") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            raise CommandError(
                f"The database {path} is already being served by process {owner or 'unknown'}.",
                "Stop that one first, or give this one another --database.",
            ) from None
        except OSError as error:
            # Some network file systems know no locks; SQLite needs them as well.
            os.close(self._file)
            raise CommandError(
                f"Cannot lock the database {path}: {os.strerror(error.errno or 0)}.", "Put it on a local disk."
            ) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Lets another process serve the file."""
        os.ftruncate(self._file, 0)
        os.close(self._file)


def serving_process(path: Path) -> int | None:
    """The process that serves a database file, as far as its lock file tells: the lock itself is not touched."""
    real = path.resolve()
    try:
        number = int(real.with_name(real.name + ".lock").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    # Other numbers stand for groups of processes.
    return number if number > 0 and _is_alive(number) else None


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except PermissionError:
        # It belongs to another user.
        return True
    except (OSError, OverflowError):
        return False
    return True
