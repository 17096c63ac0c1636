"""Runs: an assistant answering in a thread. The operations are here.

    run_rows.py    the wire object, and its row
    run_params.py  the bodies and queries of the operations
    lifecycle.py   which status follows which, and what goes with it
    worker.py      which process executes a run
    execution.py   one run, executed turn by turn

A run holds its thread from its creation to its end: no other run and no message may be added.
Differs from OpenAI: `if_active` says what becomes of a run whose thread is held: `reject` (as the original), `enqueue`
behind the active run, or `interrupt`, which cancels the active run. A run's events can be followed again, from
anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from threadkeep import assistants, events, lifecycle, messages, metadata, run_rows, threads, tools
from threadkeep.assistants import Assistant
from threadkeep.context import Context
from threadkeep.errors import BadRequestError, NotFoundError, RateLimitError
from threadkeep.events import Entry
from threadkeep.idempotency import AnsweredBeforeError
from threadkeep.lifecycle import Cancelled
from threadkeep.pages import ListParams, Page, Stored, Window
from threadkeep.run_params import (
    RunCreateParams,
    RunRetrieveParams,
    RunSettings,
    RunUpdateParams,
    ThreadAndRunCreateParams,
    ToolOutputsParams,
)
from threadkeep.run_rows import FenceLostError, HeldRun, Plan, Run, TruncationStrategy
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Transaction
from threadkeep.streaming import EventStream, WithHeaders
from threadkeep.threads import ThreadCreateParams

sql = queries.load("runs")

# Python refuses to read numbers of thousands of digits, which clients can send.
EVENT_DIGITS_MAX = 19
OUTPUTS_BYTES_MAX = 512 * 1024
# How far back a message of a user is looked for, where the assistant has no instructions.
USER_MESSAGE_WITHIN = 100
# What a client is told to wait before it asks again, and the SDKs' helpers, whose requests are held back anyway.
POLL_AFTER_MS = 500
POLL_HELPER_AFTER_MS = 20
NOT_UPDATED_WHILE = frozenset({"queued", "in_progress", "cancelling"})


class Backlog(Struct):
    """The unfinished runs of the whole database, and those that wait for somebody to look at them."""

    unfinished: dict[str, int]
    due: int
    oldest_due_s: float


class _Begun(Struct):
    """A run that is on its way: the answer to who asked for it, the entries that tell of it."""

    held: HeldRun
    answer: bytes
    entries: list[Entry]
    is_claimed: bool
    cancelled: Cancelled | None = None
    # In place of the answer: the run was found to be over.
    refusal: BadRequestError | None = None


async def create(ctx: Context, thread_id: str, params: RunCreateParams) -> Stored | EventStream:
    """Starts an assistant on the thread, after adding `additional_messages`."""
    params.check(strict=ctx.settings.strict)
    run_id = ctx.new_id("run")
    trace = ctx.tracing.carrier()
    added = [
        messages.new(ctx, thread_id, message, f"additional_messages[{index}].")
        for index, message in enumerate(params.additional_messages or ())
    ]

    def unit(tx: Transaction, *, has_slot: bool) -> _Begun:
        ctx.take_key(tx)
        thread = messages.hold_thread(tx, ctx, thread_id)
        assistant = assistants.find(tx, ctx.project_id, params.assistant_id)
        cancelled = _make_way(tx, ctx, thread_id, thread.active_run_id, params)
        waits = thread.active_run_id is not None and cancelled is None
        before = messages.last_seq(tx, thread_id) if added else 0
        for message, body in added:
            messages.append(tx, ctx.settings.thread_messages_max, thread.deleted_seq, message, body)
        run = _new_run(ctx, run_id, thread_id, assistant, params)
        run.instructions = "\n".join(filter(None, (run.instructions, params.additional_instructions))) or None
        _require_something_to_say(tx, run)
        end = messages.last_seq(tx, thread_id)
        own = (before + 1, end) if added else (0, 0)
        plan = Plan(context_to=end, own_from=own[0], own_to=own[1], key_id=ctx.key_id, trace=trace)
        begun = _begin(tx, ctx, run, plan, claims=has_slot and not waits, waits=waits)
        begun.cancelled = cancelled
        return begun

    return await _carry_out(ctx, unit, streams=bool(params.stream))


async def create_with_thread(ctx: Context, params: ThreadAndRunCreateParams) -> Stored | EventStream:
    """Creates a thread and starts an assistant on it: both or nothing."""
    params.check(strict=ctx.settings.strict)
    if params.tool_resources:
        params.tool_resources.check()
    made = threads.new(ctx, params.thread or ThreadCreateParams(), "thread.")
    run_id = ctx.new_id("run")
    trace = ctx.tracing.carrier()

    def unit(tx: Transaction, *, has_slot: bool) -> _Begun:
        ctx.take_key(tx)
        assistant = assistants.find(tx, ctx.project_id, params.assistant_id)
        made.store(tx)
        run = _new_run(ctx, run_id, made.thread.id, assistant, params)
        if params.tool_resources:
            run.tool_resources = msgspec.to_builtins(params.tool_resources)
        _require_something_to_say(tx, run)
        news = [("thread.created", made.body)]
        plan = Plan(context_to=made.message_count, key_id=ctx.key_id, trace=trace)
        return _begin(tx, ctx, run, plan, claims=has_slot, before=news)

    return await _carry_out(ctx, unit, streams=bool(params.stream))


async def list_(ctx: Context, thread_id: str, params: ListParams) -> Page[Stored]:
    """A page of the thread's runs, newest first unless `order` says otherwise."""

    def unit(tx: Transaction) -> Page[Stored]:
        messages.require_thread(tx, ctx, thread_id)

        def locate(run_id: str) -> int:
            row = tx.one(sql.locate_run, thread_id=thread_id, run_id=run_id)
            if row is None:
                raise NotFoundError.of("run", run_id)
            return int(row[0])

        window = Window.of(params, "run", 0, BIGINT_MAX, locate)
        query = window.choose(sql.list_runs_ascending, sql.list_runs_descending)
        return window.page(tx.all(query, thread_id=thread_id, **window.bounds))

    return await ctx.store.read(unit)


