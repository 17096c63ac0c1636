"""Several processes that serve one address, each with an event loop of its own; for databases that allow it.

The parent binds, starts the children, starts a new one for each that dies, and passes SIGTERM and SIGINT on to them. It
never gives up: a child that cannot start, because the database is away for instance, is tried again.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from threadkeep.errors import CommandError

log = logging.getLogger(__name__)

# A child that dies sooner than this did not get going; starting it again at once would only fail again.
SETTLED_AFTER_S = 5.0
PAUSE_S = 1.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Processes:
    """Runs `work(number)` in `count` child processes until a signal ends them."""

    def __init__(self, count: int, work: Callable[[int], None]) -> None:
        self._count = count
        self._work = work
        self._started: dict[int, tuple[int, float]] = {}
        self._stopping = False

    def run(self) -> None:
        """Returns after a signal, when the last child has ended."""
        for signal_number in SIGNALS:
            signal.signal(signal_number, self._stop)
        # Never written to: it closes when the parent dies, however it dies, and then the children stop.
        self._parent_lives, self._parents_end = os.pipe()
        for number in range(self._count):
            self._start(number)
        while self._started:
            process_id, status = os.wait()
            number, started_at = self._started.pop(process_id)
            if not self._stopping:
                ended = os.waitstatus_to_exitcode(status)
                log.warning("process %d ended with status %d, starting another", process_id, ended)
                if time.monotonic() - started_at < SETTLED_AFTER_S:
                    time.sleep(PAUSE_S)
            self._start(number)

    def _start(self, number: int) -> None:
        """Starts a child, unless a signal has come."""
        # What is still buffered would be printed by both.
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal that comes meanwhile waits until the child is known, so that it reaches it.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            if self._stopping:
                return
            process_id = os.fork()
            if process_id == 0:
                os._exit(self._run_child(number))
            self._started[process_id] = (number, time.monotonic())
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _run_child(self, number: int) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.close(self._parents_end)
        threading.Thread(target=self._stop_with_parent, daemon=True).start()
        try:
            self._work(number)
        except CommandError as error:
            sys.stderr.write(f"{error.printed()}\n")
            return 1
        except Exception:
            log.exception("process %d failed", os.getpid())
            return 1
        return 0

    def _stop_with_parent(self) -> None:
        os.read(self._parent_lives, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True
        for process_id in self._started:
            # One that has ended may not be taken out of the list yet.
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGTERM)
