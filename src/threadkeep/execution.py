"""One run, executed: a turn of the model becomes a message or tool calls, event by event, under the run's fence.

What the model says goes to the log as it comes: at once when no write is under way, together with what follows when one
is. A function call ends the turn; the run then waits for its client, owned by nobody, and goes on as a new turn.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

from threadkeep import conversation, events, lifecycle, references, run_steps, tools
from threadkeep.context import Context
from threadkeep.conversation import PromptTooLongError
from threadkeep.errors import BadRequestError
from threadkeep.events import OverStatus
from threadkeep.run_log import LogTooLongError, RunLog
from threadkeep.run_rows import HeldRun, IncompleteReason
from threadkeep.run_steps import LastError, RunStep
from threadkeep.store.interface import Transaction
from threadkeep.turn import Turn
from threadkeep.upstream import UpstreamError


class Execution:
    """Carries out one run for its owner, from the state it is in to the next in which it rests."""

    def __init__(self, ctx: Context, held: HeldRun) -> None:
        self._ctx = ctx
        self._held = held
        self._run = held.run

    async def run(self) -> None:
        """Returns when the run rests. Raises `FenceLostError` when it has been taken away, or a store's error."""
        last_seq, characters, self._steps = await self._ctx.store.read(self._so_far)
        self._log = RunLog(self._ctx, self._held, last_seq, characters)
        try:
            await self._until_it_rests()
        finally:
            await self._log.close()

    async def fail(self, error: LastError) -> None:
        """Ends the run with an error."""
        await self._end("failed", error=error)

    async def _until_it_rests(self) -> None:
        try:
            async with asyncio.timeout(self._seconds_left()) as lifetime:
                await self._take_turn()
        except TimeoutError:
            if not lifetime.expired():
                raise
            await self._end("expired")
        except UpstreamError as error:
            self._ctx.metrics.upstream_errors[error.code] += 1
            await self.fail(LastError(error.code, error.message))
        except BadRequestError as error:
            # The thread is full.
            await self.fail(LastError("server_error", error.message))
        except LogTooLongError:
            await self.fail(LastError("server_error", "The run's events exceed `run_events_characters_max`."))

    def _so_far(self, tx: Transaction) -> tuple[int, int, list[RunStep]]:
        """The number of the last event, the characters of all, and the steps."""
        thread_id, run_id = self._run.thread_id, self._run.id
        row = tx.one(events.sql.measure_events, thread_id=thread_id, run_id=run_id)
        characters = int(row[0]) if row else 0
        return events.last_seq(tx, thread_id, run_id), characters, run_steps.all_of(tx, thread_id, run_id)

    def _seconds_left(self) -> float:
        return max(0.0, (self._run.expires_at or 0) - self._ctx.clock())

    async def _take_turn(self) -> None:
        run, spent = self._run, self._held.plan.spent
        if tools.hosted(run.tools):
            await self.fail(LastError("server_error", references.NOT_THERE_YET))
            return
        steps = conversation.completed(self._steps)
        rounds = sum(step.type == "tool_calls" for step in steps)
        if rounds > self._ctx.settings.run_tool_rounds_max:
            await self.fail(LastError("server_error", f"The run called tools {rounds} times, more often than it may."))
            return
        if run.max_completion_tokens is not None and spent.completion_tokens >= run.max_completion_tokens:
            await self._end("incomplete", reason="max_completion_tokens")
            return
        route = await self._ctx.upstreams.find(run.model)
        try:
            request = await conversation.request_of(self._ctx, run, self._held.plan, steps, route.context_tokens)
        except PromptTooLongError:
            await self._end_for_length(route.context_tokens)
            return
        turn = Turn(self._ctx, run, self._log, next_step=len(self._steps) + 1)
        metrics, asked_at, is_first = self._ctx.metrics, time.perf_counter(), True
        traced = self._ctx.tracing.call(route, request, run.thread_id)
        async with aclosing(traced) as answer:
            async for parts in answer:
                if is_first:
                    metrics.token_came(route.name, time.perf_counter() - asked_at)
                    is_first = False
                await turn.take(parts)
        metrics.tokens_in[route.name] += turn.usage.prompt_tokens
        metrics.tokens_out[route.name] += turn.usage.completion_tokens
        await turn.finish()

    async def _end_for_length(self, context_tokens: int) -> None:
        if conversation.is_limited_by_budget(self._run, self._held.plan, context_tokens):
            await self._end("incomplete", reason="max_prompt_tokens")
        else:
            await self.fail(_too_long(context_tokens))

    async def _end(
        self,
        status: OverStatus,
        *,
        error: LastError | None = None,
        reason: IncompleteReason | None = None,
    ) -> None:
        # What has not been seen yet is seen before the end is.
        await self._log.flush()
        await self._log.commit(
            lambda tx, held, _: lifecycle.end(tx, self._ctx, held, status, error=error, reason=reason)
        )


def _too_long(context_tokens: int) -> LastError:
    return LastError(
        "invalid_prompt",
        f"The prompt is too long for the model: its context window is taken as {context_tokens} tokens, and what "
        "cannot be left out does not fit. If the model has more, raise `upstream_context_tokens`, or "
        "`context_tokens` of its upstream.",
    )
