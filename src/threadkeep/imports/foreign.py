"""What others have exported, as objects of this API: kinds and raw objects, in the order in which they are taken in.

Understood are single objects of the API and the pages in which the SDKs list them; threads with their messages and runs
inside or beside them, as people write them down themselves, and as `assistants-thread-export/v1` does; messages one a
line, with `thread_id`, `role` and `text` or `content`; conversations and their items.

Nothing is passed over in silence: what is not understood among others is given with the reason, and lists of objects
that nobody asked for under their own name, so that they are reported and the rest is taken in.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from typing import Any, NamedTuple

_KINDS = {
    "assistant": "assistant",
    "thread": "thread",
    "thread.message": "message",
    "thread.message.version": "message_version",
    "thread.run": "run",
    "thread.run.step": "run_step",
}
_FIRST = {"assistant": 0, "thread": 1, "message": 2, "message_version": 3, "run": 4, "run_step": 5}
_TEXT_PARTS = ("input_text", "output_text", "text")
# What a manifest and lists of files have is of no use here.
_NOTHING = ("assistants-export-manifest/v1",)
_THREAD_EXPORT = "assistants-thread-export/v1"
# The names of lists in which somebody may have put all there is.
_WHOLES = ("assistants", "threads", "messages", "runs")
# What a flat message may have of a message of the API.
_TAKEN_OVER = ("assistant_id", "run_id", "metadata", "attachments")
_KNOWN_FORMS = (
    "it is nothing that is known here: neither an object of the API with its 'object', nor a thread with its "
    "'messages', nor a message with 'thread_id', 'role' and 'text' or 'content'"
)
_UNKNOWN = "unknown"
# Later times are milliseconds: as seconds they would be thousands of years away.
_SECONDS_MAX = 100_000_000_000
# Values of pages that are kept until the last page of a list has come.
HELD_MAX = 20_000
HELD_BYTES_MAX = 64 * 1024 * 1024
# Different things said in one thread without id and time that are remembered.
SAID_MAX = 100_000
# Shorter ones may be days, such as 20260102.
_NUMBER = re.compile(r"[0-9]{9,15}(\.[0-9]*)?")


class NotUnderstoodError(Exception):
    """Nobody knows what that is."""


class Told(NamedTuple):
    """An object of some kind; or, with `problem`, what cannot be taken in."""

    kind: str
    value: Any
    problem: str = ""


class Reader:
    """Turns values into objects. Items of a conversation belong to the last one that was named."""

    def __init__(self) -> None:
        self._conversation = ""
        self._held: list[Any] = []
        # How long their text was.
        self.bytes_held = 0
        # How often what has neither id nor time was said in the thread that was read last.
        self._thread_id = ""
        self._said: Counter[str] = Counter()

    def read(self, value: Any, size: int) -> Iterator[Told]:
        """The objects in a value, parents first; `size` is that of its text. Raises `NotUnderstoodError`."""
        match value:
            case {"data": list(data), "has_more": bool(has_more)} if has_more or self._held:
                # Pages begin with the newest, so the last one comes first.
                self._held += data
                self.bytes_held += size
                yield from self._read_conversation_of(value)
                yield from _left_out(value, "data")
                if not has_more or len(self._held) >= HELD_MAX or self.bytes_held >= HELD_BYTES_MAX:
                    yield from self.rest()
            case _:
                yield from self.rest()
                yield from self._read(value)

    def rest(self) -> Iterator[Told]:
        """The objects of a list whose last page did not come."""
        held, self._held, self.bytes_held = self._held, [], 0
        yield from self._read_all(held)

    def _read(self, value: Any) -> Iterator[Told]:
        match value:
            case list():
                yield from self._read_all(value)
            case {"object": str(name)} if name in _KINDS:
                yield from self._read_of_the_api(_KINDS[name], value)
            case {"object": "conversation", "id": str(conversation_id)}:
                self._conversation = _thread_id(conversation_id)
                metadata = {"metadata": value.get("metadata") or {}}
                yield Told("thread", {**_thread(self._conversation, value), **metadata})
                yield from self._read_all(_listed(value.get("items")))
                yield from _left_out(value, "items")
            case {"data": list(data)} | {"items": list(data)}:
                yield from self._read_conversation_of(value)
                yield from self._read_all(data)
                yield from _left_out(value, "data", "items")
            case {"export_schema": schema}:
                yield from self._read_export(schema, value)
            case {"thread": _} | {"messages": _} | {"threads": _} | {"assistants": _}:
                yield from self._read_home_made(value)
            case _:
                yield from self._read_message(value)

    def _read_conversation_of(self, page: dict[str, Any]) -> Iterator[Told]:
        if isinstance(conversation := page.get("conversation"), dict):
            yield from self._read(conversation)

    def _read_of_the_api(self, kind: str, value: dict[str, Any]) -> Iterator[Told]:
        match kind:
            case "thread":
                yield from self._read_thread(value, {})
            case "run":
                yield from _run(value)
            case _:
                yield Told(kind, value)

    def _read_home_made(self, value: dict[str, Any]) -> Iterator[Told]:
        match value:
            case {"thread": dict(thread)}:
                yield from self._read_thread(thread, value)
            case {"id": str(thread_id)} | {"thread_id": str(thread_id)}:
                yield from self._read_thread({**_other_fields(value, "thread_id"), "id": thread_id}, {})
            case _:
                yield from self._read_all([one for name in _WHOLES for one in _listed(value.get(name))])
                yield from _left_out(value, *_WHOLES)

    def _read_message(self, value: Any) -> Iterator[Told]:
        match value:
            case {"type": "message", "role": _, "content": _}:
                yield self._item(value)
            case {"thread_id": str(thread_id), "role": _, "text": str(said)}:
                yield self._flat_message(_thread_id(thread_id), value, said)
            case {"thread_id": str(thread_id), "role": _, "content": str() | list() as said}:
                yield self._flat_message(_thread_id(thread_id), value, said)
            case {"object": str(name)} | {"type": str(name)}:
                raise NotUnderstoodError(f"objects of the kind {name!r} are not imported")
            case _:
                raise NotUnderstoodError(_KNOWN_FORMS)

    def _read_all(self, values: list[Any]) -> Iterator[Told]:
        told: list[Told] = []
        not_understood: list[Told] = []
        for value in _flattened(values):
            for one in self._read_one(value):
                (not_understood if one.problem or one.kind not in _FIRST else told).append(one)
        yield from _in_order(told)
        yield from not_understood

    def _read_one(self, value: Any) -> Iterator[Told]:
        """What is in one of several values: if it is not understood, it alone is refused."""
        try:
            yield from self._read(value)
        except NotUnderstoodError as error:
            yield Told(_name(value), value, str(error))
        except (KeyError, TypeError, AttributeError):
            yield Told(_name(value), value, "its parts are not what they should be")

    def _read_export(self, schema: Any, value: dict[str, Any]) -> Iterator[Told]:
        if schema in _NOTHING:
            return
        if schema != _THREAD_EXPORT:
            raise NotUnderstoodError(f"the format {schema!r} is not known")
        if not isinstance(thread := value.get("thread"), dict):
            raise NotUnderstoodError(f"the export of {value.get('thread_id')} has no thread: it was gone already")
        # Its files and its own errors are of no use here.
        beside = {name: part for name, part in value.items() if name in {"messages", "runs"}}
        yield from self._read_thread(thread, beside)

    def _read_thread(self, thread: dict[str, Any], beside: dict[str, Any]) -> Iterator[Told]:
        """A thread with what is inside it and beside it; what belongs to it need not say so."""
        alone = {name: part for name, part in thread.items() if name not in {"messages", "runs"}}
        if alone.get("object") != "thread" and isinstance(alone.get("id"), str):
            alone = {**_thread(_thread_id(alone["id"]), alone), **_other_fields(alone, "id", "object", "created_at")}
        belongs = {"thread_id": alone.get("id")}
        yield Told("thread", alone)
        messages = [*_listed(thread.get("messages")), *_listed(beside.get("messages"))]
        yield from self._read_all([_with(belongs, message) for message in messages])
        for run in (*_listed(thread.get("runs")), *_listed(beside.get("runs"))):
            yield from _run(_with(belongs, run))
        yield from _left_out(beside, "messages", "runs")

    def _item(self, item: dict[str, Any]) -> Told:
        named = (item.get(name) for name in ("conversation_id", "conversation", "thread_id"))
        conversation = next((name for name in named if name), None) or self._conversation
        if not isinstance(conversation, str) or not conversation:
            # One thread for all that do not say where they belong.
            conversation = self._conversation or _made_up_id("thread", item.get("id"), item.get("content"))
        self._conversation = _thread_id(conversation)
        return self._message(self._conversation, item, item.get("id"), item["content"])

    def _flat_message(self, thread_id: str, value: dict[str, Any], said: Any) -> Told:
        return self._message(thread_id, value, value.get("message_id") or value.get("id"), said)

    def _message(self, thread_id: str, value: dict[str, Any], given: Any, said: Any) -> Told:
        parts = [_part(part) for part in ([{"type": "text", "text": said}] if isinstance(said, str) else said)]
        message = {
            "id": self._message_id(thread_id, given, value.get("created_at"), value["role"], parts),
            "created_at": _seconds(value.get("created_at")),
            "thread_id": thread_id,
            "role": value["role"],
            "content": parts,
            **{name: value[name] for name in _TAKEN_OVER if name in value},
        }
        # Lists of objects beside them are to be reported.
        return Told("message", {**{one.kind: one.value for one in _left_out(value, *message)}, **message})

    def _message_id(self, thread_id: str, given: Any, time: Any, *said: object) -> str:
        """The given one, or one that is made of it; of what is said if there is none."""
        if isinstance(given, str) and given.startswith("msg_"):
            return given
        if given:
            return _made_up_id("msg", thread_id, given)
        if time:
            return _made_up_id("msg", thread_id, time, *said)
        # Somebody may well say the same again.
        if thread_id != self._thread_id or len(self._said) >= SAID_MAX:
            self._thread_id = thread_id
            self._said.clear()
        made_up = _made_up_id("msg", thread_id, *said)
        self._said[made_up] += 1
        return made_up if self._said[made_up] == 1 else _made_up_id("msg", made_up, self._said[made_up])


def _run(run: Any) -> Iterator[Told]:
    """A run, and its steps if they are inside it."""
    if not isinstance(run, dict):
        yield Told("run", run)
        return
    yield Told("run", _other_fields(run, "steps"))
    belongs = {"thread_id": run.get("thread_id"), "run_id": run.get("id")}
    for step in _listed(run.get("steps")):
        yield Told("run_step", _with(belongs, step))


def _with(belongs: dict[str, Any], value: Any) -> Any:
    """The object with the ids of what it belongs to, unless it has its own."""
    if not isinstance(value, dict):
        return value
    return {**value, **{name: owner for name, owner in belongs.items() if not value.get(name)}}


def _other_fields(value: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: part for name, part in value.items() if name not in names}


def _listed(part: Any) -> list[Any]:
    """What is in a list, or in a page of one."""
    match part:
        case None:
            return []
        case list(data) | {"data": list(data)}:
            return data
        case _:
            raise NotUnderstoodError("what belongs to it is no list")


def holds_objects(part: Any) -> bool:
    """Whether it is a list of objects, or a page of one."""
    match part:
        case list(data) | {"data": list(data)}:
            return any(isinstance(one, dict) for one in data)
        case _:
            return False


def _left_out(value: dict[str, Any], *taken: str) -> Iterator[Told]:
    """The lists of objects in a value that are not among what was taken of it."""
    for name, part in value.items():
        if name not in taken and holds_objects(part):
            yield Told(name, part, "these are not imported")


def _flattened(values: list[Any]) -> Iterator[Any]:
    """The values, with those of pages in the place of the pages."""
    for value in values:
        match value:
            case list(data) | {"data": list(data)} if "conversation" not in value:
                yield from _flattened(data)
            case _:
                yield value


def _in_order(told: list[Told]) -> list[Told]:
    """Parents first, and what belongs to them by its times."""
    kinds: dict[tuple[str, str], list[Told]] = {}
    for one in told:
        thread_id = str(one.value.get("thread_id")) if isinstance(one.value, dict) else ""
        kinds.setdefault((one.kind, thread_id), []).append(one)
    for some in kinds.values():
        # Lists of the API begin with the newest; within a second their order is all there is.
        if _time(some[0]) > _time(some[-1]):
            some.reverse()
    return sorted(chain.from_iterable(kinds.values()), key=lambda one: (_FIRST[one.kind], _time(one)))


def _time(told: Told) -> int:
    return _seconds(told.value.get("created_at")) if isinstance(told.value, dict) else 0


def _name(value: Any) -> str:
    """What a value says it is."""
    return str(value.get("object") or value.get("type") or _UNKNOWN) if isinstance(value, dict) else _UNKNOWN


def _part(part: Any) -> Any:
    match part:
        case {"type": str(kind), "text": str(text)} if kind in _TEXT_PARTS:
            return {"type": "text", "text": {"value": text, "annotations": []}}
        case {"type": "input_image", "image_url": str(url)}:
            return {"type": "image_url", "image_url": {"url": url}}
        case {"type": "input_image", "file_id": str(file_id)}:
            return {"type": "image_file", "image_file": {"file_id": file_id}}
        case _:
            return part


def _thread(thread_id: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"id": thread_id, "created_at": _seconds(value.get("created_at")), "metadata": {}, "tool_resources": {}}


def _thread_id(given: str) -> str:
    return given if given.startswith("thread_") else f"thread_{given}"


def _made_up_id(prefix: str, *parts: object) -> str:
    """The same for the same, so that what is taken in twice is there once."""
    return f"{prefix}_{hashlib.sha256(repr(parts).encode()).hexdigest()[:24]}"


def _seconds(value: Any) -> int:
    """A time as the API has it; other programs write it in other ways. Without a zone it is meant in UTC."""
    match value:
        case bool() | None:
            return 0
        case int() | float():
            return int(value if value < _SECONDS_MAX else value // 1000)
        case str() if _NUMBER.fullmatch(value):
            return _seconds(float(value))
        case str():
            with suppress(ValueError, OverflowError):
                time = datetime.fromisoformat(value)
                return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
            return 0
        case _:
            return 0
