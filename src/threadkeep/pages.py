"""Cursor pages: `limit`, `order`, `after`, `before`, and the list envelope.

`after` and `before` name objects; each list turns them into positions of its own (a sequence number, or a time and an
id). A page is the open interval between them, in the requested order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

from msgspec import Meta, Raw, Struct

from threadkeep import ids
from threadkeep.store.queries import Query

T = TypeVar("T")
Position = TypeVar("Position")

# A wire object as it was stored: JSON text that is sent on without being decoded.
Stored: TypeAlias = Raw

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=100)]


class ListParams(Struct, kw_only=True, frozen=True):
    """The query of every list."""

    limit: Limit = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None


class Page(Struct, Generic[T], kw_only=True):
    """The list envelope. `first_id` and `last_id` are null when `data` is empty."""

    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Window(Struct, Generic[Position]):
    """Which rows a page needs: those between `low` and `high`, scanned from one end.

    `limit` is one more than the page holds: the extra row tells whether there are more.
    """

    low: Position
    high: Position
    ascending: bool
    backwards: bool
    limit: int

    @classmethod
    def of(
        cls, params: ListParams, prefix: str, lowest: Position, highest: Position, locate: Callable[[str], Position]
    ) -> Window[Position]:
        """The window of `params`; `locate` gives a cursor's position or raises `NotFoundError`.

        `prefix` is what the ids of the list begin with.
        """

        def position(name: str, cursor: str | None) -> Position | None:
            if not cursor:
                return None
            ids.check(name, cursor, prefix)
            return locate(cursor)

        after = position("after", params.after)
        before = position("before", params.before)
        ascending = params.order == "asc"
        low, high = (after, before) if ascending else (before, after)
        # With `before` alone the page is the one nearest the cursor: scan away from it, then turn the page round.
        backwards = before is not None and after is None
        return cls(
            low=lowest if low is None else low,
            high=highest if high is None else high,
            ascending=ascending != backwards,
            backwards=backwards,
            limit=params.limit + 1,
        )

    @property
    def bounds(self) -> dict[str, Any]:
        """What a list's query is given; where a place is a time and an id, each of these has a name of its own."""
        if isinstance(self.low, tuple) and isinstance(self.high, tuple):
            (low_at, low_id), (high_at, high_id) = self.low, self.high
            return {"low_at": low_at, "low_id": low_id, "high_at": high_at, "high_id": high_id, "limit": self.limit}
        return {"low": self.low, "high": self.high, "limit": self.limit}

    def choose(self, ascending: Query, descending: Query) -> Query:
        """The one of a list's two queries that scans in this window's order."""
        return ascending if self.ascending else descending

    def page(self, rows: Sequence[tuple[str, str]]) -> Page[Stored]:
        """The page of `rows`, each an id and a stored object, in the order of the scan."""
        has_more = len(rows) == self.limit
        kept = rows[: self.limit - 1]
        if self.backwards:
            kept = kept[::-1]
        return Page(
            data=[Stored(body) for _, body in kept],
            first_id=kept[0][0] if kept else None,
            last_id=kept[-1][0] if kept else None,
            has_more=has_more,
        )
