"""The index for full-text search, which is brought up to date in the background.

A message's words (`words.py`) are its *document*. What adds a message pays nothing for it on SQLite and a small row on
PostgreSQL; what changes or removes one notes its number in a queue. A task then makes the documents agree with the
messages, a few at a time, so answers may lag behind by about a second, and by more while the server is busy.

Each word is stored with a few characters that stand for its project, so that a search walks over its own project's
words only. The project itself is checked too.

Differs on SQLite: words that are removed stay in the file until the index of words is written anew, which the task does
when all else is done.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from threadkeep import messages, tasks, words
from threadkeep.message_parts import TextPart
from threadkeep.messages import Message
from threadkeep.store import queries
from threadkeep.store.interface import Row, Store, Transaction

log = logging.getLogger(__name__)
sql = queries.load("search_index")

# What PostgreSQL keeps of one document is limited.
WORDS_BYTES_MAX = 400_000
# Between two looks for something to do.
LOOK_EVERY_S = 0.5
# Messages whose documents one unit of work makes or removes.
AT_ONCE = 100
# Pages of the index of words that one unit writes anew, in about a millisecond, and how long the index rests for each
# such unit once all of it is new.
REWRITTEN_AT_ONCE = 16
REST_AFTER_REWRITING_S = 1.0
# The share of its time that the task works: at most the first, or half of what the process leaves idle, but never less
# than the last.
SHARE_MAX, SHARE_OF_IDLE, SHARE_MIN = 0.5, 0.5, 0.02
REST_MAX_S = 1
# So many rows change when there is nothing more to rewrite.
CHANGES_OF_NOTHING_REWRITTEN = 1
# Each second of time has so many positions, up to the last second that has its own.
POSITIONS_A_SECOND = 1 << 24
SECONDS_MAX = (1 << 38) - 1


@lru_cache(1024)
def key(project_id: str) -> str:
    """What stands for the project in front of its words. It makes searches short and keeps nobody out: two projects may
    share one, so the project itself is checked too.
    """
    return hashlib.sha256(project_id.encode()).hexdigest()[:4]


def _document(project_id: str, message: Message) -> str:
    """The words of a message, each once."""
    prefix = key(project_id)
    text = " ".join(f"{prefix}{word}" for word in dict.fromkeys(words.of(text_of(message))))
    if len(text) * 4 > WORDS_BYTES_MAX and len(text.encode()) > WORDS_BYTES_MAX:
        text = text.encode()[:WORDS_BYTES_MAX].decode(errors="ignore").rpartition(" ")[0]
    return text


def text_of(message: Message) -> str:
    """What is searched of a message."""
    return "\n".join(part.text.value for part in message.content if isinstance(part, TextPart))


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
        self._rewriting: Rewriting | None = None
        self._rewritten_until = 0.0

    async def run(self) -> None:
        """Goes on until it is cancelled."""
        await tasks.for_ever("bring the search index up to date", LOOK_EVERY_S, self._catch_up_with_rests)

    async def catch_up(self) -> None:
        """Does all that there is to do, without rest."""
        self._rewritten_until = 0.0
        while await self._step():
            self._rewritten_until = 0.0

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
        """Does some of what there is to do; gives whether there may be more."""
        if self._seen is None:
            # Looks at every message that was added since, so not on the event loop.
            row = await self._store.read_aside(lambda tx: tx.one(sql.find_last_seen))
            self._seen = Seen(*row) if row else Seen()
        seen = self._seen
        if not await self._store.read(lambda tx: _has_work(tx, seen)):
            return await self._rewrite_if_due()
        self._seen = await self._store.write(lambda tx: _bring_up_to_date(tx, seen))
        return True

    async def _rewrite_if_due(self) -> bool:
        """Writes some of the index of words anew, if words were removed; gives whether there may be more to do."""
        rewriting = self._rewriting
        if rewriting is None:
            removed = await self._store.one(sql.find_removed_words)
            if removed is None or time.monotonic() < self._rewritten_until:
                return False
            rewriting = self._rewriting = Rewriting(*removed)
        is_more = await self._store.write(rewriting.step)
        rewriting.steps += 1
        if not is_more:
            self._rewriting = None
            self._rewritten_until = time.monotonic() + rewriting.steps * REST_AFTER_REWRITING_S
        # Words may have been removed meanwhile.
        return True


class Rewriting:
    """Writes the index of words anew, without the words that had been removed when it began.

    What is rewritten is all of the index, so the next time must not come too soon after. Who takes a step counts it,
    once it is stored: a unit of work may be run again.
    """

    def __init__(self, removed: int) -> None:
        self._removed = removed
        self.steps = 0

    def step(self, tx: Transaction) -> bool:
        """Writes some pages; False when that was all."""
        # A negative number begins, with all of the index.
        pages = REWRITTEN_AT_ONCE if self.steps else -REWRITTEN_AT_ONCE
        before = _changes(tx)
        tx.run(sql.rewrite_words, pages=pages)
        if _changes(tx) - before > CHANGES_OF_NOTHING_REWRITTEN:
            return True
        tx.run(sql.forget_removed_words, revision=self._removed)
        return False


def _changes(tx: Transaction) -> int:
    row = tx.one(sql.count_changes)
    return int(row[0]) if row else 0


def finish(tx: Transaction) -> None:
    """Brings all documents that are queued up to date, in a database that nobody else uses."""
    while tx.one(sql.find_queued):
        _work_off(tx)
    if removed := tx.one(sql.find_removed_words):
        rewriting = Rewriting(*removed)
        while rewriting.step(tx):
            rewriting.steps += 1


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
    added = tx.all(sql.list_added, after=seen.rowid, limit=AT_ONCE)
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
    turn = list(_first(tx, tx.all(sql.list_queued, limit=AT_ONCE)))
    # Before messages are read: one that is changed meanwhile is queued again.
    tx.run(sql.delete_queued, rows=_json([row for row, *_ in turn]))
    if len(turn) == 1:
        _work_off_range(tx, *turn[0][1:])
    elif turn:
        ranges = _json([(thread_id, low, high) for _, thread_id, low, high in turn])
        # What was queued twice is made once.
        _remove(tx, dict.fromkeys(tx.all(sql.list_documents_of_ranges, ranges=ranges)))
        _add(tx, list(dict.fromkeys(tx.all(sql.list_messages_of_ranges, ranges=ranges))))


def _first(tx: Transaction, queued: list[Row]) -> Iterator[Row]:
    """The first rows of the queue, as many as one unit of work can look at; a long range comes alone."""
    room = AT_ONCE
    for row in queued:
        size = _size(tx, *row[1:])
        if size <= room or room == AT_ONCE:
            yield row
        room -= size
        if room <= 0:
            return


def _size(tx: Transaction, thread_id: str, low: int, high: int) -> int:
    """What there is to look at in a range; of a removed thread all numbers there are were queued."""
    if high - low <= AT_ONCE:
        return high - low
    counted = tx.one(sql.count_range, thread_id=thread_id, low=low, high=high, limit=AT_ONCE + 1)
    return max(1, counted[0]) if counted else 1


def _work_off_range(tx: Transaction, thread_id: str, low: int, high: int) -> None:
    """Makes some documents of a thread anew, and queues the rest."""
    bounds = {"thread_id": thread_id, "low": low, "high": high}
    old = tx.all(sql.list_documents, limit=AT_ONCE, **bounds)
    said = tx.all(sql.list_messages, limit=AT_ONCE, **bounds)
    ends = [high]
    if len(old) == AT_ONCE:
        ends.append(old[-1][1])
    if len(said) == AT_ONCE:
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
        tx.run_many(sql.note_removed_words, [{}])


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
            second = min(max(message.created_at, 0), SECONDS_MAX) * POSITIONS_A_SECOND
            row: dict[str, Any] = {"project_id": project_id, "thread_id": thread_id, "seq": seq, "words": document}
            made.append((second, row))
    if not made:
        return
    seconds = sorted({second for second, _ in made})
    # The first place of all is not given away: a cursor means what is before it.
    ends = {
        second: second if end is None else end
        for second, end in tx.all(sql.list_ends, seconds=_json(seconds), size=POSITIONS_A_SECOND)
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
