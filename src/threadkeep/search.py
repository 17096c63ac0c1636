"""Full-text search over the messages of a project. `search_index.py` makes what is searched.

Differs from OpenAI: there was no search.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct

from threadkeep import ids, invalid, messages, search_index, words
from threadkeep.context import Context
from threadkeep.messages import Message
from threadkeep.pages import Limit, Page, Stored
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Row, Transaction
from threadkeep.threads import Thread

sql = queries.load("search")

TERMS_MAX = 16
PREFIX_CHARACTERS_MIN = 2
SNIPPET_CHARACTERS = 160
# Messages that are looked through one by one before the index of words is asked, where that is done.
NEWEST = 10_000
_POSITION = re.compile("[0-9]{1,19}")


class SearchParams(Struct, kw_only=True, frozen=True):
    """The query of search. Words are separated by spaces; all must be there, one that ends in `*` may go on."""

    q: Annotated[str, Meta(min_length=1, max_length=500)]
    limit: Limit = 20
    after: str | None = None


class SearchResult(Struct, kw_only=True):
    """A message that was found, and its thread. `snippet` is the text around the first word that was found."""

    id: str
    object: Literal["thread.search_result"] = "thread.search_result"
    thread: Thread
    message: Message
    snippet: str


class Term(NamedTuple):
    """A word that is looked for, or what it begins with."""

    word: str
    is_prefix: bool

    def fits(self, word: str) -> bool:
        """Whether a word of a text is meant."""
        return word.startswith(self.word) if self.is_prefix else word == self.word

    def for_fts5(self, key: str) -> str:
        """What SQLite is asked; `key` stands in front of the project's words."""
        return f'"{key}{self.word}" *' if self.is_prefix else f'"{key}{self.word}"'

    def for_tsquery(self, key: str) -> str:
        """What PostgreSQL is asked."""
        return f"'{key}{self.word}':*" if self.is_prefix else f"'{key}{self.word}'"


async def find(ctx: Context, params: SearchParams) -> Page[SearchResult]:
    """The project's messages that have all words of `q`, newest first, each with its thread."""
    terms = _terms(params.q)
    before = _position(params.after) if params.after else BIGINT_MAX
    key = search_index.key(ctx.project_id)
    match = " AND ".join(term.for_fts5(key) for term in terms)
    tsquery = " & ".join(term.for_tsquery(key) for term in terms)
    place = {"project_id": ctx.project_id, "before": before, "limit": params.limit + 1}

    def unit(tx: Transaction) -> list[Row]:
        tx.one(sql.plan_for_the_words)
        rows = tx.all(sql.search_newest_messages, tsquery=tsquery, newest=NEWEST, **place)
        if len(rows) <= params.limit:
            rows = tx.all(sql.search_messages, match=match, tsquery=tsquery, **place)
        return rows

    rows = await ctx.store.read_aside(unit)
    read, has_more = rows[: params.limit], len(rows) > params.limit
    found = [result for row in read if (result := _result(row, terms))]
    first_id, last_id = (found[0].id, found[-1].id) if found else (None, None)
    if has_more:
        # The next page goes on behind the last row that was read, whether or not it is a result.
        last_id = _id(read[-1][0])
    return Page(data=found, first_id=first_id, last_id=last_id, has_more=has_more)


def _terms(q: str) -> list[Term]:
    terms = []
    for text in q.split():
        found = words.of(text)
        terms += [Term(word, is_prefix=False) for word in found]
        if found and text.endswith("*") and not words.stands_alone(found[-1]):
            terms[-1] = Term(found[-1], is_prefix=True)
            if len(found[-1]) < PREFIX_CHARACTERS_MIN:
                raise invalid.invalid_value("q", f"a word needs {PREFIX_CHARACTERS_MIN} characters before `*`")
    if not terms:
        raise invalid.invalid_value("q", "it has no word to look for")
    if len(terms) > TERMS_MAX:
        raise invalid.invalid_value("q", f"at most {TERMS_MAX} words can be looked for, not {len(terms)}")
    return terms


def _id(position: int) -> str:
    return f"found_{position}"


def _position(cursor: str) -> int:
    ids.check("after", cursor, "found")
    digits = cursor.removeprefix("found_")
    # Python refuses to turn very many digits into a number.
    if not _POSITION.fullmatch(digits) or int(digits) > BIGINT_MAX:
        raise invalid.invalid_value("after", "it is not the id of a search result")
    return int(digits)


def _result(row: Row, terms: list[Term]) -> SearchResult | None:
    """What is found; nothing when the message was edited and no longer says it."""
    position, thread, body = row
    snippet = _snippet(search_index.text_of(messages.decode(body)), terms)
    if snippet is None:
        return None
    # As they are stored.
    as_stored: dict[str, Any] = {"thread": Stored(thread), "message": Stored(body)}
    return SearchResult(id=_id(position), snippet=snippet, **as_stored)


def _snippet(text: str, terms: list[Term]) -> str | None:
    said = set(words.of(text))
    if not all(any(term.fits(word) for word in said) for term in terms):
        return None
    place = next((at for word, at in words.places(text) if any(term.fits(word) for term in terms)), 0)
    start = max(0, place - SNIPPET_CHARACTERS // 4)
    end = start + SNIPPET_CHARACTERS
    piece = " ".join(text[start:end].split())
    return f"{'…' if start > 0 else ''}{piece}{'…' if end < len(text) else ''}"
