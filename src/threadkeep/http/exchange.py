"""A request and its answer, as the API sees them, and the answer as bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools
import msgspec
from msgspec import Struct

from threadkeep.errors import APIError
from threadkeep.http.sink import Sink
from threadkeep.ids import random_hex
from threadkeep.streaming import Header

# What writes a body bit by bit. It is called once, also for a client that is gone (`sink.is_open`).
Stream = Callable[[Sink], Coroutine[Any, Any, None]]
JSON = b"application/json"


class ClientGoneError(Exception):
    """The client went away before its request was complete; there is nobody to answer."""


class Answer(Struct, frozen=True):
    """Status, body and headers, without those that every answer carries."""

    status: int
    payload: bytes
    headers: tuple[Header, ...] = ()
    content_type: bytes = JSON
    # Whether the connection ends with it.
    hangs_up: bool = False
    # In place of `payload`.
    stream: Stream | None = None


class Request(Struct, kw_only=True, eq=False):
    """One request. Its head is there; `receive` gives the pieces of its body as they come."""

    method: str
    path: str
    query_string: bytes
    # Lower-case names. Of a header that is given twice, the last one.
    headers: dict[bytes, bytes]
    keep_alive: bool
    # The address at the other end; empty on a Unix socket.
    peer: str
    request_id: str
    # By `time.perf_counter`.
    started: float
    # Asks the connection for more of the body.
    want_more: Callable[[Request], None]
    # For the log, filled in as they become known.
    route: str = "-"
    project_id: str = ""
    body_is_complete: bool = False
    # Whether its body may take as long as it likes, as long as it goes on coming.
    is_endless: bool = False
    bytes_waiting: int = 0
    pieces: list[bytes] = []
    waiting: asyncio.Future[None] | None = None
    gone: bool = False

    async def receive(self) -> bytes:
        """What came of the body since the last call, waiting for it if need be; empty at its end.

        Raises `ClientGoneError` when the rest will never come.
        """
        while not self.pieces and not self.body_is_complete:
            if self.gone:
                raise ClientGoneError
            self.want_more(self)
            self.waiting = asyncio.get_running_loop().create_future()
            await self.waiting
        pieces, self.pieces, self.bytes_waiting = self.pieces, [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def add(self, piece: bytes) -> None:
        """A piece of the body has come."""
        self.pieces.append(piece)
        self.bytes_waiting += len(piece)
        self._wake()

    def complete(self) -> None:
        """That was the last piece."""
        self.body_is_complete = True
        self._wake()

    def abandon(self) -> None:
        """No further piece will come."""
        self.gone = True
        self._wake()

    def _wake(self) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)


def new_request_id() -> str:
    """An id that nobody can guess; it is in the answer and in the log."""
    return f"req_{random_hex.take(32)}"


def split_target(target: bytes) -> tuple[str, bytes]:
    """Path and query string of a request line. Raises `ValueError` for what is not an address."""
    if target[:1] != b"/" or b"#" in target:
        # Clients of proxies send whole URLs.
        try:
            url = httptools.parse_url(target)
        except httptools.HttpParserInvalidURLError:
            raise ValueError from None
        path, query_string = url.path or b"/", url.query or b""
    else:
        path, _, query_string = target.partition(b"?")
    text = path.decode("ascii")
    return unquote(text) if "%" in text else text, query_string


def answer_of(error: APIError) -> Answer:
    """The one place where an error becomes an answer: status, envelope, headers."""
    return Answer(error.status, msgspec.json.encode(error.body()), error.headers, hangs_up=error.hangs_up)


_WITHOUT_BODY = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
_STATUS_LINES: dict[int, bytes] = {status: f"HTTP/1.1 {status} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Encoder:
    """Writes answers; makes what they share once a second, because of its date."""

    def __init__(self) -> None:
        self._shared = b""
        self._second = 0

    def encode(
        self, answer: Answer, *, request_id: str, started: float, keep_alive: bool = False, with_body: bool = True
    ) -> bytes:
        """The whole answer. `started` is when the request came, by `time.perf_counter`."""
        head = self._head(answer, request_id, started, keep_alive=keep_alive)
        if answer.status in _WITHOUT_BODY:
            # They have no body, so they may not have the headers of one.
            return head + b"\r\n"
        size, payload = len(answer.payload), answer.payload if with_body else b""
        return b"%bcontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (head, answer.content_type, size, payload)

    def encode_head(
        self, answer: Answer, *, request_id: str, started: float, keep_alive: bool, is_chunked: bool
    ) -> bytes:
        """The head of an answer that is streamed: in chunks, or up to the end of the connection."""
        head = self._head(answer, request_id, started, keep_alive=keep_alive)
        encoding = b"transfer-encoding: chunked\r\n" if is_chunked else b""
        return b"%bcontent-type: %b\r\n%b\r\n" % (head, answer.content_type, encoding)

    def _head(self, answer: Answer, request_id: str, started: float, *, keep_alive: bool) -> bytes:
        head = b"%b%bx-request-id: %b\r\nopenai-processing-ms: %d\r\n" % (
            _STATUS_LINES[answer.status],
            self._shared_now(),
            request_id.encode(),
            (time.perf_counter() - started) * 1000,
        )
        for header in answer.headers:
            head += b"%b: %b\r\n" % header
        if not keep_alive:
            head += b"connection: close\r\n"
        return head

    def _shared_now(self) -> bytes:
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._shared = b"date: %b\r\nopenai-version: 2020-10-01\r\n" % formatdate(now, usegmt=True).encode()
        return self._shared
