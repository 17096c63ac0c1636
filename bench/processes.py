"""Processes under measurement: where they run, what CPU and memory they take, when they have come to rest."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, Self

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
START_TIMEOUT_S = 30
# The server has one CPU to itself, the load another. A database server gets the CPUs that are left; with two in all it
# shares that of the load, so that the server's own CPU is its own with every contestant.
CPUS = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
SERVER_CPU, LOAD_CPU = CPUS[:1], CPUS[1:2]
DATABASE_CPUS = CPUS[2:] or LOAD_CPU

QUIET_S = 0.25
QUIET_SHARE = 0.1
SETTLE_TIMEOUT_S = 30
MEMORY_EVERY_S = 0.1
LOG_SHOWN_CHARACTERS = 4000


class UsesCpu(Protocol):
    """What can be waited for."""

    def cpu_s(self) -> float:
        """User and system time so far."""


@contextmanager
def pinned(cpus: list[int]) -> Iterator[None]:
    """Processes started inside run on these CPUs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_s_of(process_id: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def settle(processes: list[UsesCpu], at_least_s: float = 0) -> None:
    """Waits until the processes together hardly use the CPU any more."""
    time.sleep(at_least_s)
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while time.monotonic() < deadline:
        before = sum(process.cpu_s() for process in processes)
        time.sleep(QUIET_S)
        if sum(process.cpu_s() for process in processes) - before <= QUIET_SHARE * QUIET_S:
            return
    print(f"still at work {SETTLE_TIMEOUT_S} s after a burst; going on")


class Server:
    """A process that answers on a port of loopback. What it writes to stderr goes to `log`."""

    def __init__(self, command: list[str], log: Path, *, cpus: list[int] = SERVER_CPU, **environ: str) -> None:
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.peak_mb = 0.0
        self._log = log
        started = time.perf_counter()
        with pinned(cpus), log.open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command, str(port)],
                env=_without_settings() | environ,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        self._wait()
        self.start_s = time.perf_counter() - started

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def kill(self) -> None:
        """Ends the process as a power cut would."""
        self._process.kill()
        self._process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The process does nothing inside, and does not know it."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def cpu_s(self) -> float:
        """User and system time of the process so far."""
        return cpu_s_of(self._process.pid)

    def anonymous_mb(self) -> float:
        """Resident memory that is not a file's."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1024

    @contextmanager
    def watched_memory(self) -> Iterator[None]:
        """Notes the most memory that the process has inside."""
        done = threading.Event()

        def watch():
            while not done.wait(MEMORY_EVERY_S):
                self.peak_mb = max(self.peak_mb, self.anonymous_mb())

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            yield
        finally:
            done.set()
            watching.join()

    def log_end(self) -> str:
        """The last of what the process wrote to stderr, for when something went wrong."""
        return self._log.read_text()[-LOG_SHOWN_CHARACTERS:]

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/healthz", timeout=1).close()
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.005)
                continue
            return
        self._process.kill()
        sys.exit(f"{' '.join(self._process.args)} did not start:\n{self.log_end()}")


def _without_settings() -> dict[str, str]:
    """The environment without what a developer has set for a server of their own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("THREADKEEP_")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
