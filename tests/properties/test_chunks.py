"""However the bytes of a model server are cut, the parts are the same; however damaged, there is one kind of error."""

from __future__ import annotations

import itertools
import json
from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from threadkeep.ids import IdSource
from threadkeep.upstream import Finished, TextDelta, ToolCallDelta, UpstreamError
from threadkeep.upstream.chunks import AnswerReader

CHUNKS = [
    {"delta": {"role": "assistant", "content": ""}},
    {"delta": {"content": "Grüße "}},
    {"delta": {"content": "中"}},
    {"delta": {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": ""}}]}},
    {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]}},
    {"delta": {}, "finish_reason": "tool_calls"},
]
LINES = [json.dumps({"choices": [chunk]}, ensure_ascii=False) for chunk in CHUNKS]
STREAM = "".join(f": ping\r\ndata: {line}\r\n\r\n" for line in [*LINES, "[DONE]"]).encode()
PARTS = [
    TextDelta("Grüße "),
    TextDelta("中"),
    ToolCallDelta(0, "call_1", "f", ""),
    ToolCallDelta(0, None, None, '{"a": 1}'),
    Finished("tool_calls"),
]


def read(pieces):
    answer = AnswerReader(IdSource(), lambda _: UpstreamError("server_error", "said so"))
    parts = [part for piece in pieces for part in answer.feed(piece)]
    return parts + answer.end()


@given(st.sets(st.integers(0, len(STREAM))))
@example(set(range(len(STREAM))))
def test_cuts_make_no_difference(places):
    edges = [0, *sorted(places), len(STREAM)]
    assert read(STREAM[start:end] for start, end in itertools.pairwise(edges)) == PARTS


@given(st.dictionaries(st.integers(0, len(STREAM) - 1), st.sampled_from(b'{}[]",:01ax \n\xff'), min_size=1, max_size=8))
def test_damage_is_one_kind_of_error_or_none(damage):
    damaged = bytearray(STREAM)
    for place, byte in damage.items():
        damaged[place] = byte
    with suppress(UpstreamError):
        read([bytes(damaged)])


@given(st.text(st.characters(codec="utf-8")), st.sets(st.integers(0, 40)))
@example("\U0001f600", {1})
def test_characters_in_halves_are_joined(text, places):
    units = text.encode("utf-16-le")
    edges = [0, *sorted(2 * place for place in places if 2 * place < len(units)), len(units)]
    pieces = [units[start:end].decode("utf-16-le", "surrogatepass") for start, end in itertools.pairwise(edges)]
    lines = [json.dumps({"choices": [{"delta": {"content": piece}}]}) for piece in pieces]
    parts = read([f"data: {line}\n\n".encode() for line in [*lines, "[DONE]"]])
    assert "".join(part.text for part in parts[:-1]) == text


@given(st.lists(st.text("\ud83d\ude00a")), st.sampled_from(["content", "refusal"]))
def test_what_is_told_is_always_utf_8(pieces, name):
    lines = [json.dumps({"choices": [{"delta": {name: piece}}]}) for piece in pieces]
    parts = read([f"data: {line}\n\n".encode() for line in [*lines, "[DONE]"]])
    told = "".join(part.text for part in parts if not isinstance(part, Finished))
    whole = "".join(pieces).encode("utf-16-le", "surrogatepass")
    assert told.encode() == whole.decode("utf-16-le", "replace").encode()
