"""What the scripted model server says: `text("Hello ", "world")`, `tool_calls(call("weather", {"city": "Oslo"}))` and
all that can go wrong on the way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from threadkeep.upstream.wire import text_of

Ending = Literal["done", "eof", "cut", "silence"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One answer. The functions below make the usual ones; any field can be given to them by name."""

    # What each chunk of the stream holds, in order; the model's tokens.
    deltas: tuple[dict[str, Any], ...] = ()
    finish_reason: str | None = "stop"
    # Whether token counts are sent to a client that asks for them; or these instead of the true ones.
    usage: bool | dict[str, Any] = True
    # How fast; 0 is as fast as it can.
    tokens_per_s: float = 0
    # After the chunks: `[DONE]`; the end without it; a cut connection and no finish reason; nothing, for ever.
    ends: Ending = "done"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    # Sent in place of chunks.
    body: bytes | None = None

    def completion(self) -> dict[str, Any]:
        """The deltas put together: the message of an answer that is not streamed."""
        message: dict[str, Any] = {"role": "assistant", "content": None}
        for delta in self.deltas:
            for key in ("content", "refusal", "reasoning_content"):
                if delta.get(key) is not None:
                    message[key] = (message.get(key) or "") + delta[key]
            for piece in delta.get("tool_calls", []):
                self._gather(message.setdefault("tool_calls", []), piece)
        return message

    @staticmethod
    def _gather(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
        function = piece["function"]
        if "name" in function:
            calls.append({"id": piece.get("id"), "type": "function", "function": dict(function)})
        else:
            calls[-1]["function"]["arguments"] += function["arguments"]


def words(text: str) -> tuple[str, ...]:
    """The text in pieces, each a word with the space that follows it."""
    return tuple(re.findall(r"\s*\S+\s*?(?=\s|$)|\s+$", text))


def text(*tokens: str, reasoning: str = "", **how: Any) -> Reply:
    """The tokens as they are given; `reasoning` comes before them."""
    thoughts = ({"reasoning_content": reasoning},) if reasoning else ()
    return Reply(deltas=(*thoughts, *({"content": token} for token in tokens)), **how)


def refusal(*tokens: str, **how: Any) -> Reply:
    """The model declines to answer."""
    return Reply(deltas=tuple({"refusal": token} for token in tokens), **how)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a function."""

    name: str
    arguments: str
    call_id: str | None


def call(name: str, arguments: Mapping[str, Any] | str | None = None, call_id: str | None = None) -> Call:
    """A call for `tool_calls`; arguments that are a text are sent as they are."""
    spelled = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return Call(name, spelled, call_id)


def tool_calls(
    *calls: Call,
    says: tuple[str, ...] = (),
    whole: bool = False,
    with_ids: bool = True,
    index: Literal["counted", "zero", "none"] = "counted",
    **how: Any,
) -> Reply:
    """The model calls functions, after it said `says`.

    `whole` sends each call in one chunk, `with_ids=False` without its id; `index` is that of the calls: as it should
    be, always 0, or left out.
    """
    deltas: list[dict[str, Any]] = [{"content": token} for token in says]
    for number, wanted in enumerate(calls):
        place = {"counted": {"index": number}, "zero": {"index": 0}, "none": {}}[index]
        identity = {"id": wanted.call_id or f"call_scripted{number}"} if with_ids else {}
        first = wanted.arguments if whole else ""
        head = {**place, **identity, "type": "function", "function": {"name": wanted.name, "arguments": first}}
        deltas.append({"tool_calls": [head]})
        if not whole:
            deltas += [
                {"tool_calls": [{**place, "function": {"arguments": wanted.arguments[at : at + 4]}}]}
                for at in range(0, len(wanted.arguments), 4)
            ]
    return Reply(deltas=tuple(deltas), **({"finish_reason": "tool_calls"} | how))


def error(
    status: int, message: str = "Something went wrong.", *, code: str | None = None, retry_after_s: float | None = None
) -> Reply:
    """An error in the envelope of OpenAI's API."""
    kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    headers = {} if retry_after_s is None else {"retry-after": f"{retry_after_s:g}"}
    return Reply(status=status, headers=headers, body=json.dumps(body).encode())


def garbage(body: bytes = b"<html>It works!</html>", *, content_type: str = "text/event-stream", **how: Any) -> Reply:
    """Something that is no answer of a model."""
    return Reply(body=body, headers={"content-type": content_type}, **how)


def silence(*tokens: str) -> Reply:
    """The head of an answer and these tokens, then nothing."""
    return text(*tokens, ends="silence")


_NAMED = re.compile(r"text:(\d+)(?:@(\d+(?:\.\d+)?))?")
_TOKENS = ("Words ", "that ", "a ", "model ", "could ", "have ", "said, ", "one ", "after ", "another; ")


def by_name(model: str, messages: list[dict[str, Any]]) -> Reply:
    """What is said when the test has scripted nothing: the model's name decides.

    `text:20@5` is 20 tokens at 5 a second (`text:20`: as fast as it can), `call:f,g` calls these functions without
    arguments and answers with what they gave, `status:500` is an error, `cut:5` and `silence:5` end so after 5 tokens.
    Any other name repeats the last message.
    """
    if named := _NAMED.fullmatch(model):
        return text(*_counted(int(named[1])), tokens_per_s=float(named[2] or 0))
    kind, _, what = model.partition(":")
    last = messages[-1] if messages else {}
    if kind == "call" and last.get("role") != "tool":
        return tool_calls(*(call(name) for name in what.split(",")))
    if kind == "status" and what.isdigit():
        return error(int(what))
    if kind in ("cut", "silence") and what.isdigit():
        return text(*_counted(int(what)), ends="cut" if kind == "cut" else "silence")
    return text(*words(text_of(last)))


def _counted(tokens: int) -> list[str]:
    return [_TOKENS[number % len(_TOKENS)] for number in range(tokens)]
