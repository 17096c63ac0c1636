"""Creating runs, and what the answers look like."""

from __future__ import annotations

import time

import openai
import pytest

from threadkeep.runs import USER_MESSAGE_WITHIN

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
NEVER_MADE = "asst_0123456789abcdefghijklmn"


def refusal(call, *args, error_class=openai.BadRequestError, **params):
    """Param, code and message of the error that the call raises."""
    with pytest.raises(error_class) as caught:
        call(*args, **params)
    assert caught.value.type == "invalid_request_error"
    return caught.value.param, caught.value.code, caught.value.body["message"]


def test_a_new_run_is_queued_with_every_field_and_its_default(new_chat, model):
    model.hold()
    chat = new_chat(instructions="Be brief.")
    created = chat.client.post(chat.path, cast_to=object, body={"assistant_id": chat.assistant.id})
    assert created["id"].startswith("run_")
    assert len(created["id"]) == len("run_") + 24
    assert abs(created["created_at"] - time.time()) < 60
    assert list(created.items()) == [
        ("id", created["id"]),
        ("object", "thread.run"),
        ("created_at", created["created_at"]),
        ("assistant_id", chat.assistant.id),
        ("thread_id", chat.thread.id),
        ("status", "queued"),
        ("started_at", None),
        ("expires_at", created["created_at"] + 600),
        ("cancelled_at", None),
        ("failed_at", None),
        ("completed_at", None),
        ("required_action", None),
        ("last_error", None),
        ("model", "scripted"),
        ("instructions", "Be brief."),
        ("tools", []),
        ("tool_resources", {}),
        ("metadata", {}),
        ("temperature", 1.0),
        ("top_p", 1.0),
        ("reasoning_effort", None),
        ("max_completion_tokens", None),
        ("max_prompt_tokens", None),
        ("truncation_strategy", {"type": "auto", "last_messages": None}),
        ("incomplete_details", None),
        ("usage", None),
        ("response_format", "auto"),
        ("tool_choice", "auto"),
        ("parallel_tool_calls", True),
    ]


