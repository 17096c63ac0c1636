"""What an HTTP client costs per streamed token: CPU time of this process over tokens, in alternating rounds.

    python -m bench.clients

Needs what `make setup` installs. The model server is a process of its own. `own` is the least that could do: a
protocol of asyncio over httptools, without proxies, TLS or time limits. `threadkeep` is all that is done with a token
up to the parts that a run sees. Figures: docs/decisions/0012-aiohttp-for-model-servers.md.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from contextlib import aclosing
from urllib.parse import urlsplit

import aiohttp
import httptools
import httpx2
import msgspec
import uvloop

from threadkeep.ids import IdSource
from threadkeep.settings import Settings
from threadkeep.upstream import ChatRequest, TextDelta, Upstreams

ROUNDS = 5
STREAMS, TOKENS, TOKENS_PER_S = 100, 100, 20
FAST_TOKENS = 20_000
MESSAGES = [{"role": "user", "content": "Hello"}]


class Delta(msgspec.Struct):
    content: str | None = None


class Choice(msgspec.Struct):
    delta: Delta


class Chunk(msgspec.Struct):
    choices: list[Choice]


decode = msgspec.json.Decoder(Chunk).decode


class Contestant:
    def __init__(self, url):
        self.url = url

    async def open(self):
        pass

    async def close(self):
        pass

    async def tokens(self, model):
        """Asks for one answer and counts its tokens."""
        body = msgspec.json.encode({"model": model, "stream": True, "messages": MESSAGES})
        pending, tokens = b"", 0
        async with aclosing(self.stream(f"{self.url}/chat/completions", body)) as stream:
            async for data in stream:
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: {"):
                        decode(line[6:])
                        tokens += 1
        return tokens


class Httpx2(Contestant):
    async def open(self):
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        self._client = httpx2.AsyncClient(limits=limits, timeout=60)

    async def close(self):
        await self._client.aclose()

    async def stream(self, url, body):
        async with self._client.stream("POST", url, content=body) as response:
            async for data in response.aiter_raw():
                yield data


class Aiohttp(Contestant):
    async def open(self):
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
        self._client = aiohttp.ClientSession(connector=connector, auto_decompress=False, timeout=timeout)

    async def close(self):
        await self._client.close()

    async def stream(self, url, body):
        async with self._client.post(url, data=body) as response:
            while data := await response.content.readany():
                yield data


class Own(Contestant):
    async def stream(self, url, body):
        parts = urlsplit(url)
        _, protocol = await asyncio.get_running_loop().create_connection(OwnProtocol, parts.hostname, parts.port)
        head = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-length: {len(body)}\r\n\r\n"
        protocol.transport.write(head.encode() + body)
        while data := await protocol.read():
            yield data
        protocol.transport.close()


class Threadkeep(Contestant):
    async def open(self):
        self._upstreams = Upstreams(Settings(upstream_url=self.url), IdSource())
        await self._upstreams.open()

    async def close(self):
        await self._upstreams.close()

    async def tokens(self, model):
        tokens = 0
        route = await self._upstreams.find(model)
        async for parts in route.stream(ChatRequest(model=model, messages=MESSAGES)):
            tokens += sum(type(part) is TextDelta for part in parts)
        return tokens


class OwnProtocol(asyncio.Protocol):
    def __init__(self):
        self._parser = httptools.HttpResponseParser(self)
        self._pieces, self._ended, self._waiter = [], False, None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self._parser.feed_data(data)
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def on_body(self, body):
        self._pieces.append(body)

    def on_message_complete(self):
        self._ended = True

    async def read(self):
        while not self._pieces and not self._ended:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


CLIENTS = {"httpx2": Httpx2, "aiohttp": Aiohttp, "own": Own, "threadkeep": Threadkeep}


async def measure(kind, url, streams, model):
    """Microseconds of CPU a token."""
    client = kind(url)
    await client.open()
    await client.tokens("text:1")
    before = time.process_time()

    async def one(number):
        # Tokens of different streams do not arrive together.
        await asyncio.sleep(number / streams / TOKENS_PER_S)
        return await client.tokens(model)

    tokens = sum(await asyncio.gather(*map(one, range(streams))))
    spent = time.process_time() - before
    await client.close()
    return spent / tokens * 1e6


def main():
    command = [sys.executable, "-m", "threadkeep.testing"]
    loads = {
        f"{STREAMS} streams at {TOKENS_PER_S} tokens/s": (STREAMS, f"text:{TOKENS}@{TOKENS_PER_S}"),
        "one stream, unthrottled": (1, f"text:{FAST_TOKENS}"),
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        url = server.stdout.readline().strip()
        try:
            for load, (streams, model) in loads.items():
                figures = {name: [] for name in CLIENTS}
                for _ in range(ROUNDS):
                    for name, kind in CLIENTS.items():
                        figures[name].append(uvloop.run(measure(kind, url, streams, model)))
                for name, found in figures.items():
                    print(
                        f"{load}: {name:8} {statistics.median(found):6.1f} us ({min(found):.1f}-{max(found):.1f})",
                        flush=True,
                    )
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
