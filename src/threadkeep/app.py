"""From settings to a running application: store, keys, housekeeping, HTTP; and back down in the opposite order."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from threadkeep import threads
from threadkeep.context import Context
from threadkeep.errors import APIError
from threadkeep.http.api import Api, Scope, Send
from threadkeep.http.auth import Authenticator
from threadkeep.http.bodies import Receive
from threadkeep.http.site import create_site
from threadkeep.ids import IdSource
from threadkeep.logs import RequestLog
from threadkeep.settings import Settings
from threadkeep.store import create_store, migrate

log = logging.getLogger(__name__)

# Between looks for deleted threads that left rows behind; a slice of work follows the other at once.
SWEEP_EVERY_S = 1.0


class Threadkeep:
    """The server as an ASGI application. `running()` opens and closes it; so does the ASGI lifespan."""

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
        self.store = create_store(settings, serving=True)
        self.authenticator = Authenticator(settings, self.store, self.context_of)
        self._request_log = RequestLog(as_json=settings.log_json) if settings.request_log else None
        self._api = Api(settings, self.authenticator, self._request_log, create_site(self._ping))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            await self._api(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            raise RuntimeError(f"cannot serve {scope['type']}")

    def context_of(self, project_id: str) -> Context:
        """What operations get for a caller of that project."""
        return Context(self.store, self.settings, project_id, self._clock, self._new_id)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Opens the store (a new database gets its schema), serves, closes. Raises `StartupError`."""
        await self.store.open()
        try:
            await migrate.prepare(self.store)
            await self.authenticator.start(int(self._clock()))
            sweeping = asyncio.create_task(self._sweep())
            try:
                yield
            finally:
                sweeping.cancel()
                await asyncio.wait([sweeping])
                await self.authenticator.stop()
                if self._request_log:
                    self._request_log.write()
        finally:
            await self.store.close()

    async def _ping(self) -> None:
        await self.store.ping()

    async def _sweep(self) -> None:
        while True:
            try:
                more = await threads.sweep(self.store, int(self._clock()))
            except APIError as error:
                log.warning("cannot remove what deleted threads left, will try again: %s", error)
                more = False
            except Exception:
                log.exception("cannot remove what deleted threads left, will try again")
                more = False
            if not more:
                await asyncio.sleep(SWEEP_EVERY_S)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def create_app(settings: Settings | None = None, **overrides: Any) -> Threadkeep:
    """The server for `settings`, or the defaults, with `overrides` such as `database="sqlite:///notes.db"`."""
    return Threadkeep(dataclasses.replace(settings or Settings(), **overrides))
