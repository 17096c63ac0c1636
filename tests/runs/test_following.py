"""Following a run again: from any event, any number of times, until its events are forgotten."""

from __future__ import annotations

import httpx2
import pytest

from threadkeep import events, testing

TOOLS = [{"type": "function", "function": {"name": "time"}}]
CALL = testing.tool_calls(testing.call("time", call_id="call_a"))


@pytest.fixture
def http():
    with httpx2.Client(timeout=30) as client:
        yield client


def frames(text):
    """Number, name and data of each frame of a stream; comments are passed over."""
    found = []
    for frame in text.removesuffix("\n\n").split("\n\n"):
        lines = [line.split(": ", 1) for line in frame.split("\n") if not line.startswith(":")]
        assert [name for name, _ in lines] == ["id", "event", "data"]
        (_, number), (_, event), (_, data) = lines
        found.append((int(number), event, data))
    return found


def request(chat, run, *, last_event_id=None, **query):
    """What a re-attaching client sends."""
    headers = {"Authorization": f"Bearer {chat.client.api_key}"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = str(last_event_id)
    return {"url": f"{chat.client.base_url}threads/{chat.thread.id}/runs/{run.id}", "headers": headers, "params": query}


def follow(http, chat, run, **how):
    """The frames of a stream that ends."""
    answer = http.get(**request(chat, run, **how))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    return frames(answer.text)


def original(http, chat, **params):
    """A run and the frames of the stream it was created with."""
    body = {"assistant_id": chat.assistant.id, "stream": True, **params}
    headers = {"Authorization": f"Bearer {chat.client.api_key}"}
    answer = http.post(f"{chat.client.base_url}threads/{chat.thread.id}/runs", headers=headers, json=body)
    return chat.runs.list(chat.thread.id, limit=1).data[0], frames(answer.text)


def test_every_event_has_the_next_number(http, chat, model):
    model.reply(testing.text("Hello ", "world"))
    _, told = original(http, chat)
    assert [number for number, _, _ in told] == [*range(1, len(told)), len(told) - 1]
    assert told[-1][1:] == ("done", "[DONE]")


def test_a_run_can_be_replayed_from_any_event(http, chat, model):
    model.reply(testing.text("Hello ", "big ", "world"))
    run, told = original(http, chat)
    for after in range(len(told)):
        assert follow(http, chat, run, stream=True, starting_after=after) == told[after:]
        assert follow(http, chat, run, last_event_id=after) == told[after:]
    assert follow(http, chat, run, stream=True) == told


def test_a_number_in_the_query_wins_over_the_header(http, chat, model):
    model.reply(testing.text("Hello"))
    run, told = original(http, chat)
    assert follow(http, chat, run, stream=True, starting_after=3, last_event_id=1) == told[3:]


@pytest.mark.parametrize("beyond", [100, 2**62])
def test_a_number_beyond_the_end_gives_the_end(http, chat, beyond):
    run, told = original(http, chat)
    assert follow(http, chat, run, stream=True, starting_after=beyond) == told[-1:]
    assert follow(http, chat, run, last_event_id=beyond) == told[-1:]


@pytest.mark.parametrize("number", ["-1", "two", "1.5"])
def test_a_number_that_is_none_is_refused(http, chat, number):
    run, _ = original(http, chat)
    answer = http.get(**request(chat, run, stream=True, starting_after=number))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "starting_after")


@pytest.mark.parametrize("odd", ["", "two", "-1", "9" * 30])
def test_a_last_event_id_that_is_none_of_ours_does_no_harm(http, chat, odd):
    run, told = original(http, chat)
    got = follow(http, chat, run, stream=True, last_event_id=odd)
    assert got in (told, told[-1:])


def test_a_run_is_followed_while_it_is_carried_out(http, chat, model):
    model.hold(after=2)
    model.reply(testing.text("Hello ", "big ", "world"))
    run = chat.start()
    text = ""
    with http.stream("GET", **request(chat, run, stream=True, starting_after=2)) as answer:
        for piece in answer.iter_text():
            text += piece
            if "Hello" in text:
                model.release()
    whole = follow(http, chat, run, stream=True)
    assert frames(text) == whole[2:]


def test_two_follow_one_run(http, chat, model):
    model.hold(after=2)
    model.reply(testing.text("Hello ", "world"))
    run = chat.start()
    texts = ["", ""]
    with (
        http.stream("GET", **request(chat, run, stream=True)) as first,
        http.stream("GET", **request(chat, run, stream=True)) as second,
    ):
        model.release()
        texts = ["".join(answer.iter_text()) for answer in (first, second)]
    assert texts[0] == texts[1]
    assert frames(texts[0])[-2][1] == "thread.run.completed"


def test_a_stream_ends_where_the_client_must_act_and_goes_on_after_it(http, new_chat, model):
    chat = new_chat(tools=TOOLS)
    model.reply(CALL, testing.text("Noon."))
    run, told = original(http, chat)
    assert told[-2][1] == "thread.run.requires_action"
    assert follow(http, chat, run, stream=True) == told
    chat.submit(run, {"call_a": "12:00"})
    chat.wait(run)
    rest = follow(http, chat, run, stream=True, starting_after=told[-1][0])
    assert [event for _, event, _ in rest][:3] == [
        "thread.run.step.completed",
        "thread.run.queued",
        "thread.run.in_progress",
    ]
    assert rest[-2][1] == "thread.run.completed"
    # A replay passes over the place where the first stream ended.
    assert follow(http, chat, run, stream=True, starting_after=0) == told[:-1] + rest


