"""An object is looked at: what can be stored of it, or why it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

from threadkeep import ids, invalid, lifecycle, tools, validation
from threadkeep.assistants import INSTRUCTIONS_CHARACTERS_MAX, Assistant, AssistantCreateParams
from threadkeep.errors import BadRequestError
from threadkeep.imports import foreign, values
from threadkeep.imports.values import RefusedError
from threadkeep.message_parts import TEXT_CHARACTERS_MAX, Part, RefusalPart, TextPart
from threadkeep.message_versions import MessageVersion
from threadkeep.messages import IncompleteDetails, Message
from threadkeep.metadata import Metadata
from threadkeep.references import ToolResources
from threadkeep.run_params import RunSettings
from threadkeep.run_rows import Run
from threadkeep.threads import Thread, ThreadCreateParams

TIME_MAX = 2**53
# No request limits what a model writes.
MODEL_TEXT_CHARACTERS_MAX = 16 * TEXT_CHARACTERS_MAX
STEP_STATUSES = ("cancelled", "failed", "completed", "expired")
# What stands for fields that are left out.
_EMPTY: dict[str, Any] = {"metadata": {}, "tool_resources": {}, "attachments": [], "content": [], "tools": []}
# Fields that the original could give as null and this server cannot: null leaves them out.
_NEVER_NULL = {
    *_EMPTY,
    "truncation_strategy",
    "response_format",
    "tool_choice",
    "parallel_tool_calls",
    "status",
    "temperature",
    "top_p",
}
# The outcome of what was there already.
KNOWN = "known"

# The ids of an object's thread, of itself, and of what belongs to it: (thread, message, version), (thread, "", "").
Places: TypeAlias = tuple[str, str, str]
# The places, the object as far as storing needs it, and its text.
Prepared: TypeAlias = tuple[Places, Any, bytes]


class _MessageLimits(Struct):
    """What a request limits of a message, but for its text."""

    metadata: Metadata


class _RunLimits(RunSettings, kw_only=True):
    """What a request limits of a run, which has its own instructions and additional ones in one text."""

    instructions: Annotated[str, Meta(max_length=2 * INSTRUCTIONS_CHARACTERS_MAX + 1)] | None = None


@dataclass(slots=True)
class Entry:
    """An object that is ready to be stored."""

    where: str
    kind: str
    places: Places
    value: Any
    body: bytes
    # Lists of objects that it had and that are not stored.
    left_out: tuple[str, ...] = ()
    # A thread that nobody named, for what belongs to it.
    is_implied: bool = False
    # What became of it: nothing if it was stored.
    outcome: str = ""

    @property
    def own_id(self) -> str:
        """Its own id, not those of what it belongs to."""
        return self.places[2] or self.places[1] or self.places[0]


def _whole(kept: type[Struct]) -> msgspec.json.Decoder[Any]:
    """Decodes objects that have nothing beside what is kept of them, as those of an export."""
    return msgspec.json.Decoder(type(kept.__name__, (kept,), {}, forbid_unknown_fields=True))


_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_assistants = _whole(Assistant)
_threads = _whole(Thread)
_messages = _whole(Message)
_versions = _whole(MessageVersion)
_runs = _whole(Run)
_encode = msgspec.json.Encoder().encode


_within_assistant = msgspec.json.Decoder(AssistantCreateParams)
_within_thread = msgspec.json.Decoder(ThreadCreateParams)
_within_message = msgspec.json.Decoder(_MessageLimits)
_within_run = msgspec.json.Decoder(_RunLimits)


def id_of(value: Any) -> str:
    """The id of an object, whatever it is; nothing if it has none."""
    if isinstance(value, Raw):
        try:
            value = values.decode(bytes(value))
        except RefusedError:
            return ""
    return str(value.get("id", "")) if isinstance(value, dict) else ""


def prepare(where: str, kind: str, value: Any) -> Entry:
    """An object of that kind, whole, sound and within the limits of requests. Raises `RefusedError`."""
    look_at = _PREPARES.get(kind)
    if look_at is None:
        raise RefusedError(f"objects of the kind {kind!r} are not imported" if kind else "it does not say what it is")
    raw = bytes(value) if isinstance(value, Raw) else msgspec.json.encode(value)
    if b"\\u0000" in raw:
        raise RefusedError("its text has the character U+0000, which not every database can keep")
    values.check_nesting(raw)
    try:
        places, prepared, body = look_at(raw)
    except BadRequestError as error:
        raise RefusedError(_told(error)) from None
    return Entry(where, kind, places, prepared, body, _left_out(raw, prepared))


def implied_thread(entry: Entry) -> Entry:
    """The thread of a message or a run, as old as that is and otherwise empty. Raises `RefusedError`."""
    thread = Thread(
        id=entry.value.thread_id, created_at=entry.value.created_at, metadata={}, tool_resources=ToolResources()
    )
    try:
        ids.check_given("thread_id", thread.id, "thread")
    except BadRequestError as error:
        raise RefusedError(_told(error)) from None
    places = (thread.id, "", "")
    return Entry(entry.where, "thread", places, thread, _encode(thread), is_implied=True)


def _left_out(raw: bytes, prepared: Struct | None) -> tuple[str, ...]:
    if prepared is None or prepared.__struct_config__.forbid_unknown_fields:
        return ()
    kept = prepared.__struct_fields__
    return tuple(name for name, part in _decode_object(raw).items() if name not in kept and foreign.holds_objects(part))


def _told(error: BadRequestError) -> str:
    """What is wrong, and where."""
    where = error.param
    return error.message if where is None or f"'{where}'" in error.message else f"{where}: {error.message}"


def _typed(raw: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """The object; with what was null or left out where this server has a value, if need be. Raises `RefusedError`."""
    try:
        # The decoder does not look into the text of fields it skips.
        _ = raw.isascii() or raw.decode()
        return decoder.decode(raw)
    except msgspec.ValidationError:
        pass
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RefusedError("it is not JSON") from None
    fields = values.decode(raw)
    if not isinstance(fields, dict):
        raise RefusedError("it is not an object")
    mended = _EMPTY | {name: part for name, part in fields.items() if part is not None or name not in _NEVER_NULL}
    try:
        return msgspec.convert(mended, decoder.type.__base__)
    except msgspec.ValidationError:
        raise _refusal(mended, decoder) from None


def _require_within(body: bytes, limits: msgspec.json.Decoder[Any]) -> None:
    """Holds what a request may not have against an object. Raises `RefusedError`."""
    try:
        limits.decode(body)
    except msgspec.ValidationError:
        raise _refusal(_decode_object(body), limits) from None


def _refusal(fields: dict[str, Any], wanted: msgspec.json.Decoder[Any]) -> RefusedError:
    error = validation.explain(fields, wanted.type, strict=False)
    return RefusedError(_told(error) if error else "its parts are not what they should be")


def _check_text(content: list[Part], characters_max: int) -> None:
    for index, part in enumerate(content):
        match part:
            case TextPart(text=text):
                where, said = "text.value", text.value
            case RefusalPart(refusal=said):
                where = "refusal"
            case _:
                continue
        if len(said) > characters_max:
            raise invalid.string_too_long(f"content[{index}].{where}", characters_max, len(said))


def _check_id(value: Any, prefix: str) -> str:
    if not isinstance(value, str):
        raise RefusedError(f"it has no id that begins with '{prefix}_'")
    ids.check_given("id", value, prefix)
    return value


def _check_time(*times: int | None) -> None:
    for time in times:
        if time is not None and not 0 <= time < TIME_MAX:
            raise RefusedError("a time is out of range")


def _assistant(raw: bytes) -> Prepared:
    assistant: Assistant = _typed(raw, _assistants)
    _check_time(assistant.created_at)
    tools.check(assistant.tools, assistant.response_format)
    body = _encode(assistant)
    _require_within(body, _within_assistant)
    return ("", _check_id(assistant.id, "asst"), ""), assistant, body


def _thread(raw: bytes) -> Prepared:
    thread: Thread = _typed(raw, _threads)
    _check_time(thread.created_at)
    body = _encode(thread)
    _require_within(body, _within_thread)
    return (_check_id(thread.id, "thread"), "", ""), thread, body


def _message(raw: bytes) -> Prepared:
    message: Message = _typed(raw, _messages)
    _check_id(message.id, "msg")
    _check_time(message.created_at)
    if message.status == "in_progress":
        message.status, message.incomplete_at = "incomplete", message.created_at
        message.incomplete_details = IncompleteDetails("run_expired")
    elif message.status == "completed" and message.completed_at is None:
        message.completed_at = message.created_at
    _check_text(message.content, MODEL_TEXT_CHARACTERS_MAX if message.run_id else TEXT_CHARACTERS_MAX)
    body = _encode(message)
    if message.metadata:
        _require_within(body, _within_message)
    return (message.thread_id, message.id, ""), message, body


def _version(raw: bytes) -> Prepared:
    version: MessageVersion = _typed(raw, _versions)
    _check_time(version.created_at, version.replaced_at)
    _check_text(version.content, MODEL_TEXT_CHARACTERS_MAX)
    return (version.thread_id, version.message_id, _check_id(version.id, "msgver")), version, _encode(version)


def _run(raw: bytes) -> Prepared:
    run: Run = _typed(raw, _runs)
    _check_time(run.created_at)
    if run.status in lifecycle.ACTIVE:
        # Nobody goes on with it.
        run.status, run.required_action = "expired", None
    tools.check(run.tools, run.response_format)
    body = _encode(run)
    _require_within(body, _within_run)
    return (run.thread_id, _check_id(run.id, "run"), ""), run, body


def _step(raw: bytes) -> Prepared:
    """Steps are kept as they are: those of tools that this server does not have as well."""
    try:
        step = _decode_object(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
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
    "message": _message,
    "message_version": _version,
    "run": _run,
    "run_step": _step,
}
