"""Server processes under measurement, and the load that wrk puts on them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Self

HERE = Path(__file__).parent
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
START_TIMEOUT_S = 30
# The server has one CPU to itself, the load another.
SERVER_CPU, LOAD_CPU = 0, max(os.sched_getaffinity(0))


class Server:
    """A process that answers on a port of loopback."""

    def __init__(self, command: list[str], port: int, **environ: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        started = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CPU}),  # noqa: PLW1509 - there are no other OS threads
        )
        self._wait()
        self.start_s = time.perf_counter() - started

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def cpu_s(self) -> float:
        """User and system time of the process so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def anonymous_mb(self) -> float:
        """Resident memory that is not a file's."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1024

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/healthz", timeout=1).close()
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.005)
                continue
            return
        sys.exit(f"{self.url} did not start")


@dataclass(frozen=True)
class Load:
    """What one burst of wrk measured. Times in ms, CPU in µs a request."""

    requests: int
    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    failed: int


def burst(server: Server, script: Path, *, connections: int, seconds: int) -> Load:
    """Loads `server` with `connections` for `seconds`."""
    before = server.cpu_s()
    output = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), server.url],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CPU}),
    ).stdout
    used = server.cpu_s() - before
    requests = int(re.search(r"(\d+) requests in", output)[1])
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return Load(
        requests=requests,
        per_s=float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1]),
        p50_ms=_ms(output, "50%"),
        p99_ms=_ms(output, "99%"),
        cpu_us=used / max(requests, 1) * 1e6,
        failed=int(failed[1]) if failed else 0,
    )


def _ms(output: str, percentile: str) -> float:
    number, unit = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)", output).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
