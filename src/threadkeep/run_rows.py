"""Runs as they are stored: the wire object, what the server remembers beside it, and how a unit of work holds them.

Who writes for a run holds its row and its thread's, under the run's *fence* where it is the owner that writes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from threadkeep.errors import ThreadkeepError
from threadkeep.run_steps import LastError, Usage
from threadkeep.store import queries
from threadkeep.store.interface import Change, Transaction
from threadkeep.tools import ReasoningEffort, ResponseFormat, Tool, ToolChoice

sql = queries.load("run_rows")

SHAPE = 1

Status: TypeAlias = Literal[
    "queued",
    "in_progress",
    "requires_action",
    "cancelling",
    "cancelled",
    "failed",
    "completed",
    "incomplete",
    "expired",
]
# Differs from OpenAI: the specification has no `content_filter` here, and no other way to tell.
IncompleteReason: TypeAlias = Literal["max_completion_tokens", "max_prompt_tokens", "content_filter"]


class TruncationStrategy(Struct, kw_only=True):
    """How a thread is cut to what the model can take."""

    type: Literal["auto", "last_messages"]
    last_messages: Annotated[int, Meta(ge=1)] | None = None


class AwaitedFunction(Struct):
    """A function and the arguments the model wrote, as text."""

    name: str
    arguments: str


class AwaitedCall(Struct, kw_only=True):
    """A call that the client is to execute."""

    id: str
    type: Literal["function"] = "function"
    function: AwaitedFunction


class SubmitToolOutputs(Struct):
    """The calls whose outputs are awaited."""

    tool_calls: list[AwaitedCall]


class RequiredAction(Struct, kw_only=True):
    """What the client must do for the run to go on."""

    type: Literal["submit_tool_outputs"] = "submit_tool_outputs"
    submit_tool_outputs: SubmitToolOutputs


class RunIncompleteDetails(Struct):
    """Why a run has no end."""

    reason: IncompleteReason


class Run(Struct, kw_only=True):
    """A run, as it is sent and as it is stored. It copies what it needs of its assistant."""

    id: str
    object: Literal["thread.run"] = "thread.run"
    created_at: int
    assistant_id: str
    thread_id: str
    status: Status = "queued"
    started_at: int | None = None
    expires_at: int | None = None
    cancelled_at: int | None = None
    failed_at: int | None = None
    completed_at: int | None = None
    required_action: RequiredAction | None = None
    last_error: LastError | None = None
    model: str
    instructions: str | None = None
    tools: list[Tool] = []
    tool_resources: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    temperature: float | None = 1.0
    top_p: float | None = 1.0
    reasoning_effort: ReasoningEffort | None = None
    max_completion_tokens: int | None = None
    max_prompt_tokens: int | None = None
    truncation_strategy: TruncationStrategy = msgspec.field(default_factory=lambda: TruncationStrategy(type="auto"))
    incomplete_details: RunIncompleteDetails | None = None
    usage: Usage | None = None
    response_format: ResponseFormat = "auto"
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True


class Plan(Struct, kw_only=True, omit_defaults=True):
    """What the server remembers of a run beside the wire object.

    The context is the thread up to the message numbered `context_to`, the run's own additional messages (those from
    `own_from` to `own_to`) at its end. `spent` is what all turns used, `turn` what the open tool step used.
    """

    context_to: int = 0
    own_from: int = 0
    own_to: int = 0
    spent: Usage = msgspec.field(default_factory=Usage)
    turn: Usage | None = None
    # The key that made it, if it is one of the database.
    key_id: str = ""
    # What links it to its request's trace.
    trace: str = ""
    # Its owner stopped in good order: the next one is not a further attempt.
    is_handed_over: bool = False
    # A message of it was deleted: once it is over, its events are told to nobody any more, and go soon.
    is_withheld: bool = False


class HeldRun(Struct, kw_only=True):
    """A run that this unit of work holds, with its thread."""

    run: Run
    plan: Plan
    project_id: str
    seq: int
    fence: int = 1
    attempt: int = 1
    wake_at: int | None = None
    # The thread's; what adds a message needs it.
    deleted_seq: int


class FenceLostError(ThreadkeepError):
    """The run has changed hands, is over or is gone: who asked must drop it."""


decode = msgspec.json.Decoder(Run).decode
encode = msgspec.json.Encoder().encode
decode_plan = msgspec.json.Decoder(Plan).decode


def hold(tx: Transaction, thread_id: str, run_id: str, *, fence: int | None = None) -> HeldRun:
    """The run, held until the unit ends. Raises `FenceLostError` when it is gone or no longer under `fence`."""
    row = tx.one(sql.hold_run, thread_id=thread_id, run_id=run_id)
    if row is None or fence not in (None, row[3]):
        raise FenceLostError
    return HeldRun(
        deleted_seq=row[0],
        project_id=row[1],
        seq=row[2],
        fence=row[3],
        attempt=row[4],
        wake_at=row[5],
        run=decode(row[6]),
        plan=decode_plan(row[7]),
    )


def insertion(held: HeldRun) -> Change:
    """What stores a new run."""
    return sql.insert_run, {"project_id": held.project_id, "seq": held.seq, **_row(held)}


def save(tx: Transaction, held: HeldRun) -> None:
    """Stores what has changed of a held run."""
    tx.run(sql.update_run, **_row(held))


def _row(held: HeldRun) -> dict[str, object]:
    return {
        "thread_id": held.run.thread_id,
        "run_id": held.run.id,
        "status": held.run.status,
        "fence": held.fence,
        "attempt": held.attempt,
        "wake_at": held.wake_at,
        "shape": SHAPE,
        "body": encode(held.run).decode(),
        "plan": encode(held.plan).decode(),
    }
