"""Answers made of Server-Sent Events: frames as they come, signs of life between them, an end that clients understand.

How frames come about is the operations' business. They are sent as they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

import msgspec

from threadkeep.errors import APIError, InternalServerError
from threadkeep.http.exchange import Answer
from threadkeep.http.sink import Sink
from threadkeep.streaming import Download, EventStream, Frames

log = logging.getLogger(__name__)

OK = 200
CONTENT_TYPE = b"text/event-stream; charset=utf-8"
# Proxies keep nothing back: neither to store, compress nor gather it.
HEADERS = ((b"cache-control", b"no-cache, no-transform"), (b"x-accel-buffering", b"no"))
# A comment. No blank line follows: once an event had an id, the Python SDK takes any blank line for another event.
HEARTBEAT = b": ping\n"
# Tells a client that can resume to come back in a second.
COME_BACK = b"retry: 1000\n"


def answer(events: EventStream, *, request_id: str, heartbeat_s: float) -> Answer:
    """The answer that sends `events`, and a comment after each `heartbeat_s` of silence."""
    return Answer(
        OK,
        b"",
        (*HEADERS, *events.headers),
        CONTENT_TYPE,
        stream=partial(_send, events.frames, request_id, heartbeat_s),
    )


def download(result: Download, *, request_id: str) -> Answer:
    """The answer that sends a long result. After a fault the connection breaks: half of it must not look whole."""
    return Answer(OK, b"", (), result.content_type, stream=partial(_send_pieces, result.pieces, request_id))


async def _send_pieces(pieces: AsyncGenerator[bytes], request_id: str, sink: Sink) -> None:
    try:
        # What the pieces come from is let go of at once, also when the client goes away in the middle.
        async with aclosing(pieces):
            async for piece in pieces:
                if not sink.is_open:
                    return
                sink.write(piece)
                if sink.is_full:
                    await sink.room()
    except Exception:
        log.exception("%s failed while its answer was sent", request_id)
        raise


async def _send(frames: Frames, request_id: str, heartbeat_s: float, sink: Sink) -> None:
    try:
        if sink.is_open:
            await _forward(frames, request_id, heartbeat_s, sink)
    finally:
        await frames.aclose()


async def _forward(frames: Frames, request_id: str, heartbeat_s: float, sink: Sink) -> None:
    heartbeat = _Heartbeat(sink, heartbeat_s)
    now = heartbeat.loop.time
    try:
        async for frame in frames:
            sink.write(frame)
            heartbeat.last = now()
            if sink.is_full:
                await sink.room()
    except asyncio.CancelledError:
        if not (sink.is_ending and sink.is_open):
            raise
        sink.write(COME_BACK)
        sink.is_cut = True
        if task := asyncio.current_task():
            task.uncancel()
    except Exception as error:
        log.exception("%s failed while its answer was streamed", request_id)
        sink.write(error_event(error if isinstance(error, APIError) else InternalServerError(request_id)))
        sink.hangs_up = True
    finally:
        heartbeat.stop()


def error_event(error: APIError) -> bytes:
    """The event that reports a fault of the stream itself.

    Differs from OpenAI: the fields stand both at the top and under `error`. Older SDKs raise an error for the one form,
    newer ones for the other, and each of them loses what it does not expect.
    """
    body = error.body()
    return b"event: error\ndata: %b\n\n" % msgspec.json.encode({**body, **body["error"]})


class _Heartbeat:
    """Writes a comment when nothing else was written for a while. One timer for a stream, not one for each frame."""

    __slots__ = ("_every_s", "_sink", "_timer", "last", "loop")

    def __init__(self, sink: Sink, every_s: float) -> None:
        self._sink = sink
        self._every_s = every_s
        self.loop = asyncio.get_running_loop()
        self.last = self.loop.time()
        self._timer = self.loop.call_later(every_s, self._look)

    def _look(self) -> None:
        now = self.loop.time()
        if now >= self.last + self._every_s:
            if not self._sink.is_full:
                self._sink.write(HEARTBEAT)
            self.last = now
        self._timer = self.loop.call_at(self.last + self._every_s, self._look)

    def stop(self) -> None:
        self._timer.cancel()
