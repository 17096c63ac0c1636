"""Measures, prints ratios, and with `--write` keeps the results and writes docs/reference/performance.md.

python -m bench sqlite postgres --write     what `make bench` does
python -m bench large --write               what `make bench-large` does
python -m bench --render                    writes the page again from the results that are kept
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from bench import page, results
from bench.contest import Rounds
from bench.goals import GOAL_CONNECTIONS
from bench.machine import require_fit
from bench.plan import Plan
from bench.processes import CPUS, LOAD_CPU
from bench.suites import large, on_postgres, on_sqlite
from bench.words import HEADINGS, PINNING

SUITES = {"sqlite": (on_sqlite, 10_000), "postgres": (on_postgres, 10_000), "large": (large, 1_000_000)}
ROUNDS = 5


def main() -> None:
    """Measures what the arguments ask for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(SUITES)}")
    parser.add_argument("--write", action="store_true", help="keep the results and write the page")
    parser.add_argument("--render", action="store_true", help="write the page from what is kept")
    parser.add_argument("--threads", type=int, help="threads in the database")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=int, default=2, help="length of one burst")
    parser.add_argument("--connections", type=int, nargs="+", default=[GOAL_CONNECTIONS, 1])
    parser.add_argument("--only", default="", help="operations whose name contains this")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(SUITES):
        parser.error(f"there is no part {', '.join(unknown)}")
    if arguments.write and (arguments.only or arguments.threads or arguments.rounds < ROUNDS):
        parser.error(f"--write keeps only whole runs: all operations and threads, {ROUNDS} rounds or more")
    if arguments.parts:
        _require_tools()
    for name in arguments.parts:
        part = _measure(name, arguments)
        if arguments.write:
            results.write(name, part)
            page.write()
    if arguments.render:
        page.write()


def _measure(name: str, arguments: argparse.Namespace) -> results.Part:
    suite, threads = SUITES[name]
    with tempfile.TemporaryDirectory(prefix="threadkeep-bench-") as folder:
        require_fit(Path(folder))
        print(f"\n{HEADINGS[name]}\n\n{PINNING}\n", flush=True)
        plan = Plan(
            rounds=Rounds(arguments.rounds, arguments.seconds, Path(folder)),
            connections=arguments.connections,
            threads=arguments.threads or threads,
            only=arguments.only,
            show=lambda row: print(page.line(name, row), flush=True),
        )
        part = suite(plan)
    print("\n".join(["", *page.tables(name, part)]), flush=True)
    return part


def _require_tools() -> None:
    if sys.platform != "linux":
        sys.exit("The benchmark reads Linux's /proc: it runs on Linux alone.")
    if not shutil.which("wrk"):
        sys.exit("The load comes from wrk, which is not installed. On Debian and Ubuntu: apt-get install wrk")
    if not LOAD_CPU:
        sys.exit("The benchmark needs two CPUs, one for the server and one for the load.")
    # This program must not disturb the server; what it starts is placed anew.
    os.sched_setaffinity(0, CPUS[1:])
    # Otherwise PostgreSQL and the servers would go on without it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))


if __name__ == "__main__":
    main()
