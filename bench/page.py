"""Writes docs/reference/performance.md from the results that are kept: tables of ratios, with goals met and missed."""

from __future__ import annotations

from pathlib import Path

from bench import goals
from bench.data import FEW, FULL, LONG_THREAD_MESSAGES
from bench.figures import NOISE, Figure
from bench.operations import OPERATIONS
from bench.results import Part, Row, read
from bench.words import HEADINGS, INTRODUCTION, NOT_MEASURED

PATH = Path(__file__).parents[1] / "docs/reference/performance.md"
COMMANDS = {"sqlite": "make bench", "postgres": "make bench", "large": "make bench-large"}
BY_NAME = {operation.name: operation for operation in OPERATIONS}
# The order in which latencies are told.
SIDES = {"threadkeep": "Threadkeep", "yardstick": "yardstick", "fastapi": "FastAPI", "small": "fewer threads"}
VOID = "void"


def write() -> None:
    """Writes the page anew."""
    PATH.write_text(render(read()), encoding="utf-8")


def render(parts: dict[str, Part]) -> str:
    """The whole page."""
    lines = [*INTRODUCTION, *_machines(parts)]
    for name, heading in HEADINGS.items():
        lines += ["", f"## {heading}", ""]
        lines += tables(name, parts[name]) if name in parts else [f"Not measured yet; `{COMMANDS[name]}` does it."]
    return "\n".join([*lines, "", *NOT_MEASURED]) + "\n"


def line(name: str, row: Row) -> str:
    """The beginning of a row, as it is shown during a run."""
    (_, operation), *cells = list(_cells(name, row).items())[:4]
    return f"{operation}, {row.connections} connections: " + ", ".join(f"{head} {cell}" for head, cell in cells)


def _others(part: Part) -> list[str]:
    rows = []
    for key, (what, goal, digits) in OTHERS.items():
        if key in part.others:
            figure = part.others[key]
            rows.append(
                {
                    "what": what,
                    "figure": f"{figure.median:.{digits}f}{_spread(figure)}" if figure else VOID,
                    "goal": f"≤ {goal:g}" if goal else "none",
                    "result": _result(figure, goal),
                }
            )
    return _table(rows)


def _result(figure: Figure | None, goal: float | None) -> str:
    if figure is None:
        return VOID
    return figure.at_most(goal) if goal else ""


OTHERS = {
    "delete in all": ("a delete with the removal that follows later, CPU over the yardstick's", None, 2),
    "long page": ("a page of the long thread, CPU over that of a page of a short one", goals.LONG_PAGE, 2),
    "request log, retrieve": ("request log on, CPU of a retrieve over that with it off", goals.REQUEST_LOG, 2),
    "request log, create, metadata only": (
        "request log on, CPU of a create over that with it off",
        goals.REQUEST_LOG,
        2,
    ),
    "start_s": ("start to first answer, seconds", goals.START_S, 2),
    "idle_mb": ("anonymous memory at rest, MiB", goals.IDLE_MB, 0),
    "load_mb": ("anonymous memory under load, at most, MiB", goals.LOAD_MB, 0),
}


def _machines(parts: dict[str, Part]) -> list[str]:
    """One table where all parts were measured on the same machine, else one for each machine."""
    lines = ["", "## The machine", ""]
    different = []
    for part in parts.values():
        if part.machine not in different:
            different.append(part.machine)
    for machine in different:
        if len(different) > 1:
            names = [HEADINGS[name] for name, part in parts.items() if part.machine == machine]
            lines += [f"{', '.join(names)}:", ""]
        lines += [*_table([{"what": what, "used": used} for what, used in machine.items()]), ""]
    return lines[:-1] if different else [*lines, "None yet."]


def tables(name: str, part: Part) -> list[str]:
    """What one part measured."""
    lines = [_setup(name, part)]
    for connections in dict.fromkeys(row.connections for row in part.rows):
        lines += ["", f"### {_heading(name, connections)}", ""]
        lines += _table([_cells(name, row) for row in part.rows if row.connections == connections])
    return [*lines, "", f"### {_heading(name, 0)}", "", *_others(part)]


def _heading(name: str, connections: int) -> str:
    """Of a table; each is different, so that it can be linked to."""
    count = "one connection" if connections == 1 else f"{connections} connections"
    return f"{HEADINGS[name]}: {count if connections else 'beside the operations'}"


