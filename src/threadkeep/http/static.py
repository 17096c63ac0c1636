"""Answers that are the same for everybody: compressed for clients that accept it, and a 304 for those that have it."""

from __future__ import annotations

import gzip
import hashlib
from http import HTTPStatus

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

# It is asked for each time, and often answered with "what you have is still good".
ASK_AGAIN = "no-cache"
# For what has the hash of its content in its name.
FOR_EVER = "public, max-age=31536000, immutable"


class File(Struct, frozen=True):
    """A file, with all that its answers need."""

    plain: bytes
    compressed: bytes
    etag: str
    content_type: str
    cache_control: str

    @classmethod
    def of(cls, content: bytes, content_type: str, cache_control: str = ASK_AGAIN) -> File:
        """The file with this content."""
        etag = hashlib.sha256(content).hexdigest()[:20]
        return cls(content, gzip.compress(content, mtime=0), etag, content_type, cache_control)

    def answer(self, request: Request, **headers: str) -> Response:
        """What `request` gets. Names of further `headers` are written with underscores."""
        takes_gzip = accepts_gzip(request.headers.get("accept-encoding", ""))
        # Two sets of bytes are two representations, so they need two tags.
        etag = f'"{self.etag}-gzip"' if takes_gzip else f'"{self.etag}"'
        given = {
            "cache-control": self.cache_control,
            "etag": etag,
            "vary": "accept-encoding",
            "x-content-type-options": "nosniff",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if _has(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=given)
        if takes_gzip:
            given["content-encoding"] = "gzip"
        return Response(self.compressed if takes_gzip else self.plain, headers=given, media_type=self.content_type)


def accepts_gzip(accepted: str) -> bool:
    """Whether an `Accept-Encoding` takes gzip: named, or by `*`, and not with the weight 0."""
    takes = {}
    for item in accepted.lower().split(","):
        name, _, parameter = item.partition(";")
        weight = parameter.replace(" ", "").removeprefix("q=")
        takes[name.strip()] = not weight or bool(weight.strip("0."))
    return takes.get("gzip", takes.get("*", False))


def _has(given: str, etag: str) -> bool:
    """Whether an `If-None-Match` names the tag. A proxy may have made it a weak one."""
    return any(tag.strip().removeprefix("W/") in {etag, "*"} for tag in given.split(","))
