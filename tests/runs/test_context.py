"""What the model is asked: the thread as far as it fits, settings, budgets."""

from __future__ import annotations

import pytest

from threadkeep import testing

TOOLS = [{"type": "function", "function": {"name": "time"}}]
CAT = "https://example.com/cat.png"


@pytest.fixture
def small_server(servers, database, model):
    """Its model can look at 400 tokens."""
    return servers(database, upstream_url=model.base_url, upstream_context_tokens=400)


def asked(model):
    """The texts of the last prompt."""
    return [message["content"] for message in model.requests[-1].body["messages"]]


def fill(chat, count, text="word " * 20):
    for number in range(count):
        chat.client.beta.threads.messages.create(chat.thread.id, role="user", content=f"{number} {text}")


def test_a_model_is_asked_as_the_run_says(new_chat, model):
    chat = new_chat(instructions="Be brief.", temperature=0.5)
    chat.run(top_p=0.25, reasoning_effort="low", max_completion_tokens=300, response_format={"type": "json_object"})
    body = model.requests[0].body
    assert body == {
        "model": "scripted",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there"}],
        "temperature": 0.5,
        "top_p": 0.25,
        "reasoning_effort": "low",
        "max_completion_tokens": 300,
        "response_format": {"type": "json_object"},
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("response_format", ["auto", {"type": "text"}])
def test_plain_text_needs_no_format(chat, model, response_format):
    assert chat.wire(chat.run(response_format=response_format))["response_format"] == response_format
    assert "response_format" not in model.requests[0].body


def test_a_conversation_goes_on_in_its_order(chat, model):
    model.reply(testing.text("Hi."), testing.text("Fine."))
    chat.run()
    chat.run(additional_messages=[{"role": "user", "content": "How are you?"}])
    assert [message["role"] for message in model.requests[-1].body["messages"]] == ["user", "assistant", "user"]
    assert asked(model) == ["Hello there", "Hi.", "How are you?"]


def test_parts_of_text_are_lines_and_images_are_parts(chat, model):
    chat.client.beta.threads.messages.create(
        chat.thread.id,
        role="user",
        content=[
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": CAT, "detail": "low"}},
            {"type": "image_file", "image_file": {"file_id": "file-cat"}},
        ],
    )
    chat.client.beta.threads.messages.create(
        chat.thread.id, role="user", content=[{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    )
    assert chat.run().status == "completed"
    assert asked(model) == [
        "Hello there",
        [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": CAT, "detail": "low"}},
            {"type": "text", "text": "[The image file-cat is not on this server.]"},
        ],
        "one\ntwo",
    ]


def test_the_model_is_told_of_each_file_it_cannot_have(chat, model):
    chat.client.beta.threads.messages.create(
        chat.thread.id,
        role="user",
        content="What do they say?",
        attachments=[
            {"file_id": "file-a", "tools": [{"type": "file_search"}]},
            {"file_id": "file-b", "tools": [{"type": "code_interpreter"}]},
        ],
    )
    assert chat.run().status == "completed"
    assert asked(model)[-1] == (
        "What do they say?\n[The file file-a is not on this server.]\n[The file file-b is not on this server.]"
    )


def test_a_thread_that_does_not_fit_keeps_its_first_and_its_newest_messages(new_chat, new_client, small_server, model):
    chat = new_chat(new_client(small_server))
    fill(chat, 30)
    assert chat.run().status == "completed"
    texts = asked(model)
    numbers = [int(text.split()[0]) for text in texts[1:]]
    assert texts[0] == "Hello there"
    assert numbers == list(range(numbers[0], 30))
    assert numbers[0] > 0


def test_what_does_not_fit_at_all_fails_the_run(new_chat, new_client, small_server, model):
    chat = new_chat(new_client(small_server), said="word " * 1000)
    run = chat.run()
    assert (run.status, run.last_error.code) == ("failed", "invalid_prompt")
    assert "its context window is taken as 400 tokens" in run.last_error.message
    assert "raise `upstream_context_tokens`" in run.last_error.message
    assert model.requests == []


def test_only_the_last_messages_are_told_when_the_run_says_so(new_chat, model):
    chat = new_chat(instructions="Be brief.")
    fill(chat, 5, "")
    chat.run(truncation_strategy={"type": "last_messages", "last_messages": 2})
    assert [text.strip() for text in asked(model)] == ["Be brief.", "3", "4"]
    chat.run(truncation_strategy={"type": "last_messages", "last_messages": 100})
    assert len(asked(model)) == 8


def test_a_prompt_budget_shortens_the_prompt(chat, model):
    fill(chat, 30)
    run = chat.run(max_prompt_tokens=300)
    assert run.status == "completed"
    assert asked(model)[0] == "Hello there"
    assert 3 <= len(asked(model)) < 20


def test_a_prompt_that_exceeds_its_budget_makes_the_run_incomplete(new_chat, model):
    chat = new_chat(said="word " * 1000)
    run = chat.run(max_prompt_tokens=300)
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_prompt_tokens")
    assert (run.last_error, model.requests) == (None, [])
    assert run.usage.total_tokens == 0


def test_a_budget_that_the_model_cannot_fill_is_not_the_reason_why_a_run_fails(new_chat, new_client, small_server):
    chat = new_chat(new_client(small_server), said="word " * 1000)
    run = chat.run(max_prompt_tokens=10_000)
    assert (run.status, run.last_error.code, run.incomplete_details) == ("failed", "invalid_prompt", None)
    assert chat.run(max_prompt_tokens=256).incomplete_details.reason == "max_prompt_tokens"


def used(prompt, completion):
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def test_budgets_hold_for_all_turns_together(new_chat, model):
    chat = new_chat(tools=TOOLS)
    calls = [testing.tool_calls(testing.call("time", call_id=f"call_{n}"), usage=used(200, 300)) for n in range(2)]
    model.reply(calls[0], testing.text("Noon.", usage=used(100, 200)))
    run = chat.run(max_prompt_tokens=500, max_completion_tokens=1000)
    chat.submit(run, {"call_0": "12:00"})
    run = chat.wait(run)
    assert (run.status, run.usage.prompt_tokens, run.usage.completion_tokens) == ("completed", 300, 500)
    assert [request.body["max_completion_tokens"] for request in model.requests] == [1000, 700]


def test_a_spent_completion_budget_ends_the_run_before_the_next_turn(new_chat, model):
    chat = new_chat(tools=TOOLS)
    model.reply(testing.tool_calls(testing.call("time", call_id="call_0"), usage=used(10, 300)))
    run = chat.run(max_completion_tokens=300)
    assert run.status == "requires_action"
    chat.submit(run, {"call_0": "12:00"})
    run = chat.wait(run)
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert (run.usage.total_tokens, len(model.requests)) == (310, 1)


def test_a_turn_that_uses_more_than_is_left_is_incomplete(new_chat, model):
    chat = new_chat(tools=TOOLS)
    calls = [testing.tool_calls(testing.call("time", call_id=f"call_{n}"), usage=used(10, 200)) for n in range(2)]
    model.reply(*calls)
    run = chat.run(max_completion_tokens=300)
    chat.submit(run, {"call_0": "12:00"})
    run = chat.wait(run)
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert (run.required_action, run.usage.completion_tokens) == (None, 400)
    first, second = chat.steps(run)
    assert (first.status, second.status) == ("completed", "failed")
    assert second.last_error.message == "The model's tool call is longer than max_completion_tokens allows."


def test_a_spent_prompt_budget_ends_the_run_before_the_next_turn(new_chat, model):
    chat = new_chat(tools=TOOLS)
    model.reply(testing.tool_calls(testing.call("time", call_id="call_0"), usage=used(300, 10)))
    run = chat.run(max_prompt_tokens=301)
    chat.submit(run, {"call_0": "12:00"})
    run = chat.wait(run)
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_prompt_tokens")


def test_tokens_are_counted_here_when_the_model_server_does_not(chat, model):
    model.reply(testing.text("Hello ", "world", usage=False))
    usage = chat.run().usage
    assert usage.completion_tokens == 2
    assert usage.prompt_tokens > 2
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_thoughts_are_not_part_of_the_answer(chat, model):
    model.reply(testing.text("42", reasoning="Hm."))
    chat.run()
    assert chat.said()[-1] == "42"


def test_a_deleted_message_is_not_told(chat, model):
    fill(chat, 1, "secret")
    chat.client.beta.threads.messages.delete(chat.messages()[1].id, thread_id=chat.thread.id)
    chat.run()
    assert asked(model) == ["Hello there"]
