"""How a part of a run is done: start the contestants, measure every operation of each, and the figures beside them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from bench import contest, machine
from bench.contest import YARDSTICK, Contestant, Rounds, Side
from bench.data import Data
from bench.figures import Figure
from bench.goals import GOAL_CONNECTIONS
from bench.operations import CREATE, KEY, LIST, LIST_LONG, OPERATIONS, RETRIEVE, Operation
from bench.processes import Server, settle
from bench.results import Part, Row

OURS, FASTAPI = "threadkeep", "fastapi"
STARTS = 5


@dataclass(frozen=True)
class Plan:
    """What is asked for. `show` is told each row as soon as it is there; `only` is part of the operations' names."""

    rounds: Rounds
    connections: list[int]
    threads: int
    only: str
    show: Callable[[Row], None]

    def part(self, **setup: int | str) -> Part:
        """An empty part."""
        rounds = self.rounds
        setup = {"threads": self.threads, "rounds": rounds.rounds, "seconds": rounds.seconds, **setup}
        return Part(machine.describe(rounds.folder), setup)

    def seed(self, command: list[str], data: Data) -> list[str]:
        """Fills a database; gives the ids of its threads."""
        print(f"filling a database with {data.threads:,} threads", flush=True)
        return contest.seed(command, data, self.rounds.folder)

    def serve(self, stack: ExitStack, name: str, command: list[str]) -> Server:
        """Starts a contestant's server."""
        log = self.rounds.folder / f"{name}.log"
        return stack.enter_context(Server(command, log, THREADKEEP_API_KEY=KEY))

    def threadkeep(
        self, stack: ExitStack, url: str, data: Data, ids: list[str], *, name: str = OURS, request_log: bool = False
    ) -> Contestant:
        """The server of this project on a database that is filled."""
        server = self.serve(stack, name, _serve(url, "--request-log" if request_log else "--no-request-log"))
        return Contestant(name, server, data, ids, seeding=["bench.seed", url])

    def yardstick(self, stack: ExitStack, ids: list[str], data: Data) -> Contestant:
        """The yardstick, which gets the same requests."""
        return Contestant(YARDSTICK, self.serve(stack, YARDSTICK, ["bench.contestants.yardstick"]), data, ids)

    def fastapi(self, stack: ExitStack, module: str, database: str, data: Data) -> Contestant:
        """What a user would write instead, on a database with the same data."""
        seeding = [f"bench.contestants.{module}", "seed", database]
        ids = self.seed(seeding, data)
        server = self.serve(stack, module, [f"bench.contestants.{module}", "serve", database])
        return Contestant(FASTAPI, server, data, ids, seeding)

    def measure(self, part: Part, contestants: list[Contestant]) -> None:
        """All operations, the first contestant over the others."""
        for operation in OPERATIONS:
            if self.only in operation.name:
                for connections in self.connections:
                    part.rows.append(self._row(part, contestants, operation, connections))
                    self.show(part.rows[-1])

    def _row(self, part: Part, contestants: list[Contestant], operation: Operation, connections: int) -> Row:
        stored = [contestant for contestant in contestants if contestant.name != YARDSTICK]
        answer_bytes = contest.require_alike(stored, operation)
        for contestant in contestants:
            if contestant.name == YARDSTICK:
                contest.set_yardstick(contestant.server, answer_bytes)
        sides = [Side(contestant.name, contestant, operation) for contestant in contestants]
        loads = self.rounds.alternate(sides, connections)
        ours, *others = loads
        if operation.consumes and connections == GOAL_CONNECTIONS and YARDSTICK in loads:
            part.others["delete in all"] = contest.in_all(loads[ours], loads[YARDSTICK])
        return Row(
            operation=operation.name,
            connections=connections,
            ratios={other: contest.compare(loads[ours], loads[other]) for other in others},
            p50_ms=contest.latencies(loads, "p50_ms"),
            p99_ms=contest.latencies(loads, "p99_ms"),
            failed={name: contest.failed(rounds) for name, rounds in loads.items()},
        )

    def starts(self, url: str) -> dict[str, Figure]:
        """Start to first answer with warm byte code, and the memory at rest."""
        times, memory = [], []
        for _ in range(1 + STARTS):
            with ExitStack() as stack:
                server = self.serve(stack, OURS, _serve(url, "--no-request-log"))
                settle([server])
                times.append(round(server.start_s, 3))
                memory.append(round(server.anonymous_mb(), 1))
        return {"start_s": Figure(tuple(times[1:])), "idle_mb": Figure(tuple(memory[1:]))}

    def long_page(self, ours: Contestant) -> Figure | None:
        """CPU of a page of the long thread over that of a page of a short one."""
        return self._over(Side("long", ours, LIST_LONG), Side("short", ours, LIST))

    def request_log(self, logging: Contestant, silent: Contestant) -> dict[str, Figure | None]:
        """CPU with the request log on, to a file, over that with it off."""
        return {
            f"request log, {operation.name}": self._over(Side("on", logging, operation), Side("off", silent, operation))
            for operation in (RETRIEVE, CREATE)
        }

    def _over(self, first: Side, second: Side) -> Figure | None:
        loads = self.rounds.alternate([first, second], GOAL_CONNECTIONS)
        ratios = contest.compare(loads[first.name], loads[second.name])
        return ratios and ratios.cpu


def _serve(url: str, log_flag: str) -> list[str]:
    return ["threadkeep", "serve", "--database", url, log_flag, "--port"]
