"""Run steps: what a run did, in order."""

from __future__ import annotations

import openai
import pytest

from threadkeep import testing

TOOLS = [{"type": "function", "function": {"name": "time"}}]


@pytest.fixture
def chat(new_chat):
    return new_chat(tools=TOOLS)


@pytest.fixture
def run(chat, model):
    """A run of three steps."""
    for n in range(2):
        model.reply(testing.tool_calls(testing.call("time", call_id=f"call_{n}")))
    run = chat.run()
    for n in range(2):
        chat.submit(run, {f"call_{n}": "12:00"})
        run = chat.wait(run)
    assert run.status == "completed"
    return run


def missing(call, *args, **params):
    with pytest.raises(openai.NotFoundError) as caught:
        call(*args, **params)
    return caught.value.body["message"]


def test_a_step_has_every_field(chat, run):
    tools, _, message = chat.steps(run)
    (written,) = chat.messages(run_id=run.id)
    path = f"{chat.path}/{run.id}/steps/{message.id}"
    assert list(chat.client.get(path, cast_to=object).items()) == [
        ("id", message.id),
        ("object", "thread.run.step"),
        ("created_at", message.created_at),
        ("run_id", run.id),
        ("assistant_id", chat.assistant.id),
        ("thread_id", chat.thread.id),
        ("type", "message_creation"),
        ("status", "completed"),
        ("cancelled_at", None),
        ("completed_at", message.completed_at),
        ("expires_at", None),
        ("expired_at", None),
        ("failed_at", None),
        ("last_error", None),
        ("step_details", {"type": "message_creation", "message_creation": {"message_id": written.id}}),
        ("usage", message.usage.to_dict()),
        ("metadata", {}),
    ]
    assert message.id.startswith("step_")
    assert len(message.id) == len("step_") + 24
    assert tools.step_details.to_dict() == {
        "type": "tool_calls",
        "tool_calls": [
            {"id": "call_0", "type": "function", "function": {"name": "time", "arguments": "{}", "output": "12:00"}}
        ],
    }


def test_the_usage_of_a_run_is_that_of_its_steps(chat, run):
    steps = chat.steps(run)
    for field in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert sum(getattr(step.usage, field) for step in steps) == getattr(run.usage, field)


def test_steps_are_listed_newest_first_with_cursors(chat, run):
    ids = [step.id for step in chat.steps(run)]

    def listed(**query):
        return [step.id for step in chat.runs.steps.list(run.id, thread_id=chat.thread.id, **query).data]

    assert len(ids) == 3
    assert listed() == ids[::-1]
    assert listed(order="asc", limit=2) == ids[:2]
    assert listed(order="asc", after=ids[0], before=ids[2]) == [ids[1]]
    assert [step.id for step in chat.runs.steps.list(run.id, thread_id=chat.thread.id, limit=1)] == ids[::-1]
    include = ["step_details.tool_calls[*].file_search.results[*].content"]
    assert listed(include=include) == ids[::-1]
    step = chat.runs.steps.retrieve(ids[0], run_id=run.id, thread_id=chat.thread.id, include=include)
    assert step == chat.steps(run)[0]


def test_another_include_is_refused(chat, run):
    with pytest.raises(openai.BadRequestError) as caught:
        chat.runs.steps.list(run.id, thread_id=chat.thread.id, include=["everything"])
    assert caught.value.code == "invalid_value"


def test_a_step_that_is_missing_is_named(chat, run):
    retrieve = chat.runs.steps.retrieve
    step = chat.steps(run)[0]
    place = {"run_id": run.id, "thread_id": chat.thread.id}
    assert missing(retrieve, "step_123", **place) == "No run step found with id 'step_123'."
    other = chat.run(tools=[])
    assert missing(retrieve, step.id, **place | {"run_id": other.id}) == f"No run step found with id '{step.id}'."
    assert missing(retrieve, step.id, **place | {"run_id": "run_x"}) == "No run found with id 'run_x'."
    assert missing(retrieve, step.id, **place | {"thread_id": "thread_x"}) == "No thread found with id 'thread_x'."
    after = {"after": "step_x"}
    assert missing(chat.runs.steps.list, run.id, thread_id=chat.thread.id, **after) == (
        "No run step found with id 'step_x'."
    )
