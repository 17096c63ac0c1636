"""What is measured of streamed runs, a round at a time."""

from __future__ import annotations

import asyncio
import statistics
import time
import warnings
from contextlib import suppress
from itertools import pairwise

import openai

from bench.processes import Server
from bench.runs.client import FIRST_WORD, Assistant, Connection, Streams, until

STREAMS, TOKENS_PER_S = 100, 20
# Streams begin within a second; what is counted lies between the last beginning and the first end.
BEGIN_S, COUNTED_S = 1.0, 4.0
STEADY = f"text:{int(TOKENS_PER_S * (BEGIN_S + COUNTED_S + 1.5))}@{TOKENS_PER_S}"
FAST_TOKENS = 20_000
PAIRS, POLLS = 30, 30
# The first token comes 20 ms after the request.
BRIEF = "text:2@100"

LATE_S = 0.25
HELD_TOKENS = 160
HELD_BEGIN_S = 2.0
HELD_FIRST, HELD_GROWTH, HELD_HALVINGS = 150, 1.5, 2

FOLLOWED, CAUGHT_UP_TOKENS = 10, 20
KILLED_AFTER_S, SILENT_S = 1.0, 0.5
OPENED = 100


class Measured:
    """A server of runs, with the model server that it asks."""

    def __init__(self, server: Server, model: Server, assistant: Assistant) -> None:
        self.server = server
        self.model = model
        self.assistant = assistant

    @classmethod
    async def of(cls, server: Server, model: Server) -> Measured:
        """Makes an assistant, and warms up."""
        assistant = await Assistant(server.url).create()
        await (await assistant.streams(10, "text:50")).run()
        return cls(server, model, assistant)

    async def first_token_ms(self) -> float:
        """How much later the first token comes than from the model server itself: the difference of the medians."""
        ours, theirs = await self.assistant.connect(), await Connection(self.model.url).open()
        through, direct = [], []
        request = {"model": BRIEF, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
        for _ in range(PAIRS):
            direct.append(await _first_word_s(theirs, "/v1/chat/completions", request))
            path = f"/v1/threads/{await self.assistant.thread(ours)}/runs"
            through.append(await _first_word_s(ours, path, self.assistant.run(BRIEF)))
        ours.close()
        theirs.close()
        return (statistics.median(through) - statistics.median(direct)) * 1000

    async def steady_us(self) -> float:
        """CPU a token while all streams run."""
        streams = await self.assistant.streams(STREAMS, STEADY, BEGIN_S)
        running = asyncio.create_task(streams.run())
        await asyncio.sleep(BEGIN_S + 0.5)
        cpu_s, tokens = self.server.cpu_s(), streams.tokens
        await asyncio.sleep(COUNTED_S)
        used = (self.server.cpu_s() - cpu_s) / (streams.tokens - tokens)
        await running
        return used * 1e6

    async def fast_us(self) -> float:
        """CPU a token of one stream as fast as it can, from the run's creation to its end."""
        streams = await self.assistant.streams(1, f"text:{FAST_TOKENS}")
        cpu_s = self.server.cpu_s()
        await streams.run()
        return (self.server.cpu_s() - cpu_s) / streams.tokens * 1e6

    async def poll_ms(self) -> float:
        """From the creation of a run of one token to its end, by the SDK's `create_and_poll`: the median."""
        with warnings.catch_warnings(), openai.OpenAI(base_url=f"{self.server.url}/v1", api_key="none") as client:
            warnings.simplefilter("ignore", DeprecationWarning)
            times = [self._poll_s(client) for _ in range(POLLS)]
        return statistics.median(times) * 1000

    def _poll_s(self, client: openai.OpenAI) -> float:
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hello"}])
        started = time.perf_counter()
        run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=self.assistant.id)
        if run.status != "completed":
            raise RuntimeError(run.status)
        return time.perf_counter() - started

    async def held_streams(self) -> float:
        """The most streams of which none is late: rises until one is, then halves the gap."""
        held, count = 0, HELD_FIRST
        while await self._holds(count):
            held, count = count, round(count * HELD_GROWTH)
        late = count
        for _ in range(HELD_HALVINGS):
            count = (held + late) // 2
            if await self._holds(count):
                held = count
            else:
                late = count
        return held

    async def _holds(self, count: int) -> bool:
        """Whether none is late in one of two tries: others on the machine may have been the reason."""
        return await self._is_in_time(count) or await self._is_in_time(count)

    async def _is_in_time(self, count: int) -> bool:
        streams = await self.assistant.streams(count, f"text:{HELD_TOKENS}@{TOKENS_PER_S}", HELD_BEGIN_S)
        await streams.run()
        # A chunk without a token comes before the first.
        lasts_s = (HELD_TOKENS + 1) / TOKENS_PER_S
        return max(watch.times[-1] - watch.started - lasts_s for watch in streams.watches) <= LATE_S

    async def open_stream_kb(self, rounds: int) -> list[float]:
        """Memory of one more open stream, while its model is silent after the first token."""
        steps, opened = [self.server.anonymous_mb()], []
        for _ in range(1 + rounds):
            streams = await self.assistant.streams(OPENED, "silence:1")
            opened.append(asyncio.create_task(streams.run()))
            await until(lambda streams=streams: streams.tokens == OPENED)
            await asyncio.sleep(0.5)
            steps.append(self.server.anonymous_mb())
        for running in opened:
            running.cancel()
        await asyncio.wait(opened)
        # The first step makes room for others too.
        return [(after - before) * 1024 / OPENED for before, after in pairwise(steps[1:])]

    async def lag_ms(self, other: Measured) -> float:
        """How much later a token comes from another node than from the one that executes the run: the median."""
        streams = await self.assistant.streams(FOLLOWED, f"text:80@{TOKENS_PER_S}", BEGIN_S)
        running = asyncio.create_task(streams.run())
        followers = await _followers(other, streams)
        await asyncio.gather(running, followers.run())
        lags = [
            there - here
            for ours, theirs in zip(streams.watches, followers.watches, strict=True)
            for here, there in list(zip(ours.times, theirs.times, strict=True))[CAUGHT_UP_TOKENS:]
        ]
        return statistics.median(lags) * 1000

    async def cancelled_ms(self, other: Measured) -> float:
        """From a cancel at another node to its event there, while the node that executes the run is frozen."""
        streams = await self.assistant.streams(1, "silence:1")
        running = asyncio.create_task(streams.run())
        followers = await _followers(other, streams)
        following = asyncio.create_task(followers.run())
        await until(lambda: followers.tokens)
        thread_id, run_id = streams.watches[0].run
        connection = await other.assistant.connect()
        with self.server.frozen():
            started = time.perf_counter()
            await connection.call(f"/v1/threads/{thread_id}/runs/{run_id}/cancel", {})
            await following
            took = time.perf_counter() - started
        connection.close()
        await running
        return took * 1000

    async def taken_over_s(self, other: Measured) -> float:
        """From the death of the process that executes a run to the next token, seen from another node."""
        streams = await self.assistant.streams(1, f"text:200@{TOKENS_PER_S}")
        running = asyncio.create_task(streams.run())
        followers = await _followers(other, streams)
        following = asyncio.create_task(followers.run())
        await asyncio.sleep(KILLED_AFTER_S)
        self.server.kill()
        killed = time.perf_counter()
        with suppress(ConnectionResetError):
            await running
        # What was written before is seen a little later.
        times = followers.watches[0].times
        await until(lambda: times and times[-1] > killed + SILENT_S)
        following.cancel()
        await asyncio.wait([following])
        return next(at for at in times if at > killed + SILENT_S) - killed


async def _first_word_s(connection: Connection, path: str, body: dict) -> float:
    seen: list[float] = []
    started = time.perf_counter()

    def take(data: bytes) -> None:
        if FIRST_WORD in data:
            seen.append(time.perf_counter() - started)

    await connection.stream(path, body, take)
    return seen[0]


async def _followers(node: Measured, streams: Streams) -> Streams:
    """The same runs, followed from their start at another node."""
    await until(lambda: all(watch.run for watch in streams.watches))
    paths = [
        f"/v1/threads/{watch.run[0]}/runs/{watch.run[1]}?stream=true&starting_after=0" for watch in streams.watches
    ]
    return Streams([await node.assistant.connect() for _ in paths], paths, None, 0)
