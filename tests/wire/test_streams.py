"""Streamed answers, from the operation's frames to the client's socket, with operations of the tests' own."""

from __future__ import annotations

import asyncio
import io
import json
import resource
import socket
import struct
import subprocess
import threading
import time
from contextlib import ExitStack, closing, contextmanager

import httpx2
import openai
import pytest
from msgspec import Struct

from threadkeep import server, testing
from threadkeep.app import Threadkeep
from threadkeep.errors import StorageUnavailableError
from threadkeep.http import openapi
from threadkeep.http.api import Api
from threadkeep.http.connection import Connection, Hub
from threadkeep.http.endpoint import Route
from threadkeep.http.exchange import Answer
from threadkeep.http.proxies import TrustedProxies
from threadkeep.http.site import Site
from threadkeep.logs import RequestLog
from threadkeep.settings import Settings
from threadkeep.streaming import EventStream, WithHeaders

# For what comes at once, unless something is wrong.
SOON_S = 20
HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
PING = b": ping\n"
COME_BACK = b"retry: 1000\n"
KIB = 1024


class RunCreateParams(Struct):
    assistant_id: str
    stream: bool = False


class Feed:
    """The frames of one stream: what the test puts in; it knows what became of them."""

    def __init__(self):
        self.queue = asyncio.Queue()
        self.given = 0
        self.last_event_id = "never asked"
        # Whether the operation may give its answer.
        self.may_begin = asyncio.Event()
        self.may_begin.set()
        self.asked = threading.Event()
        self.closed = threading.Event()

    def __aiter__(self):
        return self

    async def __anext__(self):
        frame = await self.queue.get()
        if frame is None:
            raise StopAsyncIteration
        if isinstance(frame, Exception):
            raise frame
        self.given += 1
        return frame

    async def aclose(self):
        self.closed.set()


class EndlessFeed(Feed):
    """Has always more, 64 KiB at a time."""

    async def __anext__(self):
        self.given += 1
        return b"x" * 64 * KIB


class Streaming:
    """A running server whose threads are feeds."""

    def __init__(self, server, feeds, log):
        self.server, self.feeds, self.log = server, feeds, log
        host, port = server.url.removeprefix("http://").split(":")
        self.address = host, int(port)

    def feed(self, thread_id, kind=Feed):
        self.feeds[thread_id] = self.server.run(self._new(kind))
        return self.feeds[thread_id]

    async def _new(self, kind):
        return kind()

    def put(self, feed, *frames):
        def put():
            for frame in frames:
                feed.queue.put_nowait(frame)

        self.server.call(put)

    def connect(self, *, sends=b"", receive_bytes=None):
        connection = socket.socket()
        connection.settimeout(SOON_S)
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.connect(self.address)
        connection.sendall(sends)
        return connection

    def log_line(self):
        """The next line of the request log that is about a stream."""
        self.server.call(self.server.app._request_log.write)
        return json.loads(self.log.get("stream"))


class LogLines(io.StringIO):
    """Gives lines of the request log as they are written."""

    def __init__(self):
        super().__init__()
        self._changed = threading.Condition()

    def write(self, text):
        with self._changed:
            self._changed.notify_all()
            return super().write(text)

    def get(self, word):
        with self._changed:
            assert self._changed.wait_for(lambda: word in self.getvalue(), SOON_S)
            return next(line for line in self.getvalue().splitlines() if word in line)


def routes(feeds):
    async def stream(_ctx, thread_id, *, last_event_id):
        feed = feeds[thread_id]
        feed.last_event_id = last_event_id
        feed.asked.set()
        await feed.may_begin.wait()
        return EventStream(feed, headers=((b"x-of-the-stream", b"1"),))

    async def create(_ctx, thread_id, params):
        if params.stream:
            return EventStream(feeds[thread_id])
        return WithHeaders({"id": "run_1"}, ((b"openai-poll-after-ms", b"500"),))

    return (
        Route("GET", "/threads/{thread_id}/stream", stream, "S", result=dict, streams=True, headers=("last-event-id",)),
        Route("POST", "/threads/{thread_id}/runs", create, "R", body=RunCreateParams, result=dict, streams=True),
    )


