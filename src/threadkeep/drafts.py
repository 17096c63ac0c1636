"""Messages and tool calls while they are being written: the deltas that followers are sent, and what they add up to.

Deltas are those of the API's section on streaming: the first of a text carries an empty list of annotations, the others
only the text; content parts are numbered in the order in which they begin.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from threadkeep.message_parts import Part, RefusalPart, Text, TextPart
from threadkeep.run_steps import CalledFunction, FunctionCall

DELTA = "thread.message.delta"
STEP_DELTA = "thread.run.step.delta"
_HEADER = f"event: {DELTA}\n"

_encode = msgspec.json.Encoder().encode


class _TextDelta(Struct):
    value: str = ""


class _PartDelta(Struct):
    index: int
    text: _TextDelta | None = None
    refusal: str | None = None


class _Delta(Struct):
    content: list[_PartDelta]


class _MessageDelta(Struct):
    id: str
    delta: _Delta


_decode = msgspec.json.Decoder(_MessageDelta).decode


class MessageDraft:
    """The parts of a message so far."""

    def __init__(self, message_id: str) -> None:
        self._message_id = message_id
        self._kinds: list[str] = []
        self._pieces: list[list[str]] = []
        # What all deltas of the message have in common, up to the piece itself.
        self._text_head = self._refusal_head = b""

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been written."""
        return not self._kinds

    def text(self, piece: str) -> bytes:
        """Adds to the text; gives the delta's data."""
        if "text" not in self._kinds:
            index = self._begin("text")
            self._text_head = self._head(index, "text") + b'"text":{"value":'
            self._pieces[index].append(piece)
            return self._text_head + _encode(piece) + b',"annotations":[]}}]}}'
        self._pieces[self._kinds.index("text")].append(piece)
        return self._text_head + _encode(piece) + b"}}]}}"

    def refusal(self, piece: str) -> bytes:
        """Adds to the refusal; gives the delta's data."""
        if "refusal" not in self._kinds:
            self._refusal_head = self._head(self._begin("refusal"), "refusal") + b'"refusal":'
        self._pieces[self._kinds.index("refusal")].append(piece)
        return self._refusal_head + _encode(piece) + b"}]}}"

    def add_deltas(self, frames: str) -> None:
        """Adds what frames of the event log say of this message."""
        for frame in frames.split("\n\n"):
            _, header, data = frame.partition(_HEADER)
            if not header:
                continue
            delta = _decode(data.removeprefix("data: "))
            if delta.id != self._message_id:
                continue
            for part in delta.delta.content:
                if part.text is not None:
                    self.text(part.text.value)
                elif part.refusal is not None:
                    self.refusal(part.refusal)

    def parts(self) -> list[Part]:
        """The content. A message ends with at least one part: the SDKs look for it."""
        if self.is_empty:
            return [TextPart(Text(""))]
        return [
            TextPart(Text("".join(pieces))) if kind == "text" else RefusalPart("".join(pieces))
            for kind, pieces in zip(self._kinds, self._pieces, strict=True)
        ]

    def _begin(self, kind: str) -> int:
        self._kinds.append(kind)
        self._pieces.append([])
        return len(self._kinds) - 1

    def _head(self, index: int, kind: str) -> bytes:
        return (
            f'{{"id":"{self._message_id}","object":"{DELTA}","delta":{{"content":[{{"index":{index},"type":"{kind}",'
        ).encode()


class CallsDraft:
    """The calls of one turn so far, in the order in which they began."""

    def __init__(self, step_id: str) -> None:
        self._head = (
            f'{{"id":"{step_id}","object":"{STEP_DELTA}","delta":{{"step_details":'
            '{"type":"tool_calls","tool_calls":[{"index":'
        ).encode()
        self._calls: list[tuple[str, str, list[str]]] = []

    def __len__(self) -> int:
        return len(self._calls)

    def begin(self, call_id: str, name: str) -> bytes:
        """Begins the next call; gives the delta's data. Id and name are never repeated: clients would join them."""
        index = len(self._calls)
        self._calls.append((call_id, name, []))
        call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": "", "output": None}}
        return b"%b%d,%b]}}}" % (self._head, index, _encode(call)[1:])

    def arguments(self, index: int, piece: str) -> bytes:
        """Adds to a call's arguments; gives the delta's data."""
        self._calls[index][2].append(piece)
        return b'%b%d,"type":"function","function":{"arguments":%b}}]}}}' % (self._head, index, _encode(piece))

    def without_arguments(self) -> list[int]:
        """The calls for which the model wrote no arguments at all."""
        return [index for index, (_, _, pieces) in enumerate(self._calls) if not "".join(pieces).strip()]

    def calls(self) -> list[FunctionCall]:
        """The calls, for the step."""
        return [FunctionCall(call_id, CalledFunction(name, "".join(pieces))) for call_id, name, pieces in self._calls]