def test_a_completed_run_has_its_times_and_what_it_used(chat):
    run = chat.run()
    assert run.status == "completed"
    assert run.created_at <= run.started_at <= run.completed_at
    assert run.expires_at is None
    assert run.usage.to_dict() == {
        "prompt_tokens": 2,
        "completion_tokens": 2,
        "total_tokens": 4,
        "prompt_token_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert chat.said() == ["Hello there", "Hello there"]
    assert list(chat.wire(run)) == list(chat.client.post(f"{chat.path}/{run.id}", cast_to=object, body={}))


def test_the_answer_is_a_message_of_the_run_and_its_assistant(chat):
    run = chat.run()
    (message,) = chat.messages(run_id=run.id)
    assert (message.role, message.status, message.run_id) == ("assistant", "completed", run.id)
    assert message.assistant_id == chat.assistant.id
    assert message.created_at <= message.completed_at
    assert (message.attachments, message.metadata, message.incomplete_at) == ([], {}, None)


def test_a_run_takes_what_it_is_not_told_from_its_assistant(new_chat, model):
    model.hold()
    given = {
        "model": "other",
        "instructions": "Be brief.",
        "tools": [{"type": "function", "function": WEATHER["function"] | {"strict": False}}],
        "temperature": 0.5,
        "top_p": 0.25,
        "reasoning_effort": "low",
        "response_format": SCHEMA,
    }
    chat = new_chat(**given)
    run = chat.start(metadata={"a": "b"})
    assert run.to_dict() | given == run.to_dict()
    assert run.metadata == {"a": "b"}
    # What the assistant becomes afterwards is of no concern to it.
    chat.client.beta.assistants.update(chat.assistant.id, model="third", instructions=None, tools=[])
    assert chat.wire(run) | given == chat.wire(run)


def test_a_run_overrides_what_its_assistant_says(new_chat, model):
    model.hold()
    chat = new_chat(instructions="Be brief.", tools=[WEATHER], temperature=0.5)
    given = {
        "model": "other",
        "instructions": "Be long.",
        "tools": [],
        "temperature": 0.0,
        "top_p": 0.0,
        "reasoning_effort": "high",
        "response_format": {"type": "json_object"},
        "max_prompt_tokens": 300,
        "max_completion_tokens": 256,
        "truncation_strategy": {"type": "last_messages", "last_messages": 3},
        "tool_choice": "none",
        "parallel_tool_calls": False,
    }
    run = chat.start(**given)
    assert run.to_dict() | given == run.to_dict()


def test_null_is_the_same_as_nothing(new_chat, model):
    model.hold()
    chat = new_chat(instructions="Be brief.", temperature=0.5)
    optional = (
        "model instructions tools metadata temperature top_p reasoning_effort max_prompt_tokens max_completion_tokens "
        "truncation_strategy response_format tool_choice parallel_tool_calls stream additional_instructions "
        "additional_messages"
    )
    run = chat.start(extra_body=dict.fromkeys(optional.split()))
    assert (run.model, run.instructions, run.temperature) == ("scripted", "Be brief.", 0.5)
    assert (run.metadata, run.parallel_tool_calls, run.tool_choice) == ({}, True, "auto")


def test_additional_instructions_come_after_the_others(new_chat, model):
    chat = new_chat(instructions="Be brief.")
    assert chat.run(additional_instructions="Speak French.").instructions == "Be brief.\nSpeak French."
    assert model.requests[0].body["messages"][0] == {"role": "system", "content": "Be brief.\nSpeak French."}
    assert new_chat().run(additional_instructions="Speak French.").instructions == "Speak French."


def test_additional_messages_are_added_in_order_before_the_run(chat, model):
    run = chat.run(
        additional_messages=[
            {"role": "assistant", "content": "Good day."},
            {"role": "user", "content": "And now?", "metadata": {"place": "2"}},
        ]
    )
    assert chat.said() == ["Hello there", "Good day.", "And now?", "And now?"]
    assert [message.run_id for message in chat.messages()] == [None, None, None, run.id]
    assert chat.messages()[2].metadata == {"place": "2"}
    assert [message["content"] for message in model.requests[0].body["messages"]] == chat.said()[:3]


def test_additional_messages_of_a_program_of_the_first_version_are_taken(chat):
    message = {"role": "user", "content": "And now?", "file_ids": ["file-a"], "metadata": {"n": 1}}
    headers = {"OpenAI-Beta": "assistants=v1"}
    body = {"assistant_id": chat.assistant.id, "additional_messages": [message]}
    chat.client.post(chat.path, cast_to=object, body=body, options={"headers": headers})
    added = chat.messages()[1]
    assert (added.metadata, added.attachments[0].file_id) == ({"n": "1"}, "file-a")


def test_messages_of_a_refused_run_are_not_kept(chat, model):
    model.hold()
    chat.start()
    _, _, message = refusal(chat.start, additional_messages=[{"role": "user", "content": "lost"}])
    assert "already has an active run" in message
    missing = {"assistant_id": NEVER_MADE, "additional_messages": [{"role": "user", "content": "lost"}]}
    with pytest.raises(openai.NotFoundError):
        chat.client.post(chat.path, cast_to=object, body=missing)
    assert "lost" not in chat.said()


def test_a_thread_and_its_run_are_created_together(new_chat, model):
    chat = new_chat(instructions="Be brief.")
    threads = chat.client.beta.threads
    run = threads.create_and_run(
        assistant_id=chat.assistant.id,
        thread={"messages": [{"role": "user", "content": "Good morning"}], "metadata": {"kind": "new"}},
        tool_resources={"code_interpreter": {"file_ids": []}},
        metadata={"a": "b"},
    )
    assert (run.status, run.metadata) == ("queued", {"a": "b"})
    assert threads.runs.poll(run.id, thread_id=run.thread_id).status == "completed"
    assert threads.retrieve(run.thread_id).metadata == {"kind": "new"}
    texts = [message.content[0].text.value for message in threads.messages.list(run.thread_id)]
    assert texts == ["Good morning", "Good morning"]
    assert [message["role"] for message in model.requests[0].body["messages"]] == ["system", "user"]


def test_an_assistant_with_instructions_runs_on_an_empty_thread(new_chat, model):
    chat = new_chat(said="", instructions="Greet.")
    assert chat.run().status == "completed"
    run = chat.client.beta.threads.create_and_run_poll(assistant_id=chat.assistant.id)
    assert run.status == "completed"
    assert [request.body["messages"] for request in model.requests] == [[{"role": "system", "content": "Greet."}]] * 2


def test_what_is_answered_is_among_the_newest_messages(new_chat):
    said = [{"role": role, "content": "Hello"} for role in ["user", *["assistant"] * USER_MESSAGE_WITHIN]]
    for count in (1, 7, USER_MESSAGE_WITHIN):
        chat = new_chat(said="")
        chat.thread = chat.client.beta.threads.create(messages=said[:count])
        assert chat.run().status == "completed"
    chat.thread = chat.client.beta.threads.create(messages=said)
    with pytest.raises(openai.BadRequestError, match="requires a Thread with a user message"):
        chat.start()


@pytest.mark.parametrize("said", [[], [{"role": "assistant", "content": "Hello."}]])
def test_a_run_needs_something_to_answer(client, said):
    assistant = client.beta.assistants.create(model="scripted")
    thread = client.beta.threads.create(messages=said)
    expected = (
        None,
        "invalid_thread",
        "Run creation requires a Thread with a user message or an assistant with instructions.",
    )
    assert refusal(client.beta.threads.runs.create, thread.id, assistant_id=assistant.id) == expected
    assert refusal(client.beta.threads.create_and_run, assistant_id=assistant.id, thread={"messages": said}) == expected


def test_what_is_missing_is_named(chat):
    runs, thread_id = chat.runs, chat.thread.id

    def missing(call, *args, **params):
        return refusal(call, *args, error_class=openai.NotFoundError, **params)[2]

    assert missing(runs.create, thread_id, assistant_id=NEVER_MADE) == f"No assistant found with id '{NEVER_MADE}'."
    no_thread = "No thread found with id 'thread_x'."
    assert missing(runs.create, "thread_x", assistant_id=chat.assistant.id) == no_thread
    assert missing(chat.client.beta.threads.create_and_run, assistant_id=NEVER_MADE).startswith("No assistant found")
    calls = [
        (runs.retrieve, {}),
        (runs.update, {"metadata": {}}),
        (runs.cancel, {}),
        (runs.submit_tool_outputs, {"tool_outputs": []}),
        (runs.steps.list, {}),
    ]
    for call, params in calls:
        assert missing(call, "run_x", thread_id=thread_id, **params) == "No run found with id 'run_x'."
        assert missing(call, "run_x", thread_id="thread_x", **params) == no_thread
    run = chat.run()
    other = chat.client.beta.threads.create()
    assert missing(runs.retrieve, run.id, thread_id=other.id) == f"No run found with id '{run.id}'."
    chat.client.beta.assistants.delete(chat.assistant.id)
    assert missing(chat.start) == f"No assistant found with id '{chat.assistant.id}'."


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"assistant_id": None}, ("assistant_id", "invalid_type")),
        ({"assistant_id": "gpt-4"}, ("assistant_id", "invalid_value")),
        ({"temperature": 2.1}, ("temperature", "decimal_above_max_value")),
        ({"top_p": -1}, ("top_p", "decimal_below_min_value")),
        ({"max_prompt_tokens": 0}, ("max_prompt_tokens", "integer_below_min_value")),
        ({"max_completion_tokens": "many"}, ("max_completion_tokens", "invalid_type")),
        ({"tools": [WEATHER] * 129}, ("tools", "array_above_max_length")),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, ("tools[0].function.name", "invalid_value")),
        ({"instructions": "x" * 256_001}, ("instructions", "string_above_max_length")),
        ({"additional_instructions": "x" * 256_001}, ("additional_instructions", "string_above_max_length")),
        ({"metadata": {str(n): "x" for n in range(17)}}, ("metadata", "object_above_max_properties")),
        ({"truncation_strategy": {"type": "some"}}, ("truncation_strategy.type", "invalid_value")),
        ({"truncation_strategy": {"last_messages": 1}}, ("truncation_strategy.type", "missing_required_parameter")),
        (
            {"truncation_strategy": {"type": "last_messages"}},
            ("truncation_strategy.last_messages", "missing_required_parameter"),
        ),
        (
            {"truncation_strategy": {"type": "last_messages", "last_messages": 0}},
            ("truncation_strategy.last_messages", "integer_below_min_value"),
        ),
        ({"tool_choice": "any"}, ("tool_choice", "invalid_value")),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, ("tool_choice", "invalid_value")),
        ({"tool_choice": {"type": "file_search"}}, ("tool_choice", "invalid_value")),
        ({"response_format": {"type": "xml"}}, ("response_format.type", "invalid_value")),
        ({"reasoning_effort": "some"}, ("reasoning_effort", "invalid_value")),
        ({"if_active": "wait"}, ("if_active", "invalid_value")),
        ({"additional_messages": [{"role": "user"}]}, ("additional_messages[0].content", "missing_required_parameter")),
        ({"additional_messages": [{"role": "user", "content": ""}]}, ("additional_messages[0].content", None)),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_bad_field_is_refused_by_name(chat, body, expected):
    for extra in ({}, {"stream": True}):
        path = {"assistant_id": chat.assistant.id} | body | extra
        assert refusal(chat.client.post, chat.path, cast_to=object, body=path)[:2] == expected
    assert chat.said() == ["Hello there"]


