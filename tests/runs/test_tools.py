"""Function tools: the calls a model asks for, and what the client gives back."""

from __future__ import annotations

import openai
import pytest

from threadkeep import testing


def function(name, **described):
    return {"type": "function", "function": {"name": name, **described}}


OSLO = testing.call("weather", {"city": "Oslo"}, "call_oslo")
ROME = testing.call("weather", {"city": "Rome"}, "call_rome")
TOOLS = [function("weather", description="Of a city.", parameters={"type": "object"}), function("time")]


@pytest.fixture
def chat(new_chat):
    return new_chat(tools=TOOLS)


@pytest.fixture
def waiting(chat, model):
    """A run that waits for the outputs of two calls."""
    model.reply(testing.tool_calls(OSLO, ROME))
    return chat.run()


def refusal(call, *args, **params):
    with pytest.raises(openai.BadRequestError) as caught:
        call(*args, **params)
    return caught.value.param, caught.value.body["message"]


def test_a_run_waits_for_the_functions_the_model_calls(chat, model, waiting):
    assert waiting.status == "requires_action"
    assert waiting.required_action.to_dict() == {
        "type": "submit_tool_outputs",
        "submit_tool_outputs": {
            "tool_calls": [
                {"id": "call_oslo", "type": "function", "function": {"name": "weather", "arguments": OSLO.arguments}},
                {"id": "call_rome", "type": "function", "function": {"name": "weather", "arguments": ROME.arguments}},
            ]
        },
    }
    assert (waiting.usage, waiting.expires_at) == (None, waiting.created_at + 600)
    (step,) = chat.steps(waiting)
    assert (step.type, step.status, step.usage, step.completed_at) == ("tool_calls", "in_progress", None, None)
    assert step.expires_at == waiting.expires_at
    assert [call.to_dict() for call in step.step_details.tool_calls] == [
        {
            "id": call.call_id,
            "type": "function",
            "function": {"name": "weather", "arguments": call.arguments, "output": None},
        }
        for call in (OSLO, ROME)
    ]
    assert chat.messages(run_id=waiting.id) == []
    assert model.requests[0].body["tools"] == TOOLS


def test_a_run_goes_on_with_the_outputs(chat, model, waiting):
    model.hold()
    model.reply(testing.text("Cold ", "and warm."))
    queued = chat.submit(waiting, {"call_rome": "20", "call_oslo": "-5"})
    assert (queued.status, queued.required_action, queued.usage) == ("queued", None, None)
    assert (queued.started_at, queued.expires_at) == (waiting.started_at, waiting.expires_at)
    (step,) = chat.steps(waiting)
    assert (step.status, step.expires_at) == ("completed", None)
    assert [call.function.output for call in step.step_details.tool_calls] == ["-5", "20"]
    model.release()
    run = chat.wait(waiting)
    assert (run.status, run.started_at >= waiting.started_at) == ("completed", True)
    assert chat.said() == ["Hello there", "Cold and warm."]
    asked = model.requests[1].body["messages"]
    assert asked[1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": c.call_id, "type": "function", "function": {"name": "weather", "arguments": c.arguments}}
                for c in (OSLO, ROME)
            ],
        },
        {"role": "tool", "tool_call_id": "call_oslo", "content": "-5"},
        {"role": "tool", "tool_call_id": "call_rome", "content": "20"},
    ]


def test_a_run_starts_anew_when_its_outputs_are_in_but_its_time_goes_on(
    serve_by_clock, clock, new_client, new_chat, model
):
    model.reply(testing.tool_calls(OSLO))
    with serve_by_clock(upstream_url=model.base_url) as server:
        chat = new_chat(new_client(server), tools=TOOLS)
        waiting = chat.run()
        clock.now += 5
        queued = chat.submit(waiting, {"call_oslo": "-5"})
        run = chat.wait(waiting)
    assert (queued.started_at, run.started_at) == (waiting.started_at, waiting.started_at + 5)
    assert queued.expires_at == waiting.expires_at == waiting.created_at + 600
    assert run.completed_at == run.started_at


def test_usage_is_summed_over_the_steps(chat, model, waiting):
    model.reply(
        testing.text(
            "Cold.",
            usage={
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "total_tokens": 120,
                "prompt_tokens_details": {"cached_tokens": 64},
                "completion_tokens_details": {"reasoning_tokens": 7},
            },
        )
    )
    chat.submit(waiting, {"call_oslo": "-5", "call_rome": "20"})
    run = chat.wait(waiting)
    tools, message = (step.usage for step in chat.steps(run))
    assert (message.prompt_tokens, message.completion_tokens, message.total_tokens) == (100, 20, 120)
    assert run.usage.to_dict() == {
        "prompt_tokens": tools.prompt_tokens + 100,
        "completion_tokens": tools.completion_tokens + 20,
        "total_tokens": tools.total_tokens + 120,
        "prompt_token_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 7},
    }
    assert tools.completion_tokens > 0


