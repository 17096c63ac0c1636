"""Taking in what was exported, here (`exports.py`) or elsewhere (`foreign.py`), with its ids, times and order.

What is there already stays as it is, so an import can be repeated and gone on with. A line that cannot be taken in is
told with the reason, and the others are taken in. What is taken in is history: nothing of it goes on.

Differs from OpenAI: there was no import.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from threadkeep import assistants, exports, foreign, ids, lifecycle, messages, threads
from threadkeep.assistants import Assistant
from threadkeep.context import Context
from threadkeep.errors import BadRequestError
from threadkeep.foreign import NotUnderstoodError
from threadkeep.lifecycle import Run
from threadkeep.messages import IncompleteDetails, Message, MessageVersion
from threadkeep.metadata import Metadata
from threadkeep.store import queries
from threadkeep.store.interface import Transaction
from threadkeep.threads import Thread

sql = queries.load("imports")

# Objects, and bytes of them, that one unit of work stores.
OBJECTS_AT_ONCE = 400
BYTES_AT_ONCE = 1024 * 1024
LINE_BYTES_MAX = 64 * 1024 * 1024
PROBLEMS_MAX = 1000
TIME_MAX = 2**53
# Threads that are remembered to be there.
REMEMBERED_MAX = 10_000
STEP_STATUSES = ("cancelled", "failed", "completed", "expired")
# Where the original said null and this server has a value.
_NEVER_NULL = (
    *("metadata", "tool_resources", "attachments", "content", "tools", "truncation_strategy", "response_format"),
    *("tool_choice", "parallel_tool_calls", "status"),
)
_EMPTY: dict[str, Any] = {"metadata": {}, "tool_resources": {}, "attachments": [], "content": [], "tools": []}


class ImportParams(Struct, kw_only=True, frozen=True):
    """The query of import."""

    dry_run: bool = False


class Problem(Struct):
    """What could not be taken in, and why."""

    where: str
    kind: str
    id: str
    problem: str


class Report(Struct, kw_only=True):
    """What an import did: how many objects of each kind were new and how many were there already."""

    object: Literal["import.report"] = "import.report"
    dry_run: bool
    created: dict[str, int]
    known: dict[str, int]
    refused: int = 0
    # The first thousand.
    problems: list[Problem] = []


class _Line(Struct):
    kind: str = ""
    object: Raw = Raw(b"null")
    format: str = ""
    version: int = 0


class _RefusedError(Exception):
    """The object cannot be taken in."""


@dataclass(slots=True)
class _Entry:
    """An object that is ready to be stored. `places` are its thread's id, its own, and that of what belongs to it."""

    where: str
    kind: str
    places: tuple[str, str, str]
    value: Any
    body: bytes
    # What became of it: nothing if it was stored.
    outcome: str = ""


KNOWN = "known"


async def create(ctx: Context, params: ImportParams, body: AsyncIterator[bytes]) -> Report:
    """Takes in lines of JSON, or one JSON document of another program, however long; nothing is kept in memory."""
    importer = Importer(ctx, dry_run=params.dry_run)
    try:
        await importer.take(body)
        return await importer.finish()
    finally:
        await importer.rest()


