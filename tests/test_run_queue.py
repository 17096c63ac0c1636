"""Runs that wait for their thread."""

from __future__ import annotations

import pytest

from threadkeep import run_rows, testing


@pytest.fixture
def model():
    with testing.model() as model:
        yield model


@pytest.fixture
def server(model, database, postgres, postgres_settings):
    own = {"database": postgres(), **postgres_settings} if database == "postgres" else {}
    with testing.serve(upstream_url=model.base_url, **own) as server:
        yield server


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