def _setup(name: str, part: Part) -> str:
    threads, full_one_in = part.setup["threads"], part.setup["full_one_in"]
    each = f"of {FULL} messages" if full_one_in == 1 else f"of {FEW} messages, one in {full_one_in} of {FULL},"
    words = f"{threads:,} threads {each} and one of {LONG_THREAD_MESSAGES:,}; "
    if name == "postgres":
        words = f"PostgreSQL {part.setup['postgresql']}; {words}"
    if name == "large":
        words += f"beside them the same server with {part.setup['small_threads']:,} such threads; "
    return f"{words}{part.setup['rounds']} rounds of {part.setup['seconds']} s."


def _cells(name: str, row: Row) -> dict[str, str]:
    """A row of a part's table, by heading."""
    cells = {"sqlite": _sqlite_cells, "postgres": _postgres_cells, "large": _large_cells}[name](row)
    for percentile, latencies in (("p50", row.p50_ms), ("p99", row.p99_ms)):
        sides = [side for side in SIDES if side in latencies]
        head = f"{percentile} ms ({', '.join(SIDES[side] for side in sides)})"
        cells[head] = ", ".join(VOID if latencies[side] is None else f"{latencies[side]:.2f}" for side in sides)
    if any(row.failed.values()):
        cells["operation"] += f" ({', '.join(f'{SIDES[side]}: {n} failed' for side, n in row.failed.items() if n)})"
    return cells


def _sqlite_cells(row: Row) -> dict[str, str]:
    yardstick, fastapi = row.ratios["yardstick"], row.ratios["fastapi"]
    goal = BY_NAME[row.operation].goal
    cells = {"operation": row.operation, "CPU over the yardstick's": _ratio(yardstick and yardstick.cpu)}
    if _is_judged(row):
        cells |= {"goal": f"≤ {goal:g}", "result": yardstick.cpu.at_most(goal, NOISE) if yardstick else VOID}
    cells["req/s over the yardstick's"] = _ratio(yardstick and yardstick.per_s)
    cells["FastAPI's CPU over ours"] = _ratio(fastapi and fastapi.cpu.inverse)
    if _is_judged(row):
        times = goals.FASTAPI_CPU_TIMES
        cells[f"goal ≥ {times:g}"] = fastapi.cpu.inverse.at_least(times, NOISE) if fastapi else VOID
    return cells


def _postgres_cells(row: Row) -> dict[str, str]:
    yardstick, fastapi = row.ratios["yardstick"], row.ratios["fastapi"]
    goal = goals.POSTGRES_WRITES_AHEAD if BY_NAME[row.operation].writes else goals.POSTGRES_READS_AHEAD
    cells = {"operation": row.operation, "req/s over FastAPI's": _ratio(fastapi and fastapi.per_s)}
    if _is_judged(row):
        cells |= {"goal": f"≥ {goal:g}", "result": fastapi.per_s.at_least(goal, NOISE) if fastapi else VOID}
    return cells | {
        "FastAPI's CPU over ours": _ratio(fastapi and fastapi.cpu.inverse),
        "CPU over the yardstick's": _ratio(yardstick and yardstick.cpu),
        "req/s over the yardstick's": _ratio(yardstick and yardstick.per_s),
    }


def _large_cells(row: Row) -> dict[str, str]:
    small = row.ratios["small"]
    return {
        "operation": row.operation,
        "CPU over that with fewer threads": _ratio(small and small.cpu),
        "goal": f"≤ {goals.GROWTH:g}",
        # The same program on both sides: what varies between programs does not count here.
        "result": small.cpu.at_most(goals.GROWTH) if small else VOID,
        "req/s over that with fewer threads": _ratio(small and small.per_s),
    }


def _is_judged(row: Row) -> bool:
    return row.connections == goals.GOAL_CONNECTIONS


def _ratio(figure: Figure | None) -> str:
    if figure is None:
        return VOID
    digits = 2 if figure.median < 10 else 0
    return f"{figure.median:.{digits}f}{_spread(figure)}"


def _spread(figure: Figure) -> str:
    # One round has none, which is not the same as a narrow one.
    return f" ± {figure.spread:.0%}" if len(figure.rounds) > 1 else ""


def _table(rows: list[dict[str, str]]) -> list[str]:
    heads = list(rows[0]) if rows else []
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *(row.values() for row in rows))]