async def retrieve(
    ctx: Context,
    thread_id: str,
    run_id: str,
    params: RunRetrieveParams,
    *,
    last_event_id: str | None = None,
    x_stainless_poll_helper: str | None = None,
) -> WithHeaders | EventStream:
    """One run. With `stream`, or a `Last-Event-ID`, its events from any place on, as often as one likes.

    Differs from OpenAI: what the SDKs' polling helpers ask for is held back until the run's status changes, and every
    answer says when to ask again.
    """
    body = _require_run(await ctx.store.one(sql.retrieve_run, **_place(ctx, thread_id, run_id)), thread_id, run_id)
    if params.stream or (last_event_id and not ctx.settings.strict):
        return await _follow_again(ctx, thread_id, run_id, _place_to_follow_from(params, last_event_id or ""))
    poll_after_ms = POLL_AFTER_MS
    if x_stainless_poll_helper:
        poll_after_ms = POLL_HELPER_AFTER_MS
        status = run_rows.decode(body).status
        if status not in events.RESTING:
            with suppress(TimeoutError):
                async with asyncio.timeout(ctx.settings.poll_hold_s):
                    await ctx.events.wait(thread_id, run_id, lambda now: now != status)
            row = await ctx.store.one(sql.retrieve_run, **_place(ctx, thread_id, run_id))
            body = _require_run(row, thread_id, run_id)
    return WithHeaders(Stored(body), ((b"openai-poll-after-ms", str(poll_after_ms).encode()),))


