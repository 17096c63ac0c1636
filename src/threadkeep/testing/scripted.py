"""A model server that says what a test tells it to, over real HTTP: Chat Completions, streamed or not, and the list of
models. It runs in an OS thread of its own, or as a process: `python -m threadkeep.testing`.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httptools

from threadkeep.testing import replies
from threadkeep.testing.replies import Reply
from threadkeep.upstream.wire import text_of

WAIT_S = 30
BACKLOG = 1024
# A stream that is not slowed down lets others have a turn after so many chunks.
TURN_CHUNKS = 64
COMPLETION_ID = "chatcmpl-scripted"
# No time is made up for what is repeated word for word.
CREATED = 1_700_000_000
EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}
REASONS = {200: "OK", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error"}


@dataclass(slots=True)
class Received:
    """One request for a completion."""

    headers: dict[str, str]
    body: dict[str, Any]
    # Set when its connection closed, whoever closed it.
    closed: threading.Event = field(default_factory=threading.Event)

    def wait_closed(self) -> None:
        """Waits until its connection is closed."""
        assert self.closed.wait(WAIT_S), "the connection is still open"


class _Gate:
    """Lets so many chunks leave, of all streams that go through it together."""

    def __init__(self) -> None:
        self._chunks = math.inf
        self._lock = threading.Lock()

    def narrow(self, chunks: float) -> None:
        """Lets `chunks` more leave, whatever was said before."""
        with self._lock:
            self._chunks = chunks

    def widen(self, chunks: float) -> None:
        """Lets `chunks` leave beside those that may already."""
        with self._lock:
            self._chunks += chunks

    def take(self) -> bool:
        """Whether one chunk may leave, which then counts as gone."""
        with self._lock:
            if self._chunks < 1:
                return False
            self._chunks -= 1
            return True


class ScriptedModel:
    """A running model server. `reply` says what comes next; without a script the model's name decides."""

    def __init__(self, models: Sequence[str] = ("scripted",), key: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.models = tuple(models)
        # What its list says of each, besides the usual.
        self.listed_with: dict[str, Any] = {}
        self.key = key
        self._tls = tls
        self.requests: list[Received] = []
        self._script: deque[Reply] = deque()
        self._news = threading.Condition()
        self._gate = _Gate()
        self._released: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self.is_stopping = False
        self.url = ""

    @property
    def base_url(self) -> str:
        """What an upstream takes as its URL."""
        return f"{self.url}/v1"

    def start(self) -> None:
        """Serves in an OS thread of its own."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        started = threading.Event()

        async def run() -> None:
            self._stop = asyncio.Event()
            asyncio.get_running_loop().call_soon(started.set)
            await self.serve(listener, self._stop)

        self._thread = threading.Thread(target=lambda: asyncio.run(run()), name="scripted model", daemon=True)
        self._thread.start()
        started.wait()

    def stop(self) -> None:
        """Cuts every connection; new ones are refused."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(WAIT_S)

    def reply(self, *answers: Reply) -> None:
        """Says what the next requests are answered, one each."""
        with self._news:
            self._script.extend(answers)

    def reset(self) -> None:
        """Forgets the script and what was asked, and lets everything leave.

        A stream that has begun goes on by itself: it takes nothing of what `hold` allows those that come after.
        """
        with self._news:
            self._script.clear()
            self.requests = []
            before, self._gate = self._gate, _Gate()
        self._open(before, math.inf)

    def hold(self, after: int = 0) -> None:
        """Lets `after` more chunks leave, of all streams together, then none until `release`."""
        self._gate.narrow(after)

    def release(self, chunks: float = math.inf) -> None:
        """Lets so many chunks more leave, or all."""
        self._open(self._gate, chunks)

    def _open(self, gate: _Gate, chunks: float) -> None:
        gate.widen(chunks)
        self._loop.call_soon_threadsafe(self._released.set)

    def wait_for_requests(self, count: int) -> list[Received]:
        """The requests so far, when there are at least `count`."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.requests) >= count, WAIT_S), f"{len(self.requests)} requests"
            return list(self.requests)

    async def serve(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Serves on the running event loop until `stop`."""
        self._loop = asyncio.get_running_loop()
        self._released = asyncio.Event()
        host, port = listener.getsockname()[:2]
        self.url = f"{'https' if self._tls else 'http'}://{host}:{port}"
        connections: set[_Connection] = set()
        accepting = await self._loop.create_server(lambda: _Connection(self, connections), sock=listener, ssl=self._tls)
        await stop.wait()
        accepting.close()
        self.is_stopping = True
        for connection in connections:
            connection.transport.abort()
        if connections:
            await asyncio.wait([connection.lost for connection in connections])

    async def permit(self, gate: _Gate) -> None:
        """Waits until one chunk may leave through the gate."""
        while not gate.take():
            self._released.clear()
            await self._released.wait()

    def answer_to(self, received: Received) -> tuple[Reply, _Gate]:
        """Notes a request and decides what it is answered, and through which gate."""
        # At one moment: a reply that is scripted once the request is known is for the next one.
        with self._news:
            self.requests.append(received)
            self._news.notify_all()
            if self._script:
                return self._script.popleft(), self._gate
            gate = self._gate
        return replies.by_name(str(received.body.get("model")), received.body.get("messages") or []), gate


class _Connection(asyncio.Protocol):
    """One connection, with one request on it at a time. Its methods are asyncio's and httptools'."""

    def __init__(self, model: ScriptedModel, connections: set[_Connection]) -> None:
        self._model = model
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._task: asyncio.Task[None] | None = None
        self._received: list[Received] = []
        self._may_write = asyncio.Event()
        self._may_write.set()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        if self._model.is_stopping:
            # It was taken in at the last moment.
            transport.abort()
            return
        # asyncio does it only where the socket's protocol is given by name; without it the second piece of an answer
        # waits until the client has acknowledged the first, which takes 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._connections.discard(self)
        self.lost.set_result(None)
        for received in self._received:
            received.closed.set()
        if self._task:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def on_message_begin(self) -> None:
        self._path = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._answer())

    async def _answer(self) -> None:
        path = self._path.partition(b"?")[0].decode()
        if self._model.key and self._headers.get("authorization") != f"Bearer {self._model.key}":
            reply = replies.error(401, f"Incorrect API key provided: {self._headers.get('authorization')}.")
        elif path.endswith("/models"):
            listed = [
                {"id": name, "object": "model", "created": CREATED, "owned_by": "scripted"} | self._model.listed_with
                for name in self._model.models
            ]
            self._send_whole(200, JSON, json.dumps({"object": "list", "data": listed}).encode())
            return
        elif path.endswith("/chat/completions"):
            received = Received(self._headers, json.loads(b"".join(self._body)))
            self._received.append(received)
            reply, gate = self._model.answer_to(received)
            if reply.body is None:
                send = self._stream if received.body.get("stream") else self._complete
                await send(reply, received.body, gate)
                return
        else:
            reply = replies.error(404, f"There is nothing at {path}.")
        self._send_whole(reply.status, {**JSON, **reply.headers}, reply.body or b"")

    async def _complete(self, reply: Reply, body: dict[str, Any], gate: _Gate) -> None:
        for _ in reply.deltas:
            await self._model.permit(gate)
        choice = {"index": 0, "message": reply.completion(), "finish_reason": reply.finish_reason}
        answer = {**_head_of("chat.completion", body), "choices": [choice]}
        if reply.usage:
            answer["usage"] = _usage(reply, body)
        if reply.ends == "silence":
            return
        if reply.ends == "cut":
            self.transport.close()
            return
        self._send_whole(200, JSON, json.dumps(answer).encode())

    async def _stream(self, reply: Reply, body: dict[str, Any], gate: _Gate) -> None:
        head = b"".join(f"{name}: {value}\r\n".encode() for name, value in (EVENT_STREAM | dict(reply.headers)).items())
        self.transport.write(b"HTTP/1.1 200 OK\r\n%btransfer-encoding: chunked\r\n\r\n" % head)
        started, number = time.monotonic(), 0
        async for frame in _frames(reply, body):
            number += 1
            if reply.tokens_per_s:
                await asyncio.sleep(started + number / reply.tokens_per_s - time.monotonic())
            elif number % TURN_CHUNKS == 0:
                await asyncio.sleep(0)
            await self._model.permit(gate)
            await self._may_write.wait()
            self.transport.write(b"%x\r\n%b\r\n" % (len(frame), frame))
        if reply.ends == "cut":
            self.transport.close()
        elif reply.ends != "silence":
            self.transport.write(b"0\r\n\r\n")

    def _send_whole(self, status: int, headers: dict[str, str], body: bytes) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(
            f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\n{head}content-length: {len(body)}\r\n\r\n".encode()
            + body
        )


