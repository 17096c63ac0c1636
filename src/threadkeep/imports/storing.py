"""A batch becomes rows, in one unit of work: kind by kind, what others belong to first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from threadkeep import assistants, message_versions, messages, projects, threads
from threadkeep.imports.entries import KNOWN, Entry, Places
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Transaction
from threadkeep.store.queries import Query
from threadkeep.store.scratch import Scratch

sql = queries.load("imports")


class Target(NamedTuple):
    """The project that is imported into, and how many messages each of its threads may have."""

    project_id: str
    thread_messages_max: int


def store(tx: Transaction, target: Target, batch: list[Entry], pretended: Scratch | None) -> None:
    """Stores what is new in a batch, and notes in each entry what became of it.

    With `pretended`, the places that a dry run has pretended to fill so far, nothing is written.
    """
    by_kind = defaultdict(list)
    for entry in batch:
        # The unit may be run again.
        entry.outcome = ""
        by_kind[entry.kind].append(entry)
    unit = _Unit(tx, target, batch, pretended)
    for kind, store_kind in _STORES.items():
        if kind in by_kind:
            store_kind(unit, by_kind[kind])
            unit.write()


@dataclass(slots=True)
class _Thread:
    """A thread that takes something in, and the last numbers in it."""

    project_id: str
    is_deleted: bool = False
    deleted_seq: int = 0
    message_seq: int = 0
    run_seq: int = 0
    # How many messages this unit adds; and how many there are then, looked up once numbers say it may be too many.
    added: int = 0
    messages: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever in it."""
        return not (self.deleted_seq or self.message_seq or self.run_seq)


class _Unit:
    """What is known in one unit of work, and the rows that are to be written."""

    def __init__(self, tx: Transaction, target: Target, batch: list[Entry], pretended: Scratch | None) -> None:
        self.tx = tx
        self.project_id = target.project_id
        self.messages_max = target.thread_messages_max
        self.is_dry = pretended is not None
        self._pretended = pretended
        self._stored: set[Places] = set()
        self._rows: defaultdict[Query, list[dict[str, Any]]] = defaultdict(list)
        self.threads: dict[str, _Thread] = {}
        # Nothing needs to be looked up in these.
        self._empty: set[str] = set()
        self.hold({entry.places[0] for entry in batch} - {""})

    def hold(self, thread_ids: set[str]) -> None:
        """Holds those that are there."""
        if not thread_ids:
            return
        wanted = _json(sorted(thread_ids))
        held = {row[0]: _Thread(row[1], bool(row[2]), row[3]) for row in self.tx.all(sql.hold_threads, ids=wanted)}
        # Only now: before they were held, others may have added to them.
        for thread_id, message_seq, run_seq in self.tx.all(sql.list_ends, ids=_json(list(held))) if held else ():
            held[thread_id].message_seq = message_seq
            held[thread_id].run_seq = run_seq
        self.threads |= held
        self._empty -= held.keys()
        self._empty |= {thread_id for thread_id, thread in held.items() if thread.is_empty}

    def known(self, query: Query, some: Iterable[Places]) -> set[Places]:
        """Those places that `query` finds taken."""
        asked = [places for places in some if places[0] in self.threads and places[0] not in self._empty]
        return {(row[0], row[1], row[2]) for row in self.tx.all(query, places=_json(asked))} if asked else set()

    def is_there(self, known: set[Places], places: Places) -> bool:
        """Whether it is among what is known, or was stored by this unit, or before in a dry run."""
        return places in known or places in self._stored or (self._pretended is not None and places in self._pretended)

    def add_thread(self, thread_id: str) -> _Thread:
        """A thread that this import makes, or would make."""
        self._stored.add((thread_id, "", ""))
        self._empty.add(thread_id)
        thread = self.threads[thread_id] = _Thread(self.project_id)
        return thread

    def room(self, entry: Entry) -> _Thread | None:
        """The thread that takes an entry in; otherwise the entry is told why there is none."""
        thread_id = entry.places[0]
        thread = self.threads.get(thread_id)
        if thread is None and self.is_there(set(), (thread_id, "", "")):
            thread = self.add_thread(thread_id)
        if thread is None or thread.project_id != self.project_id or thread.is_deleted:
            entry.outcome = f"there is no thread {thread_id}"
            return None
        return thread

    def new(self, entries: list[Entry], query: Query) -> Iterator[tuple[Entry, _Thread]]:
        """Those that `query` does not know, each with the thread that takes it in; the others are told why not."""
        known = self.known(query, (entry.places for entry in entries))
        for entry in entries:
            if (thread := self.room(entry)) is None:
                continue
            if self.is_there(known, entry.places):
                entry.outcome = KNOWN
            else:
                yield entry, thread

    def put(self, entry: Entry, query: Query, row: dict[str, Any]) -> None:
        """Notes the row of a new object."""
        self._stored.add(entry.places)
        self._rows[query].append(row)

    def also(self, query: Query, row: dict[str, Any]) -> None:
        """Notes a row that comes with objects."""
        self._rows[query].append(row)

    def write(self) -> None:
        """Writes the rows, unless nothing is to be written."""
        rows, self._rows = self._rows, defaultdict(list)
        for query, some in () if self.is_dry else rows.items():
            self.tx.run_many(query, some)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _store_assistants(unit: _Unit, entries: list[Entry]) -> None:
    place = {"project_id": unit.project_id}
    if not unit.is_dry:
        projects.hold(unit.tx, unit.project_id)
    for entry in entries:
        assistant_id = entry.places[1]
        if unit.is_dry:
            found = unit.tx.one(assistants.sql.retrieve_assistant, **place, assistant_id=assistant_id)
            is_new = found is None
        else:
            row = {"assistant_id": assistant_id, "shape": assistants.SHAPE, "body": entry.body.decode()}
            is_new = unit.tx.run(assistants.sql.insert_assistant, **place, **row) > 0
        entry.outcome = "" if is_new else KNOWN


