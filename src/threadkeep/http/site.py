"""What people and machines around the API ask for: health, the description, the reference page. No key is needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from threadkeep.errors import APIError, InternalServerError, MethodNotAllowedError
from threadkeep.http import api, openapi, reference

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def create_site(ping: Callable[[], Awaitable[None]]) -> Starlette:
    """The application for all that is not the API. `ping` raises when the database does not answer."""

    async def healthz(_: Request) -> Response:
        return _json({"status": "ok"})

    async def readyz(_: Request) -> Response:
        try:
            await ping()
        except APIError as error:
            return _error(error)
        return _json({"status": "ready"})

    async def description(_: Request) -> Response:
        return _json(openapi.document())

    async def docs(request: Request) -> Response:
        page = HTMLResponse(reference.page(openapi.document(), str(request.base_url).rstrip("/")))
        page.headers["content-security-policy"] = CONTENT_SECURITY_POLICY
        return page

    async def home(_: Request) -> Response:
        return RedirectResponse("/docs")

    return Starlette(
        routes=[
            Route("/", home),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/openapi.json", description),
            Route("/docs", docs),
        ],
        exception_handlers={HTTPException: _refuse, Exception: _fail},
    )


async def _refuse(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == MethodNotAllowedError.status:
        allow = (b"allow", (error.headers or {}).get("Allow", "GET").encode())
        return _error(api.not_allowed(request.scope, allow))
    return _error(api.not_found(request.scope))


async def _fail(request: Request, _: Exception) -> Response:
    return _error(InternalServerError(request.scope["request_id"]))


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _error(error: APIError) -> Response:
    status, payload, headers = api.render(error)
    return Response(
        payload,
        status,
        media_type="application/json",
        headers={name.decode(): value.decode() for name, value in headers},
    )
