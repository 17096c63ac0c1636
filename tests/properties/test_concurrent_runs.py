"""Many runs, cancels and submissions at the same moment: each has one winner, and in the end nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx2
import psutil
import pytest
from tests.crowd import AT_ONCE

from threadkeep import testing
from threadkeep.events import OVER
from threadkeep.settings import Settings

RUNS = 200
ROUNDS = 3
RUNS_A_ROUND = 80
# What some hundred short runs may leave behind in buffers and caches.
GROWTH_BYTES_MAX = 24 * 1024**2


@pytest.fixture(scope="module")
def model():
    with testing.model() as model:
        yield model


@pytest.fixture
def server(servers, database, model):
    return servers(database, upstream_url=model.base_url)


def new_assistant(api, model="text:3"):
    return {"assistant_id": api.ok("POST", "/assistants", {"model": model, "instructions": "Help."})["id"]}


def new_thread(api):
    return f"/threads/{api.ok('POST', '/threads', {})['id']}"


def ended(api, run):
    """The run when it is over or waits for its client."""
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    with httpx2.stream(
        "GET", f"{api.base_url}{path}?stream=true", headers=api.headers, timeout=60
    ) as answer:  # fmt: skip
        assert answer.read().endswith(b"data: [DONE]\n\n")
    return api.ok("GET", path)


@pytest.fixture
def api(api, server):
    api.base_url = server.base_url
    return api


def test_200_runs_at_once_on_200_threads_are_all_completed(api):
    body = new_assistant(api)

    def run(_):
        created = api.ok("POST", f"{new_thread(api)}/runs", body)
        return ended(api, created)

    with ThreadPoolExecutor(RUNS) as pool:
        runs = list(pool.map(run, range(RUNS)))
    assert Counter(run["status"] for run in runs) == {"completed": RUNS}
    assert {run["usage"]["completion_tokens"] for run in runs} == {3}


@pytest.mark.parametrize("racers", [2, AT_ONCE])
def test_of_runs_that_race_for_one_thread_exactly_one_wins(racers, api, at_once):
    body, thread = new_assistant(api, "silence:1"), new_thread(api)
    answers = [answer for answer in at_once(lambda n: n < racers and api("POST", f"{thread}/runs", body)) if answer]
    [winner] = [run for status, run in answers if status == 200]
    assert Counter(status for status, _ in answers) == {200: 1, 400: racers - 1}
    assert [run["id"] for run in api.ok("GET", f"{thread}/runs")["data"]] == [winner["id"]]
    api.ok("POST", f"{thread}/runs/{winner['id']}/cancel")


def test_64_cancels_and_a_completion_agree_on_one_end(api, at_once):
    body = new_assistant(api, "text:1")
    for _ in range(3):
        thread = new_thread(api)
        run = api.ok("POST", f"{thread}/runs", body)
        answers = at_once(lambda _, path=f"{thread}/runs/{run['id']}/cancel": api("POST", path))
        run = ended(api, run)
        won = [answer for status, answer in answers if status == 200]
        assert len(won) == (run["status"] == "cancelled")
        assert run["status"] in OVER
        api.ok("POST", f"{thread}/messages", {"role": "user", "content": "It is free."})


def test_of_64_submissions_exactly_one_is_taken(api, at_once):
    body = new_assistant(api, "call:weather")
    run = ended(api, api.ok("POST", f"{new_thread(api)}/runs", body))
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"

    def submit(n):
        output = {"tool_call_id": call["id"], "output": f"sunny {n}"}
        return api("POST", f"{path}/submit_tool_outputs", {"tool_outputs": [output]})

    answers = at_once(submit)
    assert Counter(status for status, _ in answers) == {200: 1, 400: AT_ONCE - 1}
    winner = next(n for n, (status, _) in enumerate(answers) if status == 200)
    assert ended(api, run)["status"] == "completed"
    [said] = api.ok("GET", f"/threads/{run['thread_id']}/messages", run_id=run["id"])["data"]
    assert said["content"][0]["text"]["value"] == f"sunny {winner}"


def test_a_message_is_before_a_run_or_refused_never_inside(api, at_once):
    body, thread = new_assistant(api, "silence:1"), new_thread(api)

    def add(n):
        if n == AT_ONCE // 2:
            return n, api("POST", f"{thread}/runs", body)
        return n, api("POST", f"{thread}/messages", {"role": "user", "content": str(n)})

    answers = dict(at_once(add))
    status, run = answers.pop(AT_ONCE // 2)
    assert status == 200
    assert {status for status, _ in answers.values()} <= {200, 400}
    with httpx2.stream(
        "GET", f"{api.base_url}{thread}/runs/{run['id']}?stream=true", headers=api.headers, timeout=60
    ) as answer:  # fmt: skip
        next(line for line in answer.iter_lines() if line == "event: thread.message.delta")
    api.ok("POST", f"{thread}/runs/{run['id']}/cancel")
    *asked, answered = api.ok("GET", f"{thread}/messages", order="asc", limit=100)["data"]
    assert answered["run_id"] == run["id"]
    taken = {str(n) for n, (status, _) in answers.items() if status == 200}
    assert {message["content"][0]["text"]["value"] for message in asked} == taken


def abandon(api, path, body):
    """Asks for a stream, and goes away."""
    address = httpx2.URL(api.base_url)
    content = httpx2.Request("POST", f"{api.base_url}{path}", headers=api.headers, json=body)
    head = "".join(f"{name}: {value}\r\n" for name, value in content.headers.items())
    with socket.create_connection((address.host, address.port)) as connection:
        connection.sendall(f"POST /v1{path} HTTP/1.1\r\n{head}\r\n".encode() + content.read())
        assert connection.recv(15).startswith(b"HTTP/1.1 200")


def test_short_runs_and_abandoned_streams_leave_nothing_behind(api, server, eventually):
    short, long = new_assistant(api), new_assistant(api, "text:60@100")

    def run(n):
        thread = new_thread(api)
        if n % 2:
            abandon(api, f"{thread}/runs", {**(long if n % 8 == 1 else short), "stream": True})
        else:
            ended(api, api.ok("POST", f"{thread}/runs", short))
        # And some that fail, are refused, or are deleted under way.
        if n % 16 == 2:
            api.ok("POST", f"{thread}/runs", {**long, "model": "status:500"})
        if n % 16 == 4:
            assert api("POST", f"{thread}/runs", {"assistant_id": "asst_missing"})[0] == 404
        if n % 16 == 6:
            api.ok("POST", f"{thread}/runs", long)
            api.ok("DELETE", thread)

    async def at_work():
        worker = server.app.worker
        return worker.running, server.app.events.followers, worker._free_slots - Settings().runs_max

    sizes = []
    with ThreadPoolExecutor(16) as pool:
        for _ in range(ROUNDS):
            list(pool.map(run, range(RUNS_A_ROUND)))
            eventually(lambda: server.run(at_work()) == (0, 0, 0))
            gc.collect()
            sizes.append(psutil.Process().memory_info().rss)
    # The first half warms up.
    assert sizes[-1] - sizes[ROUNDS // 2] < GROWTH_BYTES_MAX, sizes
    tasks = server.run(names_of_tasks())
    assert not {name for name in tasks if "_carry_out" in name or "_write_added" in name}, tasks


async def names_of_tasks():

    return [task.get_coro().__qualname__ for task in asyncio.all_tasks()]


@pytest.fixture
def eventually():
    """Waits until something becomes true that nobody announces."""

    def wait(is_true):

        deadline = time.monotonic() + 60
        while not is_true():
            assert time.monotonic() < deadline, "it did not become true in time"
            time.sleep(0.02)

    return wait
