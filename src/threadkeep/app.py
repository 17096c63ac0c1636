"""From settings to a running application: store, keys, housekeeping, HTTP; and back down in the opposite order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from threadkeep import idempotency, retention, search_index, store, threads
from threadkeep.context import Context, NoWorker
from threadkeep.events import EventLog
from threadkeep.http.api import Api
from threadkeep.http.auth import Authenticator
from threadkeep.http.metrics_page import MetricsPage
from threadkeep.http.proxies import TrustedProxies
from threadkeep.http.site import Site
from threadkeep.ids import IdSource
from threadkeep.limits import Limiter, Limits
from threadkeep.logs import RequestLog
from threadkeep.metrics import Metrics
from threadkeep.settings import Settings
from threadkeep.store import migrate
from threadkeep.tasks import Trouble, for_ever
from threadkeep.tracing import Tracing
from threadkeep.upstream import Upstreams
from threadkeep.webhook_delivery import Deliverer
from threadkeep.worker import Worker

# Between looks for deleted threads, and from a look to the sweep: the more are removed together, the less each costs,
# but deleted text is not to stay for long.
LOOK_EVERY_S = 1.0
SWEEP_AFTER_S = 4.0
LAST_SWEEP_S = 2.0
SWEEPING = "remove deleted threads and old idempotency keys"
# Between two looks for expired threads.
EXPIRE_EVERY_S = 5.0


class Threadkeep:
    """The server without its address: `running()` opens and closes it, `api.answer` answers requests."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[str], str] | None = None,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._new_id = new_id or IdSource(clock)
        self.store = store.create_store(settings, serving=True)
        is_shared = store.is_shared(settings)
        self.metrics = Metrics()
        self.tracing = Tracing(settings)
        self.events = EventLog(self.store, is_shared=is_shared, metrics=self.metrics)
        self.indexer = search_index.Indexer(self.store)
        self.upstreams = Upstreams(settings, self._new_id)
        self.worker: Worker | NoWorker = NoWorker()
        if settings.worker:
            self.worker = Worker(self.context_of, settings.runs_max, is_shared=is_shared)
        self._limiter = Limiter(settings, self.store, clock, is_shared=is_shared)
        self.authenticator = Authenticator(settings, self.store, self.context_of)
        self._request_log = RequestLog(as_json=settings.log_json) if settings.request_log else None
        proxies = TrustedProxies(settings.forwarded_allow_ips)
        self.metrics_page = MetricsPage(self.context_of(""), self.authenticator)
        site = Site(self.store.ping, proxies, self.metrics_page)
        self.api = Api(
            settings, self.authenticator, self._request_log, self.metrics, self.tracing, proxies, site.answer
        )

    def context_of(self, project_id: str, key_id: str = "", limits: Mapping[str, Limits] | None = None) -> Context:
        """What operations get for a caller of that project, with that key. Without `limits` there are none."""
        return Context(
            store=self.store,
            settings=self.settings,
            project_id=project_id,
            clock=self._clock,
            new_id=self._new_id,
            events=self.events,
            upstreams=self.upstreams,
            worker=self.worker,
            metrics=self.metrics,
            key_id=key_id,
            quota=None if limits is None else self._limiter.quota(project_id, key_id, limits),
            tracing=self.tracing,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Opens the store (a new database gets its schema), serves, closes. Raises `CommandError`."""
        async with AsyncExitStack() as closing:
            await self.store.open()
            closing.push_async_callback(self.store.close)
            await migrate.prepare(self.store)
            if self._request_log:
                closing.callback(self._request_log.write)
            self.tracing.open()
            closing.push_async_callback(self.tracing.close)
            await self.upstreams.open()
            closing.push_async_callback(self.upstreams.close)
            await self.authenticator.start(int(self._clock()))
            closing.push_async_callback(self.authenticator.stop)
            closing.push_async_callback(self._sweep_last)
            await closing.enter_async_context(self._tending())
            if isinstance(self.worker, Worker):
                deliverer = Deliverer(self.context_of(""))
                deliverer.open()
                closing.push_async_callback(deliverer.close)
                await self.worker.open()
                closing.push_async_callback(self.worker.close)
            yield

    @asynccontextmanager
    async def _tending(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work) for work in (self._sweep(), self._expire(), self.indexer.run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _sweep(self) -> None:
        await asyncio.sleep(LOOK_EVERY_S)
        await for_ever(SWEEPING, LOOK_EVERY_S, lambda: self._sweep_if_needed(SWEEP_AFTER_S))

    async def _expire(self) -> None:
        async def expire() -> None:
            await retention.expire(self.store, int(self._clock()))
            await retention.apply_rules_if_due(self.store, int(self._clock()))

        await for_ever("delete expired threads", EXPIRE_EVERY_S, expire)

    async def _sweep_last(self) -> None:
        """Deleted text is gone when the server has stopped; only a very long thread's rest waits for the next start."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SWEEP_S):
                with Trouble(SWEEPING):
                    await self._sweep_if_needed(0)
                    await self.indexer.catch_up()

    async def _sweep_if_needed(self, after_s: float) -> None:
        if await threads.needs_sweep(self.store, int(self._clock())):
            await asyncio.sleep(after_s)
            await threads.sweep(self.store, int(self._clock()))
        await idempotency.sweep(self.store, int(self._clock()), self.settings.idempotency_keys_kept_s)