@contextmanager
def serving(folder, **settings):
    app = Threadkeep(Settings(port=0, database=f"sqlite:///{folder}/threadkeep.db", **settings))
    feeds, lines, proxies = {}, LogLines(), TrustedProxies(())
    app._request_log = RequestLog(as_json=True, stream=lines)
    site = Site(app.store.ping, proxies, app.metrics_page)
    app.api = Api(
        app.settings,
        app.authenticator,
        app._request_log,
        app.metrics,
        app.tracing,
        proxies,
        site.answer,
        routes(feeds),
    )
    with contextmanager(testing._serve)(app) as server:
        yield Streaming(server, feeds, lines)


@pytest.fixture
def serve(tmp_path):
    with ExitStack() as stack:

        def start(**settings):
            own = stack.enter_context(ExitStack())
            server = own.enter_context(serving(tmp_path, **settings))
            server.stop = own.close
            return server

        yield start


def request(thread_id, *headers, version="1.1", method="GET"):
    lines = [f"{method} /v1/threads/{thread_id}/stream HTTP/{version}", "Host: localhost", *headers, "", ""]
    return "\r\n".join(lines).encode()


class Reader:
    """Reads a connection as a client does, and shows chunks as they came."""

    def __init__(self, connection):
        self._file = connection.makefile("rb")

    def head(self):
        """Status line and headers of the next answer."""
        status = self._file.readline().decode().rstrip()
        lines = iter(lambda: self._file.readline().decode().rstrip(), "")
        return status, dict(line.split(": ", 1) for line in lines)

    def chunk(self):
        """The next chunk; empty at the end of the body."""
        size = int(self._file.readline(), 16)
        piece = self._file.read(size)
        assert self._file.read(2) == b"\r\n"
        return piece

    def answer(self):
        """Status and body of an answer that is not streamed."""
        status, headers = self.head()
        return int(status.split()[1]), self._file.read(int(headers["content-length"]))

    def rest(self):
        """All up to the end of the connection."""
        return self._file.read()

    def close(self):
        """Lets go of the connection."""
        self._file.close()

    def ends(self):
        """Whether the server hung up."""
        return self._file.read(1) == b""


@contextmanager
def streaming(server, feed_id="thread_1", *headers, kind=Feed, **options):
    """A feed and the reader of its answer, whose head is read."""
    feed = server.feed(feed_id, kind)
    with server.connect(sends=request(feed_id, *headers), **options) as connection:
        reader = Reader(connection)
        assert reader.head()[0] == "HTTP/1.1 200 OK"
        yield feed, reader, connection


def test_each_frame_is_a_chunk_that_comes_when_it_was_given(serve):
    server = serve()
    with streaming(server) as (feed, reader, _):
        # The head came before there was any frame.
        for number in range(20):
            frame = b"event: e\ndata: %d\n\n" % number
            server.put(feed, frame)
            assert reader.chunk() == frame
        server.put(feed, None)
        assert reader.chunk() == b""
    assert feed.closed.wait(SOON_S)


def test_frames_of_the_same_moment_come_in_one_chunk(serve):
    server = serve()
    with streaming(server) as (feed, reader, _):
        server.put(feed, b"data: a\n\n", b"", b"data: b\n\n", None)
        assert [reader.chunk(), reader.chunk()] == [b"data: a\n\ndata: b\n\n", b""]