def _store_threads(unit: _Unit, entries: list[Entry]) -> None:
    new: dict[str, Entry] = {}
    for entry in entries:
        thread_id = entry.places[0]
        if thread_id not in unit.threads and not unit.is_there(set(), entry.places):
            new.setdefault(thread_id, entry)
    made = new.keys() if unit.is_dry else _insert_threads(unit, new.values())
    # Others made these meanwhile.
    unit.hold(new.keys() - made)
    for entry in entries:
        thread_id = entry.places[0]
        if thread_id in made and new[thread_id] is entry:
            unit.add_thread(thread_id)
            for query, pair in threads.metadata_changes(unit.project_id, entry.value, {}):
                unit.also(query, dict(pair))
            continue
        thread = unit.threads.get(thread_id)
        if thread and thread.project_id != unit.project_id:
            entry.outcome = "its id is in use"
        else:
            entry.outcome = "it is still being removed here" if thread and thread.is_deleted else KNOWN


def _insert_threads(unit: _Unit, entries: Iterable[Entry]) -> set[str]:
    """Gives the ids of those that were not there."""
    rows = [{"project_id": unit.project_id, **threads.columns(entry.value, entry.body)} for entry in entries]
    return {row[0] for row in unit.tx.all(sql.insert_threads, rows=_json(rows))} if rows else set()


def _store_messages(unit: _Unit, entries: list[Entry]) -> None:
    added: dict[str, dict[str, Any]] = {}
    for entry, thread in unit.new(entries, sql.list_known_messages):
        before = max(thread.message_seq, thread.deleted_seq)
        if before >= unit.messages_max and not _has_room(unit, thread, entry):
            continue
        thread.message_seq = before + 1
        thread.added += 1
        row = messages.columns(entry.value, entry.body)
        unit.put(entry, messages.sql.insert_message, {"seq": thread.message_seq, **row})
        thread_id = entry.places[0]
        added.setdefault(thread_id, {"thread_id": thread_id, "low": before})["high"] = thread.message_seq
    for new_ones in added.values():
        unit.also(messages.sql.queue_added, new_ones)


def _has_room(unit: _Unit, thread: _Thread, entry: Entry) -> bool:
    """Whether the thread can have one more message, which then counts."""
    if thread.messages is None:
        row = unit.tx.one(messages.sql.count_messages, thread_id=entry.places[0])
        thread.messages = (row[0] if row else 0) + thread.added
    if thread.messages >= unit.messages_max:
        entry.outcome = f"its thread already has {thread.messages} messages, the most it can have"
        return False
    thread.messages += 1
    return True


def _store_runs(unit: _Unit, entries: list[Entry]) -> None:
    for entry, thread in unit.new(entries, sql.list_known_runs):
        thread.run_seq += 1
        row = {
            "thread_id": entry.places[0],
            "run_id": entry.places[1],
            "project_id": unit.project_id,
            "seq": thread.run_seq,
            "status": entry.value.status,
            "body": entry.body.decode(),
        }
        unit.put(entry, sql.insert_run, row)


@dataclass(frozen=True)
class _Parts:
    """Objects that are numbered within a message or a run."""

    whole: str
    list_known_wholes: Query
    list_known: Query
    list_last: Query
    insert: Query
    columns: Callable[[Entry], dict[str, Any]]
    # The most of them that one message or run can have.
    most: int = BIGINT_MAX

    def __call__(self, unit: _Unit, entries: list[Entry]) -> None:
        """Stores them."""
        wholes = list(dict.fromkeys((entry.places[0], entry.places[1], "") for entry in entries))
        known = unit.known(self.list_known_wholes, wholes)
        last = defaultdict(int, {(row[0], row[1]): row[2] for row in self._last(unit, known)})
        for entry, _ in unit.new(entries, self.list_known):
            thread_id, whole_id, _ = entry.places
            if not unit.is_there(known, (thread_id, whole_id, "")):
                entry.outcome = f"there is no {self.whole} {whole_id}"
                continue
            if last[thread_id, whole_id] >= self.most:
                entry.outcome = f"its {self.whole} already has {self.most} of them, the most it can have"
                continue
            last[thread_id, whole_id] += 1
            unit.put(entry, self.insert, {"seq": last[thread_id, whole_id], **self.columns(entry)})

    def _last(self, unit: _Unit, known: set[Places]) -> Iterable[tuple[Any, ...]]:
        return unit.tx.all(self.list_last, places=_json(sorted(known))) if known else ()


def _version_columns(entry: Entry) -> dict[str, Any]:
    return message_versions.columns(entry.value)


def _step_columns(entry: Entry) -> dict[str, Any]:
    thread_id, run_id, step_id = entry.places
    return {"thread_id": thread_id, "run_id": run_id, "step_id": step_id, "body": entry.body.decode()}


# In this order.
_STORES: dict[str, Callable[[_Unit, list[Entry]], None]] = {
    "assistant": _store_assistants,
    "thread": _store_threads,
    "message": _store_messages,
    "message_version": _Parts(
        whole="message",
        list_known_wholes=sql.list_known_messages,
        list_known=sql.list_known_versions,
        list_last=sql.list_last_versions,
        insert=message_versions.sql.insert_version,
        columns=_version_columns,
        most=message_versions.VERSIONS_MAX,
    ),
    "run": _store_runs,
    "run_step": _Parts(
        whole="run",
        list_known_wholes=sql.list_known_runs,
        list_known=sql.list_known_steps,
        list_last=sql.list_last_steps,
        insert=sql.insert_step,
        columns=_step_columns,
    ),
}
