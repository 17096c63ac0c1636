"""Ten thousand requests that no well-behaved client sends: no fault, no silence, no growth."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import re
import select
import sys
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

SEED = 20260101
REQUESTS = 10_000
# So many of them are sent before memory is measured for the first time.
WARM_UP = 4_000
GROWTH_MAX_BYTES = 10 * 1024**2
AT_ONCE = 250
# So that what never ends is over soon.
FLAGS = ("--head-timeout-s", "0.5", "--body-timeout-s", "0.5", "--keep-alive-s", "1")

DEEP = 100_000
# JSON that is wrong nearly everywhere, or not JSON at all.
WRONG = [
    *b"""
    null true false 0 -1 1.5 1e999 -1e999 18446744073709551616 NaN Infinity -Infinity 01 0x10 1e --1 undefined "" "x"
    "system" "\\u0000" "a\\u0000b" "\\ud800" "\\udc00\\ud800" "\\x41" "\\u12" " 'x' [] {} [null] [[]] [1,2 { {"a"}
    {"a":1,} {1:2} [,] ] } ,
    """.split(),
    b"9" * 10_000,
    b"0." + b"1" * 10_000,
    b'" "',
    b'"a\0b"',
    b'"\xff\xfe"',
    b'"\xed\xa0\x80"',
    b'"\xc0\x80"',
    b'"\xf5\x80\x80\x80"',
    b'{"\\ud800": "x"}',
    b'{"a": "x"}',
    b'{"type": "text"}',
    b'{"type": []}',
    b'{"": {}}',
    b'{"\\u0000": "x"}',
    b"",
    b'"' + b"x" * 300_000 + b'"',
    b"[" + b"0," * 20_000 + b"0]",
    b'[{"a":' * 50 + b"0" + b"}]" * 50,
    b"[" * DEEP,
    b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP,
    b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    b"\xef\xbb\xbf{}",
    b"// {}",
    b"{} {}",
    "\N{NO-BREAK SPACE}{}".encode(),
    b"\x0c{}",
]
VALID_THREAD = {
    "metadata": {"key": "value"},
    "tool_resources": {
        "code_interpreter": {"file_ids": ["file-a"]},
        "file_search": {
            "vector_stores": [
                {
                    "file_ids": ["file-b"],
                    "chunking_strategy": {
                        "type": "static",
                        "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400},
                    },
                    "metadata": {"key": "value"},
                }
            ]
        },
    },
    "messages": [
        {"role": "user", "content": "text", "file_ids": ["file-c"]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "part"},
                {"type": "image_file", "image_file": {"file_id": "file-d", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/x.png", "detail": "high"}},
            ],
            "attachments": [{"file_id": "file-e", "tools": [{"type": "file_search"}]}],
            "metadata": {"key": "value"},
        },
    ],
}
VALID_ASSISTANT = {
    "model": "m",
    "name": "n",
    "description": None,
    "instructions": "i",
    "tools": [
        {"type": "code_interpreter"},
        {
            "type": "file_search",
            "file_search": {
                "max_num_results": 5,
                "ranking_options": {
                    "ranker": "auto",
                    "score_threshold": 0.5,
                    "hybrid_search": {"embedding_weight": 0.5, "text_weight": 0.5},
                },
            },
        },
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": {"any": [{"schema": 1}]}, "strict": True},
        },
    ],
    "tool_resources": {"code_interpreter": {"file_ids": ["file-a"]}, "file_search": {"vector_store_ids": ["vs_a"]}},
    "metadata": {"key": "value"},
    "temperature": 0.5,
    "top_p": 1,
    "reasoning_effort": "low",
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "n", "description": "d", "schema": {"any": [1]}, "strict": None},
    },
    "file_ids": ["file-b"],
}
PLACEHOLDER = "the wrong value goes here"
PLAIN_IDS = """
{thread} {message} {assistant} thread_x msg_x asst_x asst_%00 thread_ thread undefined null %00 thread_%00
thread_%ff%fe thread_%ed%a0%80 thread_%zz thread_% %2e%2e .. . thread_%2F thread_%252F thread_'-- thread_" thread_;drop
thread_%0d%0aX-Injected:%201 *
"""
IDS = [
    *PLAIN_IDS.split(),
    "thread_" + "x" * 10_000,
    "",
]
PLAIN_QUERIES = """
limit=0 limit=-1 limit=abc limit=1e9 limit=99999999999999999999 limit=1&limit=2 limit= limit limit=1.0 limit=%31
limit=+5 limit=0x10 limit=%D9%A1 limit[]=1 order= order=up order=asc&order=desc order[]=asc order=%00 order=ASC %00=1
= & ? &&=& after= after=x after={thread} after={message} after=%00 after=%ff after[]=a before=x run_id=%00
before={thread}&after={thread} before={message}&after={message} run_id= run_id=run_x run_id[a]=b metadata metadata=
metadata=x metadata[ metadata[] metadata[]= metadata[a metadata[a] metadata] metadata[a]=1&metadata[a]=2
metadata[a][b]=1 metadata[%00]=1 metadata[a]=%00 metadata[a]=1&metadata=2 metadata=2&metadata[a]=1 metadata[a]=%ff
metadata[%ed%a0%80]=x metadata[%0a]=x metadata%5Ba%5D=1 % %%% limit=% limit=%2 ; # a=b#c
"""
QUERIES = [
    *PLAIN_QUERIES.split(),
    "limit=%20 5",
    "limit=" + "9" * 5000,
    "&".join(f"metadata[{n}]=x" for n in range(30)),
    "&".join(f"a{n}=x" for n in range(150)),
    "x=" + "y" * 50_000,
    "metadata[" + "k" * 5000 + "]=x",
    "metadata[a]=" + "v" * 20_000,
]
METHODS = ["GET"] * 12 + [
    "POST",
    "POST",
    "DELETE",
    "HEAD",
    "OPTIONS",
    "PUT",
    "PATCH",
    "TRACE",
    "BREW",
    "get",
    "LOCK",
    "X" * 200,
]
PATHS = [
    "/threads",
    "/threads/{thread}",
    "/threads/{thread}/messages",
    "/threads/{thread}/messages/{message}",
    "/assistants",
    "/assistants/{assistant}",
    "/models/{thread}",
]
OTHER_PATHS = [
    "/files",
    "/vector_stores/vs_a/files",
    "/",
    "//",
    "/threads/",
    "/v1",
    "/v1/v1/threads",
    "/openapi.json",
    "/docs",
    "/healthz",
    "/readyz",
    "/%00",
]
HEADERS = [
    ("content-type", "text/plain"),
    ("content-type", "multipart/form-data"),
    ("content-encoding", "gzip"),
    ("openai-beta", "assistants=v1"),
    ("openai-beta", "\xff"),
    ("accept", "text/html"),
    ("expect", "100-continue"),
    ("x-long", "x" * 5000),
    ("origin", "https://example.com"),
    ("cookie", "a=b"),
    ("upgrade", "websocket"),
    ("range", "bytes=0-1"),
    ("x-http-method-override", "DELETE"),
    ("te", "trailers"),
    ("forwarded", "for=1"),
]


def request(method, target, body=b"", headers=()):
    """A request whose framing is right. What stands in braces is filled in when it is sent."""
    lines = [f"{method} {target} HTTP/1.1", "host: localhost", "authorization: Bearer {key}"]
    lines += [f"{name}: {value}" for name, value in [("content-length", len(body)), *headers]]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def fill(sent, **values):
    for name, value in values.items():
        sent = sent.replace(b"{%s}" % name.encode(), value.encode())
    return sent


POST = request("POST", "/v1/threads").removesuffix(b"content-length: 0\r\n\r\n")
CHUNKS = [
    b"2\r\n{}\r\n0\r\n\r\n",
    b"zz\r\n{}\r\n0\r\n\r\n",
    b"-2\r\n{}\r\n0\r\n\r\n",
    b"0x2\r\n{}\r\n0\r\n\r\n",
    b'2;a="\r\n{}\r\n0\r\n\r\n',
    b"F" * 17 + b"\r\n{}",
    b"f" * 16 + b"\r\n{}",
    b"2\r\n{}X0\r\n\r\n",
    b"2\n{}\n0\n\n",
    b"",
    b"\r\n",
    b"0\r\n\r",
    b"0\r\nTrailer: x\r\n\r\n",
    b"0\r\n" + b"T: x\r\n" * 5000 + b"\r\n",
    b"2\r\n{}\r\n",
    b"2\r\n{",
    b"1\r\n \r\n" * 2000 + b"0\r\n\r\n",
    b"2" + b"0" * 5000 + b"\r\n",
    b"2;" + b"x" * 50_000 + b"\r\n{}\r\n0\r\n\r\n",
]
LENGTHS = [
    "-1",
    "abc",
    "1e3",
    "+2",
    "2, 2",
    "2\r\ncontent-length: 3",
    "",
    " ",
    "0x2",
    "18446744073709551616",
    "9" * 1000,
]
ENCODINGS = [
    "gzip",
    "identity",
    "chunked, chunked",
    "chunked, gzip",
    "xchunked",
    "chunked\r\ncontent-length: 2",
    "",
    "\x0bchunked",
]
FIRST_LINES = [
    b"GET /",
    b"GET / HTTP/9.9",
    b"GET  / HTTP/1.1",
    b"GET / HTTP/1.0",
    b"get / http/1.1",
    b"GET / HTTP/1.1 ",
    b"GET",
    b"PRI * HTTP/2.0",
    b"CONNECT localhost:80 HTTP/1.1",
    b"CONNECT / HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"GET * HTTP/1.1",
    b"GET http://localhost HTTP/1.1",
    b"GET http://localhost/v1/threads HTTP/1.1",
    b"GET http:// HTTP/1.1",
    b"GET //x HTTP/1.1",
    b"GET \xff\xfe HTTP/1.1",
    b"GET /\0 HTTP/1.1",
    b"GET /v1/threads/thread_\xff HTTP/1.1",
    b"GET /v1/threads?a=\xff HTTP/1.1",
    b"GET /" + b"a" * 60_000 + b" HTTP/1.1",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1",
    b"GET ?a=b HTTP/1.1",
    b"GET : HTTP/1.1",
    b"GET /%zz?%zz HTTP/1.1",
    b"SOURCE / ICE/1.0",
    b"GET / RTSP/1.0",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    b"\0" * 100,
]
HEADER_LINES = [
    b"x: a\0b",
    b"x: a\r\n b",
    b"no colon",
    b"x : y",
    b": y",
    b"x: a\rb",
    b"x: \x7f",
    b"\xff: y",
    b"x:" + b"y" * 60_000,
    b"a: b\r\n" * 9000 + b"c: d",
    b"host: a\r\nhost: b",
    b"authorization: Bearer x",
    b"authorization: Bearer \xff\xfe",
    b"authorization: Basic Og==",
    b"authorization:",
    b"api-key: \xff",
    b"connection: upgrade\r\nupgrade: h2c",
    b"expect: a lot",
    b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==",
    b"connection: close",
]
NOT_HTTP = [
    *(POST + b"transfer-encoding: chunked\r\n\r\n" + chunks for chunks in CHUNKS),
    *(POST + f"content-length: {length}\r\n\r\n{{}}".encode() for length in LENGTHS),
    *(
        POST + f"transfer-encoding: {encoding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n".encode("latin-1")
        for encoding in ENCODINGS
    ),
    *(
        POST + b"content-length: 5\r\n\r\n{}",
        POST + b"content-length: 1\r\n\r\n{}",
        POST + b"\r\n",
        POST.replace(b"\r", b"") + b"\n",
    ),
    *(line + b"\r\nhost: localhost\r\n\r\n" for line in FIRST_LINES),
    *(b"GET /v1/threads HTTP/1.1\r\n" + line + b"\r\n\r\n" for line in HEADER_LINES),
    request("GET", "/v1/threads") * 20,
    request("POST", "/v1/threads", b"{}") * 20,
    request("POST", "/v1/threads", b"{}") * 3 + b"\0",
]


def places(value, at=()):
    """The way to every value inside `value`, itself first."""
    yield at
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*at, key))


def with_wrong(value, at, wrong):
    """The JSON of `value` with `wrong` at one place."""
    copy = {"top": json.loads(json.dumps(value))}
    inner = copy
    *way, last = ("top", *at)
    for key in way:
        inner = inner[key]
    inner[last] = PLACEHOLDER
    return json.dumps(copy["top"]).encode().replace(f'"{PLACEHOLDER}"'.encode(), wrong)


def wrong_bodies(chance, count):
    """Valid bodies with one wrong value, each at another place or with another value, in both dialects."""
    targets = [
        ("/v1/threads", VALID_THREAD),
        ("/v1/threads", {"id": "thread_given"}),
        ("/v1/threads/{thread}", {"metadata": {"key": None}, "tool_resources": VALID_THREAD["tool_resources"]}),
        ("/v1/threads/{thread}/messages", VALID_THREAD["messages"][1]),
        ("/v1/threads/{thread}/messages/{message}", {"metadata": {"key": "value"}}),
        ("/v1/assistants", VALID_ASSISTANT),
        ("/v1/assistants", {"model": "m", "id": "asst_given"}),
        ("/v1/assistants/{assistant}", VALID_ASSISTANT),
    ]
    at_places = [(target, value, at) for target, value in targets for at in places(value)]
    dialects = [[], [("openai-beta", "assistants=v1")]]
    for (target, value, at), wrong, headers in chance.sample([*itertools.product(at_places, WRONG, dialects)], count):
        yield request("POST", target, with_wrong(value, at, wrong), headers)


def wrong_targets(chance, count):
    """Methods, addresses, query strings and headers put together at random."""
    for _ in range(count):
        path = chance.choice([*PATHS * 5, *OTHER_PATHS])
        path = path.replace(
            chance.choice(["{thread}", "{message}", "{assistant}", "no id is wrong"]), chance.choice(IDS)
        )
        prefix = chance.choice(["/v1", "/v1", "", "/V1", "/v2"])
        queries = [f"?{chance.choice(QUERIES)}", "", f"?{chance.choice(QUERIES)}&{chance.choice(QUERIES)}"]
        yield request(
            chance.choice(METHODS),
            prefix + path + chance.choice(queries),
            chance.choice([b"", b"{}", *WRONG]),
            chance.sample(HEADERS, chance.randrange(3)),
        )


def broken_framing(chance, count):
    """What is not HTTP, or HTTP that is cut, damaged, or lies about its lengths."""
    good = [
        request("POST", "/v1/threads", json.dumps(VALID_THREAD).encode()),
        request("GET", "/v1/threads?limit=5"),
        POST + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS[0],
    ]
    for _ in range(count):
        data = bytearray(chance.choice(good))
        match chance.randrange(6):
            case 0:
                yield chance.randbytes(chance.choice([1, 10, 100, 3000]))
            case 1:
                yield bytes(data[: chance.randrange(1, len(data))])
            case 2 | 3:
                for _ in range(chance.randrange(1, 8)):
                    data[chance.randrange(len(data))] = chance.randrange(256)
                yield bytes(data)
            case 4:
                cut = chance.randrange(len(data))
                yield bytes(data[:cut]) + chance.randbytes(chance.randrange(50)) + bytes(data[cut:])
            case 5:
                yield chance.choice(NOT_HTTP)


def answers_in(received):
    """Status, headers and body of each answer in what a server sent; refuses anything else."""
    while received:
        head, separator, rest = received.partition(b"\r\n\r\n")
        assert separator, received
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = status_line.split(" ", 2)
        assert version == "HTTP/1.1"
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0))
        yield int(status), headers, rest[:length]
        received = rest[length:]


def check(sent, status, headers, body):
    """No fault of the server's, and every error in the envelope."""
    note = f"{status} {body[:500]} for {sent[:500]}"
    assert status < 500, note
    if status >= 400 and not sent.startswith(b"HEAD "):
        assert headers["content-type"] == "application/json", note
        envelope = json.loads(body)
        assert list(envelope) == ["error"], note
        assert list(envelope["error"]) == ["message", "type", "param", "code"], note
        assert envelope["error"]["type"] == "invalid_request_error", note


class KeptConnection:
    """Sends requests whose framing is right one after the other; each gets its answer."""

    def __init__(self, server):
        self._server = server
        self._socket = None

    def ask(self, sent):
        for first_try in (True, False):
            try:
                return self._ask(sent)
            except ConnectionError:
                # It was idle for too long, or the answer before was the last.
                self.close()
                assert first_try, sent[:500]
        raise AssertionError

    def _ask(self, sent):
        self._socket = self._socket or self._server.connect()
        self._socket.sendall(sent)
        with closing(http.client.HTTPResponse(self._socket, method=sent.split()[0].decode())) as response:
            response.begin()
            answer = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            if response.will_close:
                self.close()
            return answer

    def close(self):
        if self._socket:
            self._socket.close()
        self._socket = None

    def made(self, target, body):
        """The id of a new object."""
        sent = fill(request("POST", target, json.dumps(body).encode()), key=self._server.key)
        status, _, answer = self.ask(sent)
        assert status == 200, answer
        return json.loads(answer)["id"]


def send_framed(server, requests):
    """Checks the answer to each of `requests`."""
    with closing(KeptConnection(server)) as connection:
        for batch in batched(requests):
            # Others may have been deleted by the batch before.
            thread_id = connection.made("/v1/threads", {})
            message_id = connection.made(f"/v1/threads/{thread_id}/messages", {"role": "user", "content": "x"})
            assistant_id = connection.made("/v1/assistants", {"model": "m"})
            for unfilled in batch:
                ids = {"thread": thread_id, "message": message_id, "assistant": assistant_id}
                sent = fill(unfilled, key=server.key, **ids)
                check(sent, *connection.ask(sent))


def send_broken(server, broken):
    """Sends each on a connection of its own, many at a time, and reads until the server closes them all."""
    for batch in batched(broken):
        with ExitStack() as stack:
            sent_on = {stack.enter_context(server.connect()): fill(sent, key=server.key) for sent in batch}
            for connection, sent in sent_on.items():
                with suppress(ConnectionError):
                    connection.sendall(sent)
            for connection, received in read_until_closed(sent_on).items():
                for answer in answers_in(received):
                    check(sent_on[connection], *answer)


def read_until_closed(sent_on):
    """What the server said on each connection; ten seconds without a word or a close are too many."""
    received = dict.fromkeys(sent_on, b"")
    waiting = set(sent_on)
    while waiting:
        ready, _, _ = select.select(waiting, [], [], 60)
        assert ready, f"no answer, and not closed: {[sent_on[connection][:500] for connection in waiting]}"
        for connection in ready:
            try:
                chunk = connection.recv(65536)
            except ConnectionResetError:
                # It did not read all that was sent, and what it said may be lost in part.
                received[connection] = chunk = b""
            received[connection] += chunk
            if not chunk:
                waiting.remove(connection)
    return received


def batched(items):
    items = iter(items)
    while batch := list(itertools.islice(items, AT_ONCE)):
        yield batch


def memory_bytes(pid):
    """What the process holds for itself alone."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_ten_thousand_malformed_requests_cause_no_fault_no_silence_and_no_growth(serve):
    server = serve(*FLAGS)
    chance = random.Random(SEED)

    def send(count):
        send_framed(server, wrong_bodies(chance, count * 4 // 10))
        send_framed(server, wrong_targets(chance, count * 3 // 10))
        send_broken(server, broken_framing(chance, count * 3 // 10))

    send(WARM_UP)
    before = memory_bytes(server.pid)
    send(REQUESTS - WARM_UP)
    assert memory_bytes(server.pid) - before < GROWTH_MAX_BYTES
    with closing(KeptConnection(server)) as connection:
        connection.made("/v1/threads", VALID_THREAD)