def test_a_streamed_submit_begins_where_the_first_stream_ended(http, new_chat, model):
    chat = new_chat(tools=TOOLS)
    model.reply(CALL, testing.text("Noon."))
    run, told = original(http, chat)
    answer = http.post(
        request(chat, run)["url"] + "/submit_tool_outputs",
        headers=request(chat, run)["headers"],
        json={"tool_outputs": [{"tool_call_id": "call_a", "output": "12"}], "stream": True},
    )
    second = frames(answer.text)
    assert second[0][:2] == (told[-1][0] + 1, "thread.run.step.completed")
    assert follow(http, chat, run, stream=True) == told[:-1] + second


def test_forgotten_events_give_way_to_a_snapshot(http, servers, database, new_client, new_chat, model):
    server = servers(database, upstream_url=model.base_url, run_events_kept_s=0.01)
    chat = new_chat(new_client(server))
    run = chat.run()
    while len(got := follow(http, chat, run, stream=True, starting_after=4)) > 2 or got[0][1] != "thread.run.completed":
        pass
    wire = http.get(**request(chat, run)).text
    assert got == [(4, "thread.run.completed", wire), (4, "done", "[DONE]")]
    assert follow(http, chat, run, stream=True)[0][1:] == ("thread.run.completed", wire)


def delete_answer(chat):
    """Deletes what the assistant said last."""
    chat.client.beta.threads.messages.delete(chat.messages()[-1].id, thread_id=chat.thread.id)


def test_what_a_deleted_message_said_is_in_no_stream_any_more(http, chat, model):
    model.reply(testing.text("A ", "secret."), testing.text("Harmless."))
    secret, _ = original(http, chat)
    delete_answer(chat)
    other, told = original(http, chat)
    wire = http.get(**request(chat, secret)).text
    for after in (0, 8):
        got = follow(http, chat, secret, stream=True, starting_after=after)
        assert got == [(after, "thread.run.completed", wire), (after, "done", "[DONE]")]
    # It is about that run alone.
    assert follow(http, chat, other, stream=True) == told


def test_a_run_whose_message_is_deleted_is_followed_to_its_end_but_not_again(http, new_chat, model):
    chat = new_chat(tools=TOOLS)
    model.reply(
        testing.tool_calls(testing.call("time", call_id="call_a"), says=("A ", "secret.")), testing.text("Noon.")
    )
    run, told = original(http, chat)
    delete_answer(chat)
    # While it is not over, nobody who follows it may miss anything.
    assert follow(http, chat, run, stream=True) == told
    chat.submit(run, {"call_a": "12:00"})
    assert chat.wait(run).status == "completed"
    assert [event for _, event, _ in follow(http, chat, run, stream=True)] == ["thread.run.completed", "done"]
    assert chat.said() == ["Hello there", "Noon."]


@pytest.mark.parametrize("when", ["after the end", "before the end"])
def test_events_that_tell_what_was_deleted_leave_the_log(http, new_chat, server, model, monkeypatch, when):
    monkeypatch.setattr(events, "WITHHELD_FOR_MS", 0)
    chat = new_chat(tools=TOOLS)
    model.reply(
        testing.tool_calls(testing.call("time", call_id="call_a"), says=("A ", "secret.")), testing.text("Noon.")
    )
    run, _ = original(http, chat)
    for step in ("before the end", "after the end"):
        if when == step:
            chat.client.beta.threads.messages.delete(chat.messages()[1].id, thread_id=chat.thread.id)
        if step == "before the end":
            chat.submit(run, {"call_a": "12:00"})
            chat.wait(run)

    def entries():
        return server.run(server.app.store.read(lambda tx: events.read(tx, chat.thread.id, run.id, 0)))

    while entries():
        pass


def test_a_run_of_nobody_or_another_cannot_be_followed(http, chat, new_client, server):
    run, _ = original(http, chat)
    missing = http.get(**request(chat, type("Run", (), {"id": "run_x"}), stream=True))
    assert missing.json()["error"]["message"] == "No run found with id 'run_x'."
    asked = request(chat, run, stream=True)
    asked["headers"]["Authorization"] = f"Bearer {new_client(server).api_key}"
    stolen = http.get(**asked)
    assert (stolen.status_code, stolen.json()["error"]["message"]) == (
        404,
        f"No thread found with id '{chat.thread.id}'.",
    )


def test_strict_knows_no_following(http, new_chat, strict_client):
    chat = new_chat(strict_client)
    run = chat.run()
    asked = request(chat, run, last_event_id=1)
    asked["headers"]["OpenAI-Beta"] = "assistants=v2"
    assert http.get(**asked).json()["id"] == run.id
    for param in ("stream", "starting_after"):
        answer = http.get(**asked | {"params": {param: "1"}})
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, f"Unknown parameter: '{param}'.")
