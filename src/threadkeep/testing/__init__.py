"""For your tests: a real server, on loopback, on a database of its own, and a model that says what the test tells it.

with threadkeep.testing.serve() as server:
    client = openai.OpenAI(base_url=server.base_url, api_key=server.new_key())

with threadkeep.testing.model() as model:
    model.reply(threadkeep.testing.text("Hello ", "world"))
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from threadkeep import projects, server
from threadkeep.app import Threadkeep
from threadkeep.errors import CommandError
from threadkeep.settings import Settings
from threadkeep.testing.replies import Reply, call, error, garbage, refusal, silence, text, tool_calls
from threadkeep.testing.scripted import Received, ScriptedModel, model

__all__ = [
    "Received",
    "Reply",
    "RunningServer",
    "ScriptedModel",
    "call",
    "error",
    "garbage",
    "model",
    "refusal",
    "serve",
    "silence",
    "text",
    "tool_calls",
]

T = TypeVar("T")

STOP_TIMEOUT_S = 30


class RunningServer:
    """A server in an OS thread of its own."""

    def __init__(self, app: Threadkeep, loop: asyncio.AbstractEventLoop, url: str) -> None:
        self.app = app
        self.url = url
        self._loop = loop

    @property
    def base_url(self) -> str:
        """What the SDK takes as `base_url`."""
        return f"{self.url}/v1"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the server's event loop and waits for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def call(self, work: Callable[[], object]) -> None:
        """Runs `work` on the server's event loop, some time soon."""
        self._loop.call_soon_threadsafe(work)

    def new_key(self, project: str = projects.DEFAULT_PROJECT) -> str:
        """A new key for `project`, which is made when it is missing. It works at once."""
        return self.run(self._new_key(project))

    async def _new_key(self, name: str) -> str:
        store = self.app.store
        try:
            project = await projects.find(store, name)
        except CommandError:
            project = await projects.create(store, name, now=0)
        _, secret = await projects.create_key(store, project, name="testing", now=0)
        await self.app.authenticator.look()
        return secret


@contextmanager
def serve(**settings: Any) -> Iterator[RunningServer]:
    """Serves until the block ends. `settings` are those of `Settings`; the port is a free one, the data temporary."""
    with tempfile.TemporaryDirectory(prefix="threadkeep-") as folder:
        chosen = {
            "port": 0,
            "database": f"sqlite:///{Path(folder) / 'threadkeep.db'}",
            "request_log": False,
            **settings,
        }
        yield from _serve(Threadkeep(Settings(**chosen)))


def _serve(app: Threadkeep) -> Iterator[RunningServer]:
    listener = server.bind(app.settings)
    started = threading.Event()
    stop = asyncio.Event()
    outcome: list[BaseException | RunningServer] = []

    async def run() -> None:
        async with app.running():
            host, port = listener.getsockname()[:2] if not app.settings.uds else ("localhost", 0)
            outcome.append(RunningServer(app, asyncio.get_running_loop(), f"http://{host}:{port}"))
            # It listens already, so whoever connects now is answered in a moment.
            started.set()
            await server.serve(app, listener, stop)

    def run_in_thread() -> None:
        try:
            with asyncio.Runner(loop_factory=server.loop_factory()) as runner:
                runner.run(run())
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            outcome.insert(0, error)
        finally:
            started.set()

    thread = threading.Thread(target=run_in_thread, name="threadkeep", daemon=True)
    thread.start()
    started.wait()
    try:
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        yield outcome[0]
    finally:
        if isinstance(running := outcome[0], RunningServer):
            running.call(stop.set)
        thread.join(STOP_TIMEOUT_S)
        listener.close()
