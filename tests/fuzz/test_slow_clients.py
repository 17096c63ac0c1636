"""Clients that are slow, silent, too many or send too much are cut off, and told why where possible."""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
from contextlib import closing

import openai
import pytest

MIB = 1024**2
QUICK = ("--head-timeout-s", "0.3", "--body-timeout-s", "0.3", "--keep-alive-s", "1")
# Where a first request is to be answered, there is time to send it.
QUICK_AFTER_THE_FIRST = ("--head-timeout-s", "2", "--keep-alive-s", "2")
HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def quick_server(serve):
    return serve(*QUICK)


@pytest.fixture
def obliging_server(serve):
    return serve(*QUICK_AFTER_THE_FIRST)


@pytest.fixture
def client(serve):
    server = serve()
    with openai.OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0) as client:
        yield client


def everything(connection):
    """All that the server sends until it hangs up."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def answer(connection):
    """Status and body of the next answer."""
    with closing(http.client.HTTPResponse(connection)) as response:
        response.begin()
        return response.status, response.read()


def assert_refusal(received, status, code=None):
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), received
    assert b"content-type: application/json" in head
    error = json.loads(body)["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["code"] == code


def request_head(server, *lines):
    return "\r\n".join(
        ["POST /v1/threads HTTP/1.1", "Host: localhost", f"Authorization: Bearer {server.key}", *lines, "", ""]
    ).encode()


def test_a_connection_on_which_nothing_is_sent_is_closed_without_an_answer(quick_server):
    with quick_server.connect() as connection:
        assert everything(connection) == b""


@pytest.mark.parametrize(
    "sent", [b"P", b"POST /v1/threads HTT", b"POST /v1/threads HTTP/1.1\r\nHost: localhost\r\nX-", b"\r\n\r\nPOST"]
)
def test_a_head_that_does_not_end_is_a_408(quick_server, sent):
    with quick_server.connect() as connection:
        connection.sendall(sent)
        assert_refusal(everything(connection), 408)


@pytest.mark.parametrize(
    ("header", "sent"),
    [
        ("Content-Length: 100", b""),
        ("Content-Length: 100", b'{"metadata"'),
        ("Transfer-Encoding: chunked", b""),
        ("Transfer-Encoding: chunked", b"5\r\nab"),
        ("Transfer-Encoding: chunked", b"2\r\n{}\r\n"),
    ],
)
def test_a_body_that_does_not_end_is_a_408(quick_server, header, sent):
    with quick_server.connect() as connection:
        connection.sendall(request_head(quick_server, header) + sent)
        assert_refusal(everything(connection), 408)


@pytest.mark.parametrize(("start", "byte"), [(b"GET /v1/threads HTTP/1.1\r\nX-Slow: ", b"A"), (b"GET /", b"x")])
def test_a_head_that_comes_a_byte_at_a_time_is_cut_off_all_the_same(quick_server, start, byte):
    with quick_server.connect() as connection:
        connection.sendall(start)
        assert_refusal(drip(connection, byte), 408)


def test_blank_lines_do_not_keep_a_connection_open(quick_server):
    with quick_server.connect() as connection:
        # Nothing was asked, so nothing needs to be answered.
        assert b"200 OK" not in drip(connection, b"\r\n")


def test_a_body_that_comes_a_byte_at_a_time_is_cut_off_all_the_same(quick_server):
    with quick_server.connect() as connection:
        connection.sendall(request_head(quick_server, "Content-Length: 1000000"))
        assert_refusal(drip(connection, b" "), 408)


def drip(connection, byte):
    """Sends `byte` again and again until the server answers; gives what it says, nothing if it hangs up."""
    connection.settimeout(0.02)
    for _ in range(500):
        try:
            connection.sendall(byte)
            return connection.recv(65536)
        except TimeoutError:
            continue
        except ConnectionError:
            return b""
    raise AssertionError("the server waits for ever")


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"\r\n\r\n\r\n"])
def test_an_idle_connection_is_closed_after_the_time_for_that(obliging_server, sent):
    with obliging_server.connect() as connection:
        connection.sendall(HEALTHZ)
        assert answer(connection)[0] == 200
        connection.sendall(sent)
        assert everything(connection) == b""


def test_a_slow_second_request_on_a_connection_is_a_408(obliging_server):
    with obliging_server.connect() as connection:
        connection.sendall(HEALTHZ)
        assert answer(connection)[0] == 200
        connection.sendall(HEALTHZ[:10])
        assert_refusal(everything(connection), 408)


@pytest.mark.parametrize("head", [b"GET /" + b"x" * 70_000, b"GET / HTTP/1.1\r\n" + b"X-Filler: 0123456789\r\n" * 3500])
def test_a_head_over_the_limit_is_a_431(serve, head):
    with serve().connect() as connection:
        connection.sendall(head)
        assert_refusal(everything(connection), 431, "request_too_large")


def test_what_follows_a_chunked_body_is_neither_believed_nor_kept_without_bound(serve):
    server = serve()
    body = b"2\r\n{}\r\n0\r\n"
    with server.connect() as connection:
        connection.sendall(request_head(server, "Transfer-Encoding: chunked") + body + b"Authorization: none\r\n\r\n")
        assert answer(connection)[0] == 200
        connection.sendall(request_head(server, "Transfer-Encoding: chunked") + body + b"X-Endless: ")
        for _ in range(100):
            try:
                connection.sendall(b"x" * MIB)
            except ConnectionError:
                break
        else:
            pytest.fail("the server takes any amount")
    assert status_of_a_new_connection(server) == 200


def test_requests_sent_ahead_are_answered_in_order_and_so_is_half_a_conversation(serve):
    server = serve()
    with server.connect() as connection:
        ids = [f"thread_{n}" for n in range(40)]
        for thread_id in ids:
            body = b'{"id": "%s"}' % thread_id.encode()
            connection.sendall(request_head(server, f"Content-Length: {len(body)}") + body)
        # No more will be sent, but what was asked is still answered.
        connection.shutdown(socket.SHUT_WR)
        received = everything(connection)
    assert re.findall(rb'"id":"(thread_\d+)"', received) == [thread_id.encode() for thread_id in ids]


def test_a_request_that_follows_a_large_one_at_once_is_not_taken_for_a_large_head(serve):
    server = serve()
    with server.connect() as connection:
        connection.sendall(request_head(server, "Content-Length: 100000") + b"{}".ljust(100_000) + HEALTHZ[:10])
        status, body = answer(connection)
        assert status == 200, body
        connection.sendall(HEALTHZ[10:])
        assert answer(connection)[0] == 200


def test_a_body_over_the_limit_is_a_413_for_the_sdk(client):
    with pytest.raises(openai.APIStatusError) as caught:
        client.beta.threads.messages.create("thread_x", role="user", content="x" * 17 * MIB)
    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")
    assert client.beta.threads.create().id


def test_a_chunked_body_over_the_limit_is_a_413(serve):
    server = serve()
    with closing(http.client.HTTPConnection(*server.address, timeout=60)) as connection:
        headers = {"Authorization": f"Bearer {server.key}", "Transfer-Encoding": "chunked"}
        connection.request("POST", "/v1/threads", iter([b" " * MIB] * 17), headers, encode_chunked=True)
        answer = connection.getresponse()
        assert (answer.status, json.load(answer)["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("gib", [1, 10**6, 10**12])
def test_a_body_that_is_declared_as_far_too_large_is_a_413_before_it_is_sent(serve, gib):
    server = serve()
    with server.connect() as connection:
        connection.sendall(request_head(server, f"Content-Length: {gib * 1024**3}") + b"{")
        received = everything(connection)
        # A length beyond 64 bits is not HTTP.
        assert_refusal(received, *((413, "request_too_large") if gib < 10**12 else (400, None)))


def test_an_endless_chunked_body_is_a_413(serve):
    server = serve()
    with server.connect() as connection:
        connection.sendall(request_head(server, "Transfer-Encoding: chunked"))
        for _ in range(100):
            try:
                connection.sendall(b"100000\r\n" + b" " * MIB + b"\r\n")
            except ConnectionError:
                break
        else:
            pytest.fail("the server takes any amount")
    assert status_of_a_new_connection(server) == 200


def test_large_bodies_together_are_limited_too(serve):
    server = serve("--bodies-bytes-max", "1000000")
    head = request_head(server, "Content-Length: 700000")
    with server.connect() as first, server.connect() as second:
        first.sendall(head + b" " * 600_000)
        second.sendall(head + b" " * 600_000)
        # Which of the two comes first is a matter of chance.
        [refused], _, _ = select.select([first, second], [], [], 60)
        status, body = answer(refused)
        assert (status, json.loads(body)["error"]["code"]) == (503, "overloaded")
        other = second if refused is first else first
        other.sendall(b"{}".ljust(100_000))
        assert answer(other)[0] == 200
        # The rest of the refused one is thrown away, and the connection goes on.
        refused.sendall(b" " * 100_000 + HEALTHZ)
        assert answer(refused)[0] == 200


def test_one_connection_more_than_allowed_is_refused(serve):
    server = serve("--connections-max", "2")
    with server.connect() as first, server.connect() as second:
        for connection in (first, second):
            connection.sendall(HEALTHZ)
            assert answer(connection)[0] == 200
        with server.connect() as third:
            assert_refusal(everything(third), 503, "overloaded")
        first.shutdown(socket.SHUT_RDWR)
        second.sendall(HEALTHZ)
        assert answer(second)[0] == 200
        assert status_of_a_new_connection(server) == 200


def status_of_a_new_connection(server):
    with closing(http.client.HTTPConnection(*server.address, timeout=60)) as connection:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
