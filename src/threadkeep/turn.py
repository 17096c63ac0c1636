"""One answer of the model on its way into the thread: a message, tool calls, or a message and then tool calls.

Each is a step of the run. A message step is complete before a tool step begins; if text comes after that, it becomes a
message of its own once the calls are whole, since messages may not be mixed with anything (the SDKs insist on it).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from threadkeep import events, lifecycle, messages, run_steps
from threadkeep.context import Context
from threadkeep.drafts import DELTA, STEP_DELTA, CallsDraft, MessageDraft
from threadkeep.events import Entry, Event, OverStatus
from threadkeep.messages import IncompleteDetails, Message, NoEnd
from threadkeep.run_log import RunLog
from threadkeep.run_rows import HeldRun, IncompleteReason, Run
from threadkeep.run_steps import (
    CachedTokens,
    CreatedMessage,
    LastError,
    MessageCreation,
    ReasoningTokens,
    RunStep,
    ToolCalls,
    Usage,
)
from threadkeep.store.interface import Transaction
from threadkeep.upstream import Counts, Finished, Part, RefusalDelta, TextDelta, ToolCallDelta

End: TypeAlias = tuple[OverStatus, IncompleteReason | None, NoEnd | None]

# How often the message itself, which lists show, catches up with what followers have seen.
MESSAGE_SAVED_EVERY_S = 1.0
NO_ARGUMENTS = "{}"
CUT_OFF = LastError("server_error", "The model's answer was cut off in the middle of a tool call.")
OVER_LIMIT = LastError("server_error", "The model's tool call is longer than max_completion_tokens allows.")


class OpenMessage:
    """The message that is being written, with its step."""

    def __init__(self, message: Message, step: RunStep, number: int) -> None:
        self.message = message
        self.step = step
        self.number = number
        self.draft = MessageDraft(message.id)
        self.saved_at = time.monotonic()

    def save(self, tx: Transaction, *, reason: NoEnd | None = None, ends_at: int | None = None) -> Message:
        """Stores what is written so far; with `ends_at` the message is over, without an end if there is a `reason`.

        A client may have changed its metadata meanwhile, or deleted it.
        """
        stored = messages.hold(tx, self.message.thread_id, self.message.id)
        message = stored or self.message
        message.content = self.draft.parts()
        if reason is not None:
            message.status = "incomplete"
            message.incomplete_at = ends_at
            message.incomplete_details = IncompleteDetails(reason)
        elif ends_at is not None:
            message.status = "completed"
            message.completed_at = ends_at
        if stored:
            messages.save(tx, message)
        return message


class Turn:
    """Takes in the parts of an answer; in the end the run rests."""

    def __init__(self, ctx: Context, run: Run, log: RunLog, *, next_step: int) -> None:
        self._ctx = ctx
        self._run = run
        self._log = log
        self._next_step = next_step
        self._open: OpenMessage | None = None
        self._tool_step: tuple[RunStep, int] | None = None
        self._calls = CallsDraft("")
        self._late_text: list[str] = []
        # What the model server counted.
        self.usage = Usage()
        self._is_estimate = False
        self._reason = "stop"

    async def take(self, parts: list[Part]) -> None:
        """Takes in what one read of the network brought."""
        for part in parts:
            match part:
                case TextDelta(text=text):
                    await self._text(text)
                case ToolCallDelta():
                    await self._call(part)
                case RefusalDelta(text=text):
                    await self._write(text, MessageDraft.refusal)
                case Finished(reason=reason):
                    self._reason = reason
                case Counts():
                    self.usage = _usage_of(part)
                    self._is_estimate = part.are_estimated
        if self._open and time.monotonic() > self._open.saved_at + MESSAGE_SAVED_EVERY_S:
            await self._save_message(self._open)

    async def finish(self) -> None:
        """The model has said all."""
        if self._tool_step is None:
            if self._open is None:
                await self._begin_message([])
            await self._log.commit(self._complete)
            return
        step, number = self._tool_step
        for index in self._calls.without_arguments():
            self._log.add((STEP_DELTA, self._calls.arguments(index, NO_ARGUMENTS)))
        if "".join(self._late_text).strip():
            await self._write_late_text()
        step.step_details = ToolCalls(self._calls.calls())
        await self._log.commit(lambda tx, held, added: self._request_action(tx, held, added, step, number))

    async def _text(self, text: str) -> None:
        if self._tool_step is not None:
            self._late_text.append(text)
        elif text:
            await self._write(text, MessageDraft.text)

    async def _call(self, part: ToolCallDelta) -> None:
        if part.index and not self._run.parallel_tool_calls:
            # The model was asked for one call at a time; it will ask again for what it still needs.
            return
        if self._tool_step is None:
            await self._log.commit(self._open_tool_step())
        if part.index == len(self._calls):
            self._log.add((STEP_DELTA, self._calls.begin(part.call_id or self._ctx.new_id("call"), part.name or "")))
        if part.arguments:
            self._log.add((STEP_DELTA, self._calls.arguments(part.index, part.arguments)))

    async def _write(self, text: str, add: Callable[[MessageDraft, str], bytes]) -> OpenMessage:
        """Adds to the message, which begins with its first word."""
        if self._open is None:
            return await self._begin_message([text], add)
        self._log.add((DELTA, add(self._open.draft, text)))
        return self._open

    async def _begin_message(
        self, words: list[str], add: Callable[[MessageDraft, str], bytes] = MessageDraft.text
    ) -> OpenMessage:
        opened = self._open = self._new_message()
        message, step = opened.message, opened.step
        news = [
            lifecycle.step_event(step, "created"),
            lifecycle.step_event(step),
            lifecycle.message_event(message, "created"),
            lifecycle.message_event(message),
            *((DELTA, add(opened.draft, word)) for word in words),
        ]
        body = messages.encode(message)

        def unit(tx: Transaction, held: HeldRun, added: list[Event]) -> Entry:
            messages.append(tx, self._ctx.settings.thread_messages_max, held.deleted_seq, message, body)
            return _tell_of_step(tx, step, opened.number, added, news)

        await self._log.commit(unit)
        return opened

    def _new_message(self) -> OpenMessage:
        step, number = self._new_step(MessageCreation(CreatedMessage(self._ctx.new_id("msg"))))
        return OpenMessage(lifecycle.message_of(step), step, number)

    def _open_tool_step(self) -> Callable[[Transaction, HeldRun, list[Event]], Entry]:
        """The unit that ends the message, if there is one, and begins the step of the tool calls."""
        ended, self._open = self._open, None
        step, number = self._tool_step = self._new_step(ToolCalls())
        self._calls = CallsDraft(step.id)

        def unit(tx: Transaction, _held: HeldRun, added: list[Event]) -> Entry:
            before = [*added, *(self._end_message(tx, ended, None) if ended else ())]
            return _tell_of_step(
                tx, step, number, before, [lifecycle.step_event(step, "created"), lifecycle.step_event(step)]
            )

        return unit

    def _new_step(self, details: MessageCreation | ToolCalls) -> tuple[RunStep, int]:
        run = self._run
        step = RunStep(
            id=self._ctx.new_id("step"),
            created_at=self._ctx.now(),
            run_id=run.id,
            assistant_id=run.assistant_id,
            thread_id=run.thread_id,
            type="message_creation" if isinstance(details, MessageCreation) else "tool_calls",
            expires_at=run.expires_at,
            step_details=details,
        )
        self._next_step += 1
        return step, self._next_step - 1

    async def _save_message(self, opened: OpenMessage) -> None:
        opened.saved_at = time.monotonic()
        run = self._run

        def unit(tx: Transaction, _held: HeldRun, added: list[Event]) -> Entry:
            opened.save(tx)
            return events.append(tx, run.thread_id, run.id, added, None)

        await self._log.commit(unit)

    async def _write_late_text(self) -> None:
        run = self._run
        opened = await self._begin_message(["".join(self._late_text)])

        def unit(tx: Transaction, _held: HeldRun, added: list[Event]) -> Entry:
            news = [*added, *self._end_message(tx, opened, None)]
            return events.append(tx, run.thread_id, run.id, news, None)

        await self._log.commit(unit)
        self._open = None

    def _end_message(
        self, tx: Transaction, opened: OpenMessage, usage: Usage | None, reason: NoEnd | None = None
    ) -> list[Event]:
        """Ends the message and its step. A turn's usage is that of its last step."""
        now = self._ctx.now()
        message = opened.save(tx, reason=reason, ends_at=now)
        run_steps.finish(opened.step, "completed", now, usage=usage)
        tx.run_all([run_steps.change(opened.step, opened.number)])
        return [lifecycle.message_event(message), lifecycle.step_event(opened.step)]

    def _end(self, held: HeldRun) -> End:
        """What becomes of the run and its message, before this turn is counted. Not every server keeps to the limit.

        An estimate is no reason to call an answer incomplete that may have kept to it.
        """
        maximum = self._run.max_completion_tokens
        used = held.plan.spent.completion_tokens + self.usage.completion_tokens
        is_over = maximum is not None and used > maximum and not self._is_estimate
        reason = "length" if is_over and self._reason in ("stop", "tool_calls") else self._reason
        return _ENDS.get(reason, _ENDS["stop"])

    def _complete(self, tx: Transaction, held: HeldRun, added: list[Event]) -> Entry:
        assert self._open is not None
        status, reason, message_reason = self._end(held)
        news = [*added, *self._end_message(tx, self._open, self.usage, message_reason)]
        held.plan.spent = held.plan.spent.plus(self.usage)
        return lifecycle.end(tx, self._ctx, held, status, before=news, reason=reason)

    def _request_action(self, tx: Transaction, held: HeldRun, added: list[Event], step: RunStep, number: int) -> Entry:
        tx.run_all([run_steps.change(step, number)])
        status, reason, _ = self._end(held)
        held.plan.spent = held.plan.spent.plus(self.usage)
        if reason:
            # Arguments without an end are of no use to anybody.
            error = OVER_LIMIT if self._reason == "tool_calls" else CUT_OFF
            held.plan.turn = self.usage
            return lifecycle.end(tx, self._ctx, held, status, before=added, error=error, reason=reason)
        assert isinstance(step.step_details, ToolCalls)
        return lifecycle.request_action(tx, self._ctx, held, step.step_details.tool_calls, self.usage, added)


# What becomes of the run, and of its message, for each reason why the model stopped.
_ENDS: dict[str, End] = {
    "stop": ("completed", None, None),
    "length": ("incomplete", "max_completion_tokens", "max_tokens"),
    "content_filter": ("incomplete", "content_filter", "content_filter"),
}


def _usage_of(counts: Counts) -> Usage:
    """What the model server counted, as the API tells it."""
    return Usage(
        prompt_tokens=counts.prompt_tokens,
        completion_tokens=counts.completion_tokens,
        total_tokens=counts.prompt_tokens + counts.completion_tokens,
        prompt_token_details=CachedTokens(counts.cached_tokens),
        completion_tokens_details=ReasoningTokens(counts.reasoning_tokens),
    )


def _tell_of_step(tx: Transaction, step: RunStep, number: int, before: list[Event], news: list[Event]) -> Entry:
    """Stores a new step; appends what comes before it and what tells of it."""
    entry = events.append(tx, step.thread_id, step.run_id, [*before, *news], None)
    tx.run_all([run_steps.insertion(step, number, entry.seq + len(before))])
    return entry
