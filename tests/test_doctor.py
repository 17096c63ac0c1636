"""`threadkeep doctor`: what it finds, and that it says what to do."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time

import openai
import pytest

from threadkeep import doctor, projects, testing
from threadkeep.settings import Settings
from threadkeep.store import create_store, migrate
from threadkeep.upstream_settings import UpstreamSettings

AGE = doctor.queries.Query("age", *["update runs set wake_at = wake_at - 100000"] * 2)

AHEAD = doctor.queries.Query(
    "ahead", *["update threads set created_at = :now where thread_id = (select min(thread_id) from threads)"] * 2
)


@pytest.fixture
def url(tmp_path, postgres, database):
    """A database of its own for one test."""
    return postgres() if database == "postgres" else f"sqlite:///{tmp_path / 'data' / 'test.db'}"


def prepare(settings, work=None):
    """Gives the database its schema."""

    async def main():
        store = create_store(settings)
        await store.open()
        try:
            await migrate.prepare(store)
            if work:
                await work(store)
        finally:
            await store.close()

    asyncio.run(main())


def examine(settings):
    """Each finding by what was looked at; of several, the worst."""
    order = ["ok", "warning", "problem"]
    found = asyncio.run(doctor.examine(settings))
    assert all(finding.hint for finding in found if finding.level != "ok")
    return {f.check: f for f in sorted(found, key=lambda finding: order.index(finding.level))}


def levels(found):
    return {check: finding.level for check, finding in found.items() if finding.level != "ok"}


def test_a_healthy_server_has_no_problem(url):
    with testing.model() as model:
        settings = Settings(database=url, upstream_url=model.base_url, connections_max=100)
        prepare(settings)
        found = examine(settings)
    assert levels(found) == {}
    assert {"versions", "open files", "database", "schema", "keys", "runs", "clock"} <= set(found)


def test_it_makes_no_database(tmp_path):
    path = tmp_path / "new" / "threadkeep.db"
    assert "first start makes it" in examine(Settings(database=f"sqlite:///{path}"))["database"].message
    assert not path.parent.exists()


def test_a_model_server_that_is_away_is_a_problem_with_a_command_to_try(url):
    found = examine(Settings(database=url, upstream_url="http://127.0.0.1:9/v1"))
    assert found["upstream default"].level == "problem"
    assert found["upstream default"].hint == "Try it: curl http://127.0.0.1:9/v1/models"


def test_it_takes_the_flags_of_serve(tmp_path):
    flags = ["--database", f"sqlite:///{tmp_path / 'test.db'}", "--upstream-url", "http://127.0.0.1:9/v1"]
    command = [sys.executable, "-m", "threadkeep", "doctor", "--json", *flags]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert found["upstream default"]["level"] == "problem"
    assert "127.0.0.1:9" in found["upstream default"]["message"]


def test_a_name_that_a_model_server_does_not_list_is_told(tmp_path):
    with testing.model(["real"]) as model:
        upstream = UpstreamSettings(name="home", url=model.base_url, aliases={"gpt-4o": "reel", "old": "real"})
        found = examine(Settings(database=f"sqlite:///{tmp_path / 'a.db'}", upstreams=(upstream,)))
    assert "'reel'" in found["upstream home"].message


def test_listening_elsewhere_without_a_key_is_a_problem(url):
    settings = Settings(database=url, host="0.0.0.0")
    prepare(settings)
    assert "threadkeep keys create" in examine(settings)["keys"].hint


def test_keys_that_are_all_revoked_are_a_problem(url):
    settings = Settings(database=url)

    async def make_and_revoke(store):
        project = await projects.ensure_default(store, 0)
        key_id, _ = await projects.create_key(store, project, "", 0)
        await projects.revoke_key(store, key_id, 1)

    prepare(settings, make_and_revoke)
    assert examine(settings)["keys"].level == "problem"


def test_a_file_that_is_no_database_is_a_problem(tmp_path):
    path = tmp_path / "a.db"
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    path.chmod(0o600)
    found = examine(Settings(database=f"sqlite:///{path}"))
    assert levels(found)["database"] == "problem"


def test_a_damaged_database_is_found(tmp_path):
    path = tmp_path / "a.db"
    settings = Settings(database=f"sqlite:///{path}")

    async def fill(store):
        for number in range(300):
            await projects.create(store, f"project {number} {'x' * 100}", 0)

    prepare(settings, fill)
    with path.open("r+b") as file:
        # The last pages are leaves of that table or its index.
        file.seek(-12_000, os.SEEK_END)
        file.write(b"\xff" * 12_000)
    found = examine(settings)
    assert "problem" in levels(found).values()


def test_a_database_that_others_can_read_is_told_with_the_command_that_helps(tmp_path):
    path = tmp_path / "open" / "a.db"
    settings = Settings(database=f"sqlite:///{path}")
    prepare(settings)
    path.parent.chmod(0o755)
    assert "permissions" not in levels(examine(settings))
    path.chmod(0o644)
    found = examine(settings)["permissions"]
    assert (found.level, found.hint) == ("warning", f"chmod 600 {path}")


def test_who_serves_the_database_is_told(tmp_path):
    path = tmp_path / "a.db"
    with testing.serve(database=f"sqlite:///{path}"):
        assert f"process {os.getpid()}" in examine(Settings(database=f"sqlite:///{path}"))["served"].message
    assert "nobody" in examine(Settings(database=f"sqlite:///{path}"))["served"].message


def test_a_clock_that_was_set_back_is_told(url):
    settings = Settings(database=url)

    async def write(store):
        await projects.create(store, "another", now=0)
        await store.write(lambda tx: tx.run(AHEAD, now=int(time.time()) + 3600))

    with testing.serve(database=url) as server:
        for project in ("default", "more"):
            with openai.OpenAI(base_url=server.base_url, api_key=server.new_key(project)) as client:
                client.beta.threads.create()
    assert examine(settings)["clock"].level == "ok"
    prepare(settings, write)
    assert "comes in 3" in examine(settings)["clock"].message


def test_runs_that_nobody_carries_out_are_told(url):
    settings = Settings(database=url)
    with (
        testing.serve(database=url, worker=False) as server,
        openai.OpenAI(base_url=server.base_url, api_key=server.new_key()) as client,
    ):
        assistant = client.beta.assistants.create(model="echo", instructions="Be brief.")
        thread = client.beta.threads.create()
        client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)

    async def age(store):
        await store.write(lambda tx: tx.run(AGE))

    prepare(settings, age)
    assert "threadkeep worker" in examine(settings)["runs"].hint


def command(tmp_path, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "threadkeep", "doctor", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_fails_when_there_is_a_problem(tmp_path):
    done = command(tmp_path, "--database", "postgresql://nobody@127.0.0.1:9/none")
    assert done.returncode == 1
    assert "problem  database" in done.stdout
    assert done.stderr == ""


def test_the_command_tells_programs_in_json(tmp_path):
    done = command(tmp_path, "--json")
    assert done.returncode == 0
    assert all(list(row) == ["check", "level", "message", "hint"] for row in json.loads(done.stdout))
