"""What answers a request: finds the endpoint, knows the caller, reads the body, answers in the envelope, logs a line.

Requests of the API are handled here; Starlette serves the rest (`site.py`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus

import msgspec

from threadkeep.context import Context
from threadkeep.errors import APIError, InternalServerError, MethodNotAllowedError, NotFoundError
from threadkeep.http import cors, dialect, streams
from threadkeep.http.auth import Authenticator
from threadkeep.http.bodies import BodyReader
from threadkeep.http.endpoint import Endpoint, Route
from threadkeep.http.exchange import Answer, ClientGoneError, Request, Stream, answer_of
from threadkeep.http.proxies import TrustedProxies
from threadkeep.http.routes import ROUTES, RouteTable
from threadkeep.http.sink import Sink
from threadkeep.logs import RequestLog
from threadkeep.metrics import Metrics
from threadkeep.settings import Settings
from threadkeep.streaming import Download, EventStream, Header
from threadkeep.tracing import Tracing

log = logging.getLogger(__name__)

CLIENT_GONE = 499
# The parts of the original's API that programs use beside threads.
FOR_MODEL_SERVERS = {"chat", "completions", "responses", "embeddings", "images", "audio", "moderations"}
ELSEWHERE = ". This server has assistants and threads only: send this to your model server, through a second client."
_NO_BODY_METHODS = {"GET", "DELETE"}


class Api:
    """Answers every HTTP request of one server."""

    def __init__(
        self,
        settings: Settings,
        authenticator: Authenticator,
        request_log: RequestLog | None,
        metrics: Metrics,
        tracing: Tracing,
        proxies: TrustedProxies,
        site: Callable[[Request], Awaitable[Answer]],
        routes: tuple[Route, ...] = ROUTES,
    ) -> None:
        self._settings = settings
        self._authenticator = authenticator
        self._request_log = request_log
        self._metrics = metrics
        self._tracing = tracing
        self._site = site
        self._proxies = proxies
        self._routes = RouteTable(routes, strict=settings.strict)
        self._bodies = BodyReader(settings.body_bytes_max, settings.bodies_bytes_max)

    async def answer(self, request: Request) -> Answer:
        """Never raises, except `ClientGoneError`."""
        try:
            answer = await (self._traced_answer(request) if self._tracing.is_on else self._answer(request))
        except BaseException:
            self._log(request, CLIENT_GONE)
            raise
        if answer.stream is None:
            self._log(request, answer.status)
        else:
            answer = msgspec.structs.replace(answer, stream=partial(self._stream, request, answer.stream))
        if extra := cors.headers_for(self._settings.cors_origins, request.headers):
            answer = msgspec.structs.replace(answer, headers=(*answer.headers, *extra))
        return answer

    async def _traced_answer(self, request: Request) -> Answer:
        with self._tracing.request(request.method, request.headers) as span:
            answer = await self._answer(request)
            span.answered(request.route, answer.status)
            return answer

    async def _answer(self, request: Request) -> Answer:
        try:
            found = self._routes.find(request.path)
            if found is None:
                return await self._serve_site(request)
            methods, path_ids = found
            endpoint = methods.get(request.method)
            if endpoint is None:
                return self._refuse_method(request, methods)
            return await self._serve(request, endpoint, path_ids)
        except APIError as error:
            return answer_of(error)
        except ClientGoneError:
            raise
        except Exception:
            log.exception("%s %s failed", request.request_id, request.route)
            return answer_of(InternalServerError(request.request_id))

    async def _serve(self, request: Request, endpoint: Endpoint, path_ids: list[str]) -> Answer:
        request.route = endpoint.route.path
        ctx = await self._authenticator.authenticate(request.headers)
        request.project_id = ctx.project_id
        if ctx.quota is None:
            return await self._carry_out(ctx, endpoint, path_ids, request)
        try:
            await ctx.quota.spend_request()
            answer = await self._carry_out(ctx, endpoint, path_ids, request)
        except APIError as error:
            # It has cost a request, too.
            answer = answer_of(error)
        return msgspec.structs.replace(answer, headers=(*answer.headers, *ctx.quota.headers()))

    async def _carry_out(self, ctx: Context, endpoint: Endpoint, path_ids: list[str], request: Request) -> Answer:
        if endpoint.route.takes_stream:
            request.is_endless = True
            with self._bodies.pieces(request) as pieces:
                return await endpoint.take_in(ctx, request.query_string, pieces)
        return await self._call(ctx, endpoint, path_ids, request)

    async def _call(self, ctx: Context, endpoint: Endpoint, path_ids: list[str], request: Request) -> Answer:
        v1 = endpoint.route.beta and dialect.is_v1(request.headers.get(b"openai-beta"), strict=self._settings.strict)
        body = b"" if request.method in _NO_BODY_METHODS else await self._bodies.read(request)
        try:
            result = await endpoint.call(ctx, path_ids, request.query_string, request.headers, body, v1=v1)
        finally:
            self._bodies.release(body)
        if isinstance(result, EventStream):
            heartbeat_s = self._settings.stream_heartbeat_s
            return streams.answer(result, request_id=request.request_id, heartbeat_s=heartbeat_s)
        if isinstance(result, Download):
            return streams.download(result, request_id=request.request_id)
        return result

    async def _stream(self, request: Request, send: Stream, sink: Sink) -> None:
        """Streams; the request is over when that is."""
        status = HTTPStatus.OK if sink.is_open else CLIENT_GONE
        try:
            await send(sink)
        finally:
            self._log(request, status, is_stream=True)

    def _refuse_method(self, request: Request, methods: Mapping[str, Endpoint]) -> Answer:
        allow = (b"allow", ", ".join(methods).encode())
        if request.method != "OPTIONS":
            raise not_allowed(request.method, request.path, allow)
        return Answer(HTTPStatus.NO_CONTENT, b"", (allow, *cors.preflight_headers(request.headers)))

    async def _serve_site(self, request: Request) -> Answer:
        answer = await self._site(request)
        if answer.status < HTTPStatus.BAD_REQUEST:
            request.route = request.path
        return answer

    def _log(self, request: Request, status: int, *, is_stream: bool = False) -> None:
        """Notes the finished request. The route, not the path: ids are not for logs of strangers."""
        duration_s = time.perf_counter() - request.started
        note = self._metrics.stream if is_stream else self._metrics.request
        note((request.method, request.route, status), duration_s)
        if self._request_log is None:
            return
        client = self._proxies.client_of(request) or "-"
        self._request_log.add(
            (
                time.time(),
                request.request_id,
                request.project_id,
                request.method,
                request.route,
                status,
                duration_s * 1000,
                client,
            )
        )


def not_found(method: str, path: str) -> NotFoundError:
    """The answer for an address that nothing is at."""
    first = path.removeprefix("/v1").split("/")[1:2]
    return NotFoundError(f"Invalid URL ({method} {path}){'' if FOR_MODEL_SERVERS.isdisjoint(first) else ELSEWHERE}")


def not_allowed(method: str, path: str, allow: Header) -> MethodNotAllowedError:
    """The answer for an address that does not take this method; `allow` is the header that says which it takes."""
    return MethodNotAllowedError(
        f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)",
        headers=(allow,),
    )
