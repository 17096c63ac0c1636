"""What was committed is told, whatever becomes of the process that was to tell it."""

from __future__ import annotations

import json

from tests.receiver import receiving

from threadkeep import testing

FLAGS = ("--webhook-private-addresses", "--webhook-retry-s", "0.2", "--webhook-timeout-s", "1")


def start_run(client, receiver):
    client.post("/webhooks", body={"url": receiver.url}, cast_to=object)
    assistant = client.beta.assistants.create(model="text:2", instructions="Be brief.")
    thread = client.beta.threads.create()
    return client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)


def ids(received):
    return {json.loads(body)["id"] for _, _, body in received}


def test_a_process_killed_while_it_tells_leaves_it_to_the_next(serve, stored):
    with testing.model() as model, receiving() as receiver:
        flags = (*FLAGS, "--upstream-url", model.base_url)
        receiver.may_answer.clear()
        server = serve(stored.url, *flags)
        run = start_run(server.client, receiver)
        first = receiver.wait_for(1)
        server.kill()
        receiver.may_answer.set()
        serve(stored.url, *flags)
        again = receiver.wait_for(2)
    assert ids(first) == ids(again)
    assert json.loads(again[-1][2])["data"]["id"] == run.id


def test_what_was_committed_and_not_taken_when_the_process_was_killed_is_told_by_the_next(serve, stored):
    with testing.model() as model, receiving() as receiver:
        flags = (*FLAGS, "--upstream-url", model.base_url)
        receiver.answers.extend([(500, {})] * 1000)
        server = serve(stored.url, *flags)
        run = start_run(server.client, receiver)
        receiver.wait_for(1)
        server.kill()
        before = len(receiver.received)
        receiver.answers.clear()
        serve(stored.url, *flags)
        _, _, body = receiver.wait_for(before + 1)[-1]
    assert json.loads(body)["data"]["id"] == run.id
