"""What runs used, and `threadkeep usage`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import openai
import pytest

from threadkeep import testing, usage
from threadkeep.run_steps import CachedTokens, Usage
from threadkeep.settings import Settings
from threadkeep.store import create_store, migrate

NOON = 20_000 * usage.DAY_S + 43_200
DAY = "2024-10-04"


@pytest.fixture
def url(tmp_path, postgres, database):
    """A database of its own for one test."""
    return postgres() if database == "postgres" else f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def client_of(url):
    """The SDK on a server with that database and a scripted model; the key belongs to `project`."""
    with testing.model() as model, testing.serve(database=url, upstream_url=model.base_url) as server:

        def make(project):
            return openai.OpenAI(base_url=server.base_url, api_key=server.new_key(project), max_retries=0)

        yield make


def finish_run(client, assistant):
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hello there"}])
    return client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)


def report(url, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "threadkeep", "usage", "--database", url, "--json", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_finished_runs_are_summed_by_day_project_and_assistant(client_of, url):
    mine, yours = client_of("mine"), client_of("yours")
    assistant = mine.beta.assistants.create(model="scripted")
    other = yours.beta.assistants.create(model="scripted")
    runs = [finish_run(mine, assistant) for _ in range(2)]
    finish_run(yours, other)
    # Usage outlives what it is about.
    mine.beta.threads.delete(runs[0].thread_id)
    rows = report(url)
    assert {(row["project"], row["assistant"], row["runs"]) for row in rows} == {
        ("mine", assistant.id, 2),
        ("yours", other.id, 1),
    }
    (row,) = (row for row in rows if row["project"] == "mine")
    assert row["day"] == str(usage.today())
    assert row["prompt_tokens"] == sum(run.usage.prompt_tokens for run in runs)
    assert row["completion_tokens"] == sum(run.usage.completion_tokens for run in runs)
    (whole,) = report(url, "--by", "day")
    assert whole["runs"] == 3
    assert {row["key"].partition("_")[0] for row in report(url, "--by", "key")} == {"key"}


def test_all_turns_of_a_run_count_once_it_is_over(client_of, url):
    client = client_of("mine")
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    assistant = client.beta.assistants.create(model="call:look", tools=[tool])
    run = finish_run(client, assistant)
    assert (run.status, report(url)) == ("requires_action", [])
    outputs = [{"tool_call_id": run.required_action.submit_tool_outputs.tool_calls[0].id, "output": "nothing"}]
    done = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs
    )
    steps = client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id).data
    (row,) = report(url)
    assert (done.status, len(steps), row["runs"]) == ("completed", 2, 1)
    assert row["completion_tokens"] == sum(step.usage.completion_tokens for step in steps)


def on(url, work):
    async def main():
        store = create_store(Settings(database=url), serving=True)
        await store.open()
        try:
            await migrate.prepare(store)
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(main())


def spent(prompt, completion):
    return Usage(prompt_tokens=prompt, completion_tokens=completion, prompt_token_details=CachedTokens(1))


def test_a_unit_that_is_run_again_counts_once(url):
    async def work(store):
        attempts = []

        def unit(tx):
            attempts.append(1)
            tx.run_all([usage.change("proj_a", "", "asst_a", "run_a", NOON, spent(10, 5))])

        def half_done(tx):
            tx.run_all([usage.change("proj_a", "", "asst_b", "run_b", NOON, spent(10, 5))])
            raise ValueError

        # On SQLite both are in one group, which is undone and run again for the second one's sake.
        await asyncio.gather(store.write(unit), store.write(half_done), return_exceptions=True)
        used = await store.read(lambda tx: usage.tokens_today(tx, "proj_a", NOON))
        return used, len(attempts)

    used, attempts = on(url, work)
    assert used == 15
    assert attempts == (2 if url.startswith("sqlite") else 1)


def test_today_is_this_day_in_utc_of_one_project_or_key(url):
    async def work(store):
        def unit(tx):
            for project, key, run, at in (
                ("proj_a", "key_a", "run_1", NOON),
                ("proj_a", "key_b", "run_2", NOON),
                ("proj_a", "key_a", "run_3", NOON - usage.DAY_S),
                ("proj_b", "key_c", "run_4", NOON),
            ):
                tx.run_all([usage.change(project, key, "asst_a", run, at, spent(1, 1))])
            return usage.tokens_today(tx, "proj_a", NOON), usage.tokens_today(tx, "proj_a", NOON, "key_a")

        return await store.write(unit)

    assert on(url, work) == (4, 2)


def test_the_first_day_of_all_is_a_day(url):

    async def nothing(_store):
        """The schema is all."""

    on(url, nothing)
    assert report(url, "--until", "0001-01-01") == []


def test_the_command_says_what_it_can_divide_by(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "threadkeep", "usage", "--by", "colour"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "day project key assistant" in done.stderr