def test_a_run_needs_an_assistant(chat):
    expected = ("assistant_id", "missing_required_parameter", "Missing required parameter: 'assistant_id'.")
    for path in (chat.path, "/threads/runs"):
        assert refusal(chat.client.post, path, cast_to=object, body={}) == expected


def test_strict_refuses_what_the_original_refused(new_chat, strict_client, model):
    model.hold()
    chat = new_chat(strict_client)
    assert refusal(chat.start, max_prompt_tokens=255)[:2] == ("max_prompt_tokens", "integer_below_min_value")
    assert refusal(chat.start, max_completion_tokens=16)[:2] == ("max_completion_tokens", "integer_below_min_value")
    assert refusal(chat.start, extra_body={"if_active": "enqueue"})[:2] == ("if_active", "unknown_parameter")
    assert refusal(chat.start, extra_body={"foo": 1})[:2] == ("foo", "unknown_parameter")
    run = chat.start()
    model.wait_for_requests(1)
    expected = (None, None, "Cannot update run with status 'in_progress'.")
    assert refusal(chat.runs.update, run.id, thread_id=chat.thread.id, metadata={"a": "b"}) == expected
    stream = {"stream": "true"}
    assert refusal(chat.runs.retrieve, run.id, thread_id=chat.thread.id, extra_query=stream)[:2] == (
        "stream",
        "unknown_parameter",
    )
    model.release()
    assert chat.wait(run).status == "completed"
    assert chat.runs.update(run.id, thread_id=chat.thread.id, metadata={"a": "b"}).metadata == {"a": "b"}


