"""What a run leaves behind: one JSON file for each part, from which the page is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.figures import Figure

FOLDER = Path(__file__).parent / "results"
PARTS = ("sqlite", "postgres", "large")


@dataclass(frozen=True)
class Ratios:
    """The server over another contestant, round by round."""

    cpu: Figure
    per_s: Figure


@dataclass(frozen=True)
class Row:
    """One operation at one number of connections. What a failed request makes void is None."""

    operation: str
    connections: int
    ratios: dict[str, Ratios | None]
    p50_ms: dict[str, float | None]
    p99_ms: dict[str, float | None]
    failed: dict[str, int]


@dataclass
class Part:
    """All that one part of a run measured. `others`: figures beside the operations."""

    machine: dict[str, str]
    setup: dict[str, int | str]
    rows: list[Row] = field(default_factory=list)
    others: dict[str, Figure | None] = field(default_factory=dict)


def read(folder: Path = FOLDER, names: tuple[str, ...] = PARTS) -> dict[str, Part]:
    """The parts that were measured."""
    files = {name: folder / f"{name}.json" for name in names}
    return {name: msgspec.json.decode(file.read_bytes(), type=Part) for name, file in files.items() if file.exists()}


def write(name: str, part: Part, folder: Path = FOLDER) -> None:
    """Keeps a part; the other parts stay as they are."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(part), indent=1) + b"\n")
