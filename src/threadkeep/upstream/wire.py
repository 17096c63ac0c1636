"""What is asked of a model server and what comes back, in our terms: a request, the parts of its answer, and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from msgspec import Struct

FinishReason: TypeAlias = Literal["stop", "length", "content_filter", "tool_calls"]
ErrorCode: TypeAlias = Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]


class ChatRequest(Struct, kw_only=True):
    """One turn of a model. What is None is not sent; messages, tools and formats are those of Chat Completions."""

    model: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    max_completion_tokens: int | None = None


class TextDelta(Struct, frozen=True, gc=False):
    """More text."""

    text: str


class RefusalDelta(Struct, frozen=True, gc=False):
    """More of the reason why the model declines."""

    text: str


class ToolCallDelta(Struct, frozen=True, gc=False):
    """More of a call of a function. The first delta of an `index` has the call's id and name; the others only more of
    the arguments. Indexes count from 0 in the order in which calls begin.
    """

    index: int
    call_id: str | None
    name: str | None
    arguments: str


class Finished(Struct, frozen=True, gc=False):
    """The answer is whole; comes once, before `Counts`."""

    reason: FinishReason


class Counts(Struct, frozen=True, gc=False):
    """The last part: the server's counts, or ours where it gave none."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    # By our own count, for which each model's tokens are the same.
    are_estimated: bool = False


Part: TypeAlias = TextDelta | RefusalDelta | ToolCallDelta | Finished | Counts


class Listed(Struct, frozen=True):
    """One model of a list."""

    id: str
    created: int = 0
    owned_by: str = ""
    # The size of its context window has many names: vLLM and SGLang, OpenRouter and Together, Groq, Mistral.
    max_model_len: Any = None
    context_length: Any = None
    context_window: Any = None
    max_context_length: Any = None

    @property
    def context_tokens(self) -> int | None:
        """The size of its context window, where the server tells it."""
        told = (self.max_model_len, self.context_length, self.context_window, self.max_context_length)
        return next((size for size in told if type(size) is int and size > 0), None)


class UpstreamError(Exception):
    """The model gave no whole answer. Both fields are fit for a run's `last_error`: `message` is text of ours, or the
    server's word on what was wrong with the request; keys and exceptions are never in it.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message


class UnknownModelError(UpstreamError):
    """No configured server has the model; the message says what to configure."""

    def __init__(self, message: str) -> None:
        super().__init__("server_error", message)


def text_of(message: Mapping[str, Any]) -> str:
    """What a message of a chat says, without its pictures."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part.get("type") == "text")
