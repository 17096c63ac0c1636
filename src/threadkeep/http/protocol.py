"""uvicorn's HTTP protocol with the limits it has not: on the time and size of a request's head, on the time of its
body, on the number of connections. Its own refusals are in the envelope too.
"""

from __future__ import annotations

import asyncio
import logging
import os
from http import HTTPStatus
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from threadkeep.errors import APIError, BadRequestError, OverloadedError, RequestTimeoutError
from threadkeep.settings import Settings

log = logging.getLogger(__name__)

_HEAD_TOO_LARGE = "The request's head is too large."


class HeadTooLargeError(APIError):
    """The request line and headers are over the limit."""

    status = 431
    code = "request_too_large"


class LimitedProtocol(HttpToolsProtocol):
    """One connection. `limits` is set on a subclass, because uvicorn makes the instances."""

    limits: Settings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # From the first byte after a message on, even if it is only a blank line.
        self._in_head = True
        self._in_body = False
        self._head_has_begun = False
        self._heads = 0
        self._head_bytes = 0
        self._head_in_one_piece = True
        self._refusal: APIError | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._deadline_is_for_head = True
        self._send_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections_max:
            self._refuse(OverloadedError("it has too many connections"))
            return
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self._in_head and not self._in_body:
            self._begin_head()
        self._head_in_one_piece = len(data) <= self.limits.head_bytes_max
        heads = self._heads
        super().data_received(data)
        if self._in_head and self._heads == heads:
            # The whole piece belongs to one head.
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.head_bytes_max:
                self._refuse(HeadTooLargeError(_HEAD_TOO_LARGE))
                return
        if self._in_head or self._in_body:
            if self._deadline is None or self._deadline_is_for_head != self._in_head:
                self._set_deadline()
        elif self._deadline is not None:
            self._clear_deadline()

    def on_message_begin(self) -> None:
        if not self._in_head:
            self._begin_head()
        self._head_has_begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._in_body = True
        if not self._head_in_one_piece and self._size_of_head() > self.limits.head_bytes_max:
            self._refusal = HeadTooLargeError(_HEAD_TOO_LARGE)
        elif self.parser.should_upgrade() and self._declares_body():
            # The parser takes what follows for another protocol: the body would be lost.
            self._refusal = BadRequestError("A request with a body cannot ask for an upgrade of the protocol.")
        if self._refusal:
            raise ValueError  # makes the parser stop; uvicorn then calls `send_400_response`
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """The base class calls this for what is not HTTP."""
        self._refuse(self._refusal or BadRequestError(msg))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_deadline = self.loop.call_later(self.limits.body_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        if self._send_deadline is not None:
            self._send_deadline.cancel()
            self._send_deadline = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():
            # A client that does not read would keep the connection open by not reading.
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_has_begun = False
        self._heads += 1
        self._head_bytes = 0

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _declares_body(self) -> bool:
        return any(
            (name == b"content-length" and value != b"0") or name == b"transfer-encoding"
            for name, value in self.headers
        )

    def _is_answering(self) -> bool:
        """Whether a request that has arrived whole is not yet answered."""
        return self.cycle is not None and not self.cycle.response_complete and not self._in_body

    def _set_deadline(self) -> None:
        self._clear_deadline()
        self._deadline_is_for_head = self._in_head
        limit_s = self.limits.head_timeout_s if self._in_head else self.limits.body_timeout_s
        self._deadline = self.loop.call_later(limit_s, self._too_slow)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        answered = self.cycle is not None and self.cycle.response_complete
        if (self._in_body and answered) or (self._in_head and not self._head_has_begun and not self._is_answering()):
            # Nothing was asked, or it is answered already.
            self.transport.close()
        else:
            self._refuse(RequestTimeoutError("The request did not arrive in time."))

    def _refuse(self, error: APIError) -> None:
        """Answers outside the application, and hangs up."""
        self._clear_deadline()
        if self.transport.is_closing():
            return
        log.info("refused a connection: %s", error.message)
        if self._is_answering():
            # This would be taken for the answer to the request before.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            self.transport.write(_raw_answer(error))
        self.transport.close()


def _raw_answer(error: APIError) -> bytes:
    payload = msgspec.json.encode(error.body())
    return (
        b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        b"x-request-id: req_%s\r\nconnection: close\r\n\r\n%s"
        % (
            error.status,
            HTTPStatus(error.status).phrase.encode(),
            len(payload),
            os.urandom(16).hex().encode(),
            payload,
        )
    )


def protocol_with(settings: Settings) -> type[LimitedProtocol]:
    """The protocol class that keeps the limits of `settings`."""
    return type("ThreadkeepProtocol", (LimitedProtocol,), {"limits": settings})
