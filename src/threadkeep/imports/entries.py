"""An object is looked at: what can be stored of it, or why it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from threadkeep import ids, lifecycle
from threadkeep.assistants import Assistant
from threadkeep.errors import BadRequestError
from threadkeep.message_versions import MessageVersion
from threadkeep.messages import IncompleteDetails, Message
from threadkeep.metadata import Metadata
from threadkeep.run_rows import Run
from threadkeep.threads import Thread

TIME_MAX = 2**53
STEP_STATUSES = ("cancelled", "failed", "completed", "expired")
# Where the original said null and this server has a value.
_NEVER_NULL = (
    *("metadata", "tool_resources", "attachments", "content", "tools", "truncation_strategy", "response_format"),
    *("tool_choice", "parallel_tool_calls", "status"),
)
_EMPTY: dict[str, Any] = {"metadata": {}, "tool_resources": {}, "attachments": [], "content": [], "tools": []}
# The outcome of what was there already.
KNOWN = "known"

# The ids of an object's thread, of itself, and of what belongs to it: (thread, message, version), (thread, "", "").
Places: TypeAlias = tuple[str, str, str]
# The places, the object as far as storing needs it, and its text.
Prepared: TypeAlias = tuple[Places, Any, bytes]


class RefusedError(Exception):
    """The object cannot be taken in."""


@dataclass(slots=True)
class Entry:
    """An object that is ready to be stored."""

    where: str
    kind: str
    places: Places
    value: Any
    body: bytes
    # What became of it: nothing if it was stored.
    outcome: str = ""


_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_assistants = msgspec.json.Decoder(Assistant)
_threads = msgspec.json.Decoder(Thread)
_messages = msgspec.json.Decoder(Message)
_versions = msgspec.json.Decoder(MessageVersion)
_runs = msgspec.json.Decoder(Run)
_encode = msgspec.json.Encoder().encode


def id_of(value: Any) -> str:
    """The id of an object, whatever it is; nothing if it has none."""
    if isinstance(value, Raw):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ""
    return str(value.get("id", "")) if isinstance(value, dict) else ""


def prepare(where: str, kind: str, value: Any) -> Entry:
    """An object of that kind, whole and sound. Raises `RefusedError`."""
    look_at = _PREPARES.get(kind)
    if look_at is None:
        raise RefusedError(f"objects of the kind {kind!r} are not taken in")
    raw = bytes(value) if isinstance(value, Raw) else msgspec.json.encode(value)
    if b"\\u0000" in raw:
        raise RefusedError("its text has the character U+0000, which not every database can keep")
    places, prepared, body = look_at(raw)
    return Entry(where, kind, places, prepared, body)


def _typed(raw: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """The object, with what was null or left out where this server has a value. Raises `RefusedError`."""
    try:
        # The decoder does not look into the text of fields it skips.
        _ = raw.isascii() or raw.decode()
        return decoder.decode(raw)
    except (msgspec.ValidationError, RecursionError):
        pass
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RefusedError("it is not JSON") from None
    try:
        fields = _decode_object(raw)
        mended = _EMPTY | {name: part for name, part in fields.items() if part is not None or name not in _NEVER_NULL}
        return msgspec.convert(mended, decoder.type)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise RefusedError(str(error)) from None


def _check_id(value: Any, prefix: str) -> str:
    if not isinstance(value, str):
        raise RefusedError(f"it has no id that begins with '{prefix}_'")
    try:
        ids.check_given("id", value, prefix)
    except BadRequestError as error:
        raise RefusedError(error.message) from None
    return value


def _check_time(*times: int | None) -> None:
    for time in times:
        if time is not None and not 0 <= time < TIME_MAX:
            raise RefusedError("a time is out of range")


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
        raise RefusedError(f"metadata: {error}") from None
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
        raise RefusedError("it is not an object") from None
    thread_id, run_id = step.get("thread_id"), step.get("run_id")
    if not (isinstance(thread_id, str) and isinstance(run_id, str) and isinstance(step.get("step_details"), dict)):
        raise RefusedError("it needs thread_id, run_id and step_details")
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