def test_a_stream_carries_the_headers_of_every_answer_and_those_that_keep_proxies_from_gathering_it(serve):
    server = serve(cors_origins=("https://app.example.com",))
    server.feed("thread_1")
    with server.connect(sends=request("thread_1", "Origin: https://app.example.com")) as connection:
        _, headers = Reader(connection).head()
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert headers["transfer-encoding"] == "chunked"
    assert headers["x-request-id"].startswith("req_")
    assert headers["openai-version"] == "2020-10-01"
    assert headers["access-control-allow-origin"] == "https://app.example.com"
    assert headers["x-of-the-stream"] == "1"
    assert "content-length" not in headers
    assert "connection" not in headers


def test_requests_sent_with_or_during_a_stream_are_answered_after_it(serve):
    server = serve()
    feed = server.feed("thread_1")
    with server.connect(sends=request("thread_1") + HEALTHZ) as connection:
        reader = Reader(connection)
        reader.head()
        connection.sendall(request("thread_1") + HEALTHZ)
        server.put(feed, b"data: a\n\n", None)
        assert [reader.chunk(), reader.chunk()] == [b"data: a\n\n", b""]
        assert reader.answer()[0] == 200
        reader.head()
        server.put(feed, b"data: b\n\n", None)
        assert [reader.chunk(), reader.chunk()] == [b"data: b\n\n", b""]
        assert reader.answer()[0] == 200


def test_nonsense_sent_during_a_stream_does_not_disturb_it(serve):
    server = serve()
    with streaming(server) as (feed, reader, connection):
        connection.sendall(b"nonsense\r\n\r\n")
        server.put(feed, b"data: a\n\n", None)
        assert [reader.chunk(), reader.chunk()] == [b"data: a\n\n", b""]
        assert reader.ends()


@pytest.mark.parametrize("how", [{"version": "1.0"}, {"headers": ["Connection: close"]}])
def test_a_client_that_wants_the_connection_closed_gets_a_body_without_chunks(serve, how):
    server = serve()
    feed = server.feed("thread_1")
    headers = how.pop("headers", [])
    with server.connect(sends=request("thread_1", *headers, **how)) as connection:
        reader = Reader(connection)
        _, headers = reader.head()
        assert "transfer-encoding" not in headers
        assert headers["connection"] == "close"
        server.put(feed, b"data: a\n\n", b"data: b\n\n", None)
        assert reader.rest() == b"data: a\n\ndata: b\n\n"


def test_the_time_limits_of_connections_do_not_cut_a_stream(serve):
    # They hold for the request that begins the stream as well.
    server = serve(keep_alive_s=1.0, head_timeout_s=1.0, body_timeout_s=1.0, stream_heartbeat_s=1.5)
    with streaming(server) as (feed, reader, connection):
        # The beginning of a request that never comes whole.
        connection.sendall(b"GET / HT")
        assert reader.chunk() == PING
        server.put(feed, b"data: a\n\n", None)
        assert [reader.chunk(), reader.chunk()] == [b"data: a\n\n", b""]


def test_a_client_that_owes_a_body_is_not_refused_in_the_middle_of_a_stream(serve):
    server = serve(body_timeout_s=0.3)
    with streaming(server, "thread_1", "Content-Length: 10") as (feed, reader, _):
        assert reader.rest() == b""
    assert feed.closed.wait(SOON_S)


# silence


def test_a_silent_stream_shows_signs_of_life(serve):
    server = serve(stream_heartbeat_s=0.05)
    with streaming(server) as (feed, reader, _):
        assert [reader.chunk(), reader.chunk()] == [PING, PING]
        server.put(feed, b"data: a\n\n")
        assert next(chunk for chunk in iter(reader.chunk, b"") if chunk != PING) == b"data: a\n\n"
        assert reader.chunk() == PING


# many frames at once


class ManyFeed(Feed):
    """Has a frame at once, until it is told to end."""

    async def __anext__(self):
        if not self.queue.empty():
            raise StopAsyncIteration
        self.given += 1
        return b"data: %08d\n\n" % self.given


