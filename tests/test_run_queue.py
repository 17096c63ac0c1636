"""Runs that wait for their thread, or for a worker."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from threadkeep import run_rows, testing, worker
from threadkeep.store import postgres as postgres_store
from threadkeep.store.queries import Query


@pytest.fixture
def model():
    with testing.model() as model:
        yield model


@pytest.fixture
def settings(model, database, postgres, postgres_settings, tmp_path):
    """Those of servers that share a database of their own."""
    own = {"database": f"sqlite:///{tmp_path / 'threadkeep.db'}"}
    if database == "postgres":
        own = {"database": postgres(), **postgres_settings}
    return {"upstream_url": model.base_url, **own}


@pytest.fixture
def server(settings):
    with testing.serve(**settings) as server:
        yield server


def start_runs(client, count):
    """Runs of as many threads, in the order in which they are due."""
    assistant = client.beta.assistants.create(model="scripted")
    said = [{"role": "user", "content": "Hello"}]
    return [
        client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": said}) for _ in range(count)
    ]


def test_a_run_that_interrupts_goes_ahead_of_those_that_wait(server, model, new_client):
    runs = (client := new_client(server)).beta.threads.runs
    assistant = client.beta.assistants.create(model="scripted")
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hello"}])

    def start(if_active):
        return runs.create(
            thread_id=thread.id, assistant_id=assistant.id, extra_body={"if_active": if_active, "stream": False}
        )

    model.hold()
    interrupted, waiting, urgent = start("reject"), start("enqueue"), start("interrupt")
    held = server.run(server.app.store.write(lambda tx: run_rows.hold(tx, thread.id, waiting.id)))
    assert held.wake_at is None
    model.release()
    for run in (interrupted, urgent, waiting):
        runs.poll(run.id, thread_id=thread.id)
    answers = client.beta.threads.messages.list(thread.id, order="asc").data[1:]
    assert [answer.run_id for answer in answers] == [urgent.id, waiting.id]


def test_a_run_that_cannot_be_read_holds_up_no_other(settings, new_client):
    with testing.serve(worker=False, **settings) as server:
        client = new_client(server)
        broken, sound = start_runs(client, 2)
        text = "update runs set body = '{' where run_id = :run_id"
        spoil = Query("spoil", text, text)
        server.run(server.app.store.write(lambda tx: tx.run(spoil, run_id=broken.id)))
    with testing.serve(**settings) as server:
        runs = client.with_options(base_url=server.base_url).beta.threads.runs
        assert runs.poll(sound.id, thread_id=sound.thread_id).status == "completed"


def test_a_server_does_not_wait_for_a_database_that_takes_no_runs_back(
    postgres, postgres_settings, model, new_client, monkeypatch
):
    monkeypatch.setattr(worker, "HAND_OVER_S", 0.2)
    url = postgres()
    model.hold()
    with asyncio.Runner() as runner:
        with testing.serve(database=url, upstream_url=model.base_url, **postgres_settings) as server:
            start_runs(new_client(server), 3)
            model.wait_for_requests(3)
            lock = runner.run(asyncpg.connect(url))
            runner.run(lock.execute("begin; lock table threads in exclusive mode"))
            began = time.monotonic()
        # PostgreSQL alone would keep each of the runs waiting for longer, again and again.
        assert time.monotonic() - began < postgres_store.LOCK_TIMEOUT_S * postgres_store.ATTEMPTS / 2
        runner.run(lock.close())
