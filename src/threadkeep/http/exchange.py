"""A request and its answer, as the API sees them, and the answer as bytes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

import httptools
import msgspec

from threadkeep.errors import APIError

Header = tuple[bytes, bytes]
JSON = b"application/json"


class ClientGoneError(Exception):
    """The client went away before its request was complete; there is nobody to answer."""


class Answer(NamedTuple):
    """Status, body and headers, without those that every answer carries."""

    status: int
    payload: bytes
    headers: tuple[Header, ...] = ()
    content_type: bytes = JSON
    # Whether the connection ends with it.
    hangs_up: bool = False


class Request:
    """One request. Its head is there; `receive` gives the pieces of its body as they come.

    `route` and `project_id` are filled in for the log as they become known.
    """

    __slots__ = (
        "_gone",
        "_pieces",
        "_waiting",
        "_want_more",
        "body_is_complete",
        "bytes_waiting",
        "headers",
        "keep_alive",
        "method",
        "path",
        "peer",
        "project_id",
        "query_string",
        "request_id",
        "route",
        "started",
    )

    def __init__(
        self, method: str, target: bytes, headers: dict[bytes, bytes], *, keep_alive: bool, peer: str,
        want_more: Callable[[Request], None],
    ) -> None:  # fmt: skip
        self.started = time.perf_counter()
        self.request_id = new_request_id()
        self.method = method
        self.path, self.query_string = split_target(target)
        # Lower-case names. Of a header that is given twice, the last one.
        self.headers = headers
        self.keep_alive = keep_alive
        # The address at the other end; empty on a Unix socket.
        self.peer = peer
        self.route = "-"
        self.project_id = ""
        self.body_is_complete = False
        self.bytes_waiting = 0
        self._pieces: list[bytes] = []
        self._waiting: asyncio.Future[None] | None = None
        self._want_more = want_more
        self._gone = False

    async def receive(self) -> bytes:
        """What came of the body since the last call, waiting for it if need be; empty at its end.

        Raises `ClientGoneError` when the rest will never come.
        """
        while not self._pieces and not self.body_is_complete:
            if self._gone:
                raise ClientGoneError
            self._want_more(self)
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        pieces, self._pieces, self.bytes_waiting = self._pieces, [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def add(self, piece: bytes) -> None:
        """A piece of the body has come."""
        self._pieces.append(piece)
        self.bytes_waiting += len(piece)
        self._wake()

    def complete(self) -> None:
        """That was the last piece."""
        self.body_is_complete = True
        self._wake()

    def abandon(self) -> None:
        """No further piece will come."""
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def new_request_id() -> str:
    """An id that nobody can guess; it is in the answer and in the log."""
    return f"req_{os.urandom(16).hex()}"


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


_STATUS_LINES: dict[int, bytes] = {status: f"HTTP/1.1 {status} {status.phrase}".encode() for status in HTTPStatus}


class Encoder:
    """Writes answers; makes the `date` header once a second."""

    def __init__(self) -> None:
        self._date = b""
        self._second = 0

    def encode(
        self, answer: Answer, *, request_id: str, started: float, keep_alive: bool = False, with_body: bool = True
    ) -> bytes:
        """The whole answer. `started` is when the request came, by `time.perf_counter`."""
        status, payload, headers, content_type, _ = answer
        head = b"%b\r\ndate: %b\r\nx-request-id: %b\r\nopenai-processing-ms: %d\r\nopenai-version: 2020-10-01\r\n" % (
            _STATUS_LINES[status],
            self._today(),
            request_id.encode(),
            int((time.perf_counter() - started) * 1000),
        )
        for header in headers:
            head += b"%b: %b\r\n" % header
        if not keep_alive:
            head += b"connection: close\r\n"
        if status == HTTPStatus.NO_CONTENT:
            # It has no body, so it may not have the headers of one.
            return head + b"\r\n"
        return b"%bcontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            head,
            content_type,
            len(payload),
            payload if with_body else b"",
        )

    def _today(self) -> bytes:
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._date = formatdate(now, usegmt=True).encode()
        return self._date
