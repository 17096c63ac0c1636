"""Full-text search over the messages of a project, and the index for it, which is brought up to date in the background.

A message's words (`words.py`) are its *document*. What adds a message pays nothing for it on SQLite and a small row on
PostgreSQL; what changes or removes one notes its number in a queue. A task then makes the documents agree with the
messages, a few at a time, so answers may lag behind by about a second, and by more while the server is busy.

Each word is stored with a few characters that stand for its project, so that a search walks over its own project's
words only. The project itself is checked too.

Differs from OpenAI: there was no search.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from threadkeep import ids, invalid, messages, tasks, words
from threadkeep.context import Context
from threadkeep.message_parts import TextPart
from threadkeep.messages import Message
from threadkeep.pages import Limit, Page, Stored
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Row, Store, Transaction
from threadkeep.threads import Thread

log = logging.getLogger(__name__)
sql = queries.load("search")

TERMS_MAX = 16
PREFIX_CHARACTERS_MIN = 2
SNIPPET_CHARACTERS = 160
# What PostgreSQL keeps of one document is limited.
WORDS_BYTES_MAX = 400_000
# Messages that are looked through one by one before the index of words is asked, where that is done.
NEWEST = 10_000
# Between two looks for something to do.
LOOK_EVERY_S = 0.5
# Messages whose documents one unit of work makes, and documents it removes, which costs more.
ADDED_AT_ONCE = 100
REMOVED_AT_ONCE = 12
# The share of its time that the task works: at most the first, or half of what the process leaves idle, but never less
# than the last.
SHARE_MAX, SHARE_OF_IDLE, SHARE_MIN = 0.5, 0.5, 0.02
REST_MAX_S = 1
# Positions in one second of time, and the last second that has its own.
SECOND = 1 << 24
SECONDS_MAX = (1 << 38) - 1


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


async def find(ctx: Context, params: SearchParams) -> Page[SearchResult]:
    """The project's messages that have all words of `q`, newest first, each with its thread."""
    terms = _terms(params.q)
    before = _position(params.after) if params.after else BIGINT_MAX
    key = _key(ctx.project_id)
    match = " AND ".join(f'"{key}{term.word}"{" *" * term.is_prefix}' for term in terms)
    tsquery = " & ".join(f"'{key}{term.word}'{':*' * term.is_prefix}" for term in terms)

    place = {"project_id": ctx.project_id, "before": before, "limit": params.limit + 1}

    def unit(tx: Transaction) -> list[Row]:
        tx.one(sql.plan_for_the_words)
        rows = tx.all(sql.search_newest_messages, tsquery=tsquery, newest=NEWEST, **place)
        if len(rows) <= params.limit:
            rows = tx.all(sql.search_messages, match=match, tsquery=tsquery, **place)
        return rows

    rows = await ctx.store.read_aside(unit)
    found = [result for row in rows[: params.limit] if (result := _result(row, terms))]
    return Page(
        data=found,
        first_id=found[0].id if found else None,
        last_id=_id(rows[params.limit - 1][0]) if len(rows) > params.limit else found[-1].id if found else None,
        has_more=len(rows) > params.limit,
    )


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
    if not (digits.isascii() and digits.isdigit() and int(digits) <= BIGINT_MAX):
        raise invalid.invalid_value("after", "it is not the id of a search result")
    return int(digits)


def _result(row: Row, terms: list[Term]) -> SearchResult | None:
    """What is found; nothing when the message was edited and no longer says it."""
    position, thread, body = row
    snippet = _snippet(_text(messages.decode(body)), terms)
    if snippet is None:
        return None
    # As they are stored.
    as_stored: dict[str, Any] = {"thread": Stored(thread), "message": Stored(body)}
    return SearchResult(id=_id(position), snippet=snippet, **as_stored)


def _text(message: Message) -> str:
    return "\n".join(part.text.value for part in message.content if isinstance(part, TextPart))


