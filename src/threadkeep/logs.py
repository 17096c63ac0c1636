"""Logs: readable lines on a terminal, JSON with `--log-json`. No content, no secrets.

Request lines are gathered and written a few times a second in one go: formatting and writing each through `logging`
would cost as much as answering the request.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

import msgspec

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.25
WAITING_MAX = 2000

# time, request id, project, method, route, status, duration in ms, client
RequestLine = tuple[float, str, str, str, str, int, float, str]
_NAMES = ("request_id", "project", "method", "route", "status", "duration_ms", "client")


def configure(*, as_json: bool, stream: TextIO = sys.stderr) -> None:
    """Sends the program's own log, and what its libraries warn of, to `stream`, in one of the two forms."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonFormatter() if as_json else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("threadkeep").setLevel(logging.INFO)


class _TextFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        return f"{_time_text(record.created)} {record.levelname.lower():7} {record.message}"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time_text(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class RequestLog:
    """Gathers a line for each request and writes them in batches."""

    def __init__(self, *, as_json: bool, stream: TextIO = sys.stderr) -> None:
        self._format: Callable[[RequestLine], str] = _json_line if as_json else _text_line
        self._stream = stream
        self._waiting: list[RequestLine] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, line: RequestLine) -> None:
        """Notes a finished request."""
        self._waiting.append(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_EVERY_S, self.write)
        elif len(self._waiting) >= WAITING_MAX:
            self.write()

    def write(self) -> None:
        """Writes what is waiting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._waiting = self._waiting, []
        if not lines:
            return
        try:
            self._stream.write("".join(map(self._format, lines)))
            self._stream.flush()
        except OSError as error:
            # A full disk under the log must not stop the server; the program's own log has the same fate.
            log.warning("cannot write the request log: %s", error)


def _text_line(line: RequestLine) -> str:
    at, request_id, project, method, route, status, duration_ms, client = line
    return (
        f"{_time_text(at)} request {status} {method} {route} {duration_ms:.1f}ms {request_id} "
        f"project={project or '-'} client={client}\n"
    )


def _json_line(line: RequestLine) -> str:
    at, *values = line
    named: dict[str, object] = dict(zip(_NAMES, values, strict=True))
    named["duration_ms"] = round(line[6], 1)
    fields = {"time": _time_text(at), "level": "info", "logger": "threadkeep.requests"} | named
    return msgspec.json.encode(fields).decode() + "\n"


def _time_text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
