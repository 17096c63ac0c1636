"""Limits of projects and keys: requests a minute, unfinished runs, tokens a day, on one node and on several."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx2
import openai
import pytest

from threadkeep import limits, projects, testing
from threadkeep.limits import Budget, Limits

MINUTE = limits.MINUTE_S


@pytest.fixture(scope="module")
def module_model():
    with testing.model() as model:
        yield model


@pytest.fixture
def model(module_model):
    yield module_model
    # What a test has held.
    module_model.reset()


@pytest.fixture
def limited(servers, database, module_model):
    """A server of which limits are said to projects and keys."""
    return servers(database, upstream_url=module_model.base_url, keep_alive_s=76.0)


def say(server, subject, **chosen):
    async def work():
        await projects.set_limits(server.app.store, subject, Limits(**chosen))
        await server.app.authenticator.look()

    server.run(work())


@pytest.fixture
def project(limited):
    """A project of its own: its id and a key."""

    async def find(name):
        return (await projects.find(limited.app.store, name)).project_id

    name = f"limited {next(NUMBERS)}"
    key = limited.new_key(name)
    return limited.run(find(name)), key


NUMBERS = iter(range(1000))


def key_id_of(server, key):
    keys = server.run(projects.usable_keys(server.app.store))
    return keys.of_hash[projects.hash_of(key)].key_id


@pytest.fixture
def http(limited, project):
    with httpx2.Client(base_url=limited.base_url, headers={"Authorization": f"Bearer {project[1]}"}) as http:
        yield http


@pytest.fixture
def frozen(limited):
    """The server's clock stands still, so that no minute ends in the middle of a test."""
    limiter = limited.app._limiter
    clock, now = limiter._clock, limiter._clock()
    limiter._clock = lambda: now
    yield lambda: now
    limiter._clock = clock


def test_without_limits_answers_say_nothing_of_them(http):
    assert not [name for name in http.get("/threads").headers if name.startswith("x-ratelimit")]


