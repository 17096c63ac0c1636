"""The playground at `/`: files that `make playground` has built from `web/`, compressed for those who take it.

It is a client of the API like any other and has no way in of its own.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from importlib.resources.abc import Traversable

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

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
HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "vary": "accept-encoding"}
# The page is asked for each time; what it names has the hash of its content in its name.
PAGE_CACHE = "no-cache"
ASSET_CACHE = "public, max-age=31536000, immutable"


class File(Struct, frozen=True):
    """A file, with all that its answers need."""

    plain: bytes
    compressed: bytes
    etag: str
    content_type: str
    cache_control: str


def _places() -> dict[str, Traversable]:
    """Every file by its path on the site."""
    folder = files("threadkeep") / "playground"
    assets = {f"/assets/{entry.name}": entry for entry in (folder / "assets").iterdir()}
    return {"/": folder / "index.html", **assets}


@cache
def _load(path: str) -> File:
    """The file at a path of the site, read when it is first asked for."""
    content = _places()[path].read_bytes()
    return File(
        plain=content,
        compressed=gzip.compress(content, mtime=0),
        etag=f'"{hashlib.sha256(content).hexdigest()[:20]}"',
        content_type=CONTENT_TYPES["html" if path == "/" else path.rpartition(".")[2]],
        cache_control=PAGE_CACHE if path == "/" else ASSET_CACHE,
    )


async def _send(request: Request) -> Response:
    file = _load(request.url.path)
    headers = HEADERS | {"cache-control": file.cache_control}
    if request.url.path == "/":
        headers["content-security-policy"] = CONTENT_SECURITY_POLICY
    takes_gzip = accepts_gzip(request.headers.get("accept-encoding", ""))
    # Two sets of bytes are two representations, so they need two tags.
    headers["etag"] = f'{file.etag[:-1]}-gzip"' if takes_gzip else file.etag
    if _has(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if takes_gzip:
        headers["content-encoding"] = "gzip"
    return Response(file.compressed if takes_gzip else file.plain, headers=headers, media_type=file.content_type)


def accepts_gzip(accepted: str) -> bool:
    """Whether an `Accept-Encoding` takes gzip: named, or by `*`, and not with the weight 0."""
    weights = {}
    for item in accepted.lower().split(","):
        name, _, parameter = item.partition(";")
        weights[name.strip()] = parameter.replace(" ", "").removeprefix("q=").rstrip("0").rstrip(".") not in {"", "0"}
        if not parameter.strip():
            weights[name.strip()] = True
    return weights.get("gzip", weights.get("*", False))


def _has(given: str, etag: str) -> bool:
    """Whether an `If-None-Match` names the tag. A proxy may have made it a weak one."""
    return any(tag.strip().removeprefix("W/") in {etag, "*"} for tag in given.split(","))


def routes() -> list[Route]:
    """What the site serves of it."""
    return [Route(path, _send) for path in _places()]
