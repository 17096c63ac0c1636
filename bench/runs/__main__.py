"""Measures streamed runs, and with `--write` keeps the results and writes docs/reference/performance-runs.md.

python -m bench.runs --write      what `make bench-runs` does
python -m bench.runs sqlite       one database alone
python -m bench.runs --render     writes the page again from the results that are kept
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import uvloop

from bench import machine, postgres, results, sheet
from bench.figures import Figure
from bench.processes import CPUS, LOAD_CPU, Server
from bench.results import Part
from bench.runs import keys, page
from bench.runs.measures import Measured

ROUNDS = 5
LEASE_S = 3
TAKE_OVERS = 3


class Bench:
    """One database's part of a run."""

    def __init__(self, stack: ExitStack, folder: Path, rounds: int, only: str) -> None:
        self._stack = stack
        self._folder = folder
        self._rounds = rounds
        self._only = only
        self._servers = 0
        self.part = Part(machine.here(folder) | page.programs(), {"rounds": rounds})
        self._model = stack.enter_context(
            Server(["threadkeep.testing", "--port"], folder / "model.log", cpus=LOAD_CPU or CPUS)
        )

    def serve(self, url: str, *flags: str) -> Server:
        """A server on a database; each time one that has done nothing yet."""
        self._servers += 1
        command = ["threadkeep", "serve", "--database", url, "--upstream-url", f"{self._model.url}/v1"]
        flags = ("--no-request-log", "--runs-max", "5000", "--project-runs-max", "5000", *flags)
        return self._stack.enter_context(
            Server([*command, *flags, "--port"], self._folder / f"server-{self._servers}.log")
        )

    async def measured(self, server: Server) -> Measured:
        """A server that is ready to be measured."""
        return await Measured.of(server, self._model)

    async def repeat(self, name: str, measure: Callable[[], Awaitable[float]], times: int = 0) -> None:
        """Measures once in each round."""
        if self._only in name:
            self.note(name, [await measure() for _ in range(times or self._rounds)])

    def note(self, name: str, figures: list[float]) -> None:
        """Keeps a figure, and shows it."""
        self.part.others[name] = figure = Figure(tuple(round(value, 3) for value in figures))
        print(f"{time.strftime('%X')} {name}: {sheet.shown(figure)}  {figure.rounds}", flush=True)

    async def measure(self, url: str) -> None:
        """What one server is measured by."""
        ours = await self.measured(self.serve(url))
        await self.repeat("first_token_ms", ours.first_token_ms)
        await self.repeat("steady_us", ours.steady_us)
        await self.repeat("fast_us", ours.fast_us)
        await self.repeat("poll_ms", ours.poll_ms)
        await self.repeat("held_streams", ours.held_streams, 1)

    async def measure_memory(self, url: str) -> None:
        """On a database of its own."""
        if self._only in "open_stream_kb":
            ours = await self.measured(self.serve(url))
            self.note("open_stream_kb", await ours.open_stream_kb(self._rounds))

    async def measure_two(self, url: str) -> None:
        """Two nodes on one database."""
        lease = ("--run-lease-s", str(LEASE_S))
        there = await self.measured(self.serve(url, *lease))
        here = await self.measured(self.serve(url, *lease))
        await self.repeat("lag_ms", lambda: here.lag_ms(there))
        await self.repeat("cancelled_ms", lambda: here.cancelled_ms(there))

        async def take_over() -> float:
            dying = await self.measured(self.serve(url, *lease))
            return await dying.taken_over_s(there) / LEASE_S

        await self.repeat("taken_over_leases", take_over, TAKE_OVERS)

    async def measure_keys(self, url: str) -> None:
        """One node, and a command line beside it."""
        # With it, the server asks for one.
        keys.create(url)
        server = self.serve(url)
        await self.repeat("refused_ms", lambda: asyncio.to_thread(keys.refused_ms, server, url))

    async def all(self, url_of: Callable[[str], str], *, is_shared: bool) -> None:
        """All measures, on databases that `url_of` makes for a name."""
        await self.measure(url_of("ours"))
        await self.measure_memory(url_of("memory"))
        if is_shared:
            await self.measure_two(url_of("two"))
        await self.measure_keys(url_of("keys"))


def on_sqlite(bench: Bench, _stack: ExitStack, folder: Path) -> None:
    """The embedded database."""
    uvloop.run(bench.all(lambda name: f"sqlite:///{folder}/{name}.db", is_shared=False))


def on_postgres(bench: Bench, stack: ExitStack, folder: Path) -> None:
    """PostgreSQL, with one node and with two."""
    database = stack.enter_context(postgres.running(folder / "postgres"))
    bench.part.setup["postgresql"] = database.version
    urls = {name: database.create(name) for name in ("ours", "memory", "two", "keys")}
    uvloop.run(bench.all(urls.__getitem__, is_shared=True))


SUITES = {"sqlite": on_sqlite, "postgres": on_postgres}


def main() -> None:
    """Measures what the arguments ask for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.runs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "databases", nargs="*", metavar="DATABASE", help=f"{' or '.join(SUITES)}; both if none is named"
    )
    parser.add_argument("--write", action="store_true", help="keep the results and write the page")
    parser.add_argument("--render", action="store_true", help="write the page from what is kept")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="measures whose name contains this")
    arguments = parser.parse_args()
    if unknown := set(arguments.databases) - set(SUITES):
        parser.error(f"there is no database {', '.join(unknown)}")
    if arguments.write and (arguments.only or arguments.rounds < ROUNDS):
        parser.error(f"--write keeps only whole runs: all measures, {ROUNDS} rounds or more")
    if not arguments.render:
        _prepare()
        for name in arguments.databases or SUITES:
            _measure(name, arguments)
    if arguments.render or arguments.write:
        page.write()


def _measure(name: str, arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="threadkeep-bench-") as path, ExitStack() as stack:
        folder = Path(path)
        machine.require_fit(folder)
        print(f"\n{name}", flush=True)
        bench = Bench(stack, folder, arguments.rounds, arguments.only)
        SUITES[name](bench, stack, folder)
        if arguments.write:
            results.write(page.PARTS[name], bench.part)


def _prepare() -> None:
    if sys.platform != "linux":
        sys.exit("The benchmark reads Linux's /proc: it runs on Linux alone.")
    # The load must not disturb the server; what is started is placed anew.
    os.sched_setaffinity(0, CPUS[1:] or CPUS)
    # Otherwise PostgreSQL and the servers would go on without it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))


if __name__ == "__main__":
    main()
