"""The ASGI application: finds the endpoint, knows the caller, reads the body, answers in the envelope, logs a line.

Requests of the API are handled here, on plain ASGI; Starlette serves the rest (`site.py`).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any

import msgspec

from threadkeep.errors import APIError, InternalServerError, MethodNotAllowedError, NotFoundError
from threadkeep.http import cors, dialect
from threadkeep.http.auth import Authenticator
from threadkeep.http.bodies import BodyReader, ClientGoneError, Receive
from threadkeep.http.endpoint import Endpoint
from threadkeep.http.routes import RouteTable
from threadkeep.logs import RequestLog
from threadkeep.settings import Settings

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Mapping[bytes, bytes]

_JSON = (b"content-type", b"application/json")
_VERSION = (b"openai-version", b"2020-10-01")
_NO_BODY_METHODS = {"GET", "DELETE"}


class Api:
    """Answers every HTTP request of one server."""

    def __init__(
        self, settings: Settings, authenticator: Authenticator, request_log: RequestLog | None, site: ASGIApp
    ) -> None:
        self._settings = settings
        self._authenticator = authenticator
        self._request_log = request_log
        self._site = site
        self._routes = RouteTable(strict=settings.strict)
        self._bodies = BodyReader(settings.body_bytes_max, settings.bodies_bytes_max)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, for the scope type `http`."""
        started = time.perf_counter()
        exchange = Exchange(scope, f"req_{os.urandom(16).hex()}", started)
        found = self._routes.find(scope["path"])
        headers = dict(scope["headers"])
        if found is None:
            status = await self._serve_site(exchange, headers, receive, send)
        else:
            try:
                status, payload, extra = await self._answer(exchange, found, headers, receive)
            except ClientGoneError:
                status = 499
            else:
                extra += cors.headers_for(self._settings.cors_origins, headers)
                await _send(send, exchange, status, payload, extra)
        if self._request_log:
            self._request_log.add(exchange.line(status))

    async def _answer(
        self, exchange: Exchange, found: tuple[dict[str, Endpoint], list[str]], headers: Headers, receive: Receive
    ) -> tuple[int, bytes, list[cors.Header]]:
        try:
            methods, path_ids = found
            endpoint = methods.get(exchange.scope["method"])
            if endpoint is None:
                if exchange.scope["method"] == "OPTIONS":
                    return 204, b"", [(b"allow", ", ".join(methods).encode()), *cors.preflight_headers(headers)]
                raise not_allowed(exchange.scope, (b"allow", ", ".join(methods).encode()))
            exchange.route = endpoint.route.path
            ctx = await self._authenticator.authenticate(headers)
            exchange.project_id = ctx.project_id
            v1 = dialect.is_v1(headers.get(b"openai-beta"), strict=self._settings.strict)
            takes_body = exchange.scope["method"] not in _NO_BODY_METHODS
            body = await self._bodies.read(receive, headers) if takes_body else b""
            try:
                return 200, await endpoint.call(ctx, path_ids, exchange.scope["query_string"], body, v1=v1), []
            finally:
                self._bodies.release(body)
        except APIError as error:
            return render(error)
        except ClientGoneError:
            raise
        except Exception:
            log.exception("%s %s failed", exchange.request_id, exchange.route)
            return render(InternalServerError(exchange.request_id))

    async def _serve_site(self, exchange: Exchange, headers: Headers, receive: Receive, send: Send) -> int:
        status = 500
        extra = cors.headers_for(self._settings.cors_origins, headers)

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *exchange.headers(), *extra]
            await send(message)

        exchange.scope["request_id"] = exchange.request_id
        try:
            await self._site(exchange.scope, receive, send_with_headers)
        except Exception:
            log.exception("%s %s failed", exchange.request_id, exchange.scope["path"])
        if status < HTTPStatus.BAD_REQUEST:
            exchange.route = exchange.scope["path"]
        return status


class Exchange:
    """What is known of one request, for its headers and its log line."""

    __slots__ = ("project_id", "request_id", "route", "scope", "started")

    def __init__(self, scope: Scope, request_id: str, started: float) -> None:
        self.scope = scope
        self.request_id = request_id
        self.started = started
        self.route = "-"
        self.project_id = ""

    def headers(self) -> list[cors.Header]:
        """The headers that every answer carries."""
        duration_ms = int((time.perf_counter() - self.started) * 1000)
        return [
            (b"x-request-id", self.request_id.encode()),
            (b"openai-processing-ms", str(duration_ms).encode()),
            _VERSION,
        ]

    def line(self, status: int) -> tuple[float, str, str, str, str, int, float, str]:
        """The log line of the finished request. The route, not the path: ids are not for logs of strangers."""
        client = self.scope.get("client")
        return (
            time.time(),
            self.request_id,
            self.project_id,
            self.scope["method"],
            self.route,
            status,
            (time.perf_counter() - self.started) * 1000,
            client[0] if client else "-",
        )


def render(error: APIError) -> tuple[int, bytes, list[cors.Header]]:
    """The one place where an error becomes an answer: status, envelope, headers."""
    return error.status, msgspec.json.encode(error.body()), list(error.headers)


def not_found(scope: Scope) -> NotFoundError:
    """The answer for an address that nothing is at."""
    return NotFoundError(f"Invalid URL ({scope['method']} {scope['path']})")


def not_allowed(scope: Scope, allow: cors.Header) -> MethodNotAllowedError:
    """The answer for an address that does not take this method; `allow` is the header that says which it takes."""
    return MethodNotAllowedError(
        f"Not allowed to {scope['method']} on {scope['path']}. "
        "(HINT: Perhaps you meant to use a different HTTP method?)",
        headers=(allow,),
    )


async def _send(send: Send, exchange: Exchange, status: int, payload: bytes, extra: list[cors.Header]) -> None:
    # A 204 has no body, so it may not have the headers of one.
    of_body = [] if status == HTTPStatus.NO_CONTENT else [_JSON, (b"content-length", str(len(payload)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*of_body, *exchange.headers(), *extra]})
    await send({"type": "http.response.body", "body": payload})
