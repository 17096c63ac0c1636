"""The life of a run: which status follows which, what each sets, and how a change reaches the database.

    queued ──► in_progress ──► completed | incomplete | failed
      ▲            │
      └── requires_action
    queued, in_progress, requires_action ──► expired
    queued, in_progress, requires_action ──► cancelling ──► cancelled

Every change is part of a unit of work that holds the run's row and its thread's, and appends the event that tells of
it. Who carries a run out owns its *fence*, a number that grows whenever the run changes hands; a write under an older
number is refused. So a process that was frozen, cut off or overtaken can do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from threadkeep import drafts, events, messages, run_rows, run_steps, usage, webhooks
from threadkeep.context import Context
from threadkeep.events import Entry, Event, OverStatus
from threadkeep.message_parts import Part
from threadkeep.messages import IncompleteDetails, Message
from threadkeep.run_rows import (
    AwaitedCall,
    AwaitedFunction,
    HeldRun,
    IncompleteReason,
    RequiredAction,
    Run,
    RunIncompleteDetails,
    Status,
    SubmitToolOutputs,
)
from threadkeep.run_steps import FunctionCall, LastError, MessageCreation, StepStatus, Usage
from threadkeep.store import queries
from threadkeep.store.interface import Transaction

sql = queries.load("lifecycle")

MAY_FOLLOW: dict[str, frozenset[str]] = {
    "queued": frozenset({"in_progress", "cancelling", "expired"}),
    "in_progress": frozenset({"requires_action", "cancelling", "completed", "incomplete", "failed", "expired"}),
    "requires_action": frozenset({"queued", "cancelling", "expired"}),
    "cancelling": frozenset({"cancelled"}),
}
ACTIVE = frozenset(MAY_FOLLOW)
CANCELLABLE = ACTIVE - {"cancelling"}
# What becomes of an open step and of an open message when the run ends without them.
_STEP_ENDS: dict[str, StepStatus] = {"cancelled": "cancelled", "expired": "expired"}
_MESSAGE_ENDS: dict[str, Literal["run_cancelled", "run_expired", "run_failed"]] = {
    "cancelled": "run_cancelled",
    "expired": "run_expired",
}


def enter(
    run: Run,
    status: Status,
    now: int,
    *,
    action: RequiredAction | None = None,
    error: LastError | None = None,
    reason: IncompleteReason | None = None,
) -> None:
    """Gives `run` the status, with all that goes with it. `now` is in seconds."""
    if status not in MAY_FOLLOW.get(run.status, ()):
        raise AssertionError(f"{status} cannot follow {run.status}")
    run.status = status
    run.required_action = action
    match status:
        case "in_progress":
            run.started_at = now
        case "completed":
            run.completed_at = now
        case "incomplete":
            run.completed_at = now
            run.incomplete_details = RunIncompleteDetails(reason) if reason else None
        case "failed":
            run.failed_at = now
            run.last_error = error
        case "cancelled":
            run.cancelled_at = now
    if status not in ACTIVE and status != "expired":
        run.expires_at = None


def event(run: Run) -> Event:
    """The event that tells of the run's status."""
    return f"thread.run.{run.status}", run_rows.encode(run)


def step_event(step: run_steps.RunStep, name: str = "") -> Event:
    """The event that tells of the step's status, or the one that is named."""
    return f"thread.run.step.{name or step.status}", run_rows.encode(step)


def message_event(message: Message, name: str = "") -> Event:
    """The event that tells of the message's status, or the one that is named."""
    return f"thread.message.{name or message.status}", run_rows.encode(message)


def message_of(step: run_steps.RunStep) -> Message:
    """The message that a step writes, as it begins."""
    assert isinstance(step.step_details, MessageCreation)
    return Message(
        id=step.step_details.message_creation.message_id,
        created_at=step.created_at,
        assistant_id=step.assistant_id,
        thread_id=step.thread_id,
        run_id=step.run_id,
        role="assistant",
        content=[],
        attachments=[],
        metadata={},
        status="in_progress",
    )


def is_overdue(ctx: Context, run: Run) -> bool:
    """Whether the run's time is up."""
    return run.expires_at is not None and run.expires_at <= ctx.now()


def lease_end(ctx: Context) -> int:
    """When the lease of a run that is claimed or confirmed now ends, in milliseconds."""
    return ctx.now_ms() + int(ctx.settings.run_lease_s * 1000)


