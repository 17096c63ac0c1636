"""Who executes runs: claims them, holds their leases, takes over those without an owner, ends what is overdue.

A claim is a compare-and-set under the run's fence; it needs no lock that a frozen process could keep. An owner confirms
its leases now and then. A run whose lease has ended is anybody's: the turn that was under way is closed and done again.
A worker that stops in good order gives its runs up at once, which does not count as an attempt. One whose run cannot
go on because the database does not take it gives it up as soon as the database answers, which does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeAlias

from threadkeep import chance, events, lifecycle, run_rows
from threadkeep.context import Context
from threadkeep.errors import APIError
from threadkeep.events import Entry
from threadkeep.execution import Execution
from threadkeep.run_rows import FenceLostError, HeldRun
from threadkeep.run_steps import LastError
from threadkeep.store import queries
from threadkeep.store.interface import Transaction
from threadkeep.tasks import Trouble

log = logging.getLogger(__name__)
sql = queries.load("worker")

Key: TypeAlias = tuple[str, str]

LOOK_EVERY_S = 0.25
# Where several processes look for the same runs.
LOOK_EVERY_SHARED_S = 0.1
# Without a free slot there is little to do: a slot that becomes free rings the bell.
LOOK_EVERY_BUSY_S = 1.0
LOOKED_AT_ONCE = 32
# Leases are confirmed this many times before they end.
CONFIRMED_PER_LEASE = 3
EVENTS_FORGOTTEN_AT_ONCE = 500
# A run that loses its database once more is left alone for so long: one that comes and goes must not use up all
# attempts in a moment.
PAUSE_AFTER_LOSS_MS = 5000
# A run that cannot be looked at, such as one whose row cannot be read, is left alone for so long.
PAUSE_AFTER_FAULT_MS = 60_000
# How long a claim that is being written when the process stops is waited for, and then handing over all runs.
LAST_CLAIM_S = 5.0
HAND_OVER_S = 5.0

WENT_WRONG = LastError("server_error", "Sorry, something went wrong.")
TOO_MANY_ATTEMPTS = LastError(
    "server_error", "The processes that executed this run stopped, again and again, or lost their database."
)


class Worker:
    """The runs that this process executes."""

    def __init__(self, context_of: Callable[[str], Context], slots: int, *, is_shared: bool) -> None:
        self._context_of = context_of
        # Belongs to no project: for work that is about all of them.
        self._ctx = context_of("")
        self._free_slots = slots
        self._is_shared = is_shared
        self._running: dict[Key, tuple[HeldRun, asyncio.Task[None]]] = {}
        # Ours still, but the database did not take what they wrote.
        self._stranded: dict[Key, HeldRun] = {}
        self._bell = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False

    async def open(self) -> None:
        """Begins to look for runs."""
        if not self._is_shared:
            await self._end_leases()
        self._tasks = [asyncio.create_task(self._look_for_work()), asyncio.create_task(self._confirm_leases())]

    async def _end_leases(self) -> None:
        """No other process serves this database: who held a lease is dead."""
        try:
            if taken_over := await self._ctx.store.run_all([(sql.end_leases, {})]):
                log.info("runs taken over from the process before: %d", taken_over)
        except APIError as error:
            # They end by themselves.
            log.warning("cannot end the leases of the process before: %s", error)

    async def close(self) -> None:
        """Stops, and hands over what is under way."""
        self._is_stopping = True
        self._bell.set()
        looking, confirming = self._tasks
        # Given up half way, a claim would be executed by nobody until its lease ends.
        await asyncio.wait([looking], timeout=LAST_CLAIM_S)
        running = list(self._running.values())
        tasks = [looking, confirming, *(task for _, task in running)]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._hand_over_all([*(held for held, _ in running), *self._stranded.values()])

    async def _hand_over_all(self, runs: list[HeldRun]) -> None:
        """Gives up all runs at once. Who stops the process does not wait for ever; a lease ends by itself."""
        try:
            async with asyncio.timeout(HAND_OVER_S):
                faults = await asyncio.gather(*map(self._hand_over, runs), return_exceptions=True)
        except TimeoutError:
            log.warning("%d runs are not handed over in time", len(runs))
            return
        for held, fault in zip(runs, faults, strict=True):
            if fault:
                log.info("%s is not handed over: %s", held.run.id, fault)

    @property
    def running(self) -> int:
        """How many runs are executed now."""
        return len(self._running)

    def reserve_slot(self) -> bool:
        """Reserves room for one more run; False when there is none."""
        if not self._free_slots or self._is_stopping:
            return False
        self._free_slots -= 1
        return True

    def give_slot_back(self) -> None:
        """The run for which a slot was taken did not come to be, or is over."""
        self._free_slots += 1
        self.ring()

    def start(self, claimed: HeldRun) -> None:
        """Carries out a run that was claimed for a slot."""
        key = (claimed.run.thread_id, claimed.run.id)
        task = asyncio.create_task(self._carry_out(claimed))
        self._running[key] = (claimed, task)

        def ended(_: asyncio.Task[None]) -> None:
            # A later claim of the same run may have begun already.
            if self._running.get(key, (None, None))[1] is task:
                del self._running[key]
            self.give_slot_back()

        task.add_done_callback(ended)

    def drop(self, thread_id: str, run_id: str) -> None:
        """The run has been taken away; the model need not go on."""
        if running := self._running.get((thread_id, run_id)):
            running[1].cancel()

    def ring(self) -> None:
        """There may be a run to claim."""
        if self._free_slots:
            self._bell.set()

    async def _carry_out(self, held: HeldRun) -> None:
        run_id = held.run.id
        execution = Execution(self._context_of(held.project_id), held)
        try:
            with self._ctx.tracing.run(held):
                await self._until_it_rests(execution, run_id)
        except FenceLostError:
            self._ctx.metrics.lost += 1
            log.info("%s is no longer ours", run_id)
            # Its last write may have been given up after it was sent, as that which ends a run whose time is up.
            await self._ctx.events.catch_up(held.run.thread_id, run_id)
        except APIError as error:
            # One line of those that it happens to together.
            level = logging.DEBUG if self._stranded else logging.WARNING
            log.log(level, "%s cannot go on here: %s", run_id, error)
            self._stranded[held.run.thread_id, run_id] = held

    async def _until_it_rests(self, execution: Execution, run_id: str) -> None:
        try:
            await execution.run()
        except (FenceLostError, APIError):
            raise
        except Exception:
            log.exception("%s failed", run_id)
            await execution.fail(WENT_WRONG)

    async def _hand_over(self, held: HeldRun, *, is_attempt: bool = False, wake_at: int = 0) -> None:
        """Gives a run up, so that anybody may go on with it from `wake_at` on."""

        def unit(tx: Transaction) -> None:
            current = run_rows.hold(tx, held.run.thread_id, held.run.id, fence=held.fence)
            if current.run.status == "in_progress":
                lifecycle.hand_over(tx, current, is_attempt=is_attempt, wake_at=wake_at)

        try:
            await self._ctx.store.write(unit)
        except FenceLostError:
            log.info("%s is no longer ours", held.run.id)

    async def _give_back(self) -> None:
        """Gives up the runs whose database was away. Raises when it still is."""
        stranded = list(self._stranded.items())
        for key, held in stranded:
            wake_at = self._ctx.now_ms() + PAUSE_AFTER_LOSS_MS * (held.attempt - 1)
            try:
                await self._hand_over(held, is_attempt=True, wake_at=wake_at)
            except APIError:
                raise
            except Exception:
                # Its lease ends, and what is wrong with it is found again then.
                log.exception("cannot give %s up", key[1])
            # It may have been claimed here and lost again meanwhile.
            if self._stranded.get(key) is held:
                del self._stranded[key]
        if stranded:
            log.info("%d runs that the database had not taken anything for can go on", len(stranded))

    async def _look_for_work(self) -> None:
        trouble = Trouble("look for runs")
        pause_s = LOOK_EVERY_SHARED_S if self._is_shared else LOOK_EVERY_S
        while not self._is_stopping:
            more = False
            with trouble:
                await self._give_back()
                more = await self._attend_to_due() or await self._forget_events()
            if not more:
                await self._rest(pause_s if self._free_slots else LOOK_EVERY_BUSY_S)

    async def _rest(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._bell.wait()
        except TimeoutError:
            return
        self._bell.clear()

    async def _attend_to_due(self) -> bool:
        """Does for each due run what can be done here; gives whether there may be more."""
        now_ms = self._ctx.now_ms()
        due = await self._ctx.store.read(lambda tx: tx.all(sql.list_due_runs, now_ms=now_ms, limit=LOOKED_AT_ONCE))
        if self._is_shared:
            # So that workers who look at the same moment do not all reach for the same run first.
            chance.shuffle(due)
        done = 0
        for thread_id, run_id, project_id in due:
            if (thread_id, run_id) in self._running:
                # This process was held up for longer than its lease, but nobody else was here to notice.
                await self._confirm([(thread_id, run_id)])
            else:
                done += await self._attend_or_put_off(self._context_of(project_id), thread_id, run_id)
        return done == LOOKED_AT_ONCE

    async def _attend_or_put_off(self, ctx: Context, thread_id: str, run_id: str) -> bool:
        """`_attend` for a run that may be broken: those behind it must have their turn."""
        try:
            return await self._attend(ctx, thread_id, run_id)
        except APIError:
            raise
        except Exception:
            log.exception("cannot see to %s, will try again in %d s", run_id, PAUSE_AFTER_FAULT_MS // 1000)
            now_ms = ctx.now_ms()
            times = {"now_ms": now_ms, "wake_at": now_ms + PAUSE_AFTER_FAULT_MS}
            await ctx.store.run_all([(sql.put_off, {"thread_id": thread_id, "run_id": run_id, **times})])
            return True

    async def _attend(self, ctx: Context, thread_id: str, run_id: str) -> bool:
        """Claims, takes over or ends one run. False when there is nothing to do, or no slot to do it with."""
        has_slot = self.reserve_slot()
        claimed = None
        try:
            held, entries = await ctx.store.write(
                lambda tx: self._decide(tx, ctx, thread_id, run_id, has_slot=has_slot)
            )
            if entries is not None and held.run.status == "in_progress":
                claimed = held
        except FenceLostError:
            return False
        finally:
            if has_slot and claimed is None:
                self._free_slots += 1
        ctx.events.publish(thread_id, run_id, *(entries or ()))
        if claimed:
            if not any(entry.status for entry in entries or ()):
                ctx.metrics.take_overs[claimed.attempt] += 1
            self.start(claimed)
        return entries is not None

    def _decide(
        self, tx: Transaction, ctx: Context, thread_id: str, run_id: str, *, has_slot: bool
    ) -> tuple[HeldRun, list[Entry] | None]:
        """What becomes of a due run: the entries that tell of it, None when it is left as it is."""
        held = run_rows.hold(tx, thread_id, run_id)
        if held.wake_at is None or held.wake_at > ctx.now_ms():
            # Somebody was faster.
            return held, None
        if held.run.status == "requires_action" or lifecycle.is_overdue(ctx, held.run):
            return held, [lifecycle.end(tx, ctx, held, "expired")]
        if held.run.status == "in_progress":
            attempts = held.attempt + (not held.plan.is_handed_over)
            if attempts > ctx.settings.run_attempts_max:
                return held, [lifecycle.end(tx, ctx, held, "failed", error=TOO_MANY_ATTEMPTS)]
            return held, lifecycle.take_over(tx, ctx, held) if has_slot else None
        return held, [lifecycle.claim(tx, ctx, held)] if has_slot else None

    async def _forget_events(self) -> bool:
        """Removes the events of runs that have been over for long, a slice at a time; gives whether there is more."""
        now_ms = self._ctx.now_ms()
        over = await self._ctx.store.read(
            lambda tx: tx.all(sql.list_forgettable_runs, now_ms=now_ms, limit=LOOKED_AT_ONCE)
        )

        def unit(tx: Transaction) -> None:
            for thread_id, run_id in over:
                place = {"thread_id": thread_id, "run_id": run_id}
                if tx.run(events.sql.delete_events, limit=EVENTS_FORGOTTEN_AT_ONCE, **place) < EVENTS_FORGOTTEN_AT_ONCE:
                    tx.run(sql.mark_forgotten, **place)

        if over:
            await self._ctx.store.write(unit)
        return bool(over)

    async def _confirm_leases(self) -> None:
        trouble = Trouble("confirm the leases of runs")
        while True:
            await asyncio.sleep(self._ctx.settings.run_lease_s / CONFIRMED_PER_LEASE)
            if not self._running:
                continue
            with trouble:
                await self._confirm(list(self._running))

    async def _confirm(self, keys: list[Key]) -> None:
        """Confirms the leases of runs, and drops those that are no longer ours."""
        held = {key: self._running[key][0] for key in sorted(keys)}
        lease_end = lifecycle.lease_end(self._ctx)

        def unit(tx: Transaction) -> list[Key]:
            return [
                key
                for key, run in held.items()
                if not tx.run(sql.extend_lease, thread_id=key[0], run_id=key[1], fence=run.fence, lease_end=lease_end)
            ]

        for key in await self._ctx.store.write(unit):
            if self._running.get(key, (None,))[0] is held[key]:
                log.info("%s is no longer ours", key[1])
                self.drop(*key)
