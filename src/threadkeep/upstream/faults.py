"""What went wrong at a model server, in words that may be shown. The log has the rest.

Its own words are repeated only where it refuses the request, because only they say what is wrong with it. Keys are
taken out of them.
"""

from __future__ import annotations

import email.utils
import logging
import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import msgspec

from threadkeep.upstream.wire import ErrorCode, UpstreamError
from threadkeep.upstream_settings import UpstreamSettings

log = logging.getLogger(__name__)

TEXT_CHARACTERS_MAX = 300
# Answers after which the same request may succeed.
_PASSING = {408, 409, 425, 429}
_FAILING = 500
_NEVER = {501, 505}
# Other codes in an error are no statuses.
_ERROR_STATUSES = range(400, 600)

_TOO_LONG = re.compile(
    r"context.?(length|window|size)|maximum context|too many tokens|(prompt|input) is too long", re.IGNORECASE
)
_POLICY = re.compile(r"content.?(management.?)?(policy|filter)|safety system|moderation", re.IGNORECASE)
_QUOTA = re.compile(r"insufficient.?quota|exceeded your current quota|billing", re.IGNORECASE)
_RATE = re.compile(r"rate.?limit|too many requests", re.IGNORECASE)
_KEYS = re.compile(r"\b(sk|pk|gsk|xai|hf|key|tk)[-_][A-Za-z0-9_*.-]{6,}|Bearer\s+\S+", re.IGNORECASE)


class PassingError(UpstreamError):
    """Another try may succeed, after `after_s` seconds where the server said so."""

    def __init__(self, code: ErrorCode, message: str, after_s: float | None = None) -> None:
        super().__init__(code, message)
        self.after_s = after_s


def fault_of_status(
    status: int, body: bytes, upstream: UpstreamSettings, headers: Mapping[str, str] | None = None
) -> UpstreamError:
    """What an answer that is not a success means."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = None
    error = found.get("error", found.get("detail", found)) if isinstance(found, dict) else found
    return _fault(status, error, upstream, _retry_after_s(headers or {}))


def fault_in_stream(error: Any, upstream: UpstreamSettings) -> UpstreamError:
    """What an error means that came where a chunk was expected."""
    words = _words(error)
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and code in _ERROR_STATUSES:
        status = code
    elif _RATE.search(words) or _QUOTA.search(words):
        status = 429
    elif _TOO_LONG.search(words) or _POLICY.search(words):
        status = 400
    else:
        status = 500
    return _fault(status, error, upstream, None)


def _fault(status: int, error: Any, upstream: UpstreamSettings, after_s: float | None) -> UpstreamError:
    words = _words(error)
    said = _shown(error, upstream)
    log.warning("upstream %s at %s: status %d%s", upstream.name, upstream.url, status, said)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        if _QUOTA.search(words):
            return UpstreamError(
                "rate_limit_exceeded",
                "You exceeded your current quota, please check your plan and billing details with the model server.",
            )
        return PassingError("rate_limit_exceeded", "The model server's rate limit is exceeded.", after_s)
    if status in _PASSING or (status >= _FAILING and status not in _NEVER):
        return PassingError("server_error", f"The model server failed with status {status}.", after_s)
    if status in (401, 403):
        return UpstreamError("server_error", f"The model server refused the key of the upstream '{upstream.name}'.")
    if status in (400, 413, 422) and _TOO_LONG.search(words):
        return UpstreamError("invalid_prompt", "The conversation is longer than the model's context window.")
    if status in (400, 422) and _POLICY.search(words):
        return UpstreamError("invalid_prompt", "The model server refused the prompt because of its content policy.")
    hint = _hint(error, upstream) if status == HTTPStatus.NOT_FOUND else ""
    return UpstreamError("server_error", f"The model server refused the request with status {status}{said}{hint}")


def _hint(error: Any, upstream: UpstreamSettings) -> str:
    """What a 404 means that is not about a model: most servers have Chat Completions under `/v1`."""
    is_about_model = isinstance(error, dict) and error.get("message") and "Invalid URL" not in error["message"]
    if is_about_model or urlsplit(upstream.url).path.rstrip("/").endswith("/v1"):
        return ""
    return " (Does the URL of this upstream lack `/v1`?)"


def _words(error: Any) -> str:
    """All that an error says, to look for what it means."""
    if isinstance(error, dict):
        return " ".join(str(error[key]) for key in ("code", "type", "message") if error.get(key))
    return str(error or "")


def _shown(error: Any, upstream: UpstreamSettings) -> str:
    """The message of an error as the end of a sentence."""
    text = error.get("message") if isinstance(error, dict) else error
    if not isinstance(text, str) or not text.strip():
        return "."
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    if upstream.key:
        text = text.replace(upstream.key, "***")
    text = _KEYS.sub("***", text)
    return f": {text[:TEXT_CHARACTERS_MAX]}"


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long the server asks to be left alone."""
    said = headers.get("retry-after", "").strip()
    if not said:
        return None
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(said).timestamp() - time.time()
        except ValueError:
            return None
    return seconds if 0 <= seconds < float("inf") else 0.0