def test_a_stream_that_never_waits_leaves_others_their_turn(serve):
    server = serve()
    with streaming(server, kind=ManyFeed) as (feed, reader, _):
        received = b"".join(reader.chunk() for _ in range(10))
        assert httpx2.get(f"{server.server.url}/healthz").status_code == 200
        server.put(feed, None)
        received += b"".join(iter(reader.chunk, b""))
    assert received == b"".join(b"data: %08d\n\n" % number for number in range(1, feed.given + 1))


# clients that are slow or gone


def test_frames_wait_for_a_client_that_does_not_read(serve):
    server = serve()
    with streaming(server, kind=EndlessFeed, receive_bytes=4 * KIB) as (feed, reader, _):
        stalled_at = given_when_stalled(server, feed)
        for _ in range(stalled_at):
            assert len(reader.chunk()) == 64 * KIB
        # It was given more as soon as there was room.
        for _ in range(100):
            assert len(reader.chunk()) == 64 * KIB
        assert feed.given > stalled_at


def given_when_stalled(server, feed):
    """The number of frames taken when no further one is taken while other requests come and go."""
    with httpx2.Client(base_url=server.server.url) as http:
        given = -1
        while given != feed.given:
            given = feed.given
            for _ in range(50):
                assert http.get("/healthz").status_code == 200
    return given


def test_a_client_that_stops_reading_is_dropped(serve):
    server = serve(stream_send_timeout_s=0.3)
    with streaming(server, kind=EndlessFeed, receive_bytes=4 * KIB) as (feed, _, _):
        assert feed.closed.wait(SOON_S)
    assert server.log_line()["status"] == 200


