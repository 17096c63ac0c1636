"""Random interleavings of all that can happen to runs, against a model of the lifecycle in plain Python.

Clients create, cancel and submit; workers claim, write, finish, stop, or disappear; time goes on, and sometimes back.
A worker that has disappeared keeps what it held, and may come back to write: only who holds the run may.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from contextlib import closing
from dataclasses import dataclass, field

import msgspec
import pytest

from threadkeep import assistants, events, lifecycle, projects, run_rows, runs, threads
from threadkeep.app import Threadkeep
from threadkeep.assistants import AssistantCreateParams
from threadkeep.errors import BadRequestError
from threadkeep.run_log import RunLog
from threadkeep.run_params import RunCreateParams, ToolOutput, ToolOutputsParams
from threadkeep.run_rows import FenceLostError, HeldRun
from threadkeep.settings import Settings
from threadkeep.store.queries import Query
from threadkeep.threads import ThreadCreateParams
from threadkeep.turn import Turn
from threadkeep.upstream import TextDelta, ToolCallDelta
from threadkeep.worker import Worker

LEASE_S, LIFETIME_S, ATTEMPTS_MAX = 10, 60, 2
THREADS = 2
STEPS = 60
EXAMPLES = {"sqlite": 25, "postgres": 25}
STATUS_EVENT = re.compile(r"^event: thread\.run\.(\w+)$", re.MULTILINE)
same = lambda text: Query("test", text, text)  # noqa: E731
find_thread = same("select active_run_id from threads where thread_id = :thread_id")
list_events = same("select seq, last_seq, frames from run_events where thread_id = :thread_id and run_id = :run_id")
find_run = same("select status, attempt, wake_at from runs where thread_id = :thread_id and run_id = :run_id")
list_open = same('select count(*) from run_steps where run_id = :run_id and body like \'%"status":"in_progress"%\'')


@dataclass
class RunModel:
    """What is expected of a run. `owner` is who may write."""

    thread_id: str
    run_id: str
    status: str = "queued"
    wake_at: int | None = None
    expires_at: int | None = None
    attempt: int = 1
    is_handed_over: bool = False
    owner: object = None


@dataclass
class ThreadModel:
    """The run that holds the thread, and those that wait for it."""

    thread_id: str
    active: RunModel | None = None
    waiting: list[RunModel] = field(default_factory=list)


@dataclass(eq=False)
class Owner:
    """A worker that claimed a run and is at its turn; alive, or thought dead."""

    model: RunModel
    held: HeldRun
    log: RunLog
    turn: Turn


class Lifecycle:
    """What clients, workers and time do, in an order that chance decides."""

    def __init__(self, chance, run, app, ctx, clock, assistant_id):
        self.chance = chance
        self.run, self.app, self.ctx, self.clock, self.assistant_id = run, app, ctx, clock, assistant_id
        self.worker = Worker(self.app.context_of, 1, is_shared=True)
        made = [self.run(threads.create(self.ctx, ThreadCreateParams())) for _ in range(THREADS)]
        self.threads = [ThreadModel(msgspec.json.decode(bytes(thread))["id"]) for thread in made]
        self.runs = []
        self.owners = []

    @property
    def now_ms(self):
        return self.clock.now * 1000

    def end(self, model, status):
        """What goes with the end of a run."""
        model.status, model.owner = status, None
        thread = next(thread for thread in self.threads if thread.thread_id == model.thread_id)
        if model in thread.waiting:
            thread.waiting.remove(model)
        elif thread.active is model:
            thread.active = thread.waiting.pop(0) if thread.waiting else None
            if thread.active:
                thread.active.wake_at = 0

    def create(self):
        thread = self.chance.choice(self.threads)
        if_active = self.chance.choice(["reject", "enqueue", "enqueue", "interrupt"])
        params = RunCreateParams(assistant_id=self.assistant_id, if_active=if_active)
        creating = runs.create(self.ctx, thread.thread_id, params)
        if thread.active and if_active == "reject":
            with pytest.raises(BadRequestError, match="already has an active run"):
                self.run(creating)
            return
        model = RunModel(thread.thread_id, run_rows.decode(bytes(self.run(creating))).id)
        self.runs.append(model)
        if thread.active and if_active == "enqueue":
            thread.waiting.append(model)
            return
        if thread.active:
            thread.active.status, thread.active.owner = "cancelled", None
        thread.active = model
        model.wake_at, model.expires_at = self.now_ms, self.clock.now + LIFETIME_S

    def cancel(self):
        model = self.any_run()
        cancelling = runs.cancel(self.ctx, model.thread_id, model.run_id)
        if model.status in lifecycle.CANCELLABLE:
            self.run(cancelling)
            self.end(model, "cancelled")
        else:
            with pytest.raises(BadRequestError, match="Cannot cancel run with status"):
                self.run(cancelling)

    def submit(self):
        awaiting = [model for model in self.runs if model.status == "requires_action"]
        model = self.chance.choice(awaiting or [self.any_run()])
        params = ToolOutputsParams(tool_outputs=[ToolOutput(tool_call_id=f"call_{model.run_id}", output="sunny")])
        submitting = runs.submit_tool_outputs(self.ctx, model.thread_id, model.run_id, params)
        if model.status == "requires_action" and model.expires_at > self.clock.now:
            self.run(submitting)
            model.status, model.wake_at = "queued", self.now_ms
            return
        if model.status == "requires_action":
            self.end(model, "expired")
        with pytest.raises(BadRequestError, match=f'Runs in status "{model.status}" do not accept tool outputs'):
            self.run(submitting)

    def look_for_work(self, model, *, has_slot=True):
        """A worker, any of them, looks at a run."""
        if model.status not in lifecycle.ACTIVE:
            # The query for due runs does not find it.
            return

        def unit(tx):
            return self.worker._decide(tx, self.ctx, model.thread_id, model.run_id, has_slot=has_slot)

        held, entries = self.run(self.app.store.write(unit))
        if model.wake_at is None or model.wake_at > self.now_ms:
            assert entries is None
            return
        attempts = model.attempt + (model.status == "in_progress" and not model.is_handed_over)
        if model.status == "requires_action" or (model.expires_at or self.clock.now + 1) <= self.clock.now:
            self.end(model, "expired")
        elif attempts > ATTEMPTS_MAX:
            self.end(model, "failed")
        elif has_slot:
            if model.status == "queued":
                model.expires_at = model.expires_at or self.clock.now + LIFETIME_S
                model.status = "in_progress"
            else:
                model.attempt, model.is_handed_over = attempts, False
            model.wake_at = self.now_ms + LEASE_S * 1000
            self.begin_turn(model, held)

    def begin_turn(self, model, held):
        def unit(tx):
            return events.last_seq(tx, model.thread_id, model.run_id), len(tx.all(
                lifecycle.run_steps.sql.list_all_steps, thread_id=model.thread_id, run_id=model.run_id
            ))  # fmt: skip

        last_seq, steps = self.run(self.app.store.read(unit))
        log = RunLog(self.ctx, held, last_seq, 0)
        owner = Owner(model, held, log, Turn(self.ctx, held.run, log, next_step=steps + 1))
        model.owner = owner
        self.owners.append(owner)

    def act(self, owner, work):
        """Runs what an owner does; gives whether it was allowed to, which it is if the run is its own."""
        if owner.model.owner is owner:
            self.run(work)
            return True
        with pytest.raises(FenceLostError):
            self.run(work)
        self.owners.remove(owner)
        return False

    def say(self):
        """In a message, which begins with the first word; the rest is appended in one statement."""
        owner = self.chance.choice(self.owners)

        async def work():
            await owner.turn.take([TextDelta("Well. ")])
            await owner.turn.take([TextDelta("And. ")])
            await owner.log.flush()

        self.act(owner, work())

    def finish(self):
        owner = self.chance.choice(self.owners)
        if self.act(owner, owner.turn.finish()):
            self.owners.remove(owner)
            self.end(owner.model, "completed")

    def call_function(self):
        owner = self.chance.choice(self.owners)

        async def work():
            call_id = f"call_{owner.model.run_id}"
            await owner.turn.take([ToolCallDelta(index=0, call_id=call_id, name="f", arguments="{}")])
            await owner.turn.finish()

        if self.act(owner, work()):
            self.owners.remove(owner)
            model = owner.model
            model.status, model.owner, model.wake_at = "requires_action", None, model.expires_at * 1000

    def confirm_lease(self):
        owner = self.chance.choice(self.owners)
        place = {"thread_id": owner.model.thread_id, "run_id": owner.model.run_id, "fence": owner.held.fence}
        extend, lease_end = lifecycle.queries.load("worker").extend_lease, lifecycle.lease_end(self.ctx)
        touched = self.run(self.app.store.write(lambda tx: tx.run(extend, lease_end=lease_end, **place)))
        assert touched == (owner.model.owner is owner)
        if touched:
            owner.model.wake_at = lease_end

    def stop_in_good_order(self):
        owner = self.chance.choice(self.owners)
        self.run(self.worker._hand_over(owner.held))
        if owner.model.owner is owner:
            owner.model.owner, owner.model.wake_at, owner.model.is_handed_over = None, 0, True

    def lose_the_database(self):
        """It has come back, and the owner lives; then the run can be anybody's at once, or a little later."""
        owner = self.chance.choice(self.owners)
        wake_at = self.now_ms + self.chance.choice([0, 5000])
        self.run(self.worker._hand_over(owner.held, is_attempt=True, wake_at=wake_at))
        if owner.model.owner is owner:
            owner.model.owner, owner.model.wake_at, owner.model.is_handed_over = None, wake_at, False

    def wait(self):
        self.clock.now += self.chance.choice([1, LEASE_S, LEASE_S + 1, LEASE_S + 1, LIFETIME_S, -3])

    def any_run(self):
        """Most often one that is not over."""
        return self.chance.choice([model for model in self.runs if model.status in lifecycle.ACTIVE] or self.runs)

    def go_on(self):
        """One more thing happens."""
        of_clients = [self.create] * 2 + [self.cancel, self.submit, self.submit] * bool(self.runs)
        of_workers = [lambda: self.look_for_work(self.any_run(), has_slot=self.chance.random() < 0.8)] * 7
        of_owners = [self.say] * 5 + [self.finish, self.call_function, self.confirm_lease]
        of_owners += [self.stop_in_good_order, self.lose_the_database]
        self.chance.choice(
            of_clients + of_workers * bool(self.runs) + of_owners * bool(self.owners) + [self.wait] * 3
        )()  # fmt: skip
        self.run(self.app.store.read(self.check))

    def check(self, tx):
        for thread in self.threads:
            active = thread.active.run_id if thread.active else None
            assert tx.one(find_thread, thread_id=thread.thread_id) == (active,)
        for model in self.runs:
            place = {"thread_id": model.thread_id, "run_id": model.run_id}
            status, attempt, wake_at = tx.one(find_run, **place)
            assert (status, attempt) == (model.status, model.attempt)
            rows = sorted(tx.all(list_events, **place))
            numbers = [number for first, last, _ in rows for number in range(first, last + 1)]
            assert numbers == list(range(1, len(numbers) + 1))
            first, *told = STATUS_EVENT.findall("".join(frames for _, _, frames in rows))
            assert first == "created"
            assert told[0] == "queued"
            assert told[-1] == status
            for before, after in itertools.pairwise(told):
                assert after in lifecycle.MAY_FOLLOW[before]
            if status in lifecycle.ACTIVE:
                assert wake_at == model.wake_at
            else:
                assert sum(name in events.OVER for name in told) == 1
                assert tx.one(list_open, run_id=model.run_id) == (0,)

    def bring_to_an_end(self):
        """When all is said and done, no thread is held."""
        for _ in range(20):
            if not any(thread.active for thread in self.threads):
                break
            self.clock.now += LIFETIME_S + LEASE_S
            for model in self.runs:
                self.look_for_work(model)
        assert not any(thread.active or thread.waiting for thread in self.threads)
        self.run(self.app.store.read(self.check))