def test_the_helpers_submit_and_wait(chat, model, waiting):
    model.reply(testing.tool_calls(testing.call("time", call_id="call_time")), testing.text("Noon."))
    outputs = [{"tool_call_id": "call_oslo", "output": "-5"}, {"tool_call_id": "call_rome", "output": "20"}]
    submit = chat.runs.submit_tool_outputs_and_poll
    run = submit(run_id=waiting.id, thread_id=chat.thread.id, tool_outputs=outputs)
    assert run.status == "requires_action"
    assert [call.id for call in run.required_action.submit_tool_outputs.tool_calls] == ["call_time"]
    noon = [{"tool_call_id": "call_time", "output": "12:00"}]
    run = submit(run_id=waiting.id, thread_id=chat.thread.id, tool_outputs=noon)
    assert run.status == "completed"
    assert [step.type for step in chat.steps(run)] == ["tool_calls", "tool_calls", "message_creation"]
    assert [message["role"] for message in model.requests[-1].body["messages"]] == [
        *("user", "assistant", "tool", "tool"),
        *("assistant", "tool"),
    ]


def test_text_before_calls_is_a_message_of_its_own(chat, model):
    model.reply(testing.tool_calls(OSLO, says=("Let me ", "look.")), testing.text("Cold."))
    run = chat.run()
    assert [(step.type, step.status) for step in chat.steps(run)] == [
        ("message_creation", "completed"),
        ("tool_calls", "in_progress"),
    ]
    chat.submit(run, {"call_oslo": "-5"})
    assert chat.wait(run).status == "completed"
    assert chat.said() == ["Hello there", "Let me look.", "Cold."]
    said, answered = model.requests[1].body["messages"][1:]
    assert (said["content"], said["tool_calls"][0]["id"]) == ("Let me look.", "call_oslo")
    assert answered["content"] == "-5"
    # The turn is counted once, by its last step; a step that is over says so rather than nothing.
    used = [step.usage.total_tokens for step in chat.steps(run)]
    assert (used[0], sum(used)) == (0, chat.wait(run).usage.total_tokens)


def test_calls_without_ids_get_some(chat, model):
    call = testing.call("time")
    model.reply(testing.tool_calls(call, call, with_ids=False, whole=True))
    first, second = chat.run().required_action.submit_tool_outputs.tool_calls
    assert first.id != second.id
    assert all(call.id.startswith("call_") and len(call.id) == len("call_") + 24 for call in (first, second))


def test_only_the_whole_set_of_outputs_is_taken(chat, waiting):
    awaited = "Expected tool outputs for call_ids ['call_oslo', 'call_rome'], got "

    def got(*call_ids):
        outputs = [{"tool_call_id": call_id, "output": "x"} for call_id in call_ids]
        return refusal(chat.runs.submit_tool_outputs, waiting.id, thread_id=chat.thread.id, tool_outputs=outputs)

    assert got("call_oslo") == (None, f"{awaited}['call_oslo']")
    assert got("call_oslo", "call_oslo") == (None, f"{awaited}['call_oslo', 'call_oslo']")
    assert got("call_oslo", "call_x") == (None, f"{awaited}['call_oslo', 'call_x']")
    assert got() == (None, f"{awaited}[]")
    assert got("call_oslo", "call_rome", "call_x")[1].endswith("['call_oslo', 'call_rome', 'call_x']")
    assert chat.runs.retrieve(waiting.id, thread_id=chat.thread.id).status == "requires_action"


