"""Alternating rounds: each side gets one burst of load in each round, and rounds are compared."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.data import Data
from bench.figures import Figure
from bench.load import Load, burst
from bench.operations import CREATE, KEY, Operation
from bench.processes import SERVER_CPU, Server, UsesCpu, pinned, settle
from bench.results import Ratios

# Few enough that their table costs wrk nothing, whatever the size of the database.
IDS_PER_BURST = 20_000
# The server empties the write-ahead log of SQLite up to two seconds after the last write.
SETTLE_AFTER_WRITES_S = 2.5
# It removes what was deleted up to five seconds later.
SETTLE_AFTER_DELETES_S = 7.5
YARDSTICK = "yardstick"


@dataclass
class Contestant:
    """A running server, and the threads in its database."""

    name: str
    server: Server
    data: Data
    ids: list[str]
    # The command that adds threads to the database; the yardstick has none.
    seeding: list[str] | None = None
    # The most threads that it could delete in a second.
    deletes_per_s: int = 0
    # Threads that may be deleted; when there are none, fresh ones are made.
    spare: list[str] = field(default_factory=list)
    # Other processes that work for it.
    database: UsesCpu | None = None

    def ids_for(self, operation: Operation, burst_name: str, seconds: int, folder: Path) -> list[str]:
        """The threads that a burst names: others in each burst, and the same ones for all contestants."""
        if operation.consumes and self.seeding:
            return self._unused(self.deletes_per_s * seconds, folder)
        threads = self.data.full(self.ids) if operation.needs_full else self.ids
        return random.Random(burst_name).sample(threads, min(len(threads), IDS_PER_BURST))

    def _unused(self, count: int, folder: Path) -> list[str]:
        if len(self.spare) >= count:
            return [self.spare.pop() for _ in range(count)]
        settle(self.processes)
        fresh = seed(self.seeding, Data(count), folder)
        # One after the other they would lie side by side in the database.
        random.Random(count).shuffle(fresh)
        return fresh

    @property
    def processes(self) -> list[UsesCpu]:
        """What must be at rest before others are measured."""
        return [self.server, *([self.database] if self.database else [])]


@dataclass(frozen=True)
class Side:
    """One of the things that are compared: an operation of a contestant."""

    name: str
    contestant: Contestant
    operation: Operation


@dataclass(frozen=True)
class Rounds:
    """How often and how long, and where the scripts may be written."""

    rounds: int
    seconds: int
    folder: Path

    def alternate(self, sides: Iterable[Side], connections: int) -> dict[str, list[Load]]:
        """Every side's load in each round."""
        sides = list(sides)
        loads: dict[str, list[Load]] = {side.name: [] for side in sides}
        for number in range(self.rounds):
            for side in sides:
                loads[side.name].append(self._burst(side, connections, number))
        return loads

    def _burst(self, side: Side, connections: int, number: int) -> Load:
        contestant, operation = side.contestant, side.operation
        name = f"{operation.name}-{connections}-{number}"
        ids, script = self.folder / "burst-ids", self.folder / "burst.lua"
        ids.write_text("\n".join(contestant.ids_for(operation, name, self.seconds, self.folder)) + "\n")
        script.write_text(operation.script(ids, name))
        settle(contestant.processes)
        load = burst(contestant.server, script, connections=connections, seconds=self.seconds)
        if operation.writes and contestant.name != YARDSTICK:
            return self._with_what_follows(load, contestant, operation)
        settle(contestant.processes)
        return load

    def _with_what_follows(self, load: Load, contestant: Contestant, operation: Operation) -> Load:
        """The load of a burst of writes, with the CPU that the server used afterwards until it was at rest."""
        before = contestant.server.cpu_s()
        settle(contestant.processes, SETTLE_AFTER_DELETES_S if operation.consumes else SETTLE_AFTER_WRITES_S)
        followed_us = (contestant.server.cpu_s() - before) / max(load.requests, 1) * 1e6
        return replace(load, followed_us=followed_us)


def compare(ours: list[Load], others: list[Load]) -> Ratios | None:
    """Ours over the other's, round by round. None where a request failed: the figure would be void."""
    if failed(ours) or failed(others):
        return None
    return Ratios(
        cpu=Figure.ratio((load.cpu_us for load in ours), (load.cpu_us for load in others)),
        per_s=Figure.ratio((load.per_s for load in ours), (load.per_s for load in others)),
    )


def in_all(ours: list[Load], others: list[Load]) -> Figure | None:
    """CPU with what followed the burst, over the other's."""
    if failed(ours) or failed(others):
        return None
    return Figure.ratio((load.cpu_us + load.followed_us for load in ours), (load.cpu_us for load in others))


def failed(loads: list[Load]) -> int:
    """Requests that were not answered as they should; a burst without any answer counts too."""
    return sum(load.failed or load.requests == 0 for load in loads)


def latencies(loads: dict[str, list[Load]], percentile: str) -> dict[str, float | None]:
    """The median over the rounds of each side's p50 or p99, in ms; None where a request failed."""
    return {
        name: None if failed(rounds) else round(statistics.median(getattr(load, percentile) for load in rounds), 3)
        for name, rounds in loads.items()
    }


def ask(contestant: Contestant, operation: Operation) -> bytes:
    """The contestant's answer to one request of the operation."""
    thread_id = (contestant.data.full(contestant.ids) if operation.needs_full else contestant.ids)[0]
    if operation.consumes:
        thread_id = json.loads(_request(contestant.server, CREATE, ""))["id"]
    return _request(contestant.server, operation, thread_id)


def require_alike(contestants: Iterable[Contestant], operation: Operation) -> int:
    """The length of the first one's answer; ends the run when another answers with other objects."""
    answers = {contestant.name: ask(contestant, operation) for contestant in contestants}
    shapes = {name: _shape(json.loads(answer)) for name, answer in answers.items()}
    if len(set(shapes.values())) > 1:
        sys.exit(f"{operation.name}: the contestants answer differently: {shapes}")
    return len(next(iter(answers.values())))


def set_yardstick(server: Server, answer_bytes: int) -> None:
    """Makes the yardstick's answers as long."""
    urllib.request.urlopen(urllib.request.Request(f"{server.url}/{answer_bytes}", method="PUT")).close()


def seed(command: list[str], data: Data, folder: Path) -> list[str]:
    """Adds the data to the database that the command names; gives the ids of its threads."""
    ids = folder / "seeded-ids"
    with pinned(SERVER_CPU):
        subprocess.run([sys.executable, "-m", *command, str(ids), *data.arguments], check=True)
    return ids.read_text().split()


def _request(server: Server, operation: Operation, thread_id: str) -> bytes:
    path = operation.path.replace("{thread_id}", thread_id)
    body = json.dumps(operation.body).encode() if operation.body is not None else None
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(server.url + path, data=body, method=operation.method, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        sys.exit(f"{operation.name}: {error}\n{error.read().decode()}\n{server.log_end()}")


def _shape(answer: dict) -> tuple[object, ...]:
    """What must be the same for all: the kind of object, how many are in a list, and whether there are more."""
    return answer["object"], len(answer.get("data", ())), answer.get("has_more")
