"""What people and machines around the API ask for: health, the description, the reference page, the playground.

No key is needed for any of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from html import escape
from http import HTTPStatus

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as SiteRequest
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Message, Scope

from threadkeep.errors import APIError, MethodNotAllowedError
from threadkeep.http import api, cors, openapi, playground, reference
from threadkeep.http.exchange import Answer, Request, answer_of
from threadkeep.http.metrics_page import METRICS_PATH, MetricsPage
from threadkeep.http.proxies import TrustedProxies
from threadkeep.http.static import File
from threadkeep.streaming import Header

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Where the reference page's examples say the server is, until it is known under which name it was asked.
SOMEWHERE = "http://somewhere.invalid"


class Site:
    """Answers all that is not the API. `ping` raises `APIError` when the database does not answer."""

    def __init__(self, ping: Callable[[], Awaitable[None]], proxies: TrustedProxies, metrics_page: MetricsPage) -> None:
        self._ping = ping
        self._proxies = proxies
        self._metrics_page = metrics_page
        self._starlette = Starlette(
            routes=[
                *playground.routes(),
                Route("/healthz", _healthz),
                Route("/readyz", self._readyz),
                Route("/openapi.json", _description),
                Route("/docs", _docs),
            ],
            exception_handlers={HTTPException: _refuse},
        )

    async def answer(self, request: Request) -> Answer:
        """Hands the request to Starlette, and gathers what it sends; its answers are small."""
        if request.path == METRICS_PATH:
            return await self._metrics_page.answer(request)
        status, headers, pieces = 500, [], []

        async def receive() -> Message:
            return {"type": "http.request", "body": await request.receive(), "more_body": not request.body_is_complete}

        async def send(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], message["headers"]
            else:
                pieces.append(message.get("body", b""))

        await self._starlette(self._scope(request), receive, send)
        names = dict(headers)
        content_type = names.pop(b"content-type", b"")
        names.pop(b"content-length", None)
        return Answer(status, b"".join(pieces), tuple(names.items()), content_type)

    def _scope(self, request: Request) -> Scope:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": self._proxies.scheme_of(request),
            "path": request.path,
            "root_path": "",
            "query_string": request.query_string,
            "headers": list(request.headers.items()),
            "client": None,
            "server": None,
        }

    async def _readyz(self, _: SiteRequest) -> Response:
        try:
            await self._ping()
        except APIError as error:
            return _error(error)
        return _json({"status": "ready"})


async def _healthz(_: SiteRequest) -> Response:
    return _json({"status": "ok"})


async def _description(request: SiteRequest) -> Response:
    return _description_file().answer(request)


@cache
def _description_file() -> File:
    return File.of(msgspec.json.encode(openapi.document()), "application/json")


async def _docs(request: SiteRequest) -> Response:
    here = escape(str(request.base_url).rstrip("/"))
    page = HTMLResponse(_reference_page().replace(SOMEWHERE, here))
    page.headers["content-security-policy"] = CONTENT_SECURITY_POLICY
    page.headers["x-content-type-options"] = "nosniff"
    return page


@cache
def _reference_page() -> str:
    return reference.page(openapi.document(), SOMEWHERE)


async def _refuse(request: SiteRequest, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == MethodNotAllowedError.status:
        allow = (b"allow", (error.headers or {}).get("Allow", "GET").encode())
        if request.method == "OPTIONS":
            return _no_content((allow, *cors.preflight_headers(dict(request.headers.raw))))
        return _error(api.not_allowed(request.method, request.url.path, allow))
    return _error(api.not_found(request.method, request.url.path))


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _no_content(headers: Iterable[Header]) -> Response:
    return Response(status_code=HTTPStatus.NO_CONTENT, headers=_named(headers))


def _error(error: APIError) -> Response:
    answer = answer_of(error)
    return Response(answer.payload, answer.status, media_type="application/json", headers=_named(answer.headers))


def _named(headers: Iterable[Header]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
