"""Writes docs/reference/performance-data.md from the results that are kept."""

from __future__ import annotations

from pathlib import Path

from bench import sheet
from bench.results import Part, read
from bench.sheet import Row

PATH = Path(__file__).parents[2] / "docs/reference/performance-data.md"
# The names under which the results of each database are kept.
PARTS = {"sqlite": "data-sqlite", "postgres": "data-postgres"}

_BOTH = ("sqlite", "postgres")
_RATE = dict.fromkeys(_BOTH, 20_000.0)
_MEMORY = dict.fromkeys(_BOTH, 150.0)
_SEARCH = dict.fromkeys(_BOTH, 20.0)
_KINDS = {
    "drawn": "a word drawn as the messages' are",
    "rare": "a rare word",
    "common": "the most common word",
    "two_common": "two common words",
    "common_and_rare": "a common and a rare word",
    "prefix": "four letters and `*`",
}

ROWS = {
    "import_per_s": Row("`threadkeep import`, messages a second", goals=_RATE, is_least=True),
    "import_per_cpu_s": Row("`threadkeep import`, messages a second of its CPU"),
    "import_mb": Row("`threadkeep import`, most memory", "MiB", _MEMORY),
    "export_per_s": Row("`threadkeep export`, messages a second", goals=_RATE, is_least=True),
    "export_per_cpu_s": Row("`threadkeep export`, messages a second of its CPU"),
    "export_mb": Row("`threadkeep export`, most memory", "MiB", _MEMORY),
    "first_paint_kb": Row("the playground's first paint", "KiB", dict.fromkeys(_BOTH, 60.0), 1),
    "index_per_s": Row("indexing for search, messages a second"),
    **{
        f"search_{kind}_{percentile}_ms": Row(
            f"search for {words}, {percentile}", "ms", _SEARCH if percentile == "p50" else {}, 1
        )
        for kind, words in _KINDS.items()
        for percentile in ("p50", "p99")
    },
    **{
        f"copy_{length}{key}_ms": Row(words.format(f"{length:,}"), "ms", digits=1)
        for length in (1000, 50_000)
        for key, words in (
            ("", "copy of a thread of {} messages"),
            ("_others_p50", "another's request while {} messages are copied, p50"),
            ("_others_max", "another's request while {} messages are copied, longest"),
        )
    },
    "server_mb": Row("the server, most memory during all this", "MiB"),
}

INTRODUCTION = """\
<!-- Written by bench/transfers/page.py from bench/results. Measure again with `make bench-data`. -->
# Performance of search, copies, import and export

What it costs to move, copy and search a million messages. These are bare figures of one machine.

## How it is measured

- A million messages of 30 words: one thread of 50,000, one of 1,000, the others of 10. The words are drawn from 50,000,
  a few of them often and most of them seldom.
- `threadkeep import` reads them from a file into an empty database, `threadkeep export` writes them to another. Each is
  one process and uses one CPU; on PostgreSQL the database shares the machine with it.
- Then a server starts, which indexes the messages for search in the background, at the pace it has beside requests.
- 200 searches of each kind follow, one at a time, over HTTP, for 20 results.
- Copies are made over HTTP too: 20 of the thread of 1,000 messages (the median is shown), one of the other. Meanwhile
  another client retrieves a thread, again and again.
- Memory is resident memory that is not a file's. The first paint is the playground's page with the styles and scripts
  it names, as they are sent, compressed."""


def write() -> None:
    """Writes the page anew."""
    PATH.write_text(render(read(names=tuple(PARTS.values()))), encoding="utf-8")


def render(parts: dict[str, Part]) -> str:
    """The whole page."""
    by_database = {database: parts.get(kept) for database, kept in PARTS.items()}
    return sheet.render(INTRODUCTION, ROWS, by_database, "make bench-data")
