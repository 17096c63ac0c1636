"""Named queries: `threads.sql` beside `threads.py` holds all SQL of that noun.

-- name: retrieve_thread
select body from threads where thread_id = :thread_id

-- name: hold_thread [postgres]
select ...                        -- a query that must differ is given once for each database
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

DIALECTS = ("sqlite", "postgres")
_HEADER = re.compile(r"^-- name: (?P<name>\w+)(?: \[(?P<dialect>\w+)\])?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Query:
    """One query under its name, with its text for each database: none where it is not needed, and it finds nothing."""

    name: str
    sqlite: str = ""
    postgres: str = ""


class Queries:
    """The queries of one file, as attributes."""

    def __init__(self, queries: dict[str, Query]) -> None:
        # Real attributes: `__getattr__` would cost a third of a microsecond each time.
        self.__dict__.update(queries)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Query: ...

    def __iter__(self) -> Iterator[Query]:
        return iter(self.__dict__.values())


def parse(text: str) -> dict[str, dict[str, str]]:
    """Name, database, SQL. Raises `ValueError` when a query is given twice for one database."""
    queries: dict[str, dict[str, str]] = {}
    headers = list(_HEADER.finditer(text))
    for header, following in zip(headers, [*headers[1:], None], strict=True):
        body = text[header.end() : following.start() if following else len(text)]
        sql = "\n".join(line for line in body.strip().splitlines() if not line.startswith("--"))
        for name, directed in _directed(header["name"], sql.strip()):
            variants = queries.setdefault(name, {})
            for dialect in (header["dialect"],) if header["dialect"] else DIALECTS:
                if dialect in variants:
                    raise ValueError(f"query {name} is given twice for {dialect}")
                variants[dialect] = directed
    return queries


def _directed(name: str, sql: str) -> list[tuple[str, str]]:
    if "{direction}" not in sql:
        return [(name, sql)]
    return [
        (f"{name}_ascending", sql.replace("{direction}", "asc")),
        (f"{name}_descending", sql.replace("{direction}", "desc")),
    ]


_PARAMETER = re.compile(r"(?<!:):(\w+)")


def positional(sql: str, first: int = 1) -> tuple[str, tuple[str, ...]]:
    """`:name` parameters as `$1`, `$2` from `first` on, and their names in that order; each name has one number."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + first}"

    return _PARAMETER.sub(number, sql), tuple(names)


def load(noun: str) -> Queries:
    """The queries of `<noun>.sql`."""
    text = resources.files("threadkeep").joinpath(f"{noun}.sql").read_text(encoding="utf-8")
    return Queries({name: Query(name, **variants) for name, variants in parse(text).items()})