async def update(ctx: Context, thread_id: str, run_id: str, params: RunUpdateParams) -> Stored:
    """Merges `metadata` into the run's.

    Differs from OpenAI: also while it is being executed; `--strict` refuses that.
    """

    def unit(tx: Transaction) -> bytes:
        held = _hold(tx, ctx, thread_id, run_id)
        if ctx.settings.strict and held.run.status in NOT_UPDATED_WHILE:
            raise BadRequestError(f"Cannot update run with status '{held.run.status}'.")
        held.run.metadata = metadata.merge(held.run.metadata, params.metadata or {}, strict=ctx.settings.strict)
        run_rows.save(tx, held)
        return run_rows.encode(held.run)

    return Stored(await ctx.store.write(unit))


async def cancel(ctx: Context, thread_id: str, run_id: str) -> Stored:
    """Ends the run, wherever it is executed and in whatever state that process is."""

    def unit(tx: Transaction) -> Cancelled:
        held = _hold(tx, ctx, thread_id, run_id)
        if held.run.status not in lifecycle.CANCELLABLE:
            raise BadRequestError(f"Cannot cancel run with status '{held.run.status}'.")
        return lifecycle.cancel(tx, ctx, held)

    cancelled = await ctx.store.write(unit)
    cancelled.announce(ctx)
    return Stored(cancelled.cancelling)


async def submit_tool_outputs(
    ctx: Context, thread_id: str, run_id: str, params: ToolOutputsParams
) -> Stored | EventStream:
    """Gives the run the outputs it waits for, all at once; it goes on."""
    outputs = {output.tool_call_id or "": output.output or "" for output in params.tool_outputs}
    if sum(len(output.encode()) for output in outputs.values()) > OUTPUTS_BYTES_MAX:
        raise BadRequestError(
            "'tool_outputs' too large: the combined tool outputs must be less than 512kb.", param="tool_outputs"
        )

    def unit(tx: Transaction, *, has_slot: bool) -> _Begun:
        ctx.take_key(tx)
        held = _hold(tx, ctx, thread_id, run_id)
        if held.run.status == "requires_action" and lifecycle.is_overdue(ctx, held.run):
            # This is to be committed, the key is left without an answer.
            ended = lifecycle.end(tx, ctx, held, "expired")
            return _Begun(held, b"", [ended], is_claimed=False, refusal=_not_awaited("expired"))
        if held.run.required_action is None:
            raise _not_awaited(held.run.status)
        awaited = [call.id for call in held.run.required_action.submit_tool_outputs.tool_calls]
        given = [output.tool_call_id or "" for output in params.tool_outputs]
        if sorted(given) != sorted(awaited):
            raise BadRequestError(f"Expected tool outputs for call_ids {awaited}, got {given}")
        entries = [lifecycle.requeue(tx, ctx, held, outputs)]
        answer = run_rows.encode(held.run)
        ctx.keep_answer(tx, answer, run_id, thread_id=thread_id, after_event=entries[0].seq - 1)
        if has_slot:
            entries.append(lifecycle.claim(tx, ctx, held))
        return _Begun(held, answer, entries, is_claimed=has_slot)

    return await _carry_out(ctx, unit, streams=bool(params.stream))


def backlog(tx: Transaction, ctx: Context) -> Backlog:
    """What there is to do, in all projects."""
    due, oldest_ms = tx.one(sql.measure_due_runs, now_ms=ctx.now_ms()) or (0, None)
    # One that was handed over is due since the beginning of time.
    oldest_due_s = (ctx.now_ms() - oldest_ms) / 1000 if oldest_ms else 0.0
    return Backlog(dict(tx.all(sql.count_runs_by_status)), due, oldest_due_s)


async def _carry_out(ctx: Context, unit: Callable[..., _Begun], *, streams: bool) -> Stored | EventStream:
    """Runs a unit that sets a run off, and answers: with the run, or with its events from there on."""
    try:
        begun = await _with_slot(ctx, unit)
    except AnsweredBeforeError as before:
        if not streams or before.after_event is None:
            raise
        run = run_rows.decode(before.answer)
        return await _follow_again(ctx, run.thread_id, run.id, before.after_event)
    return _set_off(ctx, begun, streams=streams)