def abort(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("leave", [socket.socket.close, abort, lambda c: c.shutdown(socket.SHUT_WR)])
def test_frames_are_closed_at_once_when_the_client_goes_while_they_wait(serve, leave):
    server = serve()
    feed = server.feed("thread_1")
    with server.connect(sends=request("thread_1")) as connection:
        assert connection.recv(1)
        leave(connection)
        assert feed.closed.wait(SOON_S)
    assert feed.given == 0


def test_frames_are_closed_when_the_client_goes_while_it_is_behind(serve):
    server = serve()
    with streaming(server, kind=EndlessFeed, receive_bytes=4 * KIB) as (feed, reader, connection):
        given_when_stalled(server, feed)
        reader.close()
        connection.close()
        assert feed.closed.wait(SOON_S / 2)


@pytest.mark.parametrize("leave", [socket.socket.close, lambda c: c.shutdown(socket.SHUT_WR)])
def test_frames_of_a_client_that_left_before_the_head_are_closed_and_that_is_a_499(serve, leave):
    server = serve()
    feed = server.feed("thread_1")
    server.server.call(feed.may_begin.clear)
    with server.connect(sends=request("thread_1")) as connection:
        assert feed.asked.wait(SOON_S)
        leave(connection)
        # The server has seen it when it answers another connection.
        httpx2.get(f"{server.server.url}/healthz")
        server.server.call(feed.may_begin.set)
        assert feed.closed.wait(SOON_S)
    assert server.log_line()["status"] == 499
    assert feed.given == 0


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has it")
def test_the_system_gives_up_on_a_client_whose_network_is_gone():
    settings = Settings(port=0, body_timeout_s=3)
    with server.bind(settings) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3000


# faults


def test_a_fault_becomes_an_error_event_that_tells_nothing_and_the_connection_ends(serve, caplog):
    server = serve()
    with streaming(server) as (feed, reader, connection):
        connection.sendall(HEALTHZ)
        server.put(feed, RuntimeError("a secret"))
        name, data, *rest = reader.chunk().decode().split("\n")
        assert (name, rest, reader.chunk()) == ("event: error", ["", ""], b"")
        assert reader.ends()
    error = json.loads(data.removeprefix("data: "))
    inner = error.pop("error")
    assert inner == error
    assert list(inner) == ["message", "type", "param", "code"]
    assert (inner["type"], "secret" in inner["message"]) == ("server_error", False)
    [record] = [record for record in caplog.records if record.name == "threadkeep.http.streams"]
    assert "a secret" in caplog.text
    assert record.args[0] in inner["message"]
    assert feed.closed.wait(SOON_S)


def test_an_error_of_the_api_keeps_its_words_in_a_stream(serve):
    server = serve()
    with streaming(server) as (feed, reader, _):
        server.put(feed, StorageUnavailableError("The database is away."))
        assert b'"message":"The database is away."' in reader.chunk()


# stopping


def stop_quickly(server):
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < server.server.app.settings.shutdown_timeout_s / 2


def test_a_stop_cuts_streams_with_a_hint_to_come_back(serve):
    server = serve()
    with ExitStack() as stack:
        streams = [stack.enter_context(streaming(server, f"thread_{number}")) for number in range(3)]
        for feed, reader, _ in streams:
            server.put(feed, b"data: a\n\n")
            assert reader.chunk() == b"data: a\n\n"
        stop_quickly(server)
        for feed, reader, _ in streams:
            # There is no empty chunk: the answer is not whole.
            assert reader.chunk() == COME_BACK
            assert reader.ends()
            assert feed.closed.is_set()


def test_a_client_that_does_not_read_does_not_hold_up_a_stop(serve):
    server = serve()
    with streaming(server, kind=EndlessFeed, receive_bytes=4 * KIB) as (feed, _, _):
        given_when_stalled(server, feed)
        stop_quickly(server)
        assert feed.closed.is_set()


def is_listening(server):
    try:
        socket.create_connection(server.address).close()
    except ConnectionError:
        return False
    return True


def test_a_stream_that_begins_while_the_server_stops_sends_what_is_there(serve):
    server = serve()
    feed = server.feed("thread_1")
    server.server.call(feed.may_begin.clear)
    server.put(feed, b"data: a\n\n", b"data: b\n\n")
    with server.connect(sends=request("thread_1")) as connection:
        assert feed.asked.wait(SOON_S)
        stopping = threading.Thread(target=stop_quickly, args=[server])
        stopping.start()
        while is_listening(server):
            pass
        server.server.call(feed.may_begin.set)
        reader = Reader(connection)
        assert reader.head()[1]["connection"] == "close"
        assert [reader.chunk(), reader.chunk()] == [b"data: a\n\ndata: b\n\n", COME_BACK]
        stopping.join()
        assert reader.ends()


# the log


def test_a_stream_is_logged_when_it_ends_with_its_whole_duration(serve):
    server = serve()
    with streaming(server) as (feed, reader, _):
        began = time.perf_counter()
        server.put(feed, b"data: a\n\n")
        reader.chunk()
        streamed_ms = (time.perf_counter() - began) * 1000
        assert "stream" not in server.log.getvalue()
        server.put(feed, None)
        reader.chunk()
        line = server.log_line()
    assert (line["status"], line["route"]) == (200, "/threads/{thread_id}/stream")
    assert line["duration_ms"] > streamed_ms


# rows of the route table


def test_an_operation_gets_the_headers_its_row_names(serve):
    server = serve()
    with streaming(server, "thread_1") as (feed, _, _):
        assert feed.last_event_id is None
    with streaming(server, "thread_2", "Last-Event-ID: 7") as (feed, _, _):
        assert feed.last_event_id == "7"


def test_a_result_can_carry_headers(serve):
    answer = httpx2.post(f"{serve().server.base_url}/threads/thread_1/runs", json={"assistant_id": "asst_1"})
    assert answer.json() == {"id": "run_1"}
    assert answer.headers["openai-poll-after-ms"] == "500"


def test_what_is_wrong_with_a_request_is_said_before_the_stream(serve):
    answer = httpx2.post(f"{serve().server.base_url}/threads/thread_1/runs", json={"stream": True})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "assistant_id"


def test_the_description_tells_of_streams_and_headers():
    paths = openapi.document(routes({}))["paths"]
    operation = paths["/v1/threads/{thread_id}/stream"]["get"]
    assert list(operation["responses"]["200"]["content"]) == ["application/json", "text/event-stream"]
    assert {"name": "last-event-id", "in": "header", "required": False, "schema": {"type": "string"}} in operation[
        "parameters"
    ]


# clients


@pytest.fixture
def client(serve):
    server = serve()
    with openai.OpenAI(base_url=server.server.base_url, api_key="none", max_retries=0, timeout=SOON_S) as client:
        client.streaming = server
        yield client


def sdk_frame(number):
    return b'event: thread.message.delta\ndata: {"id":"msg_%d","object":"thread.message.delta","delta":{}}\n\n' % number


def test_the_sdk_sees_events_as_they_come(client):
    server = client.streaming
    feed = server.feed("thread_1")
    with client.beta.threads.runs.create("thread_1", assistant_id="asst_1", stream=True) as events:
        for number in range(5):
            server.put(feed, sdk_frame(number))
            event = next(events)
            assert (event.event, event.data.id) == ("thread.message.delta", f"msg_{number}")
        server.put(feed, b"event: done\ndata: [DONE]\n\n", None)
        assert list(events) == []


def test_the_sdk_raises_what_a_stream_reports(client):
    server = client.streaming
    feed = server.feed("thread_1")
    with client.beta.threads.runs.create("thread_1", assistant_id="asst_1", stream=True) as events:
        server.put(feed, sdk_frame(1), RuntimeError("a secret"))
        assert next(events)
        with pytest.raises(openai.APIError, match="The server had an error"):
            next(events)


def test_curl_sees_frames_as_they_come(serve):
    server = serve()
    feed = server.feed("thread_1")
    url = f"{server.server.base_url}/threads/thread_1/stream"
    with subprocess.Popen(["curl", "-sSN", url], stdout=subprocess.PIPE) as curl:
        for number in range(3):
            server.put(feed, b"data: %d\n\n" % number)
            assert curl.stdout.readline() == b"data: %d\n" % number
            assert curl.stdout.readline() == b"\n"
        server.put(feed, None)
        assert curl.stdout.read() == b""
    assert curl.returncode == 0


def test_five_hundred_streams_go_on_side_by_side(serve):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = serve()
    feeds = [server.feed(f"thread_{number}") for number in range(500)]

    async def read(number):
        reader, writer = await asyncio.open_connection(*server.address)
        with closing(writer):
            writer.write(request(f"thread_{number}"))
            await reader.readuntil(b"\r\n\r\n")
            for turn in range(3):
                frame = b"data: %d of %d\n\n" % (turn, number)
                server.put(feeds[number], frame)
                assert await reader.readuntil(b"\n\n\r\n") == b"%x\r\n%b\r\n" % (len(frame), frame)

    async def read_all():
        await asyncio.gather(*map(read, range(500)))

    asyncio.run(read_all())
    for feed in feeds:
        assert feed.closed.wait(SOON_S)


# the connection alone


def test_the_answer_to_head_has_no_body_and_lets_the_connection_go_on():
    seen = []

    async def stream(sink):
        seen.append(sink.is_open)
        sink.write(b"data: a\n\n")

    async def answer(_):
        return Answer(200, b"", content_type=b"text/event-stream", stream=stream)

    async def converse():
        hub = Hub(Settings(), answer)
        server = await asyncio.get_running_loop().create_server(lambda: Connection(hub), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        with closing(writer):
            writer.write(request("thread_1", method="HEAD") + request("thread_1", "Connection: close"))
            received = await reader.read()
        server.close()
        return received

    head, _, rest = asyncio.run(converse()).partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")
    assert rest.endswith(b"\r\n\r\ndata: a\n\n")
    assert seen == [False, True]


def test_head_of_a_streamed_address_is_refused_as_of_any_other(serve):
    with serve().connect(sends=request("thread_1", method="HEAD")) as connection:
        assert Reader(connection).head()[0] == "HTTP/1.1 405 Method Not Allowed"
