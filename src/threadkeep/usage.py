"""What runs used: tokens by day, project, key and assistant, kept when their threads are deleted.

A run is counted in the unit that ends it, under its fence: once, whatever happens to the process. What a turn used that
was lost with its process is not known to anybody.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec import Struct

from threadkeep.store import queries
from threadkeep.store.interface import Change, Store, Transaction

if TYPE_CHECKING:
    from threadkeep.run_steps import Usage

sql = queries.load("usage")

Dimension: TypeAlias = Literal["day", "project", "key", "assistant"]
DIMENSIONS: tuple[Dimension, ...] = ("day", "project", "key", "assistant")
DAY_S = 86_400
# Runs that end at the same moment seldom wait for one another's row.
SLOTS = 8
_EPOCH = date(1970, 1, 1)


class Used(Struct, kw_only=True):
    """A row of the report; what it is not divided by is None. A run that no key of the database made has the key ''."""

    day: str | None = None
    project: str | None = None
    key: str | None = None
    assistant: str | None = None
    runs: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


def day_of(at: int) -> int:
    """The day, in UTC, of a time in seconds since the epoch."""
    return at // DAY_S


def change(project_id: str, key_id: str, assistant_id: str, run_id: str, at: int, spent: Usage) -> Change:
    """What counts a run that ends."""
    return sql.add_usage, {
        "project_id": project_id,
        "day": day_of(at),
        "key_id": key_id,
        "assistant_id": assistant_id,
        "slot": zlib.crc32(run_id.encode()) % SLOTS,
        "prompt_tokens": spent.prompt_tokens,
        "cached_tokens": spent.prompt_token_details.cached_tokens,
        "completion_tokens": spent.completion_tokens,
    }


def tokens_today(tx: Transaction, project_id: str, now: int, key_id: str | None = None) -> int:
    """The tokens that a project's finished runs have used today, or those that one key made."""
    place = {"project_id": project_id, "day": day_of(now)}
    row = (
        tx.one(sql.sum_tokens_of_project, **place)
        if key_id is None
        else tx.one(sql.sum_tokens_of_key, key_id=key_id, **place)
    )
    return int(row[0]) if row else 0


async def report(store: Store, first: date, last: date, by: Sequence[Dimension] = DIMENSIONS) -> list[Used]:
    """What was used from the one day to the other, divided as asked, in that order."""
    bounds = {"first_day": (first - _EPOCH).days, "last_day": (last - _EPOCH).days}
    rows = await store.read(lambda tx: tx.all(sql.list_usage, **bounds))
    found: dict[tuple[str, ...], Used] = {}
    for day, project, key, assistant, *counts in rows:
        whole = {"day": str(_EPOCH + timedelta(day)), "project": project, "key": key, "assistant": assistant}
        place = {name: whole[name] for name in by}
        used = found.setdefault(tuple(place.values()), Used(**place))
        used.runs += counts[0]
        used.prompt_tokens += counts[1]
        used.cached_tokens += counts[2]
        used.completion_tokens += counts[3]
    return [used for _, used in sorted(found.items())]


def today() -> date:
    """The day it is, in UTC."""
    return datetime.now(UTC).date()