async def _with_slot(ctx: Context, unit: Callable[..., _Begun]) -> _Begun:
    """Runs a unit that may claim its run for a slot of this process's worker, if there is one."""
    has_slot = ctx.worker.reserve_slot()
    is_claimed = False
    try:
        result = await ctx.store.write(partial(unit, has_slot=has_slot))
        is_claimed = result.is_claimed
        return result
    finally:
        if has_slot and not is_claimed:
            ctx.worker.give_slot_back()


def _set_off(ctx: Context, begun: _Begun, *, streams: bool) -> Stored | EventStream:
    """Tells of the run, has it executed, and answers: with the run, or with its events from here on."""
    if begun.cancelled:
        begun.cancelled.announce(ctx)
    run = begun.held.run
    answer: Stored | EventStream = Stored(begun.answer)
    if streams and not begun.refusal:
        # Before anything more can happen, so that nothing is missed.
        answer = EventStream(ctx.events.follow(run.thread_id, run.id, begun.entries[0].seq - 1, run.status))
    ctx.events.publish(run.thread_id, run.id, *begun.entries)
    if begun.is_claimed:
        ctx.worker.start(begun.held)
    else:
        ctx.worker.ring()
    if begun.refusal:
        raise begun.refusal
    return answer


def _begin(
    tx: Transaction,
    ctx: Context,
    run: Run,
    plan: Plan,
    *,
    claims: bool,
    waits: bool = False,
    before: Sequence[events.Event] = (),
) -> _Begun:
    """Stores a new run; `claims`: for a slot of this process, `waits`: behind the run that holds the thread."""
    _require_capacity(tx, ctx, claims=claims)
    row = tx.one(sql.find_last_run, thread_id=run.thread_id)
    held = HeldRun(run=run, plan=plan, project_id=ctx.project_id, seq=(row[0] if row else 0) + 1, deleted_seq=0)
    if waits:
        run.expires_at = None
    else:
        held.wake_at = ctx.now_ms()
    answer = run_rows.encode(run)
    news = [*before, ("thread.run.created", answer), ("thread.run.queued", answer)]
    if claims:
        lifecycle.enter(run, "in_progress", ctx.now())
        held.wake_at = lifecycle.lease_end(ctx)
        news.append(lifecycle.event(run))
    entry = events.entry(1, news, run.status)
    changes = [run_rows.insertion(held), events.insertion(run.thread_id, run.id, entry)]
    if not waits:
        changes.append((lifecycle.sql.occupy_thread, {"thread_id": run.thread_id, "run_id": run.id}))
    tx.run_all(changes)
    ctx.keep_answer(tx, answer, run.id, thread_id=run.thread_id, after_event=0)
    return _Begun(held, answer, [entry], is_claimed=claims)


def _new_run(ctx: Context, run_id: str, thread_id: str, assistant: Assistant, params: RunSettings) -> Run:
    """The run that `params` describe; what they leave out is the assistant's."""
    chosen_tools = assistant.tools if params.tools is None else params.tools
    tool_choice = params.tool_choice or "auto"
    tools.check_choice(tool_choice, chosen_tools)
    now = ctx.now()
    return Run(
        id=run_id,
        created_at=now,
        assistant_id=assistant.id,
        thread_id=thread_id,
        expires_at=now + ctx.settings.run_lifetime_s,
        model=params.model or assistant.model,
        instructions=assistant.instructions if params.instructions is None else params.instructions,
        tools=chosen_tools,
        metadata=params.metadata or {},
        temperature=assistant.temperature if params.temperature is None else params.temperature,
        top_p=assistant.top_p if params.top_p is None else params.top_p,
        reasoning_effort=params.reasoning_effort or assistant.reasoning_effort,
        max_completion_tokens=params.max_completion_tokens,
        max_prompt_tokens=params.max_prompt_tokens,
        truncation_strategy=params.truncation_strategy or TruncationStrategy(type="auto"),
        response_format=params.response_format or assistant.response_format,
        tool_choice=tool_choice,
        parallel_tool_calls=params.parallel_tool_calls is not False,
    )


