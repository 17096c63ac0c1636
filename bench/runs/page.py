"""Writes docs/reference/performance-runs.md from the results that are kept."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from bench import sheet
from bench.results import Part, read
from bench.sheet import Row

PATH = Path(__file__).parents[2] / "docs/reference/performance-runs.md"
# The names under which the results of each database are kept.
PARTS = {"sqlite": "runs-sqlite", "postgres": "runs-postgres"}


ROWS = {
    "first_token_ms": Row(
        "first token, later than from the model server itself, p50", "ms", {"sqlite": 5, "postgres": 10}, 1
    ),
    "steady_us": Row("CPU a token, 100 streams of 20 tokens a second", "µs", {"sqlite": 120}),
    "fast_us": Row("CPU a token, one stream as fast as it can", "µs", {"sqlite": 40, "postgres": 40}, 1),
    "poll_ms": Row(
        "creation to end of a run of one token, SDK's `create_and_poll`, p50", "ms", {"sqlite": 15, "postgres": 15}, 1
    ),
    "held_streams": Row("streams of 20 tokens a second of which none is late"),
    "open_stream_kb": Row("memory of an open stream", "KiB", {"sqlite": 100, "postgres": 100}),
    "lag_ms": Row("a token seen from another node, later than from the run's own, p50", "ms", {"postgres": 40}, 1),
    "cancelled_ms": Row(
        "cancel at another node while the run's own is frozen, to the event that tells of it", "ms", {"postgres": 1000}
    ),
    "taken_over_leases": Row("`kill -9` of a run's process to its next token, in leases", digits=2),
    "refused_ms": Row("`keys revoke` to the first request that is refused", "ms", {"sqlite": 1000, "postgres": 1000}),
}

INTRODUCTION = """\
<!-- Written by bench/runs/page.py from bench/results. Measure again with `make bench-runs`. -->
# Performance of runs

What a streamed run costs, and how soon its tokens come. Unlike those of [Performance](performance.md) these are bare
figures of one machine, since most are times that somebody waits.

## How it is measured

- The model is the scripted one of `threadkeep.testing`, a process of its own; so is the client, which does little more
  than count. The server has one CPU; model and client share another, and PostgreSQL has what is left, or that one too.
- Every event is in the log, on disk, before it is sent: `synchronous=full` on SQLite; PostgreSQL as `initdb` sets it
  up, over a Unix socket. The request log is off.
- **CPU** is user and system time of the server's process; PostgreSQL's own processes do not count. With 100 streams it
  is that of four seconds in which all of them run; with one, of all from the run's creation to its end.
- **First token**: of 30 runs on new threads, in turn with as many requests to the model server, which says its first
  word after 20 ms; the difference of the medians.
- **Late**: the last of a stream's 160 tokens comes more than 250 ms after its time. Streams begin within two seconds.
  The number of streams rises by half until one is late in two tries; then the gap is halved twice. Where this ends
  depends on the client and the model as well, which work as much as the server does.
- **Memory** is anonymous memory of the server's process for each of 100 more streams whose model has become silent: the
  client's connection, the run, and the connection to the model server.
- **Another node** is a second process on the same database. The median is over ten runs of 20 tokens a second.
- **Frozen** is a process that was stopped with `SIGSTOP`, while its run's model is silent.
- **`kill -9`**: the lease is three seconds. A lease is confirmed three times in its length, so that what is left of it
  when the process dies is between two thirds and all.
- **`keys revoke`** is a process beside the server; the time begins when it has ended.
- A figure is the median over the rounds, with how far a round strays from it at most; a goal is met or missed only
  beyond that."""


def programs() -> dict[str, str]:
    """What serves and asks over HTTP."""
    return {"HTTP": ", ".join(f"{name} {version(name)}" for name in ("uvloop", "httptools", "aiohttp"))}


def write() -> None:
    """Writes the page anew."""
    PATH.write_text(render(read(names=tuple(PARTS.values()))), encoding="utf-8")


def render(parts: dict[str, Part]) -> str:
    """The whole page."""
    by_database = {database: parts.get(kept) for database, kept in PARTS.items()}
    return sheet.render(INTRODUCTION, ROWS, by_database, "make bench-runs")