class Clock:
    """Time that stands still until it is moved."""

    now = 1_700_000_000

    def __call__(self):
        return float(self.now)


def test_random_lives_of_runs_go_as_the_model_says(database, postgres, postgres_settings, tmp_path):
    own = {"database": postgres(), **postgres_settings} if database == "postgres" else {}
    chosen = {"database": f"sqlite:///{tmp_path / 'threadkeep.db'}", "worker": False, "request_log": False, **own}
    limits = {"run_lease_s": LEASE_S, "run_lifetime_s": LIFETIME_S, "run_attempts_max": ATTEMPTS_MAX}
    clock = Clock()
    app = Threadkeep(Settings(**chosen, **limits), clock=clock)
    with closing(asyncio.Runner()) as runner:
        running = app.running()
        runner.run(running.__aenter__())
        ctx = app.context_of(runner.run(projects.find(app.store, projects.DEFAULT_PROJECT)).project_id)
        made = runner.run(assistants.create(ctx, AssistantCreateParams(model="m", instructions="Help.")))
        assistant_id = msgspec.json.decode(bytes(made))["id"]

        for seed in range(EXAMPLES[database]):
            lives = Lifecycle(random.Random(seed), runner.run, app, ctx, clock, assistant_id)
            try:
                for _ in range(STEPS):
                    lives.go_on()
                lives.bring_to_an_end()
            except BaseException:
                print(f"seed {seed}")
                raise
        runner.run(running.__aexit__(None, None, None))