def _make_way(
    tx: Transaction, ctx: Context, thread_id: str, active_run_id: str | None, params: RunCreateParams
) -> Cancelled | None:
    """Does with the run that holds the thread what `if_active` says. Raises `BadRequestError` for `reject`."""
    if active_run_id is None or params.if_active == "enqueue":
        return None
    if params.if_active == "interrupt":
        # The thread goes straight to the new run; those that wait go on waiting.
        return lifecycle.cancel(tx, ctx, run_rows.hold(tx, thread_id, active_run_id), keeps_thread=True)
    raise BadRequestError(f"Thread {thread_id} already has an active run {active_run_id}.")


def _require_something_to_say(tx: Transaction, run: Run) -> None:
    if not run.instructions and not messages.has_user_message(tx, run.thread_id, USER_MESSAGE_WITHIN):
        raise BadRequestError(
            "Run creation requires a Thread with a user message or an assistant with instructions.",
            code="invalid_thread",
        )


def _require_capacity(tx: Transaction, ctx: Context, *, claims: bool) -> None:
    """Raises `RateLimitError` when the project has too many runs, or the server has too many that wait."""
    maximum = ctx.settings.project_runs_max
    if ctx.quota is not None:
        ctx.quota.require_room(tx)
        maximum = ctx.quota.project_runs_max
    row = tx.one(sql.count_unfinished_runs, project_id=ctx.project_id, limit=maximum)
    if maximum and row and row[0] >= maximum:
        raise RateLimitError(f"This project has {maximum} unfinished runs, the most it can have. Try again later.")
    if claims:
        return
    waiting_max = ctx.settings.runs_waiting_max
    row = tx.one(sql.count_due_runs, now_ms=ctx.now_ms(), limit=waiting_max)
    if row and row[0] >= waiting_max:
        raise RateLimitError(f"The server is full: {waiting_max} runs wait for their turn. Try again later.")


def _place_to_follow_from(params: RunRetrieveParams, last_event_id: str) -> int:
    if params.starting_after is not None:
        return params.starting_after
    is_number = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= EVENT_DIGITS_MAX
    return int(last_event_id) if is_number else 0


async def _follow_again(ctx: Context, thread_id: str, run_id: str, after: int) -> EventStream:
    """The run's events behind number `after`; a snapshot when they are forgotten, or tell what was deleted."""

    def unit(tx: Transaction) -> tuple[Run, Plan, int]:
        row = tx.one(sql.retrieve_run_with_plan, **_place(ctx, thread_id, run_id))
        run = run_rows.decode(_require_run(row, thread_id, run_id))
        assert row is not None
        return run, run_rows.decode_plan(row[1]), events.last_seq(tx, thread_id, run_id)

    run, plan, last_seq = await ctx.store.read(unit)
    if not last_seq or (plan.is_withheld and events.is_over(run.status)):
        return EventStream(events.Snapshot(after, lifecycle.event(run)))
    return EventStream(ctx.events.follow(thread_id, run_id, min(after, last_seq), run.status))


def _hold(tx: Transaction, ctx: Context, thread_id: str, run_id: str) -> HeldRun:
    """The project's run, held until the unit ends. Raises `NotFoundError`."""
    _require_run(tx.one(sql.retrieve_run, **_place(ctx, thread_id, run_id)), thread_id, run_id)
    try:
        return run_rows.hold(tx, thread_id, run_id)
    except FenceLostError:
        # The thread was deleted a moment ago.
        raise NotFoundError.of("thread", thread_id) from None


def _place(ctx: Context, thread_id: str, run_id: str) -> dict[str, Any]:
    return {"thread_id": thread_id, "run_id": run_id, "project_id": ctx.project_id}


def _require_run(row: tuple[Any, ...] | None, thread_id: str, run_id: str) -> str:
    """The run's stored text."""
    if row is None:
        raise NotFoundError.of("thread", thread_id)
    if row[0] is None:
        raise NotFoundError.of("run", run_id)
    return str(row[0])


def _not_awaited(status: str) -> BadRequestError:
    return BadRequestError(f'Runs in status "{status}" do not accept tool outputs.')