class Importer:
    """Takes in one or more files."""

    def __init__(self, ctx: Context, *, dry_run: bool = False) -> None:
        self._ctx = ctx
        self.report = Report(dry_run=dry_run, created=Counter(), known=Counter())
        self._foreign = foreign.Reader()
        self._batch: list[_Entry] = []
        self._bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._threads_there: dict[str, None] = {}
        # What a dry run would have stored, by hash: what belongs to it is not missing.
        self._would: set[int] = set()

    async def take(self, source: AsyncIterator[bytes], name: str = "") -> None:
        """Takes in a file; `name` stands in the report if there are several."""
        is_ours = is_complete = False
        number = 0
        async for number, line in _lines(source):
            where = f"{name} line {number}".strip()
            if number == 0:
                await self._take_foreign(name or "document", line)
                return
            told = _decode_line(line)
            if told is None or not (told.kind or told.format):
                await self._take_foreign(where, line)
            elif told.kind == "end":
                is_complete = True
            elif told.format:
                is_ours = True
                if (told.format, told.version) != (exports.FORMAT, exports.VERSION):
                    raise BadRequestError(f"{where}: the format {told.format!r} {told.version} is not known here.")
            else:
                await self._take_one(where, told.kind, told.object)
        if is_ours and not is_complete:
            self._refuse(
                f"{name} line {number + 1}".strip(), "end", "", "the export is not complete: its end is missing"
            )

    async def finish(self) -> Report:
        """Stores the rest; gives the report."""
        await self._flush()
        await self._wait()
        return self.report

    async def rest(self) -> None:
        """Waits for what is being stored, whatever else went wrong."""
        await self._wait()

    async def _take_foreign(self, where: str, line: bytes) -> None:
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._refuse(where, "", "", "it is not JSON")
        else:
            await self._take_value(where, value)

    async def _take_value(self, where: str, value: Any) -> None:
        try:
            for kind, found in self._foreign.read(value):
                await self._take_one(where, kind, found)
        except NotUnderstoodError as error:
            self._refuse(where, "", "", str(error))
        except (KeyError, TypeError, AttributeError):
            self._refuse(where, "", "", "its parts are not what they should be")

    async def _take_one(self, where: str, kind: str, value: Any) -> None:
        if kind == "implied_thread" and value["id"] in self._threads_there:
            return
        try:
            entry = _prepare(where, kind, value)
        except _RefusedError as error:
            self._refuse(where, kind, _id_of(value), str(error))
            return
        if self._batch and (
            self._batch[0].kind != entry.kind
            or len(self._batch) >= OBJECTS_AT_ONCE
            or self._bytes + len(entry.body) > BYTES_AT_ONCE
        ):
            await self._flush()
        if entry.kind in ("thread", "implied_thread"):
            if len(self._threads_there) >= REMEMBERED_MAX:
                self._threads_there.clear()
            self._threads_there[entry.places[0]] = None
        self._batch.append(entry)
        self._bytes += len(entry.body)

    async def _flush(self) -> None:
        """Begins to store what is gathered, when what was gathered before is stored."""
        batch, self._batch, self._bytes = self._batch, [], 0
        await self._wait()
        if batch:
            self._writing = asyncio.create_task(self._store(batch))

    async def _wait(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

    async def _store(self, batch: list[_Entry]) -> None:
        store_batch = _STORES[batch[0].kind]
        work = _Work(self._ctx, dry_run=self.report.dry_run, would=self._would)

        def unit(tx: Transaction) -> None:
            for entry in batch:
                entry.outcome = ""
            store_batch(work, tx, batch)

        # A dry run writes nothing, but holds what it looks at as an import does.
        await self._ctx.store.write(unit)
        for entry in batch:
            if entry.kind == "implied_thread":
                # Nobody asked for it. If it could not be made, its messages tell.
                if not entry.outcome:
                    self._count(self.report.created, "thread")
            elif not entry.outcome:
                self._count(self.report.created, entry.kind)
            elif entry.outcome == KNOWN:
                self._count(self.report.known, entry.kind)
            else:
                self._refuse(entry.where, entry.kind, entry.places[2] or entry.places[1], entry.outcome)
            if self.report.dry_run and not entry.outcome:
                self._would.add(hash(entry.places))

    @staticmethod
    def _count(counts: dict[str, int], kind: str) -> None:
        counts[kind] = counts.get(kind, 0) + 1

    def _refuse(self, where: str, kind: str, object_id: str, problem: str) -> None:
        self.report.refused += 1
        if len(self.report.problems) < PROBLEMS_MAX:
            self.report.problems.append(Problem(where, kind, object_id, problem))


# from bytes to entries


async def _lines(source: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """The lines that are not empty, with their numbers; a document that goes over many is one, with the number 0."""
    rest, number, is_document = bytearray(), 0, False
    async for piece in source:
        rest += piece
        if len(rest) > LINE_BYTES_MAX:
            what = "A document" if is_document else f"Line {number + 1}"
            raise BadRequestError(f"{what} is longer than {LINE_BYTES_MAX} bytes.")
        if is_document or b"\n" not in piece:
            continue
        if number == 0 and rest.lstrip().partition(b"\n")[0].strip() in _OPENINGS:
            is_document = True
            continue
        *whole, last = rest.split(b"\n")
        rest = last
        for line in whole:
            number += 1
            if line.strip():
                yield number, bytes(line)
    if rest.strip():
        yield (0 if is_document else number + 1), bytes(rest)


def _decode_line(line: bytes) -> _Line | None:
    """A line of our own format; None if it is something else."""
    try:
        return _decode_own(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


_OPENINGS = (b"{", b"[")
_decode_own = msgspec.json.Decoder(_Line).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def _id_of(value: Any) -> str:
    if isinstance(value, Raw):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ""
    return str(value.get("id", "")) if isinstance(value, dict) else ""


def _prepare(where: str, kind: str, value: Any) -> _Entry:
    """An object of that kind, whole and sound. Raises `_RefusedError`."""
    prepare = _PREPARES.get(kind)
    if prepare is None:
        raise _RefusedError(f"objects of the kind {kind!r} are not taken in")
    raw = bytes(value) if isinstance(value, Raw) else msgspec.json.encode(value)
    if b"\\u0000" in raw:
        raise _RefusedError("its text has the character U+0000, which not every database can keep")
    places, prepared, body = prepare(raw)
    return _Entry(where, kind, places, prepared, body)


Prepared = tuple[tuple[str, str, str], Any, bytes]


def _typed(raw: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """The object, with what was null or left out where this server has a value. Raises `_RefusedError`."""
    try:
        # The decoder does not look into the text of fields it skips.
        _ = raw.isascii() or raw.decode()
        return decoder.decode(raw)
    except (msgspec.ValidationError, RecursionError):
        pass
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _RefusedError("it is not JSON") from None
    try:
        fields = _decode_object(raw)
        mended = _EMPTY | {name: part for name, part in fields.items() if part is not None or name not in _NEVER_NULL}
        return msgspec.convert(mended, decoder.type)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise _RefusedError(str(error)) from None


def _check_id(value: Any, prefix: str) -> str:
    if not isinstance(value, str):
        raise _RefusedError(f"it has no id that begins with '{prefix}_'")
    try:
        ids.check_given("id", value, prefix)
    except BadRequestError as error:
        raise _RefusedError(error.message) from None
    return value


def _check_time(*times: int | None) -> None:
    if not all(time is None or 0 <= time < TIME_MAX for time in times):
        raise _RefusedError("a time is out of range")


_assistants = msgspec.json.Decoder(Assistant)
_threads = msgspec.json.Decoder(Thread)
_messages = msgspec.json.Decoder(Message)
_versions = msgspec.json.Decoder(MessageVersion)
_runs = msgspec.json.Decoder(Run)
_encode = msgspec.json.Encoder().encode


def _assistant(raw: bytes) -> Prepared:
    assistant: Assistant = _typed(raw, _assistants)
    _check_time(assistant.created_at)
    return ("", _check_id(assistant.id, "asst"), ""), assistant, _encode(assistant)


def _thread(raw: bytes) -> Prepared:
    thread: Thread = _typed(raw, _threads)
    _check_time(thread.created_at)
    try:
        msgspec.convert(thread.metadata, Metadata)
    except msgspec.ValidationError as error:
        raise _RefusedError(f"metadata: {error}") from None
    return (_check_id(thread.id, "thread"), "", ""), thread, _encode(thread)


def _message(raw: bytes) -> Prepared:
    message: Message = _typed(raw, _messages)
    _check_id(message.id, "msg")
    _check_time(message.created_at)
    if message.status == "in_progress":
        message.status, message.incomplete_at = "incomplete", message.created_at
        message.incomplete_details = IncompleteDetails("run_expired")
    elif message.status == "completed" and message.completed_at is None:
        message.completed_at = message.created_at
    return (message.thread_id, message.id, ""), message, _encode(message)


def _version(raw: bytes) -> Prepared:
    version: MessageVersion = _typed(raw, _versions)
    _check_time(version.created_at, version.replaced_at)
    return (version.thread_id, version.message_id, _check_id(version.id, "msgver")), version, _encode(version)


def _run(raw: bytes) -> Prepared:
    run: Run = _typed(raw, _runs)
    _check_time(run.created_at)
    if run.status in lifecycle.ACTIVE:
        # Nobody goes on with it.
        run.status, run.required_action = "expired", None
    return (run.thread_id, _check_id(run.id, "run"), ""), run, _encode(run)


def _step(raw: bytes) -> Prepared:
    """Steps are kept as they are: those of tools that this server does not have as well."""
    try:
        step = _decode_object(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _RefusedError("it is not an object") from None
    thread_id, run_id = step.get("thread_id"), step.get("run_id")
    if not (isinstance(thread_id, str) and isinstance(run_id, str) and isinstance(step.get("step_details"), dict)):
        raise _RefusedError("it needs thread_id, run_id and step_details")
    body = raw
    if step.get("status") not in STEP_STATUSES:
        body = _encode({**step, "status": "expired"})
    return (thread_id, run_id, _check_id(step.get("id"), "step")), None, body


_PREPARES: dict[str, Callable[[bytes], Prepared]] = {
    "assistant": _assistant,
    "thread": _thread,
    "implied_thread": _thread,
    "message": _message,
    "message_version": _version,
    "run": _run,
    "run_step": _step,
}


# from entries to rows


class _Held(Struct):
    """A thread that takes something in, and the last numbers in it."""

    project_id: str
    is_deleted: bool
    deleted_seq: int
    message_seq: int
    run_seq: int


@dataclass(slots=True)
class _Work:
    """What the units of work that store a batch know."""

    ctx: Context
    dry_run: bool
    would: set[int]
    rows: defaultdict[Any, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def is_there(self, known: Iterable[tuple[str, ...]] | dict[str, _Held], places: tuple[str, str, str]) -> bool:
        """Whether it is among those that are known, or was put there before in a dry run."""
        return places in known or (self.dry_run and hash(places) in self.would)

    def write(self, tx: Transaction) -> None:
        """Writes the rows, unless nothing is to be written."""
        rows, self.rows = self.rows, defaultdict(list)
        for query, some in () if self.dry_run else rows.items():
            tx.run_many(query, some)


def _json(value: Any) -> str:
    return _encode(value).decode()


def _known(tx: Transaction, query: Any, places: Iterable[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    return {(row[0], row[1], row[2]) for row in tx.all(query, places=_json(list(places)))}


def _hold(tx: Transaction, batch: list[_Entry]) -> dict[str, _Held]:
    wanted = sorted({entry.places[0] for entry in batch})
    return {row[0]: _Held(row[1], bool(row[2]), *row[3:]) for row in tx.all(sql.hold_threads, ids=_json(wanted))}


def _room(work: _Work, held: dict[str, _Held], entry: _Entry) -> _Held | None:
    """The thread that takes an entry in; otherwise the entry is told why there is none."""
    thread_id = entry.places[0]
    thread = held.get(thread_id)
    if thread is None and work.is_there((), (thread_id, "", "")):
        thread = held[thread_id] = _Held(work.ctx.project_id, False, 0, 0, 0)
    if thread is None or thread.project_id != work.ctx.project_id or thread.is_deleted:
        entry.outcome = f"there is no thread {thread_id}"
        return None
    return thread


def _store_assistants(work: _Work, tx: Transaction, batch: list[_Entry]) -> None:
    project_id = work.ctx.project_id
    if not work.dry_run:
        tx.one(assistants.sql.hold_project, project_id=project_id)
    for entry in batch:
        row = {"project_id": project_id, "assistant_id": entry.places[1], "shape": assistants.SHAPE}
        if work.dry_run:
            found = tx.one(assistants.sql.retrieve_assistant, project_id=project_id, assistant_id=entry.places[1])
            entry.outcome = KNOWN if found else ""
        elif not tx.run(assistants.sql.insert_assistant, **row, body=entry.body.decode()):
            entry.outcome = KNOWN


def _store_threads(work: _Work, tx: Transaction, batch: list[_Entry]) -> None:
    held = _hold(tx, batch)
    project_id = work.ctx.project_id
    for entry in batch:
        thread = held.get(entry.places[0])
        if thread is None and not work.is_there((), entry.places):
            held[entry.places[0]] = _Held(project_id, False, 0, 0, 0)
            work.rows[threads.sql.insert_thread].append(
                {"project_id": project_id, **threads.columns(entry.value, entry.body)}
            )
            for query, row in threads.metadata_changes(project_id, entry.value, {}):
                work.rows[query].append(dict(row))
        elif thread is None or thread.project_id == project_id:
            entry.outcome = "it is still being removed here" if thread and thread.is_deleted else KNOWN
        else:
            entry.outcome = "its id is in use"
    work.write(tx)


def _store_messages(work: _Work, tx: Transaction, batch: list[_Entry]) -> None:
    held = _hold(tx, batch)
    known = _known(tx, sql.list_known_messages, (entry.places for entry in batch))
    for entry in batch:
        thread = _room(work, held, entry)
        if thread is None:
            continue
        if work.is_there(known, entry.places):
            entry.outcome = KNOWN
            continue
        known.add(entry.places)
        thread.message_seq = max(thread.message_seq, thread.deleted_seq) + 1
        row = messages.columns(entry.value, entry.body)
        work.rows[messages.sql.insert_message].append({"seq": thread.message_seq, **row})
        place = {"thread_id": entry.places[0], "low": thread.message_seq - 1, "high": thread.message_seq}
        work.rows[messages.sql.queue_added].append(place)
    work.write(tx)


def _store_versions(work: _Work, tx: Transaction, batch: list[_Entry]) -> None:
    held = _hold(tx, batch)
    parents = _known(tx, sql.list_known_messages, (entry.places for entry in batch))
    known = _known(tx, sql.list_known_versions, (entry.places for entry in batch))
    last: dict[tuple[str, str], int] = {}
    for entry in batch:
        thread_id, message_id, _ = entry.places
        if _room(work, held, entry) is None:
            continue
        if not work.is_there(parents, (thread_id, message_id, "")):
            entry.outcome = f"there is no message {message_id}"
        elif work.is_there(known, entry.places):
            entry.outcome = KNOWN
        else:
            known.add(entry.places)
            if (thread_id, message_id) not in last:
                row = tx.one(messages.sql.find_last_version, thread_id=thread_id, message_id=message_id)
                last[thread_id, message_id] = row[0] if row else 0
            last[thread_id, message_id] += 1
            columns = messages.version_row(entry.value)
            work.rows[messages.sql.insert_version].append({"seq": last[thread_id, message_id], **columns})
    work.write(tx)


def _store_runs(work: _Work, tx: Transaction, batch: list[_Entry]) -> None:
    held = _hold(tx, batch)
    known = _known(tx, sql.list_known_runs, (entry.places for entry in batch))
    for entry in batch:
        thread = _room(work, held, entry)
        if thread is None:
            continue
        if work.is_there(known, entry.places):
            entry.outcome = KNOWN
            continue
        known.add(entry.places)
        thread.run_seq += 1
        work.rows[sql.insert_run].append(
            {
                "thread_id": entry.places[0],
                "run_id": entry.places[1],
                "project_id": work.ctx.project_id,
                "seq": thread.run_seq,
                "status": entry.value.status,
                "body": entry.body.decode(),
            }
        )
    work.write(tx)


def _store_steps(work: _Work, tx: Transaction, batch: list[_Entry]) -> None:
    held = _hold(tx, batch)
    parents = _known(tx, sql.list_known_runs, (entry.places for entry in batch))
    known = _known(tx, sql.list_known_steps, (entry.places for entry in batch))
    last: dict[tuple[str, str], int] = {}
    for entry in batch:
        thread_id, run_id, step_id = entry.places
        if _room(work, held, entry) is None:
            continue
        if not work.is_there(parents, (thread_id, run_id, "")):
            entry.outcome = f"there is no run {run_id}"
        elif work.is_there(known, entry.places):
            entry.outcome = KNOWN
        else:
            known.add(entry.places)
            if (thread_id, run_id) not in last:
                row = tx.one(sql.find_last_step, thread_id=thread_id, run_id=run_id)
                last[thread_id, run_id] = row[0] if row else 0
            last[thread_id, run_id] += 1
            work.rows[sql.insert_step].append(
                {
                    "thread_id": thread_id,
                    "run_id": run_id,
                    "seq": last[thread_id, run_id],
                    "step_id": step_id,
                    "body": entry.body.decode(),
                }
            )
    work.write(tx)


_STORES: dict[str, Callable[[_Work, Transaction, list[_Entry]], None]] = {
    "assistant": _store_assistants,
    "thread": _store_threads,
    "implied_thread": _store_threads,
    "message": _store_messages,
    "message_version": _store_versions,
    "run": _store_runs,
    "run_step": _store_steps,
}
