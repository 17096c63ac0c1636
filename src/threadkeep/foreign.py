"""What others have exported, as objects of this API: kinds and raw objects, in the order in which they are taken in.

Understood are single objects of the API and the pages in which the SDKs list them; the files of
`assistants-thread-export/v1`; messages one a line, with `thread_id`, `role` and `text`; conversations and their items.

What is not understood among others is given under the kind it names itself, so that it is reported and the others are
taken in.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from typing import Any, TypeAlias

Told: TypeAlias = tuple[str, Any]

_KINDS = {
    "assistant": "assistant",
    "thread": "thread",
    "thread.message": "message",
    "thread.message.version": "message_version",
    "thread.run": "run",
    "thread.run.step": "run_step",
}
_FIRST = {"assistant": 0, "thread": 1, "implied_thread": 1, "message": 2, "message_version": 3, "run": 4, "run_step": 5}
_TEXT_PARTS = ("input_text", "output_text", "text")
# What a manifest and lists of files have is of no use here.
_NOTHING = ("assistants-export-manifest/v1",)
_THREAD_EXPORT = "assistants-thread-export/v1"
_UNKNOWN = "unknown"
# Later times are milliseconds: as seconds they would be thousands of years away.
_SECONDS_MAX = 100_000_000_000
# Values of pages that are kept until the last page of a list has come.
HELD_MAX = 20_000
# Shorter ones may be days, such as 20260102.
_NUMBER = re.compile(r"[0-9]{9,15}(\.[0-9]*)?")


class NotUnderstoodError(Exception):
    """Nobody knows what that is."""


class Reader:
    """Turns values into objects. Items of a conversation belong to the last one that was named."""

    def __init__(self) -> None:
        self._conversation = ""
        self._held: list[Any] = []
        # How often what has neither id nor time was said in the thread that was read last.
        self._thread_id = ""
        self._said: Counter[str] = Counter()

    def read(self, value: Any) -> Iterator[Told]:
        """The objects in a value, parents first. Raises `NotUnderstoodError`."""
        match value:
            case {"data": list(data), "has_more": bool(has_more)} if has_more or self._held:
                # Pages begin with the newest, so the last one comes first.
                self._held += data
                if not has_more or len(self._held) >= HELD_MAX:
                    yield from self.rest()
            case _:
                yield from self.rest()
                yield from self._read(value)

    def rest(self) -> Iterator[Told]:
        """The objects of a list whose last page did not come."""
        held, self._held = self._held, []
        yield from self._read_all(held)

    def _read(self, value: Any) -> Iterator[Told]:
        match value:
            case list():
                yield from self._read_all(value)
            case {"data": list(data)} | {"items": list(data)}:
                if isinstance(conversation := value.get("conversation"), dict):
                    yield from self._read(conversation)
                yield from self._read_all(data)
            case {"export_schema": schema}:
                yield from self._read_export(schema, value)
            case {"object": "conversation", "id": str(conversation_id)}:
                self._conversation = _thread_id(conversation_id)
                yield "thread", {**_thread(self._conversation, value), "metadata": value.get("metadata") or {}}
            case {"object": str(name)} if name in _KINDS:
                yield from _of_the_api(_KINDS[name], value)
            case {"type": "message", "role": _, "content": _}:
                yield from self._read_item(value)
            case {"thread_id": str(thread_id), "role": _, "text": str()}:
                yield from self._read_flat(_thread_id(thread_id), value)
            case {"object": str(name)} | {"type": str(name)}:
                raise NotUnderstoodError(f"objects of the kind {name!r} are not taken in")
            case _:
                raise NotUnderstoodError("it is nothing that is known here")

    def _read_all(self, values: list[Any]) -> Iterator[Told]:
        told, not_understood = [], []
        for value in _flattened(values):
            try:
                told += list(self._read(value))
            except (NotUnderstoodError, KeyError, TypeError, AttributeError):
                # It alone is refused.
                not_understood.append((_name(value), value))
        yield from _in_order(told)
        yield from not_understood

    def _read_export(self, schema: Any, value: dict[str, Any]) -> Iterator[Told]:
        if schema in _NOTHING:
            return
        if schema != _THREAD_EXPORT:
            raise NotUnderstoodError(f"the format {schema!r} is not known")
        thread = value.get("thread")
        if not isinstance(thread, dict):
            raise NotUnderstoodError(f"the export of {value.get('thread_id')} has no thread: it was gone already")
        yield "thread", thread
        yield from _in_order([("message", message) for message in value.get("messages") or ()])
        for run in value.get("runs") or ():
            if not isinstance(run, dict):
                yield "run", run
                continue
            yield "run", {name: field for name, field in run.items() if name != "steps"}
            for step in run.get("steps") or ():
                yield "run_step", step

    def _read_item(self, item: dict[str, Any]) -> Iterator[Told]:
        conversation = item.get("conversation_id") or item.get("conversation") or self._conversation
        if not isinstance(conversation, str) or not conversation:
            # One thread for all that do not say where they belong.
            conversation = self._conversation or _made_up_id("thread", item.get("id"), item.get("content"))
        thread_id = self._conversation = _thread_id(conversation)
        content = item["content"]
        told = [{"type": "text", "text": content}] if isinstance(content, str) else content
        parts = [_part(part) for part in told]
        yield "implied_thread", _thread(thread_id, item)
        yield "message", self._message(thread_id, item, item.get("id"), parts)

    def _read_flat(self, thread_id: str, value: dict[str, Any]) -> Iterator[Told]:
        given = value.get("message_id") or value.get("id")
        parts = [{"type": "text", "text": {"value": value["text"], "annotations": []}}]
        yield "implied_thread", _thread(thread_id, value)
        yield (
            "message",
            {
                **self._message(thread_id, value, given, parts),
                "assistant_id": value.get("assistant_id"),
            },
        )

    def _message(self, thread_id: str, value: dict[str, Any], given: Any, parts: list[Any]) -> dict[str, Any]:
        return {
            "id": self._message_id(thread_id, given, value.get("created_at"), value["role"], parts),
            "created_at": _seconds(value.get("created_at")),
            "thread_id": thread_id,
            "role": value["role"],
            "content": parts,
        }

    def _message_id(self, thread_id: str, given: Any, time: Any, *said: object) -> str:
        """The given one, or one that is made of it; of what is said if there is none."""
        if isinstance(given, str) and given.startswith("msg_"):
            return given
        if given:
            return _made_up_id("msg", thread_id, given)
        if time:
            return _made_up_id("msg", thread_id, time, *said)
        # Somebody may well say the same again.
        if thread_id != self._thread_id:
            self._thread_id = thread_id
            self._said.clear()
        made_up = _made_up_id("msg", thread_id, *said)
        self._said[made_up] += 1
        return made_up if self._said[made_up] == 1 else _made_up_id("msg", made_up, self._said[made_up])


def _flattened(values: list[Any]) -> Iterator[Any]:
    """The values, with those of pages in the place of the pages."""
    for value in values:
        match value:
            case list(data) | {"data": list(data)}:
                yield from _flattened(data)
            case _:
                yield value


def _in_order(told: list[Told]) -> list[Told]:
    """Parents first, and what belongs to them by its times."""
    kinds: dict[tuple[str, str], list[Told]] = {}
    for kind, value in told:
        thread_id = str(value.get("thread_id")) if isinstance(value, dict) else ""
        kinds.setdefault((kind, thread_id), []).append((kind, value))
    for some in kinds.values():
        # Lists of the API begin with the newest; within a second their order is all there is.
        if _time(some[0]) > _time(some[-1]):
            some.reverse()
    return sorted(chain.from_iterable(kinds.values()), key=lambda one: (_FIRST[one[0]], _time(one)))


def _time(told: Told) -> int:
    return _seconds(told[1].get("created_at")) if isinstance(told[1], dict) else 0


def _name(value: Any) -> str:
    """What a value says it is."""
    if not isinstance(value, dict):
        return _UNKNOWN
    return str(value.get("object") or value.get("type") or _UNKNOWN)


def _of_the_api(kind: str, value: dict[str, Any]) -> Iterator[Told]:
    # What was listed of a thread often comes without it.
    if kind != "assistant" and kind != "thread" and isinstance(value.get("thread_id"), str):  # noqa: PLR1714
        yield "implied_thread", _thread(value["thread_id"], value)
    yield kind, value


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
            return int(value) if value < _SECONDS_MAX else int(value / 1000)
        case str() if _NUMBER.fullmatch(value):
            return _seconds(float(value))
        case str():
            with suppress(ValueError, OverflowError):
                time = datetime.fromisoformat(value)
                return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
            return 0
        case _:
            return 0