def claim(tx: Transaction, ctx: Context, held: HeldRun) -> Entry:
    """A queued run gets an owner; `held.fence` is theirs."""
    now = ctx.now()
    if held.run.expires_at is None:
        # It waited behind another: its time begins now, and what that one said belongs to its context.
        held.run.expires_at = now + ctx.settings.run_lifetime_s
        held.plan.context_to = messages.last_seq(tx, held.run.thread_id)
    enter(held.run, "in_progress", now)
    return _change_hands(tx, held, lease_end(ctx))


def request_action(
    tx: Transaction, ctx: Context, held: HeldRun, calls: list[FunctionCall], used: Usage, before: list[Event]
) -> Entry:
    """The run waits for the outputs of `calls`; nobody owns it meanwhile."""
    awaited = [
        AwaitedCall(id=call.id, function=AwaitedFunction(call.function.name, call.function.arguments)) for call in calls
    ]
    action = RequiredAction(submit_tool_outputs=SubmitToolOutputs(awaited))
    now_ms = ctx.now_ms()
    enter(held.run, "requires_action", now_ms // 1000, action=action)
    held.plan.turn = used
    assert held.run.expires_at is not None
    appended = _change_hands(tx, held, held.run.expires_at * 1000, before)
    tx.run_all([webhooks.change(held.project_id, held.run, appended.last_seq, now_ms)])
    return appended


def requeue(tx: Transaction, ctx: Context, held: HeldRun, outputs: Mapping[str, str]) -> Entry:
    """The client's outputs, by call id, are in: the step is complete and the run waits for an owner again."""
    numbered = run_steps.find_open(tx, held.run.thread_id, held.run.id)
    assert numbered is not None
    assert isinstance(numbered.step.step_details, run_steps.ToolCalls)
    for call in numbered.step.step_details.tool_calls:
        call.function.output = outputs[call.id]
    now_ms = ctx.now_ms()
    run_steps.finish(numbered.step, "completed", now_ms // 1000, usage=held.plan.turn)
    held.plan.turn = None
    tx.run_all([run_steps.change(numbered.step, numbered.seq)])
    enter(held.run, "queued", now_ms // 1000)
    return _change_hands(tx, held, now_ms, [step_event(numbered.step)])


class Cancelled(Struct):
    """What a cancel did: the run as it was `cancelling`, and what is to be told."""

    run_id: str
    thread_id: str
    cancelling: bytes
    entries: list[Entry]

    def announce(self, ctx: Context) -> None:
        """Tells everybody on this process, once the unit is committed."""
        ctx.events.publish(self.thread_id, self.run_id, *self.entries)
        ctx.worker.drop(self.thread_id, self.run_id)
        ctx.worker.ring()


def cancel(tx: Transaction, ctx: Context, held: HeldRun, *, keeps_thread: bool = False) -> Cancelled:
    """Takes the run away from whoever carries it out, and ends it: nobody need agree, or even be alive.

    `keeps_thread`: the unit gives the thread to a run of its own, ahead of those that wait.
    """
    enter(held.run, "cancelling", ctx.now())
    cancelling = run_rows.encode(held.run)
    first = _change_hands(tx, held, ctx.now_ms())
    second = end(tx, ctx, held, "cancelled", keeps_thread=keeps_thread)
    return Cancelled(held.run.id, held.run.thread_id, cancelling, [first, second])


def end(
    tx: Transaction,
    ctx: Context,
    held: HeldRun,
    status: OverStatus,
    *,
    before: list[Event] | None = None,
    error: LastError | None = None,
    reason: IncompleteReason | None = None,
    keeps_thread: bool = False,
) -> Entry:
    """The run is over, its thread free or given to the next run that waits, unless `keeps_thread`.

    What is still open is closed first. `before` are events that come ahead of that and of the run's own.
    """
    # One moment for all that ends: between two looks at the clock a second may begin.
    now_ms = ctx.now_ms()
    now = now_ms // 1000
    closing = [*(before or ()), *_close(tx, held, now, status, error)]
    enter(held.run, status, now, error=error, reason=reason)
    held.run.usage = held.plan.spent
    kept_ms = int(ctx.settings.run_events_kept_s * 1000)
    if held.plan.is_withheld:
        kept_ms = min(kept_ms, events.WITHHELD_FOR_MS)
    # From now on `wake_at` is when the events may go.
    appended = _change_hands(tx, held, now_ms + kept_ms, closing)
    if not keeps_thread:
        _release(tx, held)
    spent = held.plan.spent
    used = usage.change(held.project_id, held.plan.key_id, held.run.assistant_id, held.run.id, now, spent)
    tx.run_all([used, webhooks.change(held.project_id, held.run, appended.last_seq, now_ms)])
    return appended


def take_over(tx: Transaction, ctx: Context, held: HeldRun) -> list[Entry]:
    """A run whose owner is gone gets another; the turn that was under way is closed and will start again."""
    error = LastError("server_error", "The process that executed this step stopped; the step is done again.")
    closing = _close(tx, held, ctx.now(), "failed", error)
    held.attempt += not held.plan.is_handed_over
    held.plan.is_handed_over = False
    held.fence += 1
    held.wake_at = lease_end(ctx)
    run_rows.save(tx, held)
    return [events.append(tx, held.run.thread_id, held.run.id, closing, None)] if closing else []


def hand_over(tx: Transaction, held: HeldRun, *, is_attempt: bool, wake_at: int) -> None:
    """The owner gives the run up: it is anybody's from `wake_at` on. `is_attempt`: it could not go on with it."""
    held.plan.is_handed_over = not is_attempt
    held.fence += 1
    held.wake_at = wake_at
    run_rows.save(tx, held)


def remove_slice(tx: Transaction, thread_id: str, limit: int) -> bool:
    """Removes some of the runs of a deleted thread, with all that tells of them; gives whether all are gone."""
    if not webhooks.erase_slice(tx, thread_id, limit):
        return False
    for query in (sql.remove_events, sql.remove_steps, sql.remove_runs):
        if tx.run(query, thread_id=thread_id, limit=limit) >= limit:
            return False
    return True


def _change_hands(tx: Transaction, held: HeldRun, wake_at: int, before: Sequence[Event] = ()) -> Entry:
    """Stores the status the run has entered, under a new fence, with the event that tells of it."""
    held.fence += 1
    held.wake_at = wake_at
    run_rows.save(tx, held)
    news = [*before, event(held.run)]
    return events.append(tx, held.run.thread_id, held.run.id, news, held.run.status)


def _release(tx: Transaction, held: HeldRun) -> None:
    run = held.run
    row = tx.one(sql.find_waiting_run, thread_id=run.thread_id)
    next_run_id = row[0] if row else None
    released = tx.run(sql.release_thread, thread_id=run.thread_id, run_id=run.id, next_run_id=next_run_id)
    if released and next_run_id:
        following = run_rows.hold(tx, run.thread_id, next_run_id)
        # Due at once; its time begins when it is claimed.
        following.wake_at = 0
        run_rows.save(tx, following)


def _close(tx: Transaction, held: HeldRun, now: int, ending: str, error: LastError | None) -> list[Event]:
    """Ends the step and the message that are still open, with what followers have seen of them."""
    numbered = run_steps.find_open(tx, held.run.thread_id, held.run.id)
    if numbered is None:
        return []
    step, news = numbered.step, []
    if isinstance(step.step_details, MessageCreation):
        begun = message_of(step)
        stored = messages.hold(tx, step.thread_id, begun.id)
        # It may have been deleted meanwhile; who saw it begin is told of its end nonetheless.
        message = stored or begun
        message.content = _content_seen(tx, held.run, message.id, numbered.first_event)
        message.status = "incomplete"
        message.incomplete_at = now
        message.incomplete_details = IncompleteDetails(_MESSAGE_ENDS.get(ending, "run_failed"))
        if stored:
            messages.save(tx, message)
        news.append(message_event(message))
    run_steps.finish(step, _STEP_ENDS.get(ending, "failed"), now, usage=held.plan.turn, error=error)
    held.plan.turn = None
    tx.run_all([run_steps.change(step, numbered.seq)])
    return [*news, step_event(step)]


def _content_seen(tx: Transaction, run: Run, message_id: str, first_event: int) -> list[Part]:
    """The message as far as its deltas are in the log."""
    content = drafts.MessageDraft(message_id)
    after = first_event
    while entries := events.read(tx, run.thread_id, run.id, after):
        for entry in entries:
            content.add_deltas(entry.frames)
        after = entries[-1].last_seq
    return content.parts()
