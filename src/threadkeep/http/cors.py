"""Cross-origin requests, for the origins that a setting names; off by default."""

from __future__ import annotations

from collections.abc import Mapping

from threadkeep.streaming import Header

_EXPOSED = (
    b"x-request-id, openai-processing-ms, openai-version, openai-poll-after-ms, retry-after, x-should-retry, "
    b"idempotent-replayed, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)
# The answer is another one for each origin: a cache must not give one origin's answer to another.
_VARIES = (b"vary", b"origin")


def headers_for(origins: tuple[str, ...], request: Mapping[bytes, bytes]) -> list[Header]:
    """The headers that let the page of an allowed origin read the answer, and no other."""
    if not origins:
        return []
    origin = request.get(b"origin")
    if origin is None or ("*" not in origins and origin.decode("latin-1") not in origins):
        return [_VARIES]
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
        _VARIES,
    ]


def preflight_headers(request: Mapping[bytes, bytes]) -> list[Header]:
    """What a browser asks before it sends the request itself."""
    return [
        (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
        (b"access-control-allow-headers", request.get(b"access-control-request-headers", b"*")),
        (b"access-control-max-age", b"600"),
    ]