def _snippet(text: str, terms: list[Term]) -> str | None:
    said = set(words.of(text))
    if not all(any(term.fits(word) for word in said) for term in terms):
        return None
    place = next((at for word, at in words.places(text) if any(term.fits(word) for term in terms)), 0)
    start = max(0, place - SNIPPET_CHARACTERS // 4)
    end = start + SNIPPET_CHARACTERS
    piece = " ".join(text[start:end].split())
    return f"{'…' * (start > 0)}{piece}{'…' * (end < len(text))}"


@lru_cache(1024)
def _key(project_id: str) -> str:
    """What stands for the project in front of its words. Two projects may share one: it only keeps them apart."""
    return hashlib.sha256(project_id.encode()).hexdigest()[:4]


def _document(project_id: str, message: Message) -> str:
    """The words of a message, each once."""
    key = _key(project_id)
    text = " ".join(f"{key}{word}" for word in dict.fromkeys(words.of(_text(message))))
    if len(text) * 4 > WORDS_BYTES_MAX and len(text.encode()) > WORDS_BYTES_MAX:
        text = text.encode()[:WORDS_BYTES_MAX].decode(errors="ignore").rpartition(" ")[0]
    return text


class Seen(NamedTuple):
    """The last message that was seen among those that were added; its row's number alone could be given anew."""

    rowid: int = 0
    thread_id: str = ""
    message_id: str = ""


class Indexer:
    """Makes documents agree with messages."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: Seen | None = None

    async def run(self) -> None:
        """Goes on until it is cancelled."""
        await tasks.for_ever("bring the search index up to date", LOOK_EVERY_S, self._catch_up_with_rests)

    async def catch_up(self) -> None:
        """Does all that there is to do, without rest."""
        while await self._step():
            pass

    async def _catch_up_with_rests(self) -> None:
        share = SHARE_MIN
        while True:
            began = time.monotonic()
            if not await self._step():
                return
            worked, used = time.monotonic(), time.process_time()
            await asyncio.sleep(min(REST_MAX_S, (worked - began) * (1 / share - 1)))
            idle = 1 - (time.process_time() - used) / (time.monotonic() - worked)
            share = min(SHARE_MAX, max(SHARE_MIN, idle * SHARE_OF_IDLE))

    async def _step(self) -> bool:
        """Brings some documents up to date; gives whether there may be more to do."""
        if self._seen is None:
            # Looks at every message that was added since, so not on the event loop.
            row = await self._store.read_aside(lambda tx: tx.one(sql.find_last_seen))
            self._seen = Seen(*row) if row else Seen()
        seen = self._seen
        if not await self._store.read(lambda tx: _has_work(tx, seen)):
            return False
        self._seen = await self._store.write(lambda tx: _bring_up_to_date(tx, seen))
        return True


def finish(tx: Transaction) -> None:
    """Brings all documents that are queued up to date, in a database that nobody else uses."""
    while tx.one(sql.find_queued):
        _work_off(tx)


def _has_work(tx: Transaction, seen: Seen) -> bool:
    if not _is_there(tx, seen):
        return True
    return tx.one(sql.find_added, after=seen.rowid) is not None or tx.one(sql.find_queued) is not None


def _is_there(tx: Transaction, seen: Seen) -> bool:
    return not seen.rowid or tx.one(sql.find_seen, after=seen.rowid, **_of(seen)) is not None


def _of(seen: Seen) -> dict[str, str]:
    return {"thread_id": seen.thread_id, "message_id": seen.message_id}


def _bring_up_to_date(tx: Transaction, seen: Seen) -> Seen | None:
    """Takes in messages that were added, or if there are none, what is queued.

    In this order: then all before a message that has a document were seen. Gives what was seen last, None if it is to
    be looked for, because its row was removed meanwhile.
    """
    if not _is_there(tx, seen):
        return None
    added = tx.all(sql.list_added, after=seen.rowid, limit=ADDED_AT_ONCE)
    if not added:
        tx.one(sql.hold_index)
        _work_off(tx)
        return seen
    said = [(project_id, thread_id, seq, body) for project_id, thread_id, seq, body, *_ in added if project_id and body]
    ranges = [(thread_id, seq - 1, seq) for _, thread_id, seq, _ in said]
    _remove(tx, tx.all(sql.list_documents_of_ranges, ranges=_json(ranges)))
    _add(tx, said)
    *_, rowid, message_id = added[-1]
    return Seen(rowid, added[-1][1], message_id)


def _work_off(tx: Transaction) -> None:
    """Makes the documents of some queued messages anew."""
    queued = tx.all(sql.list_queued, limit=ADDED_AT_ONCE)
    turn = list(_first(queued))
    is_long = _size(turn) > ADDED_AT_ONCE
    old = [] if is_long else _documents(tx, turn)
    # They are dear: the others wait for their turn.
    for fewer in (REMOVED_AT_ONCE, 1):
        if len(old) > REMOVED_AT_ONCE:
            turn = turn[:fewer]
            old = _documents(tx, turn)
    # Before messages are read: one that is changed meanwhile is queued again.
    tx.run(sql.delete_queued, rows=_json([row for row, *_ in turn]))
    if is_long or len(old) > REMOVED_AT_ONCE:
        _work_off_range(tx, *turn[0][1:])
    elif turn:
        _remove(tx, old)
        # What was queued twice is made once.
        _add(tx, list(dict.fromkeys(tx.all(sql.list_messages_of_ranges, ranges=_ranges(turn)))))


def _first(queued: list[Row]) -> Iterator[Row]:
    """The first rows of the queue, as many as one unit of work can look at; a long range comes alone."""
    room = ADDED_AT_ONCE
    for row in queued:
        if _size([row]) > room:
            if room == ADDED_AT_ONCE:
                yield row
            return
        room -= _size([row])
        yield row


def _size(queued: list[Row]) -> int:
    return sum(high - low for _, _, low, high in queued)


def _ranges(queued: list[Row]) -> str:
    return _json([(thread_id, low, high) for _, thread_id, low, high in queued])


def _documents(tx: Transaction, queued: list[Row]) -> list[Row]:
    return list(dict.fromkeys(tx.all(sql.list_documents_of_ranges, ranges=_ranges(queued))))


def _work_off_range(tx: Transaction, thread_id: str, low: int, high: int) -> None:
    """Makes some documents of a thread anew, and queues the rest."""
    bounds = {"thread_id": thread_id, "low": low, "high": high}
    old = tx.all(sql.list_documents, limit=REMOVED_AT_ONCE, **bounds)
    said = tx.all(sql.list_messages, limit=ADDED_AT_ONCE, **bounds)
    ends = [high]
    if len(old) == REMOVED_AT_ONCE:
        ends.append(old[-1][1])
    if len(said) == ADDED_AT_ONCE:
        ends.append(said[-1][2])
    end = min(ends)
    _remove(tx, [(position, thread_id, seq) for position, seq in old if seq <= end])
    _add(tx, [row for row in said if row[2] <= end])
    if end < high:
        tx.run(messages.sql.queue_range, thread_id=thread_id, low=end, high=high)


def _remove(tx: Transaction, old: Iterable[Row]) -> None:
    places = [{"position": position, "thread_id": thread_id, "seq": seq} for position, thread_id, seq in sorted(old)]
    if places:
        tx.run_many(sql.delete_words, places)
        tx.run_many(sql.delete_document, places)


def _add(tx: Transaction, said: Sequence[Row]) -> None:
    """Makes documents of messages that have none."""
    made = []
    for project_id, thread_id, seq, body in said:
        try:
            message = messages.decode(body)
        except msgspec.DecodeError as error:
            # Those behind it must have their turn.
            log.warning("cannot read message %d of %s, so it will not be found: %s", seq, thread_id, error)
            continue
        if message.status != "in_progress" and (document := _document(project_id, message)):
            second = min(max(message.created_at, 0), SECONDS_MAX) * SECOND
            row: dict[str, Any] = {"project_id": project_id, "thread_id": thread_id, "seq": seq, "words": document}
            made.append((second, row))
    if not made:
        return
    seconds = sorted({second for second, _ in made})
    # The first place of all is not given away: a cursor means what is before it.
    ends = {
        second: second if end is None else end
        for second, end in tx.all(sql.list_ends, seconds=_json(seconds), size=SECOND)
    }
    made.sort(key=lambda place: place[0])
    for second, row in made:
        ends[second] += 1
        row["position"] = ends[second]
    rows = [row for _, row in made]
    tx.run_many(sql.insert_document, rows)
    tx.run_many(sql.insert_words, rows)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
