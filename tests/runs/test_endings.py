"""How runs end: cut short, refused, failed, expired, cancelled."""

from __future__ import annotations

import json

import openai
import pytest

from threadkeep import testing


def refusal(call, *args, error_class=openai.BadRequestError, **params):
    with pytest.raises(error_class) as caught:
        call(*args, **params)
    return caught.value.body["message"]


def cannot(verb, status):
    return f"Cannot {verb} run with status '{status}'."


@pytest.fixture
def chat_with(servers, database, new_chat, new_client, model):
    """On a server that asks the model only once; where the reply ends in silence, it waits for a second."""

    def make(reply):
        patience = {"upstream_idle_timeout_s": 1.0} if reply.ends == "silence" else {}
        server = servers(database, upstream_url=model.base_url, upstream_retries=0, **patience)
        model.reply(reply)
        return new_chat(new_client(server))

    return make


@pytest.mark.parametrize(
    ("finish_reason", "run_reason", "message_reason"),
    [("length", "max_completion_tokens", "max_tokens"), ("content_filter", "content_filter", "content_filter")],
)
def test_an_answer_without_an_end_makes_the_run_incomplete(chat, model, finish_reason, run_reason, message_reason):
    model.reply(testing.text("Once ", "upon", finish_reason=finish_reason))
    run = chat.run()
    assert (run.status, run.incomplete_details.reason) == ("incomplete", run_reason)
    assert (run.expires_at, run.failed_at, run.last_error) == (None, None, None)
    assert run.completed_at >= run.started_at
    assert run.usage.completion_tokens == 2
    (message,) = chat.messages(run_id=run.id)
    assert (message.status, message.incomplete_details.reason) == ("incomplete", message_reason)
    assert (message.completed_at, message.content[0].text.value) == (None, "Once upon")
    assert message.incomplete_at >= message.created_at
    (step,) = chat.steps(run)
    assert (step.status, step.usage.to_dict()) == ("completed", run.usage.to_dict())
    assert chat.run().status == "completed"


def test_an_answer_beyond_the_limit_is_incomplete_though_the_model_server_did_not_stop(chat, model):
    model.reply(testing.text(*["word "] * 400))
    run = chat.run(max_completion_tokens=300)
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert (run.expires_at, run.last_error) == (None, None)
    assert run.usage.completion_tokens >= 400
    (message,) = chat.messages(run_id=run.id)
    assert (message.status, message.incomplete_details.reason) == ("incomplete", "max_tokens")
    (step,) = chat.steps(run)
    assert (step.status, step.usage.to_dict()) == ("completed", run.usage.to_dict())


def test_an_answer_is_not_called_incomplete_for_our_own_count_of_its_tokens(chat, model):
    model.reply(testing.text(*["word "] * 400, usage=False))
    run = chat.run(max_completion_tokens=300)
    assert (run.status, run.usage.completion_tokens >= 400) == ("completed", True)


