"""What webhook deliveries keep of a thread that was deleted."""

from __future__ import annotations

import json
import time

import pytest
from tests.receiver import create, deliveries, finish_run

from threadkeep import threads


@pytest.fixture
def client(new_client, telling):
    return new_client(telling)


@pytest.fixture
def delete(client, telling):
    """Deletes a thread and removes what it leaves behind: `delete(thread_id)`."""

    def gone(thread_id):
        client.beta.threads.delete(thread_id)
        telling.run(threads.sweep(telling.app.store, int(time.time())))

    return gone


def test_the_metadata_of_its_runs_is_erased_from_what_was_told(client, receiver, delete):
    webhook = create(client, receiver.url)
    run, other = finish_run(client), finish_run(client)
    deliveries(client, webhook, until=lambda page: {delivery["status"] for delivery in page} == {"delivered"})
    delete(run.thread_id)
    told = {delivery["data"]["id"]: delivery for delivery in deliveries(client, webhook)}
    assert told[run.id]["data"]["metadata"] == {}
    assert (told[run.id]["type"], told[run.id]["data"]["status"]) == ("thread.run.completed", "completed")
    assert told[other.id]["data"]["metadata"] == other.metadata


def test_what_waits_is_still_told_but_without_the_metadata(client, receiver, delete):
    receiver.answers.append((500, {}))
    receiver.may_answer.clear()
    create(client, receiver.url)
    run = finish_run(client)
    ((_, _, first),) = receiver.wait_for(1)
    delete(run.thread_id)
    receiver.may_answer.set()
    _, (_, _, second) = receiver.wait_for(2)[:2]
    assert json.loads(first)["data"]["metadata"] == run.metadata
    assert json.loads(second) == json.loads(first) | {"data": json.loads(first)["data"] | {"metadata": {}}}


def test_more_deliveries_than_one_unit_erases_are_all_erased(client, receiver, delete, monkeypatch):
    monkeypatch.setattr(threads.messages, "REMOVED_AT_ONCE", 2)
    webhook = create(client, receiver.url)
    run = finish_run(client)
    for _ in range(4):
        client.beta.threads.runs.create_and_poll(
            thread_id=run.thread_id, assistant_id=run.assistant_id, metadata={"order": "13"}
        )
    deliveries(client, webhook, until=lambda page: len(page) == 5)
    delete(run.thread_id)
    assert [delivery["data"]["metadata"] for delivery in deliveries(client, webhook)] == [{}] * 5
