"""Run steps: what a run did, in order. A turn of the model is a step: a message, or the tools it called.

A run's steps have numbers of their own; lists and cursors go by those.
Differs from OpenAI: the wire had `expires_at` where the specification has `expired_at` and `metadata`; all are sent.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from threadkeep.context import Context
from threadkeep.errors import NotFoundError
from threadkeep.pages import ListParams, Page, Stored, Window
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Change, Transaction
from threadkeep.upstream import ErrorCode

sql = queries.load("run_steps")

SHAPE = 1

StepStatus: TypeAlias = Literal["in_progress", "cancelled", "failed", "completed", "expired"]
# The one thing a caller may ask to be included.
Include: TypeAlias = Literal["step_details.tool_calls[*].file_search.results[*].content"]


class CachedTokens(Struct):
    """Prompt tokens that the model server had seen before."""

    cached_tokens: int = 0


class ReasoningTokens(Struct):
    """Completion tokens that nobody sees."""

    reasoning_tokens: int = 0


class Usage(Struct, kw_only=True):
    """Tokens, as the model server counted them. `prompt_token_details` is the wire's own spelling."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_token_details: CachedTokens = msgspec.field(default_factory=CachedTokens)
    completion_tokens_details: ReasoningTokens = msgspec.field(default_factory=ReasoningTokens)

    def plus(self, other: Usage) -> Usage:
        """The sum of both."""
        cached = self.prompt_token_details.cached_tokens + other.prompt_token_details.cached_tokens
        reasoning = self.completion_tokens_details.reasoning_tokens + other.completion_tokens_details.reasoning_tokens
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
            prompt_token_details=CachedTokens(cached),
            completion_tokens_details=ReasoningTokens(reasoning),
        )


class LastError(Struct):
    """Why a run or a step failed."""

    code: ErrorCode
    message: str


class CreatedMessage(Struct):
    """The message that a step wrote."""

    message_id: str


class MessageCreation(Struct, tag_field="type", tag="message_creation"):
    """The step wrote a message."""

    message_creation: CreatedMessage


class CalledFunction(Struct):
    """What the model asked for. `arguments` is the text it wrote, `output` null until the client sent one."""

    name: str
    arguments: str
    output: str | None = None


class FunctionCall(Struct, tag_field="type", tag="function"):
    """A call of one of the client's functions."""

    id: str
    function: CalledFunction


class ToolCalls(Struct, tag_field="type", tag="tool_calls"):
    """The step called tools: all those of one turn."""

    tool_calls: list[FunctionCall] = []


class RunStep(Struct, kw_only=True):
    """A step, as it is sent and as it is stored."""

    id: str
    object: Literal["thread.run.step"] = "thread.run.step"
    created_at: int
    run_id: str
    assistant_id: str
    thread_id: str
    type: Literal["message_creation", "tool_calls"]
    status: StepStatus = "in_progress"
    cancelled_at: int | None = None
    completed_at: int | None = None
    expires_at: int | None = None
    expired_at: int | None = None
    failed_at: int | None = None
    last_error: LastError | None = None
    step_details: MessageCreation | ToolCalls
    usage: Usage | None = None
    metadata: dict[str, str] = {}


class RunStepListParams(ListParams, kw_only=True, frozen=True):
    """The query of list."""

    include: list[Include] | None = None


class RunStepRetrieveParams(Struct, kw_only=True, frozen=True):
    """The query of retrieve."""

    include: list[Include] | None = None


_decode = msgspec.json.Decoder(RunStep).decode
encode = msgspec.json.Encoder().encode


async def list_(ctx: Context, thread_id: str, run_id: str, params: RunStepListParams) -> Page[Stored]:
    """A page of the run's steps, newest first unless `order` says otherwise."""

    def unit(tx: Transaction) -> Page[Stored]:
        _require_run(tx, ctx, thread_id, run_id)

        def locate(step_id: str) -> int:
            row = tx.one(sql.locate_step, thread_id=thread_id, run_id=run_id, step_id=step_id)
            if row is None:
                raise NotFoundError.of("run step", step_id)
            return int(row[0])

        window = Window.of(params, "step", 0, BIGINT_MAX, locate)
        query = window.choose(sql.list_steps_ascending, sql.list_steps_descending)
        return window.page(tx.all(query, thread_id=thread_id, run_id=run_id, **window.bounds))

    return await ctx.store.read(unit)


async def retrieve(
    ctx: Context, thread_id: str, run_id: str, step_id: str, _params: RunStepRetrieveParams | None = None
) -> Stored:
    """One step of the run."""
    row = await ctx.store.one(
        sql.retrieve_step, thread_id=thread_id, run_id=run_id, step_id=step_id, project_id=ctx.project_id
    )
    _require(row, thread_id, run_id)
    assert row is not None
    if row[1] is None:
        raise NotFoundError.of("run step", step_id)
    return Stored(row[1])


def _require_run(tx: Transaction, ctx: Context, thread_id: str, run_id: str) -> None:
    """Raises `NotFoundError` unless the project has this run."""
    _require(tx.one(sql.find_run, thread_id=thread_id, run_id=run_id, project_id=ctx.project_id), thread_id, run_id)


def _require(row: tuple[object, ...] | None, thread_id: str, run_id: str) -> None:
    if row is None:
        raise NotFoundError.of("thread", thread_id)
    if row[0] is None:
        raise NotFoundError.of("run", run_id)


def insertion(step: RunStep, seq: int, first_event: int) -> Change:
    """What stores a new step under its number. `first_event` is the number of the event that tells of it."""
    return sql.insert_step, {"step_id": step.id, "first_event": first_event, **_row(step, seq)}


def change(step: RunStep, seq: int) -> Change:
    """What stores a step's new state."""
    return sql.update_step, _row(step, seq)


class Numbered(Struct):
    """A step as it is stored: with its number in the run, and that of the event that told of it."""

    seq: int
    first_event: int
    step: RunStep


def find_open(tx: Transaction, thread_id: str, run_id: str) -> Numbered | None:
    """The step that is in progress, if there is one: one of the last two."""
    for row in tx.all(sql.list_last_steps, thread_id=thread_id, run_id=run_id):
        numbered = Numbered(row[0], row[1], _decode(row[2]))
        if numbered.step.status == "in_progress":
            return numbered
    return None


def all_of(tx: Transaction, thread_id: str, run_id: str) -> list[RunStep]:
    """All steps of a run, oldest first."""
    return [_decode(row[0]) for row in tx.all(sql.list_all_steps, thread_id=thread_id, run_id=run_id)]


def finish(
    step: RunStep, status: StepStatus, now: int, *, usage: Usage | None = None, error: LastError | None = None
) -> None:
    """Ends a step that is in progress. From now on it has a usage, of no tokens where another step's counts them."""
    step.status = status
    step.expires_at = None
    step.usage = usage or Usage()
    match status:
        case "completed":
            step.completed_at = now
        case "cancelled":
            step.cancelled_at = now
        case "expired":
            step.expired_at = now
        case "failed":
            step.failed_at = now
            step.last_error = error
            if error and error.code == "invalid_prompt":
                # Only a run's error may have this code.
                step.last_error = LastError("server_error", error.message)


def _row(step: RunStep, seq: int) -> dict[str, object]:
    return {
        "thread_id": step.thread_id,
        "run_id": step.run_id,
        "seq": seq,
        "shape": SHAPE,
        "body": encode(step).decode(),
    }