FAULTS = {
    "429": (testing.error(429), "rate_limit_exceeded", "The model server's rate limit is exceeded."),
    "no quota": (
        testing.error(429, code="insufficient_quota"),
        "rate_limit_exceeded",
        "You exceeded your current quota, please check your plan and billing details with the model server.",
    ),
    "500": (testing.error(500), "server_error", "The model server failed with status 500."),
    "401": (testing.error(401), "server_error", "The model server refused the key of the upstream 'default'."),
    "400": (
        testing.error(400, "Bad tool."),
        "server_error",
        "The model server refused the request with status 400: Bad tool.",
    ),
    "too long": (
        testing.error(400, code="context_length_exceeded"),
        "invalid_prompt",
        "The conversation is longer than the model's context window.",
    ),
    "policy": (
        testing.error(400, code="content_policy_violation"),
        "invalid_prompt",
        "The model server refused the prompt because of its content policy.",
    ),
    "garbage": (testing.garbage(), "server_error", "The model server sent something that is not Chat Completions."),
    "cut": (testing.text(ends="cut"), "server_error", "The model server broke off its answer."),
    "silent": (testing.silence(), "server_error", "The model server was silent for too long."),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_before_the_first_word_fails_the_run(chat_with, fault):
    reply, code, message = FAULTS[fault]
    chat = chat_with(reply)
    run = chat.run()
    assert (run.status, run.last_error.code, run.last_error.message) == ("failed", code, message)
    assert run.failed_at >= run.started_at
    assert (run.completed_at, run.expires_at, run.incomplete_details) == (None, None, None)
    assert chat.steps(run) == chat.messages(run_id=run.id) == []
    assert chat.run().status == "completed"


@pytest.mark.parametrize("ends", ["cut", "silence"])
def test_a_fault_in_the_middle_keeps_what_was_said(chat_with, model, ends):
    chat = chat_with(testing.text("Once ", "upon ", ends=ends))
    run = chat.run()
    assert (run.status, run.last_error.code) == ("failed", "server_error")
    (message,) = chat.messages(run_id=run.id)
    assert (message.status, message.incomplete_details.reason) == ("incomplete", "run_failed")
    assert message.content[0].text.value == "Once upon "
    (step,) = chat.steps(run)
    assert (step.status, step.failed_at) == ("failed", message.incomplete_at)
    assert step.last_error.to_dict() == run.last_error.to_dict()
    # What it said half way is no part of the conversation.
    assert chat.run().status == "completed"
    assert [said["content"] for said in model.requests[-1].body["messages"]] == ["Hello there"]


def test_the_error_of_a_step_has_no_code_for_the_prompt(chat_with):
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": "Once "}}]},
        {"error": {"message": "Too long.", "type": "invalid_request_error", "code": "context_length_exceeded"}},
    ]
    chat = chat_with(testing.garbage("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode()))
    events = dict(chat.events())
    run, step = events["thread.run.failed"], events["thread.run.step.failed"]
    assert run.last_error.code == "invalid_prompt"
    assert (step.last_error.code, step.last_error.message) == ("server_error", run.last_error.message)
    assert chat.steps(run) == [step]


def test_a_model_that_cannot_be_reached_fails_the_run(servers, database, new_client, new_chat):
    server = servers(database, upstream_url="http://127.0.0.1:9/v1", upstream_retries=0)
    run = new_chat(new_client(server)).run()
    assert run.last_error.to_dict() == {
        "code": "server_error",
        "message": "The model server could not be reached.",
    }


def test_what_passes_is_tried_again_before_the_first_word(chat, model):
    model.reply(testing.error(503), testing.text(ends="cut"), testing.text("Here."))
    assert chat.run().status == "completed"
    assert chat.said()[-1] == "Here."
    assert len(model.requests) == 3


def test_a_model_that_nobody_has_fails_the_run_with_what_to_do(servers, database, new_client, new_chat):
    run = new_chat(new_client(servers(database)), model="gpt-4o").run()
    assert run.last_error.code == "server_error"
    assert run.last_error.message.startswith("There is no model 'gpt-4o': this server has no model server.")


def test_the_built_in_model_answers_where_no_other_is_configured(servers, database, new_client, new_chat):
    chat = new_chat(new_client(servers(database)), model="echo")
    assert chat.run().status == "completed"
    assert "Hello there" in chat.said()[-1]


@pytest.mark.parametrize("tool", ["file_search", "code_interpreter"])
def test_a_tool_that_is_not_there_yet_fails_the_run_at_once(new_chat, model, tool):
    chat = new_chat(tools=[{"type": tool}])
    run = chat.run()
    assert (run.status, run.last_error.code) == ("failed", "server_error")
    assert run.last_error.message == (
        "This server does not have files and vector stores yet, nor the tools that need them, file_search and "
        "code_interpreter."
    )
    assert [tool.type for tool in run.tools] == [tool]
    assert model.requests == []
    assert chat.run(tools=[]).status == "completed"


def test_a_silent_run_expires_and_frees_its_thread(new_chat, new_client, hasty_server, model):
    chat = new_chat(new_client(hasty_server))
    model.reply(testing.silence("Once ", "upon "))
    run = chat.run()
    assert (run.status, run.last_error, run.required_action) == ("expired", None, None)
    assert (run.cancelled_at, run.failed_at, run.completed_at) == (None, None, None)
    assert run.expires_at == run.created_at + 2
    (message,) = chat.messages(run_id=run.id)
    assert (message.status, message.incomplete_details.reason) == ("incomplete", "run_expired")
    assert message.content[0].text.value == "Once upon "
    (step,) = chat.steps(run)
    assert (step.status, step.expired_at, step.last_error) == ("expired", message.incomplete_at, None)
    model.requests[0].wait_closed()
    assert refusal(chat.cancel, run) == cannot("cancel", "expired")
    assert chat.client.beta.threads.messages.create(chat.thread.id, role="user", content="And now?")


def test_a_run_whose_client_does_not_answer_expires(new_chat, new_client, hasty_server, model, clock):
    chat = new_chat(new_client(hasty_server))
    model.reply(testing.tool_calls(testing.call("weather", call_id="call_a")))
    run = chat.run(tools=[{"type": "function", "function": {"name": "weather"}}])
    assert run.status == "requires_action"
    clock.now = run.expires_at
    # The helper does not wait for what needs its client, so this looks by itself.
    while chat.runs.retrieve(run.id, thread_id=chat.thread.id).status == "requires_action":
        pass
    ended = chat.runs.retrieve(run.id, thread_id=chat.thread.id)
    assert (ended.status, ended.required_action, ended.expires_at) == ("expired", None, run.expires_at)
    assert ended.usage.completion_tokens > 0
    (step,) = chat.steps(run)
    assert (step.status, step.step_details.tool_calls[0].function.output) == ("expired", None)
    late = 'Runs in status "expired" do not accept tool outputs.'
    assert refusal(chat.submit, run, {"call_a": "late"}) == late


def test_a_run_is_cancelled_in_the_middle_of_its_answer(chat, model):
    model.hold(after=3)
    model.reply(testing.text("Once ", "upon ", "a ", "time"))
    seen, text = [], ""
    with chat.start(stream=True) as stream:
        for event in stream:
            seen.append(event.event)
            if event.event == "thread.message.delta":
                text += event.data.delta.content[0].text.value
                if text == "Once upon ":
                    cancelled = chat.cancel(chat.runs.list(chat.thread.id).data[0])
    assert (cancelled.status, cancelled.cancelled_at) == ("cancelling", None)
    assert cancelled.expires_at is not None
    run = chat.runs.retrieve(cancelled.id, thread_id=chat.thread.id)
    assert (run.status, run.expires_at, run.last_error) == ("cancelled", None, None)
    assert run.cancelled_at >= run.started_at
    (message,) = chat.messages(run_id=run.id)
    assert (message.status, message.incomplete_details.reason) == ("incomplete", "run_cancelled")
    assert message.content[0].text.value == text == "Once upon "
    (step,) = chat.steps(run)
    assert (step.status, step.cancelled_at) == ("cancelled", run.cancelled_at)
    assert step.usage.to_dict() == run.usage.to_dict()
    model.requests[0].wait_closed()
    assert seen[-3:] == ["thread.message.incomplete", "thread.run.step.cancelled", "thread.run.cancelled"]
    # The words stay a part of the conversation.
    model.release()
    assert chat.run(additional_messages=[{"role": "user", "content": "Go on."}]).status == "completed"
    assert [said["content"] for said in model.requests[-1].body["messages"]][1] == "Once upon "


def test_what_ends_with_a_run_ends_at_the_same_moment(serve_by_clock, clock, new_client, new_chat, model):
    model.hold(after=2)
    model.reply(testing.text("Once ", "upon"))
    with serve_by_clock(upstream_url=model.base_url, webhook_private_addresses=True) as server:
        chat = new_chat(new_client(server))
        hook = chat.client.post("/webhooks", body={"url": "http://127.0.0.1:9/hook"}, cast_to=object)
        run = chat.start()
        chat.wait_for_event(run, "thread.message.delta")
        clock.step_s = 1
        chat.cancel(run)
        clock.step_s = 0
        moment = chat.runs.retrieve(run.id, thread_id=chat.thread.id).cancelled_at
        (step,), (_, message) = chat.steps(run), chat.messages()
        (told,) = chat.client.get(f"/webhooks/{hook['id']}/deliveries", cast_to=object)["data"]
    assert (step.cancelled_at, message.incomplete_at, told["created_at"]) == (moment,) * 3


def test_the_time_of_a_run_that_waited_begins_when_it_starts(serve_by_clock, clock, new_client, new_chat, model):
    model.hold(after=2)
    model.reply(testing.text("Once ", "upon"))
    with serve_by_clock(upstream_url=model.base_url) as server:
        chat = new_chat(new_client(server))
        active = chat.start()
        chat.wait_for_event(active, "thread.message.delta")
        waiting = chat.start(extra_body={"if_active": "enqueue"})
        clock.step_s = 1
        chat.cancel(active)
        chat.wait_for_event(waiting, "thread.run.in_progress")
        clock.step_s = 0
        run = chat.runs.retrieve(waiting.id, thread_id=chat.thread.id)
    assert run.expires_at == run.started_at + 600


def test_a_run_is_cancelled_before_the_model_says_a_word(chat, model):
    model.reply(testing.silence())
    run = chat.start()
    model.wait_for_requests(1)
    assert chat.cancel(run).status == "cancelling"
    assert chat.wait(run).status == "cancelled"
    assert chat.steps(run) == chat.messages(run_id=run.id) == []


def test_a_run_that_waits_for_its_client_is_cancelled(new_chat, model):
    chat = new_chat(tools=[{"type": "function", "function": {"name": "weather"}}])
    model.reply(testing.tool_calls(testing.call("weather", call_id="call_a")))
    run = chat.run()
    cancelling = chat.cancel(run)
    assert (cancelling.status, cancelling.required_action) == ("cancelling", None)
    ended = chat.wait(run)
    assert (ended.status, ended.required_action) == ("cancelled", None)
    assert [step.status for step in chat.steps(run)] == ["cancelled"]
    assert refusal(chat.submit, run, {"call_a": "x"}) == 'Runs in status "cancelled" do not accept tool outputs.'


def test_a_queued_run_is_cancelled(servers, database, new_client, new_chat, model):
    server = servers(database, upstream_url=model.base_url, runs_max=1)
    client = new_client(server)
    model.hold()
    first, second = new_chat(client), new_chat(client)
    running = first.start()
    model.wait_for_requests(1)
    waiting = second.start()
    assert second.runs.retrieve(waiting.id, thread_id=second.thread.id).status == "queued"
    assert second.cancel(waiting).status == "cancelling"
    ended = second.wait(waiting)
    assert (ended.status, ended.started_at) == ("cancelled", None)
    model.release()
    assert first.wait(running).status == "completed"
    assert second.run().status == "completed"


def test_a_run_that_is_over_cannot_be_cancelled(chat, model):
    replies = {
        "completed": testing.text("x"),
        "incomplete": testing.text("x", finish_reason="length"),
        "failed": testing.error(400),
    }
    for status, reply in replies.items():
        model.reply(reply)
        run = chat.run()
        assert run.status == status
        assert refusal(chat.cancel, run) == cannot("cancel", status)
    model.reply(testing.silence())
    run = chat.start()
    chat.cancel(run)
    assert refusal(chat.cancel, run) == cannot("cancel", "cancelled")


def test_the_model_may_say_nothing_at_all(chat, model):
    model.reply(testing.text())
    run = chat.run()
    assert run.status == "completed"
    (message,) = chat.messages(run_id=run.id)
    assert [part.to_dict() for part in message.content] == [{"type": "text", "text": {"value": "", "annotations": []}}]


def test_a_refusal_is_a_part_of_its_own(chat, model):
    model.reply(testing.refusal("I ", "cannot."))
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True}}
    run = chat.run(response_format=schema)
    assert run.status == "completed"
    (message,) = chat.messages(run_id=run.id)
    assert [part.to_dict() for part in message.content] == [{"type": "refusal", "refusal": "I cannot."}]
    assert model.requests[0].body["response_format"] == schema
