"""The load: one burst of wrk, and what it measured."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.processes import LOAD_CPU, Server, pinned

# Slow contestants are to be measured, not cut off.
ANSWER_TIMEOUT_S = 60


@dataclass(frozen=True)
class Load:
    """What one burst measured. Times in ms, CPU in µs a request."""

    requests: int
    failed: int
    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    # What the server did for these requests after the burst.
    followed_us: float = 0


def burst(server: Server, script: Path, *, connections: int, seconds: int) -> Load:
    """Loads `server` with `connections` for `seconds`."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={ANSWER_TIMEOUT_S}s", "--latency"]
    with server.watched_memory(), pinned(LOAD_CPU):
        before = server.cpu_s()
        done = subprocess.run([*command, "-s", str(script), server.url], capture_output=True, text=True, check=True)
        used = server.cpu_s() - before
    return parse(done.stdout, used)


def parse(output: str, cpu_s: float) -> Load:
    """The figures in what wrk printed, for a burst that took the server `cpu_s` of CPU."""
    requests = int(re.search(r"(\d+) requests in", output)[1])
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    lost = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    return Load(
        requests=requests,
        failed=(int(refused[1]) if refused else 0) + (sum(map(int, lost.groups())) if lost else 0),
        per_s=float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1]),
        p50_ms=_ms(output, "50%"),
        p99_ms=_ms(output, "99%"),
        cpu_us=cpu_s / max(requests, 1) * 1e6,
    )


def _ms(output: str, percentile: str) -> float:
    number, unit = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s|m)\b", output).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[unit]
