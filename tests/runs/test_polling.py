"""Polling: requests of the SDKs' helpers are held until there is news."""

from __future__ import annotations

import threading

import openai
import pytest

from threadkeep import testing

HELPER = {"X-Stainless-Poll-Helper": "true"}


def poll(chat, run, **headers):
    """The raw answer of a retrieve."""
    return chat.runs.with_raw_response.retrieve(run.id, thread_id=chat.thread.id, extra_headers=headers)


def test_every_retrieve_says_when_to_ask_again(chat, model):
    model.hold()
    run = chat.start()
    assert poll(chat, run).headers["openai-poll-after-ms"] == "500"
    model.release()
    assert int(poll(chat, run, **HELPER).headers["openai-poll-after-ms"]) <= 100


def test_a_helper_is_answered_when_the_status_changes(chat, model):
    model.hold()
    run = chat.start()
    model.wait_for_requests(1)
    answers = []
    held = threading.Thread(target=lambda: answers.append(poll(chat, run, **HELPER).parse()))
    held.start()
    # Anybody else is answered at once.
    assert poll(chat, run).parse().status == "in_progress"
    assert not answers
    model.release()
    held.join(30)
    assert answers[0].status == "completed"


@pytest.mark.parametrize("reply", [testing.text("x"), testing.tool_calls(testing.call("f"))])
def test_a_run_that_rests_holds_no_helper(servers, database, new_client, new_chat, model, reply):
    # Longer than a client waits.
    chat = new_chat(new_client(servers(database, upstream_url=model.base_url, poll_hold_s=600)))
    model.reply(reply)
    run = chat.run(tools=[{"type": "function", "function": {"name": "f"}}])
    assert poll(chat, run, **HELPER).parse().status == run.status


def test_a_helper_is_not_held_for_ever(servers, database, new_client, new_chat, model):
    server = servers(database, upstream_url=model.base_url, poll_hold_s=0.05)
    chat = new_chat(new_client(server))
    model.hold()
    run = chat.start()
    model.wait_for_requests(1)
    assert poll(chat, run, **HELPER).parse().status == "in_progress"


def test_a_helper_that_waits_learns_that_the_thread_is_gone(chat, model):
    model.hold()
    run = chat.start()
    model.wait_for_requests(1)
    caught = []

    def wait():
        try:
            poll(chat, run, **HELPER)
        except openai.NotFoundError as error:
            caught.append(error)

    held = threading.Thread(target=wait)
    held.start()
    chat.client.beta.threads.delete(chat.thread.id)
    held.join(30)
    assert caught


def test_create_and_poll_is_answered_when_the_run_is_over(chat, monkeypatch):
    slept = []
    monkeypatch.setattr(chat.runs, "_sleep", slept.append)
    create = chat.runs.create_and_poll
    for _ in range(5):
        assert create(thread_id=chat.thread.id, assistant_id=chat.assistant.id).status == "completed"
    # The SDK itself would wait a second before it asks again.
    assert len(slept) <= 5
    assert sum(slept) <= 0.1


def test_a_users_own_interval_works_as_well(chat):
    run = chat.runs.create_and_poll(thread_id=chat.thread.id, assistant_id=chat.assistant.id, poll_interval_ms=10)
    assert run.status == "completed"
