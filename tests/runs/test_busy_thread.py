"""What a run keeps others from while it holds its thread, and what it does not."""

from __future__ import annotations

import threading

import openai
import pytest

from threadkeep import testing

TOOLS = [{"type": "function", "function": {"name": "time"}}]
CALL = testing.tool_calls(testing.call("time", call_id="call_a"))


@pytest.fixture
def busy(chat, model):
    """A run in the middle of its answer, where it stays until the model is released."""
    model.hold(after=2)
    model.reply(testing.text("Once ", "upon ", "a time"))
    run = chat.start()
    # From then on its message has its place in the thread.
    chat.wait_for_event(run, "thread.message.delta")
    return run


def refusal(call, *args, **params):
    with pytest.raises(openai.BadRequestError) as caught:
        call(*args, **params)
    return caught.value.param, caught.value.code, caught.value.body["message"]


def add(chat, content="And now?", **params):
    return chat.client.beta.threads.messages.create(chat.thread.id, role="user", content=content, **params)


def in_background(call, *args, **params):
    """Runs a call in an OS thread; gives a function that waits for its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call(*args, **params)))
    thread.start()

    def result():
        thread.join(30)
        return results[0]

    return result


def test_a_thread_takes_one_run_at_a_time_and_no_message(chat, busy):
    runs_error = (None, None, f"Thread {chat.thread.id} already has an active run {busy.id}.")
    message_error = (None, None, f"Can't add messages to {chat.thread.id} while a run {busy.id} is active.")
    for body in ({}, {"if_active": "reject"}, {"if_active": None}):
        assert refusal(chat.start, extra_body=body) == runs_error
        assert refusal(chat.start, stream=True, extra_body=body) == runs_error
        assert refusal(add, chat, extra_body=body) == message_error


def test_a_run_that_waits_for_its_client_holds_its_thread(new_chat, model):
    chat = new_chat(tools=TOOLS)
    model.reply(CALL)
    run = chat.run()
    assert refusal(chat.start)[2] == f"Thread {chat.thread.id} already has an active run {run.id}."
    assert refusal(add, chat)[2].endswith(f"while a run {run.id} is active.")
    chat.cancel(run)
    assert add(chat).role == "user"


@pytest.mark.parametrize("reply", [testing.text("x"), testing.error(400), testing.text("x", finish_reason="length")])
def test_a_thread_is_free_as_soon_as_its_run_is_over(chat, model, reply):
    model.reply(reply)
    chat.run()
    assert add(chat).role == "user"
    assert chat.run().status == "completed"


def test_a_queued_run_waits_behind_the_active_one(chat, model, busy):
    model.reply(testing.text("Second."))
    said = [{"role": "user", "content": "And then?"}]
    waiting = chat.start(additional_messages=said, extra_body={"if_active": "enqueue"})
    assert (waiting.status, waiting.started_at, waiting.expires_at) == ("queued", None, None)
    assert chat.messages()[-1].content[0].text.value == "And then?"
    model.release()
    run = chat.wait(waiting)
    assert run.status == "completed"
    assert chat.runs.retrieve(busy.id, thread_id=chat.thread.id).status == "completed"
    # What it answers comes last.
    assert [m["content"] for m in model.requests[-1].body["messages"]] == [
        "Hello there",
        "Once upon a time",
        "And then?",
    ]


def test_what_a_queued_run_answers_comes_last_though_the_active_one_begins_to_speak_after_it(chat, model):
    model.hold()
    model.reply(testing.text("Once ", "upon ", "a time"), testing.text("Second."))
    active = chat.start()
    said = [{"role": "user", "content": "And then?"}]
    waiting = chat.start(additional_messages=said, extra_body={"if_active": "enqueue"})
    model.release()
    assert [chat.wait(run).status for run in (active, waiting)] == ["completed"] * 2
    assert chat.said() == ["Hello there", "And then?", "Once upon a time", "Second."]
    assert [m["content"] for m in model.requests[-1].body["messages"]] == [
        "Hello there",
        "Once upon a time",
        "And then?",
    ]


def test_queued_runs_go_in_their_order(chat, model, busy):
    waiting = [chat.start(extra_body={"if_active": "enqueue"}) for _ in range(3)]
    assert refusal(chat.start)[2].endswith(f"already has an active run {busy.id}.")
    # One of them no longer wants to.
    chat.cancel(waiting[1])
    model.release()
    ended = [chat.wait(run) for run in waiting]
    assert [run.status for run in ended] == ["completed", "cancelled", "completed"]
    assert ended[0].completed_at <= ended[2].completed_at
    assert add(chat).role == "user"


def test_a_run_that_waited_has_its_whole_time(chat, model, busy):
    model.reply(testing.silence())
    waiting = chat.start(extra_body={"if_active": "enqueue"})
    model.release()
    chat.wait(busy)
    model.wait_for_requests(2)
    run = chat.runs.retrieve(waiting.id, thread_id=chat.thread.id)
    assert (run.status, run.expires_at) == ("in_progress", run.started_at + 600)


def test_a_run_can_interrupt_the_active_one(chat, model, busy):
    model.reply(testing.text("Second."))
    run = chat.start(
        additional_messages=[{"role": "user", "content": "Stop it."}], extra_body={"if_active": "interrupt"}
    )
    assert chat.runs.retrieve(busy.id, thread_id=chat.thread.id).status == "cancelled"
    model.requests[0].wait_closed()
    model.release()
    assert chat.wait(run).status == "completed"
    assert [message.run_id for message in chat.messages()][-1] == run.id
    assert model.requests[-1].body["messages"][-1]["content"] == "Stop it."


def test_runs_that_wait_stay_behind_one_that_interrupts(chat, model, busy):
    waiting = chat.start(extra_body={"if_active": "enqueue"})
    run = chat.start(extra_body={"if_active": "interrupt"})
    model.wait_for_requests(2)
    assert refusal(chat.start)[2].endswith(f"already has an active run {run.id}.")
    assert chat.runs.retrieve(waiting.id, thread_id=chat.thread.id).started_at is None
    assert len(model.requests) == 2
    model.release()
    assert [chat.wait(one).status for one in (busy, run, waiting)] == ["cancelled", "completed", "completed"]
    first, second = (message.run_id for message in chat.messages()[-2:])
    assert (first, second) == (run.id, waiting.id)
    assert add(chat).role == "user"


def test_nothing_is_interrupted_where_nothing_runs(chat):
    for what in ("interrupt", "enqueue"):
        assert chat.wait(chat.start(extra_body={"if_active": what})).status == "completed"


def test_a_refused_run_interrupts_nothing(chat, model, busy):
    body = {"assistant_id": "asst_missing", "if_active": "interrupt"}
    with pytest.raises(openai.NotFoundError):
        chat.client.post(chat.path, cast_to=object, body=body)
    assert chat.runs.retrieve(busy.id, thread_id=chat.thread.id).status == "in_progress"
    model.release()
    assert chat.wait(busy).status == "completed"


@pytest.mark.usefixtures("busy")
def test_a_message_can_wait_for_the_run(chat, model):
    added = in_background(add, chat, extra_body={"if_active": "wait"})
    model.release()
    assert added().content[0].text.value == "And now?"
    assert chat.said() == ["Hello there", "Once upon a time", "And now?"]


def test_a_message_does_not_wait_for_ever(servers, database, new_client, new_chat, model):
    server = servers(database, upstream_url=model.base_url, message_wait_s=0.1)
    chat = new_chat(new_client(server))
    model.reply(testing.silence())
    run = chat.start()
    _, _, message = refusal(add, chat, extra_body={"if_active": "wait"})
    assert message == f"Can't add messages to {chat.thread.id} while a run {run.id} is active."


@pytest.mark.usefixtures("busy")
def test_a_message_that_waits_is_refused_when_its_thread_goes(chat):
    def attempt():
        try:
            return add(chat, extra_body={"if_active": "wait"})
        except openai.NotFoundError as error:
            return error

    added = in_background(attempt)
    chat.client.beta.threads.delete(chat.thread.id)
    assert isinstance(added(), openai.NotFoundError)


def test_a_deleted_thread_takes_its_run_with_it(chat, model, busy):
    waiting = chat.start(extra_body={"if_active": "enqueue"})
    assert chat.client.beta.threads.delete(chat.thread.id).deleted
    model.requests[0].wait_closed()
    model.release()
    for run in (busy, waiting):
        with pytest.raises(openai.NotFoundError) as caught:
            chat.runs.retrieve(run.id, thread_id=chat.thread.id)
        assert caught.value.body["message"] == f"No thread found with id '{chat.thread.id}'."
    assert len(model.requests) == 1


def test_a_stream_ends_when_its_thread_is_deleted(chat, model):
    model.hold(after=2)
    model.reply(testing.text("Once ", "upon"))
    seen = []
    with chat.start(stream=True) as stream:
        for event in stream:
            seen.append(event.event)
            if event.event == "thread.message.delta":
                chat.client.beta.threads.delete(chat.thread.id)
    assert seen[-2:] == ["thread.run.step.cancelled", "thread.run.cancelled"]


def test_the_message_that_is_being_written_can_be_seen_changed_and_deleted(chat, model):
    model.hold(after=2)
    model.reply(testing.text("Once ", "upon"))
    ended = []
    messages = chat.client.beta.threads.messages
    with chat.start(stream=True) as stream:
        for event in stream:
            ended.append(event.event)
            if event.event == "thread.message.delta" and len(ended) == 8:
                message = chat.messages()[-1]
                assert (message.status, message.completed_at) == ("in_progress", None)
                messages.update(message.id, thread_id=chat.thread.id, metadata={"seen": "yes"})
                model.release()
            if event.event == "thread.message.completed":
                assert event.data.metadata == {"seen": "yes"}
                assert event.data.content[0].text.value == "Once upon"
    assert ended[-1] == "thread.run.completed"
    assert chat.messages()[-1].metadata == {"seen": "yes"}


@pytest.mark.parametrize("how", ["completed", "cancelled"])
def test_a_run_ends_in_good_order_when_its_message_is_deleted_meanwhile(chat, model, how):
    model.hold(after=2)
    model.reply(testing.text("Once ", "upon"))
    names = []
    with chat.start(stream=True) as stream:
        for event in stream:
            names.append(event.event)
            if event.event == "thread.message.delta" and names.count(event.event) == 1:
                chat.client.beta.threads.messages.delete(event.data.id, thread_id=chat.thread.id)
                if how == "cancelled":
                    chat.cancel(chat.runs.list(chat.thread.id).data[0])
                model.release()
    message = "completed" if how == "completed" else "incomplete"
    assert names[-3:] == [f"thread.message.{message}", f"thread.run.step.{how}", f"thread.run.{how}"]
    assert chat.said() == ["Hello there"]
