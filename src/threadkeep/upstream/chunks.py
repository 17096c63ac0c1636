"""From the bytes of a model server to parts of an answer, generous towards servers that are almost compatible.

Servers differ in these ways, and all of them are understood: calls without ids, without an index or all at index 0;
calls that come whole; `finish_reason` "stop" after calls; an empty `finish_reason` in every chunk; a whole completion
where a stream was asked for; token counts in a chunk without choices, in every chunk or never; no `[DONE]`; thoughts
beside the text, which are dropped; a character in two halves, one at the end of a chunk and one in the next.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from threadkeep.upstream import halves
from threadkeep.upstream.halves import Halves
from threadkeep.upstream.wire import (
    Counts,
    Finished,
    FinishReason,
    Part,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    UpstreamError,
)

# A hostile or broken server must not fill the memory.
LINE_BYTES_MAX = 4 * 1024 * 1024
ANSWER_BYTES_MAX = 64 * 1024 * 1024
CALLS_MAX = 1024

_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
# What some servers say when they gave up.
_FAILED = {"error", "abort"}


class _Function(Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Piece(Struct, gc=False):
    type: str = ""
    text: str | None = None


class _Delta(Struct, gc=False):
    content: str | list[_Piece] | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(Struct, gc=False):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _PromptDetails(Struct, gc=False):
    cached_tokens: int | None = None


class _CompletionDetails(Struct, gc=False):
    reasoning_tokens: int | None = None


class _Usage(Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Chunk(Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


def broken(what: str) -> UpstreamError:
    """The one form of complaint about a server that does not keep to the protocol."""
    return UpstreamError("server_error", f"The model server {what}.")


class AnswerReader:
    """Reads one answer: `feed` takes bytes as they come and gives the parts they complete."""

    def __init__(self, new_id: Callable[[str], str], error_in_stream: Callable[[Any], UpstreamError]) -> None:
        self._error_in_stream = error_in_stream
        self._halves = Halves()
        self._calls = Calls(new_id, self._halves)
        # The line that has begun, in pieces, so that a long one is put together once.
        self._line: list[bytes] = []
        self._line_bytes = 0
        self._bytes = 0
        self._usage: _Usage | None = None
        self.has_data = False
        # The server has said `[DONE]`: nothing more is worth reading.
        self.is_done = False
        self.finish_reason: FinishReason | None = None
        # What the model has written, for counting when the server does not.
        self.written: list[str] = []
        self.fault: UpstreamError | None = None

    def feed(self, data: bytes) -> list[Part]:
        """The parts that these bytes complete. A fault behind parts is kept in `fault`, so that they are not lost."""
        self._bytes += len(data)
        if self._bytes > ANSWER_BYTES_MAX:
            raise broken("sent an answer that is too long")
        head, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._begin(rest)
            return []
        lines = b"".join((*self._line, head)).split(b"\n")
        self._line.clear()
        self._line_bytes = 0
        self._begin(rest)
        parts: list[Part] = []
        try:
            for line in lines:
                if line.startswith(b"data:") and not self.is_done:
                    self._read(line[5:].strip(), parts)
        except UpstreamError as fault:
            if not parts and self.finish_reason is None:
                raise
            self.fault = fault
        return parts

    def _begin(self, line: bytes) -> None:
        if line:
            self._line.append(line)
            self._line_bytes += len(line)
            if self._line_bytes > LINE_BYTES_MAX:
                raise broken("sent a line that is too long")

    def end(self) -> list[Part]:
        """The parts of a last line that has no end."""
        return self.feed(b"\n") if self._line else []

    def whole(self, data: bytes) -> list[Part]:
        """The parts of an answer that was not streamed, or of a stream that claims to be none."""
        if data.lstrip().startswith(b"{"):
            data = b"data: " + data.replace(b"\n", b" ")
        return self.feed(data + b"\n")

    def _read(self, payload: bytes, parts: list[Part]) -> None:
        if not payload:
            return
        if payload == b"[DONE]":
            self.is_done = True
            if self.has_data and self.finish_reason is None:
                self._finish("stop", parts)
            return
        try:
            chunk = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            chunk = self._with_halves(payload)
        self.has_data = True
        if chunk.error:
            raise self._error_in_stream(chunk.error)
        if chunk.usage is not None:
            self._usage = chunk.usage
        for choice in chunk.choices or ():
            if not choice.index:
                self._read_choice(choice, parts)

    def _with_halves(self, payload: bytes) -> _Chunk:
        """What msgspec refuses: in most cases garbage, but half of a character is taken."""
        try:
            chunk = msgspec.convert(halves.decode(payload), _Chunk)
        except ValueError:
            raise broken("sent something that is not Chat Completions") from None
        self._halves.are_met = True
        return chunk

    def _read_choice(self, choice: _Choice, parts: list[Part]) -> None:
        delta = choice.delta or choice.message
        if delta is not None and self.finish_reason is None:
            content = delta.content
            if isinstance(content, list):
                # Other pieces are thoughts.
                content = "".join(piece.text or "" for piece in content if piece.type == "text")
            refusal = delta.refusal
            if self._halves.are_met:
                content = self._halves.join("content", content or "")
                refusal = self._halves.join("refusal", refusal or "")
                if delta.tool_calls:
                    content += self._halves.rest("content")
            self._say(content, refusal, parts)
            for call in delta.tool_calls or ():
                self._calls.add(call, parts)
        if choice.finish_reason and self.finish_reason is None:
            self._finish(choice.finish_reason, parts)

    def _say(self, content: str | None, refusal: str | None, parts: list[Part]) -> None:
        if content:
            self.written.append(content)
            parts.append(TextDelta(content))
        if refusal:
            self.written.append(refusal)
            parts.append(RefusalDelta(refusal))

    def _finish(self, said: str, parts: list[Part]) -> None:
        if said in _FAILED:
            raise broken("could not finish its answer")
        reason = _REASONS.get(said, "stop")
        if reason in ("stop", "tool_calls"):
            # Some say "stop" after calls, and some "tool_calls" where there are none.
            reason = "tool_calls" if self._calls.count else "stop"
        self._say(self._halves.rest("content"), self._halves.rest("refusal"), parts)
        self._calls.end(parts, are_whole=reason == "tool_calls")
        self.written += self._calls.written()
        self.finish_reason = reason
        parts.append(Finished(reason))

    def usage(self) -> Counts | None:
        """What the server counted, if it did."""
        found = self._usage
        if found is None or found.prompt_tokens is None or found.completion_tokens is None:
            return None
        prompt, completion = found.prompt_tokens_details, found.completion_tokens_details
        return Counts(
            prompt_tokens=max(0, found.prompt_tokens),
            completion_tokens=max(0, found.completion_tokens),
            cached_tokens=max(0, (prompt and prompt.cached_tokens) or 0),
            reasoning_tokens=max(0, (completion and completion.reasoning_tokens) or 0),
        )


class _Gathered:
    """One call so far."""

    def __init__(self, place: int) -> None:
        # Among those that have begun, and among those that are told: one is told when it has a name.
        self.place = place
        self.index: int | None = None
        self.call_id = ""
        self.name = ""
        self.arguments: list[str] = []


class Calls:
    """Tells which call a piece belongs to, and numbers the calls in the order in which they are told."""

    def __init__(self, new_id: Callable[[str], str], halves: Halves) -> None:
        self._new_id = new_id
        self._halves = halves
        self._calls: list[_Gathered] = []
        self._at_index: dict[int, _Gathered] = {}
        self._ids: set[str] = set()
        self._told = 0

    @property
    def count(self) -> int:
        """How many calls have begun."""
        return len(self._calls)

    def add(self, piece: _Call, parts: list[Part]) -> None:
        """Takes a piece in, and tells what is new."""
        function = piece.function or _Function()
        arguments = function.arguments
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments)
        call = self._call_of(piece, function)
        if piece.id and not call.call_id:
            # Two calls of one answer under one id could not be told apart.
            call.call_id = piece.id if piece.id not in self._ids else self._new_id("call")
            self._ids.add(piece.id)
        if function.name and not call.name:
            call.name = function.name
        if arguments and self._halves.are_met:
            arguments = self._halves.join(call.place, arguments)
        if arguments:
            call.arguments.append(arguments)
        if call.index is not None:
            if arguments:
                parts.append(ToolCallDelta(call.index, None, None, arguments))
        elif call.name:
            self._tell(call, parts)

    def _call_of(self, piece: _Call, function: _Function) -> _Gathered:
        last = self._calls[-1] if self._calls else None
        call = last if piece.index is None else self._at_index.get(piece.index)
        if call is not None and self._is_another(call, piece, function):
            call = None
        if call is None:
            if len(self._calls) == CALLS_MAX:
                raise broken("sent too many tool calls")
            call = _Gathered(len(self._calls))
            self._calls.append(call)
        if piece.index is not None:
            self._at_index[piece.index] = call
        return call

    @staticmethod
    def _is_another(call: _Gathered, piece: _Call, function: _Function) -> bool:
        """Whether a piece that seems to go on with `call` begins another one: the index is missing or always 0."""
        if piece.id and call.call_id:
            return piece.id != call.call_id
        if not (function.name and call.name):
            return False
        # Without ids a name can open a call or be repeated in each piece of it; what is complete is not gone on with.
        return function.name != call.name or _is_json("".join(call.arguments))

    def _tell(self, call: _Gathered, parts: list[Part]) -> None:
        call.call_id = call.call_id or self._new_id("call")
        call.index, self._told = self._told, self._told + 1
        parts.append(ToolCallDelta(call.index, call.call_id, call.name, "".join(call.arguments)))

    def end(self, parts: list[Part], *, are_whole: bool) -> None:
        """No more pieces come."""
        for call in self._calls:
            if call.index is None:
                if are_whole:
                    raise broken("called a function without a name")
                continue
            if rest := self._halves.rest(call.place):
                call.arguments.append(rest)
                parts.append(ToolCallDelta(call.index, None, None, rest))
            if not call.arguments and are_whole:
                # A function without arguments gets an object nonetheless.
                parts.append(ToolCallDelta(call.index, None, None, "{}"))

    def written(self) -> list[str]:
        """What the model wrote to call them."""
        return [text for call in self._calls for text in (call.name, *call.arguments)]


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True
