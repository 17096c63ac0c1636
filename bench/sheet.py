"""A page of bare figures of one machine with their goals: a table for each database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.figures import Figure
from bench.results import Part

NAMES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}


@dataclass(frozen=True)
class Row:
    """One thing that is measured, and what it should be at most on each database, or with `is_least` at least."""

    what: str
    unit: str = ""
    goals: Mapping[str, float] = field(default_factory=dict)
    digits: int = 0
    is_least: bool = False


def render(introduction: str, rows: Mapping[str, Row], parts: Mapping[str, Part | None], command: str) -> str:
    """The whole page. `parts` is by database; `command` is what measures one that is None."""
    lines = introduction.splitlines()
    for database, part in parts.items():
        lines += ["", f"## On {NAMES[database]}", ""]
        lines += _tables(database, part, rows) if part else [f"Not measured yet; `{command}` does it."]
    return "\n".join(lines) + "\n"


def shown(figure: Figure) -> str:
    """A figure with its spread, for a look during a run."""
    return f"{figure.median:.3g}{_spread(figure)}"


def _tables(database: str, part: Part, rows: Mapping[str, Row]) -> Sequence[str]:
    used = part.machine | ({"PostgreSQL": str(part.setup["postgresql"])} if "postgresql" in part.setup else {})
    lines = [f"{part.setup['rounds']} rounds.", ""] if "rounds" in part.setup else []
    lines += ["| what | figure | goal | result |", "| --- | --- | --- | --- |"]
    for key, figure in part.others.items():
        row, goal = rows[key], rows[key].goals.get(database)
        unit = f" {row.unit}" if row.unit else ""
        is_met = figure.at_least if row.is_least else figure.at_most
        cells = [
            row.what,
            f"{figure.median:,.{row.digits}f}{unit}{_spread(figure)}",
            f"{'≥' if row.is_least else '≤'} {goal:,g}{unit}" if goal else "none",
            is_met(goal) if goal else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [
        *lines,
        "",
        f"| machine of {NAMES[database]} | used |",
        "| --- | --- |",
        *(f"| {what} | {name} |" for what, name in used.items()),
    ]


def _spread(figure: Figure) -> str:
    return f" ± {figure.spread:.0%}" if len(figure.rounds) > 1 else ""
