"""What others have exported, as objects of this API: kinds and raw objects, in the order in which they are taken in.

Understood are single objects of the API and the pages in which the SDKs list them; the files of
`assistants-thread-export/v1`; messages one a line, with `thread_id`, `role` and `text`; conversations and their items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypeAlias

Told: TypeAlias = tuple[str, dict[str, Any]]

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


class NotUnderstoodError(Exception):
    """Nobody knows what that is."""


class Reader:
    """Turns values into objects. Items of a conversation belong to the last one that was named."""

    def __init__(self) -> None:
        self._conversation = ""

    def read(self, value: Any) -> Iterator[Told]:
        """The objects in a value, parents first. Raises `NotUnderstoodError`."""
        match value:
            case list():
                yield from self._read_all(value)
            case {"object": "list", "data": list(data)} | {"items": list(data)}:
                if isinstance(conversation := value.get("conversation"), dict):
                    yield from self.read(conversation)
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
                thread_id = _thread_id(thread_id)
                yield "implied_thread", _thread(thread_id, value)
                yield "message", _flat_message(thread_id, value)
            case {"object": str(name)} | {"type": str(name)}:
                raise NotUnderstoodError(f"objects of the kind {name!r} are not taken in")
            case _:
                raise NotUnderstoodError("it is nothing that is known here")

    def _read_all(self, values: list[Any]) -> Iterator[Told]:
        told = [one for value in values for one in self.read(value)]
        # Lists of the API begin with the newest; within a second their order is all there is.
        times = [_seconds(value.get("created_at")) for kind, value in told if kind == "message"]
        if times and times[0] > times[-1]:
            told.reverse()
        yield from sorted(told, key=lambda one: (_FIRST[one[0]], _seconds(one[1].get("created_at"))))

    def _read_export(self, schema: Any, value: dict[str, Any]) -> Iterator[Told]:
        if schema in _NOTHING:
            return
        if schema != _THREAD_EXPORT:
            raise NotUnderstoodError(f"the format {schema!r} is not known")
        thread = value.get("thread")
        if not isinstance(thread, dict):
            raise NotUnderstoodError(f"the export of {value.get('thread_id')} has no thread: it was gone already")
        yield "thread", thread
        for message in value.get("messages") or ():
            yield "message", message
        for run in value.get("runs") or ():
            yield "run", {name: field for name, field in run.items() if name != "steps"}
            for step in run.get("steps") or ():
                yield "run_step", step

    def _read_item(self, item: dict[str, Any]) -> Iterator[Told]:
        conversation = item.get("conversation_id") or item.get("conversation") or self._conversation
        if not isinstance(conversation, str) or not conversation:
            # One thread for all that do not say where they belong.
            conversation = self._conversation or _made_up_id("thread", item.get("id"), item.get("content"))
        thread_id = self._conversation = _thread_id(conversation)
        yield "implied_thread", _thread(thread_id, item)
        content = item["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        created_at = _seconds(item.get("created_at"))
        given = str(item.get("id") or "")
        yield (
            "message",
            {
                "id": given
                if given.startswith("msg_")
                else _made_up_id("msg", thread_id, given, item["role"], content),
                "created_at": created_at,
                "thread_id": thread_id,
                "role": item["role"],
                "content": [_part(part) for part in parts],
            },
        )


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


def _flat_message(thread_id: str, value: dict[str, Any]) -> dict[str, Any]:
    given = value.get("message_id") or value.get("id")
    return {
        "id": given or _made_up_id("msg", thread_id, value.get("created_at"), value["role"], value["text"]),
        "created_at": _seconds(value.get("created_at")),
        "thread_id": thread_id,
        "assistant_id": value.get("assistant_id"),
        "role": value["role"],
        "content": [{"type": "text", "text": {"value": value["text"], "annotations": []}}],
    }


def _thread_id(given: str) -> str:
    return given if given.startswith("thread_") else f"thread_{given}"


def _made_up_id(prefix: str, *parts: object) -> str:
    """The same for the same, so that what is taken in twice is there once."""
    return f"{prefix}_{hashlib.sha256(repr(parts).encode()).hexdigest()[:24]}"


def _seconds(value: Any) -> int:
    """A time as the API has it; other programs write it in other ways."""
    match value:
        case bool() | None:
            return 0
        case int() | float():
            return int(value)
        case str():
            try:
                return int(datetime.fromisoformat(value).timestamp())
            except ValueError:
                return 0
        case _:
            return 0
