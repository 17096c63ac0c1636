"""When the write-ahead log goes back into the database file.

One connection of a process alone checkpoints. Under load it copies in the background and asks the writer to let it copy
the small rest between two commits: only then does SQLite start the log anew, so it cannot grow without bound. When
writes pause, the log is truncated, and with `secure_delete` on, deleted text is then gone from every file.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import apsw

log = logging.getLogger(__name__)

PAGES_BEFORE_CHECKPOINT = 8000
IDLE_S = 1.0
LAST_WAIT_MS = 2000


class Checkpointer:
    """Watches the length of the log, which the writer reports in `committed`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        # A checkpoint that waits for a reader would hold up all writers: it gives up, and tries again later.
        connection.set_busy_timeout(0)
        self._in_use = threading.Lock()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pages = 0
        self._running: asyncio.Future[bool] | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        # The background copy is done; the rest is short enough to be copied between two commits.
        self.rest_is_due = False

    def committed(self, pages: int) -> None:
        """Called on the event loop after a commit; `pages` is the length of the log."""
        self._pages = pages
        self._watch_for_pause()
        if pages >= PAGES_BEFORE_CHECKPOINT and self._running is None and not self.rest_is_due:
            self._start(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def copy_rest(self) -> None:
        """Called by the writer between two commits, in its helper thread."""
        self.rest_is_due = False
        self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)

    async def truncate(self) -> bool:
        """Copies everything and empties the log; gives whether that was possible now."""
        await self._wait_for_running()
        return await self._start(apsw.SQLITE_CHECKPOINT_TRUNCATE)

    async def _wait_for_running(self) -> None:
        while self._running is not None:
            await asyncio.wait([self._running])

    async def close(self) -> None:
        """Truncates a last time."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        await self._wait_for_running()
        self._connection.set_busy_timeout(LAST_WAIT_MS)
        await self.truncate()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._executor.shutdown()
        self._connection.close()

    def _watch_for_pause(self) -> None:
        if self._idle_timer is None:
            self._idle_timer = asyncio.get_running_loop().call_later(IDLE_S, self._look_for_pause, self._pages)

    def _look_for_pause(self, pages_then: int) -> None:
        self._idle_timer = None
        if self._pages != pages_then or self._running is not None:
            self._watch_for_pause()
        elif self._pages:
            self._start(apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _start(self, mode: int) -> asyncio.Future[bool]:
        self._running = asyncio.get_running_loop().run_in_executor(self._executor, self._checkpoint, mode)
        self._running.add_done_callback(
            # Whoever waited for it may have been stopped, by Ctrl-C.
            lambda running: self._finished(mode, done=not running.cancelled() and running.result())
        )
        return self._running

    def _finished(self, mode: int, *, done: bool) -> None:
        self._running = None
        if mode == apsw.SQLITE_CHECKPOINT_PASSIVE:
            self.rest_is_due = done
        elif done:
            self._pages = 0
        else:
            self._watch_for_pause()

    def _checkpoint(self, mode: int) -> bool:
        try:
            with self._in_use:
                self._connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            log.debug("checkpoint put off: the database is in use")
            return False
        except apsw.Error as error:
            # Nothing is lost: what is committed stays in the log, and the next checkpoint tries again.
            log.warning("checkpoint failed, will be tried again: %s", error)
            return False
        return True