def test_outputs_have_a_limit_together(chat, waiting):
    half = 256 * 1024
    too_large = {"call_oslo": "ä" * (half // 2), "call_rome": "x" * (half + 1)}
    for params in ({}, {"stream": True}):
        assert refusal(chat.submit, waiting, too_large, **params) == (
            "tool_outputs",
            "'tool_outputs' too large: the combined tool outputs must be less than 512kb.",
        )
    chat.submit(waiting, {"call_oslo": "x" * half, "call_rome": "x y " * (half // 4)})
    run = chat.wait(waiting)
    # The server takes them; this model could not.
    assert (run.status, run.last_error.code) == ("failed", "invalid_prompt")
    assert "its context window is taken as 32768 tokens" in run.last_error.message


def test_an_output_may_be_missing(chat, waiting):
    outputs = [{"tool_call_id": "call_oslo"}, {"tool_call_id": "call_rome", "output": None}]
    chat.client.post(f"{chat.path}/{waiting.id}/submit_tool_outputs", cast_to=object, body={"tool_outputs": outputs})
    assert chat.wait(waiting).status == "completed"
    assert [call.function.output for call in chat.steps(waiting)[0].step_details.tool_calls] == ["", ""]


def test_only_a_run_that_waits_takes_outputs(chat, model, waiting):
    outputs = {"call_oslo": "-5", "call_rome": "20"}
    model.hold()
    chat.submit(waiting, outputs)
    model.wait_for_requests(2)
    in_progress = 'Runs in status "in_progress" do not accept tool outputs.'
    assert refusal(chat.submit, waiting, outputs) == (None, in_progress)
    model.release()
    chat.wait(waiting)
    for params in ({}, {"stream": True}):
        completed = 'Runs in status "completed" do not accept tool outputs.'
        assert refusal(chat.submit, waiting, outputs, **params) == (None, completed)


@pytest.mark.parametrize(
    "body",
    [{}, {"tool_outputs": None}, {"tool_outputs": [{"tool_call_id": 1}]}, {"tool_outputs": {"call_a": "x"}}],
    ids=["missing", "null", "number", "object"],
)
def test_outputs_of_another_form_are_refused(chat, waiting, body):
    path = f"{chat.path}/{waiting.id}/submit_tool_outputs"
    param, _ = refusal(chat.client.post, path, cast_to=object, body=body)
    assert param.startswith("tool_outputs")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_forced_choice_holds_for_the_first_turn(chat, model, choice):
    model.reply(testing.tool_calls(OSLO), testing.text("Cold."))
    run = chat.run(tool_choice=choice)
    assert chat.wire(run)["tool_choice"] == choice
    chat.submit(run, {"call_oslo": "-5"})
    assert chat.wait(run).status == "completed"
    first, second = (request.body for request in model.requests)
    assert first["tool_choice"] == choice
    assert "tool_choice" not in second
    assert second["tools"] == TOOLS


def test_no_tool_is_called_when_the_choice_is_none(chat, model):
    assert chat.run(tool_choice="none").status == "completed"
    assert model.requests[0].body["tool_choice"] == "none"
    chat.run()
    assert "tool_choice" not in model.requests[1].body


def test_one_call_at_a_time_when_parallel_calls_are_off(chat, model):
    model.reply(testing.tool_calls(OSLO, ROME), testing.text("Cold."))
    run = chat.run(parallel_tool_calls=False)
    assert model.requests[0].body["parallel_tool_calls"] is False
    assert [call.id for call in run.required_action.submit_tool_outputs.tool_calls] == ["call_oslo"]
    chat.submit(run, {"call_oslo": "-5"})
    assert chat.wait(run).status == "completed"


def test_calls_that_are_cut_off_are_not_asked_of_the_client(chat, model):
    model.reply(testing.tool_calls(OSLO, finish_reason="length"))
    run = chat.run()
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert run.required_action is None
    (step,) = chat.steps(run)
    assert (step.status, step.last_error.code) == ("failed", "server_error")
    assert step.usage.to_dict() == run.usage.to_dict()


def test_a_run_may_not_call_tools_for_ever(servers, database, new_client, new_chat, model):
    server = servers(database, upstream_url=model.base_url, run_tool_rounds_max=2)
    chat = new_chat(new_client(server), tools=TOOLS)
    calls = [testing.tool_calls(testing.call("time", call_id=f"call_{n}")) for n in range(3)]
    model.reply(*calls)
    run = chat.run()
    for n in range(3):
        assert run.status == "requires_action"
        chat.submit(run, {f"call_{n}": "12:00"})
        run = chat.wait(run)
    assert (run.status, run.last_error.code) == ("failed", "server_error")
    assert run.last_error.message == "The run called tools 3 times, more often than it may."


def test_schemas_of_functions_reach_the_model_as_they_are(new_chat, model):
    schema = {"type": "object", "properties": {"b": {"enum": [1.0, None]}, "a": {"$ref": "#"}}}
    chat = new_chat(tools=[function("f", parameters=schema, strict=True)])
    chat.run()
    assert model.requests[0].body["tools"] == [function("f", parameters=schema, strict=True)]
