"""What an operation is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from threadkeep import idempotency, tracing
from threadkeep.events import EventLog
from threadkeep.idempotency import KeyedRequest
from threadkeep.ids import IdSource
from threadkeep.limits import Quota
from threadkeep.metrics import Metrics
from threadkeep.settings import Settings
from threadkeep.store.interface import Store, Transaction
from threadkeep.tracing import Tracing
from threadkeep.upstream import Upstreams

if TYPE_CHECKING:
    from threadkeep.run_rows import HeldRun


class AnyWorker(Protocol):
    """What executes runs in this process, as operations see it. `NoWorker` stands in where none are."""

    @property
    def running(self) -> int:
        """How many runs are executed now."""

    def reserve_slot(self) -> bool:
        """Reserves room for one more run; False when there is none."""

    def give_slot_back(self) -> None:
        """The run for which a slot was taken did not come to be."""

    def start(self, claimed: HeldRun) -> None:
        """Carries out a run that was claimed for a slot."""

    def drop(self, thread_id: str, run_id: str) -> None:
        """The run has been taken away from whoever carries it out; the model need not go on."""

    def ring(self) -> None:
        """A run is queued."""


class NoWorker:
    """Stands where a process executes no runs."""

    running = 0

    def reserve_slot(self) -> bool:
        """There is none."""
        return False

    def give_slot_back(self) -> None:
        """None was taken."""

    def start(self, claimed: HeldRun) -> None:
        """Nothing can be claimed for this process."""
        raise NotImplementedError

    def drop(self, thread_id: str, run_id: str) -> None:
        """Its owner, elsewhere, will find out."""

    def ring(self) -> None:
        """Workers elsewhere look for themselves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What all callers share, the caller's project, and the two things tests replace: clock and id source."""

    store: Store
    settings: Settings
    project_id: str
    clock: Callable[[], float]
    new_id: Callable[[str], str]
    events: EventLog
    upstreams: Upstreams
    worker: AnyWorker
    metrics: Metrics
    # The caller's key, where it is one of the database.
    key_id: str = ""
    # What the caller may use, where there are limits.
    quota: Quota | None = None
    tracing: Tracing = tracing.OFF
    # The request has an `Idempotency-Key`.
    keyed: KeyedRequest | None = None

    def now(self) -> int:
        """The wire's time: whole seconds since the epoch."""
        return int(self.clock())

    def now_ms(self) -> int:
        """For leases and wake-ups: milliseconds since the epoch."""
        return int(self.clock() * 1000)

    def take_key(self, tx: Transaction) -> None:
        """What a unit that creates something does first. Raises when the request's key was used before."""
        if self.keyed:
            idempotency.take(tx, self.project_id, self.keyed, self.now(), self.settings.idempotency_keys_kept_s)

    def keep_answer(
        self,
        tx: Transaction,
        answer: bytes,
        object_id: str,
        *,
        thread_id: str | None = None,
        after_event: int | None = None,
    ) -> None:
        """What it does last: the request's key will give this answer again."""
        if self.keyed:
            idempotency.keep(tx, self.project_id, self.keyed, answer, object_id, thread_id, after_event)


def outside_a_server(store: Store, settings: Settings, project_id: str) -> Context:
    """For commands: nobody follows anything here, and no run is executed."""
    new_id = IdSource(time.time)
    metrics = Metrics()
    return Context(
        store=store,
        settings=settings,
        project_id=project_id,
        clock=time.time,
        new_id=new_id,
        events=EventLog(store, is_shared=False, metrics=metrics),
        upstreams=Upstreams(settings, new_id),
        worker=NoWorker(),
        metrics=metrics,
    )
