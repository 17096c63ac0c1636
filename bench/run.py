"""`make bench`: the server beside a yardstick and beside what a user would write instead. Prints ratios.

In each round every contestant gets one burst of load; medians over the rounds are compared. CPU is that of the server
process, so the load generator and other programs do not count.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from operations import KEY, LONG_THREAD, MESSAGES_EACH, OPERATIONS, Operation
from processes import HERE, Load, Server, burst

LONG_THREAD_MESSAGES = 100_000
CONSUMED_PER_BURST = 14_000
CONSUMING_BURST_S = 1


@dataclass
class Row:
    """One operation's measurements, by contestant."""

    operation: Operation
    loads: dict[str, list[Load]] = field(default_factory=dict)

    def median(self, who: str, what: str) -> float:
        """The median over the rounds of one figure."""
        return statistics.median(getattr(load, what) for load in self.loads[who])

    def ratio(self, who: str, what: str) -> float:
        """The server's median over another's."""
        return self.median("threadkeep", what) / self.median(who, what)

    @property
    def spread(self) -> float:
        """How far the server's CPU per request strays from its median, at most, as a share."""
        middle = self.median("threadkeep", "cpu_us")
        return max(abs(load.cpu_us / middle - 1) for load in self.loads["threadkeep"])


@dataclass
class Bench:
    """The running servers and the files that the load scripts read."""

    folder: Path
    database: str
    ids: Path
    server: Server
    naive: Server
    naive_ids: Path
    rounds: int
    seconds: int

    def measure(self, operation: Operation, connections: int) -> Row:
        """Alternating bursts on each contestant."""
        row = Row(operation, {"threadkeep": [], "yardstick": [], "fastapi": []})
        seconds = CONSUMING_BURST_S if operation.consumes else self.seconds
        yardstick = [sys.executable, str(HERE / "contestants/yardstick.py"), "9701"]
        size = str(_answer_bytes(operation, self.server, self.ids))
        with Server(yardstick, 9701, BENCH_ANSWER_BYTES=size) as plain:
            for _ in range(self.rounds):
                ids = self._fresh_ids() if operation.consumes else self.ids
                for who, server, used in (
                    ("threadkeep", self.server, ids),
                    ("yardstick", plain, ids),
                    ("fastapi", self.naive, self.naive_ids),
                ):
                    if who == "fastapi" and LONG_THREAD in operation.path:
                        # It was not given the long thread, which takes it minutes to make.
                        continue
                    script = self.folder / "request.lua"
                    script.write_text(operation.script(str(used)))
                    row.loads[who].append(burst(server, script, connections=connections, seconds=seconds))
        return row

    def _fresh_ids(self) -> Path:
        ids = self.folder / "consumed"
        _seed(self.database, CONSUMED_PER_BURST, 2, 0, ids)
        return ids


def main() -> None:
    """Measures what the arguments ask for."""
    arguments = _arguments()
    if not shutil.which("wrk"):
        sys.exit("The load comes from wrk, which is not installed: apt-get install wrk")
    with ExitStack() as stack:
        bench = _start(stack, arguments)
        print(f"start to first answer {bench.server.start_s:.2f} s, memory {bench.server.anonymous_mb():.0f} MB")
        for connections in arguments.connections:
            print(f"\n{connections} connections, {bench.rounds} rounds; CPU and req/s over the yardstick's")
            print(HEADER)
            for operation in OPERATIONS:
                if arguments.only in operation.name:
                    print(_line(bench.measure(operation, connections)), flush=True)
        print(f"\nmemory after the load {bench.server.anonymous_mb():.0f} MB")


HEADER = (
    f"{'operation':27}{'CPU':>6}{'goal':>6}{'':8}{'spread':>7}{'req/s':>7}{'p50 ms (yardstick)':>20}"
    f"{'p99 ms (yardstick)':>20}{'FastAPI CPU':>13}{'failed':>8}"
)


def _line(row: Row) -> str:
    cpu = row.ratio("yardstick", "cpu_us")
    met = "met" if cpu <= row.operation.goal else "missed"
    p50, p99 = (f"{row.median('threadkeep', p):.2f} ({row.median('yardstick', p):.2f})" for p in ("p50_ms", "p99_ms"))
    naive = f"{1 / row.ratio('fastapi', 'cpu_us'):.0f} times" if row.loads["fastapi"] else "-"
    failed = sum(load.failed for load in row.loads["threadkeep"])
    return (
        f"{row.operation.name:27}{cpu:6.2f}{row.operation.goal:6.1f} {met:7}{row.spread:7.0%}"
        f"{row.ratio('yardstick', 'per_s'):7.2f}{p50:>20}{p99:>20}{naive:>13}{failed:8}"
    )


def _start(stack: ExitStack, arguments: argparse.Namespace) -> Bench:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="threadkeep-bench-")))
    database, ids, naive_ids = f"sqlite:///{folder / 'bench.db'}", folder / "ids", folder / "naive-ids"
    print(f"filling the databases with {arguments.threads} threads")
    _seed(database, arguments.threads, MESSAGES_EACH, LONG_THREAD_MESSAGES, ids)
    naive = [sys.executable, str(HERE / "contestants/fastapi_sqlite.py")]
    environ = {"THREADKEEP_API_KEY": KEY, "BENCH_DATABASE": str(folder / "naive.db")}
    subprocess.run([*naive, "seed", str(arguments.threads), str(naive_ids)], check=True, env={**os.environ, **environ})
    ours = [sys.executable, "-m", "threadkeep", "serve", "--port", "9700", "--database", database, "--no-request-log"]
    return Bench(
        folder=folder,
        database=database,
        ids=ids,
        server=stack.enter_context(Server(ours, 9700, THREADKEEP_API_KEY=KEY)),
        naive=stack.enter_context(Server([*naive, "9702"], 9702, **environ)),
        naive_ids=naive_ids,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
    )


def _answer_bytes(operation: Operation, server: Server, ids: Path) -> int:
    if operation.consumes:
        return len('{"id":"thread_0123456789abcdefghijklmn","object":"thread.deleted","deleted":true}')
    path = operation.path.replace("{thread_id}", ids.read_text().split("\n", 1)[0])
    body = json.dumps(operation.body).encode() if operation.body is not None else None
    request = urllib.request.Request(
        server.url + path, data=body, method=operation.method, headers={"Authorization": f"Bearer {KEY}"}
    )
    with urllib.request.urlopen(request) as answer:
        return len(answer.read())


def _seed(database: str, count: int, messages_each: int, long_messages: int, ids: Path) -> None:
    numbers = [str(count), str(messages_each), str(long_messages)]
    subprocess.run([sys.executable, str(HERE / "seed.py"), database, *numbers, str(ids)], check=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=10_000, help="threads in the database")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="length of one burst")
    parser.add_argument("--connections", type=int, nargs="+", default=[64, 1])
    parser.add_argument("--only", default="", help="operations whose name contains this")
    return parser.parse_args()


if __name__ == "__main__":
    main()
