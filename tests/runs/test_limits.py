"""Limits on runs: how many, how long, and what becomes of what exceeds them."""

from __future__ import annotations

import openai
import pytest

from threadkeep import testing

TOOLS = [{"type": "function", "function": {"name": "time"}}]


@pytest.fixture
def serving(servers, database, new_client, model):
    """A client of a server with the given settings."""

    def serve(**settings):
        return new_client(servers(database, upstream_url=model.base_url, **settings))

    return serve


def test_a_project_has_so_many_unfinished_runs(serving, new_chat, model):
    client = serving(project_runs_max=2)
    model.hold()
    chats = [new_chat(client) for _ in range(3)]
    runs = [chat.start() for chat in chats[:2]]
    for params in ({}, {"stream": True}):
        with pytest.raises(openai.RateLimitError) as caught:
            chats[2].start(additional_messages=[{"role": "user", "content": "lost"}], **params)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert caught.value.body["message"].startswith("This project has 2 unfinished runs")
    assert chats[2].said() == ["Hello there"]
    chats[0].cancel(runs[0])
    started = chats[2].start()
    model.release()
    assert chats[2].wait(started).status == "completed"


def test_no_limit_on_unfinished_runs_is_zero(serving, new_chat, model):
    client = serving(project_runs_max=0)
    model.hold()
    assert [new_chat(client).start().status for _ in range(2)] == ["queued"] * 2


def test_a_server_has_so_many_waiting_runs(serving, new_chat, model):
    client = serving(runs_max=1, runs_waiting_max=1)
    model.hold()
    chats = [new_chat(client) for _ in range(3)]
    first = chats[0].start()
    model.wait_for_requests(1)
    second = chats[1].start()
    with pytest.raises(openai.RateLimitError) as caught:
        chats[2].start()
    assert caught.value.body["message"].startswith("The server is full: 1 runs wait for their turn.")
    model.release()
    assert [chat.wait(run).status for chat, run in zip(chats, (first, second), strict=False)] == ["completed"] * 2


def test_a_run_writes_no_more_events_than_it_may(serving, new_chat, model):
    chat = new_chat(serving(run_events_characters_max=5000))
    model.reply(testing.text(*["word "] * 1000))
    run = chat.run()
    assert (run.status, run.last_error.code) == ("failed", "server_error")
    assert run.last_error.message == "The run's events exceed `run_events_characters_max`."
    for message in chat.messages(run_id=run.id):
        assert (message.status, message.incomplete_details.reason) == ("incomplete", "run_failed")
    assert chat.run().status == "completed"


def test_a_run_does_not_write_into_a_full_thread(serving, new_chat):
    chat = new_chat(serving(thread_messages_max=1))
    run = chat.run()
    assert (run.status, run.last_error.code) == ("failed", "server_error")
    assert "the most it can have" in run.last_error.message
    assert chat.said() == ["Hello there"]


def test_outputs_that_come_too_late_are_refused_even_if_nobody_looked(
    serve_by_clock, clock, model, new_client, new_chat
):
    model.reply(testing.tool_calls(testing.call("time", call_id="call_a")))
    with serve_by_clock(upstream_url=model.base_url) as server:
        chat = new_chat(new_client(server), tools=TOOLS)
        run = chat.run()
        assert run.status == "requires_action"
    # Nobody executes runs here, nor ends those that are overdue.
    with serve_by_clock(worker=False) as server:
        chat.runs._client.base_url = server.base_url
        assert chat.runs.retrieve(run.id, thread_id=chat.thread.id).status == "requires_action"
        clock.now = run.expires_at
        for _ in range(2):
            with pytest.raises(openai.BadRequestError) as caught:
                chat.submit(run, {"call_a": "late"})
            assert caught.value.body["message"] == 'Runs in status "expired" do not accept tool outputs.'
        assert chat.runs.retrieve(run.id, thread_id=chat.thread.id).status == "expired"
        assert [step.status for step in chat.steps(run)] == ["expired"]


def test_a_run_that_nobody_carries_out_can_be_cancelled(servers, database, model, new_client, new_chat):
    chat = new_chat(new_client(servers(database, upstream_url=model.base_url, worker=False)))
    run = chat.start()
    assert chat.cancel(run).status == "cancelling"
    assert chat.wait(run).status == "cancelled"
    assert model.requests == []
