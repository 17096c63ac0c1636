"""When the write-ahead log goes back into the database file.

One connection alone checkpoints. Under load it copies in the background and asks the writer to let it copy the small
rest between two commits: only then does SQLite start the log anew, so it cannot grow without bound. When writes pause,
the log is truncated, and with `secure_delete` on, deleted text is then gone from every file.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

import apsw

log = logging.getLogger(__name__)

PAGES_BEFORE_CHECKPOINT = 2000
IDLE_S = 1.0


class Checkpointer:
    """Watches the length of the log, which the writer reports in `committed`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pages = 0
        self._running: asyncio.Future[None] | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        # The background copy is done; the rest is short enough to be copied between two commits.
        self.rest_is_due = False

    def committed(self, pages: int) -> None:
        """Called on the event loop after a commit; `pages` is the length of the log."""
        self._pages = pages
        loop = asyncio.get_running_loop()
        if self._idle_timer is None:
            self._idle_timer = loop.call_later(IDLE_S, self._when_idle, pages)
        if pages >= PAGES_BEFORE_CHECKPOINT and self._running is None and not self.rest_is_due:
            self._start(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def copy_rest(self) -> None:
        """Called by the writer between two commits, in its helper thread."""
        self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
        self.rest_is_due = False

    async def truncate(self) -> None:
        """Copies everything and empties the log."""
        while self._running is not None:
            await asyncio.wait([self._running])
        await self._start(apsw.SQLITE_CHECKPOINT_TRUNCATE)

    async def close(self) -> None:
        """Truncates a last time."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        await self.truncate()
        self._executor.shutdown()
        self._connection.close()

    def _when_idle(self, pages_then: int) -> None:
        self._idle_timer = None
        if self._pages == 0:
            return
        if self._pages != pages_then or self._running is not None:
            self._idle_timer = asyncio.get_running_loop().call_later(IDLE_S, self._when_idle, self._pages)
        else:
            self._start(apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _start(self, mode: int) -> asyncio.Future[None]:
        self._running = asyncio.get_running_loop().run_in_executor(self._executor, self._checkpoint, mode)
        self._running.add_done_callback(lambda _: self._finished(mode))
        return self._running

    def _finished(self, mode: int) -> None:
        self._running = None
        if mode == apsw.SQLITE_CHECKPOINT_TRUNCATE:
            self._pages = 0
        else:
            self.rest_is_due = True

    def _checkpoint(self, mode: int) -> None:
        try:
            self._connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            log.debug("checkpoint put off: the database is busy")
        except apsw.Error as error:
            # Nothing is lost: what is committed stays in the log, and the next checkpoint tries again.
            log.warning("checkpoint failed, will be tried again: %s", error)