@pytest.mark.usefixtures("frozen")
def test_requests_over_the_limit_of_the_minute_are_refused(limited, project, http):
    say(limited, project[0], requests_per_minute=3)
    answers = [http.get("/threads") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0"]
    refused = answers[-1]
    assert refused.headers["x-ratelimit-limit-requests"] == "3"
    assert 0 < int(refused.headers["retry-after"]) <= MINUTE
    assert refused.headers["x-ratelimit-reset-requests"] == f"{refused.headers['retry-after']}s".replace("60s", "1m0s")
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert "project on requests per min (RPM): Limit 3." in error["message"]


@pytest.mark.usefixtures("frozen")
def test_every_answer_tells_what_is_left_also_an_error(limited, project, http, model):
    say(limited, project[0], requests_per_minute=9, runs=1)
    model.hold()
    assistant = http.post("/assistants", json={"model": "m", "instructions": "Be brief."}).json()["id"]
    answers = [
        http.get("/threads/thread_nobody"),
        http.post("/threads", content=b"{"),
        *(http.post("/threads/runs", json={"assistant_id": assistant}) for _ in range(2)),
    ]
    assert [answer.status_code for answer in answers] == [404, 400, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["7", "6", "5", "4"]
    assert answers[-1].headers["retry-after"] == "1"


@pytest.mark.usefixtures("frozen")
def test_an_export_and_an_import_count_as_one_request_each(limited, project, http):
    say(limited, project[0], requests_per_minute=2)
    exported = http.get("/export")
    answers = [http.post("/import", content=exported.content) for _ in range(2)]
    assert [answer.status_code for answer in (exported, *answers)] == [200, 200, 429]
    assert answers[0].headers["x-ratelimit-remaining-requests"] == "0"


@pytest.mark.usefixtures("frozen")
def test_the_sdk_raises_its_own_error(limited, project):
    say(limited, project[0], requests_per_minute=1)
    with openai.OpenAI(base_url=limited.base_url, api_key=project[1], max_retries=0) as client:
        client.beta.threads.create()
        with pytest.raises(openai.RateLimitError):
            client.beta.threads.create()


def test_a_new_minute_has_a_new_budget():
    async def take(_subject, _minute, _wanted, maximum):
        return maximum, maximum

    async def main():
        budget = Budget("proj_a", take)
        return [await budget.spend(2, at) for at in (0, 59, 59, 60, 60, 60, 120)]

    assert asyncio.run(main()) == [True, True, False, True, True, False, True]


@pytest.mark.usefixtures("frozen")
def test_a_key_has_limits_of_its_own(limited, project, http):
    say(limited, key_id_of(limited, project[1]), requests_per_minute=1)
    assert [http.get("/threads").status_code for _ in range(2)] == [200, 429]
    assert "this key" in http.get("/threads").json()["error"]["message"]
    # Another key of the project goes on.
    other = limited.run(other_key(limited, project[0]))
    assert http.get("/threads", headers={"Authorization": f"Bearer {other}"}).status_code == 200


async def other_key(server, project_id):
    store = server.app.store
    _, secret = await projects.create_key(store, await projects.find(store, project_id), "", 0)
    await server.app.authenticator.look()
    return secret


@pytest.mark.usefixtures("frozen")
def test_a_refused_key_takes_nothing_from_its_project(limited, project, http):
    say(limited, project[0], requests_per_minute=2)
    say(limited, key_id_of(limited, project[1]), requests_per_minute=1)
    assert [http.get("/threads").status_code for _ in range(3)] == [200, 429, 429]
    other = limited.run(other_key(limited, project[0]))
    assert http.get("/threads", headers={"Authorization": f"Bearer {other}"}).status_code == 200


def start_run(http, model_name="text:1@0.01"):
    assistant = http.post("/assistants", json={"model": model_name, "instructions": "Be brief."}).json()
    return http.post("/threads/runs", json={"assistant_id": assistant["id"]})


@pytest.mark.parametrize("whose", ["project", "key"])
def test_unfinished_runs_are_limited(limited, project, http, model, whose):
    say(limited, project[0] if whose == "project" else key_id_of(limited, project[1]), runs=2)
    model.hold()
    runs = [start_run(http, "text:3") for _ in range(3)]
    assert [run.status_code for run in runs] == [200, 200, 429]
    assert f"This {whose} has 2 unfinished runs" in runs[-1].json()["error"]["message"]
    first = runs[0].json()
    http.post(f"/threads/{first['thread_id']}/runs/{first['id']}/cancel")
    assert start_run(http, "text:3").status_code == 200


@pytest.mark.parametrize("whose", ["project", "key"])
def test_of_many_runs_at_the_same_moment_none_is_one_too_many(limited, project, http, model, whose):
    say(limited, project[0] if whose == "project" else key_id_of(limited, project[1]), runs=3)
    assistant = http.post("/assistants", json={"model": "text:3", "instructions": "Be brief."}).json()
    model.hold()
    with ThreadPoolExecutor(12) as pool:
        answers = list(
            pool.map(lambda _: http.post("/threads/runs", json={"assistant_id": assistant["id"]}), range(12))
        )
    assert [answer.status_code for answer in answers].count(200) == 3


def test_no_run_begins_once_the_tokens_of_the_day_are_used(limited, project, http):
    say(limited, project[0], tokens_per_day=1)
    with openai.OpenAI(base_url=limited.base_url, api_key=project[1], max_retries=0) as client:
        assistant = client.beta.assistants.create(model="text:5", instructions="Be brief.")
        thread = client.beta.threads.create()
        run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
        with pytest.raises(openai.RateLimitError) as refused:
            client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    assert refused.value.type == "tokens"
    assert f"Used {run.usage.total_tokens}" in refused.value.message
    headers = refused.value.response.headers
    assert (headers["x-ratelimit-limit-tokens"], headers["x-ratelimit-remaining-tokens"]) == ("1", "0")
    assert headers["x-ratelimit-reset-tokens"].endswith("s")
    # Nobody waits until tomorrow in a retry.
    assert int(headers["retry-after"]) <= 60 or headers["x-should-retry"] == "false"
    # Reading is no use of tokens.
    assert http.get("/threads").status_code == 200


def test_defaults_come_from_the_settings(servers, database):
    server = servers(database, key_requests_per_minute_max=1, project_requests_per_minute_max=2)
    key = server.new_key("defaults")
    with httpx2.Client(base_url=server.base_url, headers={"Authorization": f"Bearer {key}"}) as http:
        assert http.get("/threads").headers["x-ratelimit-limit-requests"] == "1"
        say(server, key_id_of(server, key), requests_per_minute=0)
        assert http.get("/threads").headers["x-ratelimit-limit-requests"] == "2"


def test_several_nodes_together_never_let_through_more(postgres):
    url = postgres()
    with ExitStack() as stack:
        nodes = [stack.enter_context(testing.serve(database=url)) for _ in range(3)]
        key = nodes[0].new_key("shared")
        project_id = nodes[0].run(find_id(nodes[0], "shared"))
        maximum = 100
        now = nodes[0].app._clock()
        for node in nodes:
            node.app._limiter._clock = lambda: now
        say(nodes[0], project_id, requests_per_minute=maximum)
        for node in nodes[1:]:
            node.run(node.app.authenticator.look())
        clients = [
            stack.enter_context(httpx2.Client(base_url=node.base_url, headers={"Authorization": f"Bearer {key}"}))
            for node in nodes
        ]
        with ThreadPoolExecutor(6) as pool:
            statuses = list(pool.map(lambda n: clients[n % 3].get("/threads").status_code, range(180)))
        passed = statuses.count(200)
        rows = nodes[0].run(read_windows(nodes[0]))
    assert set(statuses) == {200, 429}
    # Each node asked on until nothing was left, so nothing is held back here.
    assert passed == maximum
    # Not a write for each request.
    assert rows == [(project_id, maximum)]


async def find_id(server, name):
    return (await projects.find(server.app.store, name)).project_id


async def read_windows(server):
    query = limits.queries.Query("read", *["select subject, taken from limit_windows"] * 2)
    return await server.app.store.read(lambda tx: tx.all(query))


def test_a_process_takes_a_twentieth_of_the_budget_at_a_time():
    asked = []

    async def take(_subject, _minute, wanted, maximum):
        asked.append(wanted)
        granted = min(wanted, maximum - sum(asked[:-1]))
        return max(granted, 0), min(sum(asked), maximum)

    async def main():
        budget = Budget("proj_a", take)
        return [await budget.spend(200, 0) for _ in range(201)]

    let_through = asyncio.run(main())
    assert let_through.count(True) == 200
    assert asked == [10] * 20


def command(tmp_path, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "threadkeep", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_limits_are_said_and_shown_by_a_command(tmp_path):
    command(tmp_path, "projects", "create", "support")
    shown = command(
        tmp_path, "projects", "limits", "support", "--requests-per-minute", "600", "--tokens-per-day", "none"
    )
    assert shown.stdout.splitlines() == [
        "requests per minute   600",
        "runs                  1000  (default)",
        "tokens per day        none",
    ]
    back = command(tmp_path, "projects", "limits", "support", "--requests-per-minute", "default", "--json")
    assert json.loads(back.stdout) == {"requests_per_minute": None, "runs": 1000, "tokens_per_day": None}
    key = json.loads(command(tmp_path, "keys", "create", "--json").stdout)
    assert command(tmp_path, "keys", "limits", key["key_id"], "--runs", "2").returncode == 0
    wrong = command(tmp_path, "keys", "limits", "key_none")
    assert (wrong.returncode, "keys list" in wrong.stderr) == (1, True)
    assert command(tmp_path, "projects", "limits", "support", "--runs", "-5").returncode == 2
