"""The scripted model of `threadkeep.testing`, asked by the official SDK as a model server would be."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import openai
import pytest

from threadkeep import testing
from threadkeep.testing import call, error, refusal, text, tool_calls

HELLO = [{"role": "user", "content": "Hello you there"}]


@pytest.fixture
def model():
    with testing.model() as model:
        yield model


@contextmanager
def client_of(url):
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture
def client(model):
    with client_of(model.base_url) as client:
        yield client


def streamed(client, name="scripted", messages=HELLO):
    chunks = client.chat.completions.create(model=name, messages=messages, stream=True)
    return [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]


def test_it_says_what_it_is_told_in_order(model, client):
    model.reply(text("Hello ", "world"), text("Bye"))
    assert [streamed(client), streamed(client)] == [["Hello ", "world"], ["Bye"]]


def test_without_a_script_it_repeats_the_last_message(client):
    assert streamed(client) == ["Hello", " you", " there"]
    parts = [{"role": "user", "content": [{"type": "text", "text": "From parts"}]}]
    assert streamed(client, messages=parts) == ["From", " parts"]


def test_an_answer_that_is_not_streamed_is_the_same_put_together(model, client):
    model.reply(text("Hello ", "world"), refusal("No", "."), tool_calls(call("f", {"a": 1}), call("g"), says=("Wait",)))

    def message():
        completion = client.chat.completions.create(model="scripted", messages=HELLO)
        return completion.choices[0].finish_reason, completion.choices[0].message, completion.usage.total_tokens

    reason, said, total = message()
    assert (reason, said.content, total) == ("stop", "Hello world", 5)
    assert message()[1].refusal == "No."
    reason, said, _ = message()
    assert (reason, said.content) == ("tool_calls", "Wait")
    assert [(each.function.name, each.function.arguments) for each in said.tool_calls] == [
        ("f", '{"a": 1}'),
        ("g", "{}"),
    ]


def test_the_models_name_decides_when_there_is_no_script(client):
    assert len(streamed(client, "text:12")) == 12
    with pytest.raises(openai.RateLimitError):
        streamed(client, "status:429")
    with pytest.raises(openai.APIConnectionError):
        streamed(client, "cut:2")
    called = client.chat.completions.create(model="call:f,g", messages=HELLO).choices[0].message.tool_calls
    assert [each.function.name for each in called] == ["f", "g"]
    answered = [*HELLO, {"role": "tool", "tool_call_id": "call_1", "content": "It rains."}]
    assert streamed(client, "call:f,g", answered) == ["It", " rains."]


def test_requests_can_be_read(model, client):
    streamed(client)
    (request,) = model.wait_for_requests(1)
    assert request.body["messages"] == HELLO
    assert request.headers["authorization"] == "Bearer none"


def test_a_stream_can_be_held_and_released(model, client):
    model.reply(text("a", "b", "c"))
    # The first chunk names the role.
    model.hold(after=2)
    chunks = iter(client.chat.completions.create(model="scripted", messages=HELLO, stream=True))
    next(chunks)
    assert next(chunks).choices[0].delta.content == "a"
    model.release(1)
    assert next(chunks).choices[0].delta.content == "b"
    model.release()
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["c", None]


def test_a_stream_from_before_a_reset_is_neither_held_nor_counted_any_more(model, client):
    model.reply(text("a", "b", "c"))
    model.hold(after=2)
    earlier = iter(client.chat.completions.create(model="scripted", messages=HELLO, stream=True))
    next(earlier)
    model.reset()
    model.hold(after=2)
    assert [chunk.choices[0].delta.content for chunk in earlier] == ["a", "b", "c", None]
    later = iter(client.chat.completions.create(model="scripted", messages=HELLO, stream=True))
    assert [next(later).choices[0].delta.content for _ in range(2)] == ["", "Hello"]
    model.release()


def test_errors_have_the_envelope(model, client):
    model.reply(error(400, "Too long.", code="context_length_exceeded"), error(429, retry_after_s=7))
    with pytest.raises(openai.BadRequestError) as caught:
        streamed(client)
    assert (caught.value.code, caught.value.body["message"]) == ("context_length_exceeded", "Too long.")
    with pytest.raises(openai.RateLimitError) as limited:
        streamed(client)
    assert limited.value.response.headers["retry-after"] == "7"


def test_models_are_listed_and_keys_checked():
    with testing.model(["one", "two"], key="right") as model:
        with client_of(model.base_url) as client, pytest.raises(openai.AuthenticationError):
            client.models.list()
        with openai.OpenAI(base_url=model.base_url, api_key="right") as client:
            assert [each.id for each in client.models.list()] == ["one", "two"]


def test_a_stopped_model_refuses_connections(model, client):
    model.stop()
    with pytest.raises(openai.APIConnectionError):
        streamed(client)


def test_it_runs_as_a_process():
    command = [sys.executable, "-m", "threadkeep.testing", "--model", "one", "--model", "two"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        with client_of(process.stdout.readline().strip()) as client:
            assert [each.id for each in client.models.list()] == ["one", "two"]
            assert len(streamed(client, "text:3@100")) == 3
        process.terminate()
        assert process.wait() == 0
