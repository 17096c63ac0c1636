"""The playground at `/`: files that `make playground` has built from `web/`.

It is a client of the API like any other and has no way in of its own.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from threadkeep.http.static import ASK_AGAIN, FOR_EVER, File

# Scripts from here alone and none of them in the page, no text that becomes code or HTML, no other server asked.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}


def routes() -> list[Route]:
    """What the site serves of it."""
    return [Route(path, _send) for path in _places()]


def _places() -> dict[str, Traversable]:
    """Every file by its path on the site."""
    folder = files("threadkeep") / "playground"
    assets = {f"/assets/{entry.name}": entry for entry in (folder / "assets").iterdir()}
    return {"/": folder / "index.html", **assets}


@cache
def _load(path: str) -> File:
    """The file at a path of the site, read when it is first asked for."""
    place = _places()[path]
    content_type = CONTENT_TYPES[place.name.rpartition(".")[2]]
    return File.of(place.read_bytes(), content_type, ASK_AGAIN if path == "/" else FOR_EVER)


async def _send(request: Request) -> Response:
    path = request.url.path
    policy = {"content_security_policy": CONTENT_SECURITY_POLICY} if path == "/" else {}
    return _load(path).answer(request, referrer_policy="no-referrer", **policy)
