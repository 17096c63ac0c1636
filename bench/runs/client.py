"""The load: a client that does as little as possible, so that the CPU is left to what is measured."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import httptools

TIMEOUT_S = 60
# What every token's event begins with, and what the first token of the scripted model looks like in any answer.
TOKEN = b"event: thread.message.delta\n"
FIRST_WORD = b'"Words '
RUN = re.compile(rb'"id":"(run_\w+)".*?"thread_id":"(thread_\w+)"')


class Connection(asyncio.Protocol):
    """One connection, kept between requests; one request on it at a time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._done: asyncio.Future[None] | None = None

    async def open(self) -> Connection:
        """Connects."""
        await asyncio.get_running_loop().create_connection(lambda: self, self._host, self._port)
        return self

    def close(self) -> None:
        """Hangs up."""
        self._transport.close()

    async def call(self, path: str, body: object = None) -> dict:
        """Posts `body`, or gets when there is none; gives the answer."""
        pieces: list[bytes] = []
        await self.stream(path, body, pieces.append)
        return json.loads(b"".join(pieces))

    async def stream(self, path: str, body: object, take: Callable[[bytes], object]) -> None:
        """The same; `take` gets the answer's body as it comes. Raises when the answer is an error or cut off."""
        data = b"" if body is None else json.dumps(body).encode()
        self._take, self._done = take, asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nhost: {self._host}\r\n"
        self._transport.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        async with asyncio.timeout(TIMEOUT_S):
            await self._done
        if (status := self._parser.get_status_code()) != 200:
            raise RuntimeError(f"{path}: {status}")

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        if self._done and not self._done.done():
            self._done.set_exception(ConnectionResetError("cut off"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._take(data)

    def on_message_complete(self) -> None:
        if not self._done.done():
            self._done.set_result(None)


class Watch:
    """Notes when each token of a streamed run comes."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        # By the same clock, one for each token.
        self.times: list[float] = []
        # The ids of its thread and of the run itself.
        self.run: tuple[str, str] | None = None
        self._end = b""

    def __call__(self, data: bytes) -> None:
        now = time.perf_counter()
        # What is sent together may be cut anywhere on its way.
        data = self._end + data
        if self.run is None and (found := RUN.search(data)):
            self.run = (found[2].decode(), found[1].decode())
        self.times += [now] * data.count(TOKEN)
        self._end = data[-len(TOKEN) + 1 :] if self.run else data


class Assistant:
    """An assistant on a server, whose model the runs name themselves."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def create(self) -> Assistant:
        """Makes it."""
        connection = await self.connect()
        self.id = (await connection.call("/v1/assistants", {"model": "text:1"}))["id"]
        connection.close()
        return self

    async def connect(self) -> Connection:
        """A connection to its server."""
        return await Connection(self.url).open()

    async def thread(self, connection: Connection) -> str:
        """A thread with a question in it."""
        thread = {"messages": [{"role": "user", "content": "Hello"}]}
        return (await connection.call("/v1/threads", thread))["id"]

    def run(self, model: str, *, stream: bool = True) -> dict:
        """The body that asks for a run."""
        return {"assistant_id": self.id, "model": model, "stream": stream}

    async def streams(self, count: int, model: str, over_s: float = 0) -> Streams:
        """So many streamed runs, made ready to begin one after the other within `over_s`."""
        connections = [await self.connect() for _ in range(count)]
        paths = [f"/v1/threads/{await self.thread(connection)}/runs" for connection in connections]
        return Streams(connections, paths, self.run(model), over_s)


class Streams:
    """Streamed runs that go on at the same time."""

    def __init__(self, connections: list[Connection], paths: list[str], body: dict | None, over_s: float) -> None:
        self._connections, self._paths, self._body = connections, paths, body
        self._over_s = over_s
        self.watches = [Watch() for _ in connections]

    @property
    def tokens(self) -> int:
        """How many have come so far, of all streams."""
        return sum(len(watch.times) for watch in self.watches)

    async def run(self) -> None:
        """Begins them all, and returns when all are over."""
        await asyncio.gather(*map(self._one, range(len(self.watches))))

    async def _one(self, number: int) -> None:
        await asyncio.sleep(number / len(self.watches) * self._over_s)
        connection, watch = self._connections[number], self.watches[number]
        watch.started = time.perf_counter()
        await connection.stream(self._paths[number], self._body, watch)
        connection.close()


async def until(is_true: Callable[[], object]) -> None:
    """Waits for what the load itself notes, without a word to it."""
    while not is_true():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
