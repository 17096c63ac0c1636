"""One HTTP connection: requests in, answers out, in order, within limits.

llhttp parses, by way of httptools. Requests that come before the one ahead of them is answered wait their turn. Time
and size of a head, time of a body, of sending and of doing nothing, and the number of connections are limited; refusals
are in the API's envelope.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable

import httptools

from threadkeep.errors import APIError, BadRequestError, HeadTooLargeError, OverloadedError, RequestTimeoutError
from threadkeep.http.exchange import (
    Answer,
    ClientGoneError,
    Encoder,
    Request,
    Stream,
    answer_of,
    new_request_id,
    split_target,
)
from threadkeep.http.sink import Sink
from threadkeep.settings import Settings

log = logging.getLogger(__name__)

# With so much of a body, or so many requests, waiting, nothing more is read from the connection.
BODY_BYTES_WAITING = 64 * 1024
REQUESTS_WAITING = 16
# How long the end of a stream may take on its way when the server stops.
LAST_BYTES_S = 1.0

# What a connection can be waiting for, which decides how long it may.
HEAD, BODY, ANSWER, NOTHING = "head", "body", "answer", "nothing"

_HEAD_TOO_LARGE = "The request's head is too large."


class Hub:
    """What the connections of a server share."""

    def __init__(self, settings: Settings, answer: Callable[[Request], Awaitable[Answer]]) -> None:
        self.settings = settings
        self.answer = answer
        self.encoder = Encoder()
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_stopping = False
        self.seconds = {
            HEAD: settings.head_timeout_s,
            BODY: settings.body_timeout_s,
            ANSWER: math.inf,
            NOTHING: settings.keep_alive_s,
        }

    async def drain(self, timeout_s: float) -> None:
        """Lets every request under way be answered; what is left after `timeout_s` is cut off.

        Streams end at once: their clients can go on elsewhere, and would be waited for in vain.
        """
        self.is_stopping = True
        until = time.monotonic() + timeout_s
        for connection in list(self.connections):
            connection.finish()
        if self.tasks:
            _, pending = await asyncio.wait(self.tasks, timeout=timeout_s)
            for task in pending:
                task.cancel()
        closed = [connection.closed for connection in self.connections]
        if closed:
            await asyncio.wait(closed, timeout=max(0, until - time.monotonic()))
        for connection in list(self.connections):
            connection.abort()


class Connection(asyncio.Protocol):
    """The state of one connection; its methods are asyncio's, httptools' and `Hub`'s."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._limits = hub.settings
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self.closed: asyncio.Future[None] = self._loop.create_future()
        # From the first byte after a message on, even if it is only a blank line.
        self._in_head = True
        self._in_body = False
        self._head_has_begun = False
        self._heads = 0
        # What came since the last complete head or piece of a body: of a head, or of what follows a chunked body.
        self._loose_bytes = 0
        self._piece_bytes = 0
        self._refusal: APIError | None = None
        # The request whose body is still coming, those whose turn has not come, the one that is being answered.
        self._arriving: Request | None = None
        self._queue: deque[Request] = deque()
        self._current: Request | None = None
        self._is_last = False
        # While an answer is streamed.
        self._sink: Sink | None = None
        self._is_half_closed = False
        self._reads = True
        self._writes = True
        # What is waited for, and in which request.
        self._due: tuple[str, int] = ("", 0)
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    # asyncio

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._peer: str = peer[0] if isinstance(peer, tuple) else ""
        self._hub.connections.add(self)
        if len(self._hub.connections) > self._limits.connections_max:
            self._refuse(OverloadedError("it has too many connections"))
            return
        self._set_deadline()

    def connection_lost(self, _: Exception | None) -> None:
        self._hub.connections.discard(self)
        self.closed.set_result(None)
        self._queue.clear()
        if self._arriving:
            self._arriving.abandon()
        if self._sink:
            self._sink.lose()
        for timer in (self._timer, self._send_timer):
            if timer:
                timer.cancel()

    def eof_received(self) -> bool:
        """The client sends no more; it may still read, so it gets the answers to what it asked.

        But no stream: whether it is still there would only be known from what it does not fetch.
        """
        if self._sink:
            self._transport.abort()
        if self._arriving or self._sink or not self._has_work():
            return False
        self._is_last = self._is_half_closed = True
        return True

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing() or (self._is_last and not self._in_body):
            return
        if not self._in_head and not self._in_body:
            self._begin_head()
        self._piece_bytes = len(data)
        self._loose_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # It is served as if it had not asked; but the parser takes what follows for another protocol.
            self._is_last = True
        except httptools.HttpParserError:
            self._refuse(self._refusal or BadRequestError("Invalid HTTP request received."))
        if (self._in_head or self._in_body) and self._loose_bytes > self._limits.head_bytes_max:
            self._refuse(HeadTooLargeError(_HEAD_TOO_LARGE))
        self._go_on()

    def pause_writing(self) -> None:
        self._writes = False
        timeout_s = self._limits.body_timeout_s
        if self._sink:
            self._sink.pause()
            timeout_s = self._limits.stream_send_timeout_s
        self._send_timer = self._loop.call_later(timeout_s, self._transport.abort)

    def resume_writing(self) -> None:
        self._writes = True
        if self._send_timer and not self._transport.is_closing():
            self._send_timer.cancel()
        if self._sink:
            self._sink.resume()
        self._go_on()

    # httptools

    def on_message_begin(self) -> None:
        if not self._in_head:
            self._begin_head()
        self._head_has_begun = True
        self._target = b""
        self._headers: dict[bytes, bytes] = {}

    def on_url(self, piece: bytes) -> None:
        self._target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        # What comes after a chunked body must not pass for what a proxy has looked at.
        if self._in_head:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._in_body = True
        self._loose_bytes = 0
        if self._piece_bytes > self._limits.head_bytes_max and self._size_of_head() > self._limits.head_bytes_max:
            self._stop_parser(HeadTooLargeError(_HEAD_TOO_LARGE))
        if self._parser.should_upgrade() and self._declares_body():
            # The parser takes what follows for another protocol: the body would be lost.
            self._stop_parser(BadRequestError("A request with a body cannot ask for an upgrade of the protocol."))
        path, query_string = split_target(self._target)
        self._arriving = Request(
            method=self._parser.get_method().decode("ascii"),
            path=path,
            query_string=query_string,
            headers=self._headers,
            keep_alive=self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1",
            peer=self._peer,
            request_id=new_request_id(),
            started=time.perf_counter(),
            want_more=self._want_more,
        )
        self._queue.append(self._arriving)

    def on_body(self, piece: bytes) -> None:
        self._loose_bytes = 0
        if self._arriving:
            self._arriving.add(piece)
            if self._arriving.is_endless:
                self._due = ("", 0)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._loose_bytes = 0
        if self._arriving:
            self._arriving.complete()
            self._arriving = None

    # Hub

    def finish(self) -> None:
        """Answers what has been asked, then closes. A stream that is under way ends."""
        self._is_last = True
        if self._sink and self._sink.is_behind:
            # It is far behind: waiting for it would take long.
            self._transport.abort()
        elif self._sink:
            self._sink.end()
        elif not self._has_work():
            self._close()

    def abort(self) -> None:
        """Closes now."""
        self._transport.abort()

    # answering

    def _go_on(self) -> None:
        """Begins the next request when its turn has come; reads on when there is room; sets the time for what is due.

        Called after everything that happens.
        """
        if self._transport.is_closing():
            return
        if self._queue and self._current is None and self._writes:
            self._current = self._queue.popleft()
            task = self._loop.create_task(self._answer(self._current))
            self._hub.tasks.add(task)
            task.add_done_callback(self._hub.tasks.discard)
        self._read_if_there_is_room()
        self._set_deadline()

    async def _answer(self, request: Request) -> None:
        try:
            answer = await self._hub.answer(request)
            if request is self._arriving:
                # It is answered before its body came; the rest of that is thrown away.
                self._arriving = None
            if answer.stream is None:
                self._send(request, answer)
            else:
                await self._stream(request, answer, answer.stream)
        except ClientGoneError:
            self._close()
        except BaseException:
            # Cancelled, or a fault of ours: the connection must not wait for an answer for ever.
            self._transport.abort()
            raise

    def _send(self, request: Request, answer: Answer) -> None:
        if self._transport.is_closing():
            return
        closes = answer.hangs_up or self._closes_after(request)
        data = self._hub.encoder.encode(
            answer,
            request_id=request.request_id,
            started=request.started,
            keep_alive=not closes,
            with_body=request.method != "HEAD",
        )
        self._transport.write(data)
        self._answered(closes=closes)

    async def _stream(self, request: Request, answer: Answer, send: Stream) -> None:
        is_there = not (self._transport.is_closing() or self._is_half_closed)
        closes = answer.hangs_up or not is_there or self._closes_after(request)
        self._sink = sink = Sink(
            self._transport, is_chunked=request.keep_alive, is_open=is_there and request.method != "HEAD"
        )
        if is_there:
            head = self._hub.encoder.encode_head(
                answer,
                request_id=request.request_id,
                started=request.started,
                keep_alive=not closes,
                is_chunked=request.keep_alive,
            )
            self._transport.write(head)
            self._go_on()
        if self._hub.is_stopping:
            # Not before what is there already is sent.
            self._loop.call_soon(self._end_stream, sink)
        try:
            await send(sink)
        finally:
            self._sink = None
        if self._transport.is_closing():
            return
        sink.close()
        closes = closes or sink.hangs_up or sink.is_cut or self._closes_after(request)
        if closes and self._hub.is_stopping:
            self._loop.call_later(LAST_BYTES_S, self._transport.abort)
        self._answered(closes=closes)

    def _end_stream(self, sink: Sink) -> None:
        if self._sink is sink:
            sink.end()

    def _closes_after(self, request: Request) -> bool:
        return not request.keep_alive or (self._is_last and not self._queue)

    def _answered(self, *, closes: bool) -> None:
        self._current = None
        if closes:
            self._close()
        else:
            self._go_on()

    def _refuse(self, error: APIError) -> None:
        """Answers outside the application, and hangs up; requests that came whole are answered first."""
        if self._transport.is_closing():
            return
        log.info("refused a connection: %s", error.message)
        ahead = len(self._queue) + (self._current is not None) - (self._arriving is not None)
        if self._arriving:
            self._arriving.abandon()
        if ahead > 0:
            # This would be taken for the answer to a request before.
            self._is_last = True
            return
        answer = answer_of(error)
        self._transport.write(
            self._hub.encoder.encode(answer, request_id=new_request_id(), started=time.perf_counter())
        )
        self._close()

    def _close(self) -> None:
        self._transport.close()
        if self._transport.get_write_buffer_size() and self._writes:
            # What a client does not fetch is not kept for ever.
            self._send_timer = self._loop.call_later(self._limits.body_timeout_s, self._transport.abort)

    def _has_work(self) -> bool:
        return self._current is not None or bool(self._queue)

    # reading

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_has_begun = False
        self._heads += 1

    def _stop_parser(self, refusal: APIError) -> None:
        self._refusal = refusal
        raise ValueError

    def _size_of_head(self) -> int:
        return len(self._target) + sum(len(name) + len(value) for name, value in self._headers.items())

    def _declares_body(self) -> bool:
        return self._headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in self._headers

    def _want_more(self, request: Request) -> None:
        if self._transport.is_closing():
            request.abandon()
            return
        if request.headers.pop(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request.is_endless and request is self._arriving:
            # The time it took to store what came before is not the client's.
            self._due = ("", 0)
            self._set_deadline()
        self._read_if_there_is_room()

    def _read_if_there_is_room(self) -> None:
        waiting = self._arriving.bytes_waiting if self._arriving else 0
        reads = len(self._queue) < REQUESTS_WAITING and waiting < BODY_BYTES_WAITING
        if reads != self._reads:
            self._reads = reads
            if reads:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # time

    def _set_deadline(self) -> None:
        if self._in_body:
            phase = BODY
        elif self._in_head:
            phase = HEAD
        else:
            phase = ANSWER if self._has_work() else NOTHING
        due = (phase, self._heads)
        if due == self._due:
            return
        self._due = due
        self._deadline = self._loop.time() + self._hub.seconds[phase]
        # A timer that comes too early looks again; only one that comes too late is replaced, which is rare.
        if self._timer and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and self._deadline != math.inf:
            self._timer = self._loop.call_at(self._deadline, self._look_at_time)

    def _look_at_time(self) -> None:
        self._timer = None
        if self._transport.is_closing() or self._deadline == math.inf:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look_at_time)
        else:
            self._too_slow()

    def _too_slow(self) -> None:
        asked = self._arriving is not None if self._in_body else (self._head_has_begun or self._has_work())
        if self._due[0] is NOTHING and self._transport.get_write_buffer_size():
            # A client that does not read would keep the connection open by not reading.
            self._transport.abort()
        elif self._due[0] is NOTHING or not asked:
            # Nothing was asked, or it is answered already.
            self._close()
        else:
            self._refuse(RequestTimeoutError("The request did not arrive in time."))
