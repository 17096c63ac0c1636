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


class HeadTooLargeError(APIError):
    """The request line and headers are over the limit."""

    status = 431
    code = "request_too_large"


class LimitedProtocol(HttpToolsProtocol):
    """One connection. `limits` is set on a subclass, because uvicorn makes the instances."""

    limits: Settings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._in_body = False
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._deadline_is_for_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections_max:
            self._refuse(OverloadedError("The server is overloaded: it has too many connections. Try again shortly."))
            return
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.head_bytes_max:
                self._refuse(HeadTooLargeError("The request's head is too large."))
                return
        if self._in_head or self._in_body:
            if self._deadline is None or self._deadline_is_for_head != self._in_head:
                self._set_deadline()
        elif self._deadline is not None:
            self._clear_deadline()

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Uvicorn calls this for what is not HTTP."""
        self._refuse(BadRequestError(msg))

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
        if self._head_bytes == 0 and self._in_head:
            # Nothing was asked, so nothing is answered.
            self.transport.close()
        else:
            self._refuse(RequestTimeoutError("The request did not arrive in time."))

    def _refuse(self, error: APIError) -> None:
        """Answers outside the application, and hangs up."""
        self._clear_deadline()
        if self.transport.is_closing():
            return
        log.info("refused a connection: %s", error.message)
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            payload = msgspec.json.encode(error.body())
            self.transport.write(
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
        self.transport.close()


def protocol_with(settings: Settings) -> type[LimitedProtocol]:
    """The protocol class that keeps the limits of `settings`."""
    return type("ThreadkeepProtocol", (LimitedProtocol,), {"limits": settings})