def _head_of(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"id": COMPLETION_ID, "object": kind, "created": CREATED, "model": body.get("model")}


def _usage(reply: Reply, body: dict[str, Any]) -> dict[str, Any]:
    """Words for tokens: a deterministic count."""
    if isinstance(reply.usage, dict):
        return reply.usage
    prompt = sum(len(text_of(message).split()) for message in body.get("messages", []))
    completion = len(reply.deltas)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


async def _frames(reply: Reply, body: dict[str, Any]) -> AsyncIterator[bytes]:
    head = _head_of("chat.completion.chunk", body)
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))

    def frame(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        chunk = {**head, "choices": [choice]} | ({"usage": None} if wants_usage else {})
        return b"data: %b\n\n" % json.dumps(chunk).encode()

    if reply.deltas:
        yield frame({"role": "assistant", "content": ""})
    for delta in reply.deltas:
        yield frame(delta)
    if reply.ends not in ("done", "eof"):
        return
    if reply.finish_reason:
        yield frame({}, reply.finish_reason)
    if reply.usage and wants_usage:
        yield b"data: %b\n\n" % json.dumps({**head, "choices": [], "usage": _usage(reply, body)}).encode()
    if reply.ends == "done":
        yield b"data: [DONE]\n\n"


@contextmanager
def model(
    models: Sequence[str] = ("scripted",), *, key: str = "", tls: ssl.SSLContext | None = None
) -> Iterator[ScriptedModel]:
    """Serves a scripted model on a free port of loopback until the block ends.

    `models` is what its list says, `key`, if given, the only key it accepts, and `tls` makes it speak https.
    """
    scripted = ScriptedModel(models, key, tls)
    scripted.start()
    try:
        yield scripted
    finally:
        scripted.stop()