def test_small_budgets_are_taken_outside_strict(chat):
    assert chat.run(max_prompt_tokens=100, max_completion_tokens=1).max_completion_tokens == 1


def test_metadata_can_change_while_a_run_is_carried_out(chat, model):
    model.hold()
    run = chat.start(metadata={"kept": "yes"})
    model.wait_for_requests(1)
    assert chat.runs.update(run.id, thread_id=chat.thread.id, metadata={"new": "yes"}).status == "in_progress"
    model.release()
    assert chat.wait(run).metadata == {"kept": "yes", "new": "yes"}
    removed = chat.runs.update(run.id, thread_id=chat.thread.id, extra_body={"metadata": {"kept": None}})
    assert removed.metadata == {"new": "yes"}


def test_runs_are_listed_newest_first_with_cursors(chat):
    created = [chat.run().id for _ in range(3)]

    def listed(**query):
        return [run.id for run in chat.runs.list(chat.thread.id, **query).data]

    assert listed() == created[::-1]
    assert listed(order="asc", limit=2) == created[:2]
    assert [run.id for run in chat.runs.list(chat.thread.id, limit=1)] == created[::-1]
    assert listed(order="asc", after=created[0]) == created[1:]
    assert listed(before=created[0], limit=1) == [created[1]]
    _, _, message = refusal(chat.runs.list, chat.thread.id, after="run_x", error_class=openai.NotFoundError)
    assert message == "No run found with id 'run_x'."
    assert chat.client.beta.threads.runs.list(chat.client.beta.threads.create().id).data == []


@pytest.mark.parametrize("last_event_id", ["9" * 5000, "9" * 40, "x", "-1"])
def test_a_last_event_id_that_is_none_tells_all_events(chat, last_event_id):
    run = chat.run()
    answer = chat.client._client.get(
        f"{chat.client.base_url}{chat.path[1:]}/{run.id}",
        headers={"Authorization": f"Bearer {chat.client.api_key}", "Last-Event-ID": last_event_id},
    )
    assert answer.status_code == 200
    assert answer.text.startswith("id: 1\nevent: thread.run.created\n")


@pytest.mark.parametrize("kind", ["client", "strict_client"])
def test_include_is_taken_by_every_call_that_has_it(request, new_chat, kind):
    chat = new_chat(request.getfixturevalue(kind))
    include = ["step_details.tool_calls[*].file_search.results[*].content"]
    run = chat.run(include=include)
    assert run.status == "completed"
    assert len(chat.steps(run, include=include)) == 1


@pytest.mark.parametrize("kind", ["client", "strict_client"])
def test_another_include_is_refused(request, new_chat, kind):
    chat = new_chat(request.getfixturevalue(kind))
    param, code, message = refusal(chat.start, include=["step_details"])
    assert (param, code) == ("include[0]", "invalid_value")
    assert message.startswith("Invalid value: 'step_details'. Supported values are: 'step_details.tool_calls[*]")
    assert chat.run().status == "completed"
