"""`Idempotency-Key`, through the official SDK and plain HTTP against real servers."""

from __future__ import annotations

import dataclasses
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx2
import openai
import pytest
from tests.crowd import AT_ONCE

from threadkeep import copies, idempotency, testing, threads
from threadkeep.idempotency import SWEPT_EVERY_S, AnsweredBeforeError, KeyedRequest
from threadkeep.testing import call, text, tool_calls
from threadkeep.threads import ThreadCreateParams

MESSAGE = {"role": "user", "content": "Hello you there"}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture
def thread(client):
    return client.beta.threads.create()


@pytest.fixture
def assistant(client):
    return client.beta.assistants.create(model="echo")


def key(value):
    return {"Idempotency-Key": value}


def send(client, path, body, value, **headers):
    """A POST as it is on the wire."""
    return client._client.post(
        f"{client.base_url}{path}",
        content=json.dumps(body),
        headers={"Authorization": f"Bearer {client.api_key}", **key(value), **headers},
    )


def events(answer):
    """The frames of a stream, without the comments."""
    return [frame for frame in answer.text.replace(": ping\n", "").split("\n\n") if frame]


def assert_refused(answer, status, message, code=None):
    assert answer.status_code == status
    error = answer.json()["error"]
    assert message in error["message"]
    assert error["code"] == code


def paths(thread, assistant):
    """Every request that creates something, and the list in which it is found."""
    run = {"assistant_id": assistant.id, "if_active": "enqueue"}
    return [
        ("assistants", {"model": "m"}, "assistants"),
        ("threads", {"messages": [MESSAGE]}, "threads"),
        (f"threads/{thread.id}/copy", {"metadata": {"is": "copy"}}, "threads"),
        (f"threads/{thread.id}/messages", MESSAGE, f"threads/{thread.id}/messages"),
        (f"threads/{thread.id}/runs", {**run, "additional_messages": [MESSAGE]}, f"threads/{thread.id}/runs"),
        ("threads/runs", {"assistant_id": assistant.id, "thread": {"messages": [MESSAGE]}}, "threads"),
    ]


def count(client, path):
    return len(client.get(f"/{path}?limit=100", cast_to=object)["data"])


def test_a_repeated_key_gives_the_first_answer_byte_for_byte_and_creates_nothing(client, thread, assistant):
    for number, (path, body, listed) in enumerate(paths(thread, assistant)):
        first = send(client, path, body, f"k{number}")
        assert first.status_code == 200, first.text
        assert "idempotent-replayed" not in first.headers
        before = count(client, listed)
        for _ in range(2):
            again = send(client, path, body, f"k{number}")
            assert (again.status_code, again.content) == (200, first.content)
            assert again.headers["content-type"] == first.headers["content-type"]
            assert again.headers["idempotent-replayed"] == "true"
        assert count(client, listed) == before


def test_the_sdk_takes_the_key_as_an_extra_header(client, thread):
    create = client.beta.threads.messages.create
    first = create(thread.id, role="user", content="once", extra_headers=key("a"))
    assert create(thread.id, role="user", content="once", extra_headers=key("a")) == first
    assert create(thread.id, role="user", content="once", extra_headers=key("b")).id != first.id
    assert create(thread.id, role="user", content="once").id != first.id


class AnswersGetLost(httpx2.BaseTransport):
    """Carries requests, and loses the first answer to each."""

    def __init__(self):
        self._transport = httpx2.HTTPTransport()
        self.keys = []

    def handle_request(self, request):
        answer = self._transport.handle_request(request)
        answer.read()
        self.keys.append(request.headers.get("idempotency-key"))
        if len(self.keys) % 2:
            raise httpx2.ReadError("the connection broke", request=request)
        return answer

    def close(self):
        self._transport.close()


def test_the_sdk_can_be_told_to_send_a_key_with_every_request_and_then_tries_again_safely(server):
    lossy = AnswersGetLost()
    with openai.OpenAI(
        base_url=server.base_url,
        api_key=server.new_key("lossy"),
        http_client=httpx2.Client(transport=lossy),
        max_retries=1,
    ) as client:
        client._idempotency_header = "Idempotency-Key"
        thread = client.beta.threads.create()
        client.beta.threads.messages.create(thread.id, role="user", content="once")
        assert len(client.beta.threads.messages.list(thread.id).data) == 1
    sent = lossy.keys[:4]
    assert None not in sent
    assert (sent[0], sent[2]) == (sent[1], sent[3])
    assert sent[0] != sent[2]


def test_another_body_or_address_under_the_same_key_is_a_conflict(client, thread):
    path = f"threads/{thread.id}/messages"
    other = client.beta.threads.create()
    assert send(client, path, MESSAGE, "k").status_code == 200
    for answer in (
        send(client, path, {**MESSAGE, "content": "other"}, "k"),
        send(client, f"threads/{other.id}/messages", MESSAGE, "k"),
        send(client, "threads", {}, "k"),
        send(client, path, MESSAGE, "k", **{"OpenAI-Beta": "assistants=v1"}),
    ):
        assert_refused(answer, 409, "'k' was used for another request before", "idempotency_key_reused")
        assert answer.headers["x-should-retry"] == "false"
    assert count(client, path) == 1


def test_the_sdk_does_not_repeat_a_conflict(client, thread):
    create = client.with_options(max_retries=5).beta.threads.messages.create
    create(thread.id, role="user", content="one", extra_headers=key("k"))
    with pytest.raises(openai.ConflictError) as caught:
        create(thread.id, role="user", content="two", extra_headers=key("k"))
    assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"


def test_an_address_with_and_without_v1_is_the_same(client, server):
    first = send(client, "threads", {}, "k")
    headers = {"Authorization": f"Bearer {client.api_key}", **key("k")}
    assert httpx2.post(f"{server.url}/threads", content=b"{}", headers=headers).content == first.content


def test_a_program_of_the_first_version_gets_its_own_answer_again(client):
    body = {"model": "m", "tools": [{"type": "retrieval"}], "file_ids": []}
    first, again = (send(client, "assistants", body, "k", **{"OpenAI-Beta": "assistants=v1"}) for _ in range(2))
    assert first.json()["tools"] == [{"type": "retrieval"}]
    assert again.content == first.content


def test_a_key_belongs_to_a_project(client, new_client, server):
    assert send(client, "threads", {}, "k").json() != send(new_client(server), "threads", {}, "k").json()


@pytest.mark.parametrize(("value", "code"), [("", "empty_string"), ("x" * 256, "string_above_max_length")])
def test_a_key_that_is_no_key_is_refused(client, value, code):
    answer = send(client, "threads", {}, value)
    assert_refused(answer, 400, "Invalid 'Idempotency-Key'", code)
    assert answer.json()["error"]["param"] == "Idempotency-Key"


@pytest.mark.parametrize("value", ["x" * 255, "ключ", "a'b\"c --", "é"])
def test_a_key_may_be_any_text(client, value):
    first, again = (send(client, "threads", {}, value.encode()) for _ in range(2))
    assert first.status_code == 200
    assert again.content == first.content


def test_a_refused_request_leaves_the_key_free(client, thread, assistant):
    path = f"threads/{thread.id}/runs"
    refused = send(client, path, {"assistant_id": assistant.id}, "k")
    assert_refused(refused, 400, "Run creation requires a Thread with a user message", "invalid_thread")
    assert_refused(send(client, "threads/thread_x/messages", MESSAGE, "k"), 404, "No thread found")
    assert_refused(send(client, "threads", {"metadata": 1}, "k"), 400, "Invalid type", "invalid_type")
    assert send(client, "threads", {}, "k").status_code == 200


def test_what_was_created_may_have_changed_and_the_first_answer_stays(client):
    first = send(client, "threads", {"metadata": {"a": "1"}}, "k")
    client.beta.threads.update(first.json()["id"], metadata={"a": "2"})
    assert send(client, "threads", {"metadata": {"a": "1"}}, "k").content == first.content


def test_a_given_id_may_be_asked_for_again_with_the_same_key(client):
    body = {"id": f"thread_{client.api_key[-20:]}"}
    first = send(client, "threads", body, "k")
    assert send(client, "threads", body, "k").content == first.content
    assert_refused(send(client, "threads", body, "other"), 400, "already in use", "invalid_value")


def test_requests_that_create_nothing_take_no_notice_of_the_key(client, thread):
    for n in "12":
        changed = send(client, f"threads/{thread.id}", {"metadata": {"n": n}}, "k")
        assert changed.json()["metadata"] == {"n": n}


def test_strict_takes_no_notice_of_the_key(strict_client):
    beta = {"OpenAI-Beta": "assistants=v2"}
    first, second = (send(strict_client, "threads", {}, value, **beta) for value in ("k", "k"))
    assert first.json()["id"] != second.json()["id"]
    assert send(strict_client, "threads", {}, "x" * 1000, **beta).status_code == 200


def test_large_bodies_are_told_apart(client):
    bodies = [{"messages": [{"role": "user", "content": "x" * 200_000}] * 3, "metadata": {"n": n}} for n in "12"]
    first = send(client, "threads", bodies[0], "k")
    assert send(client, "threads", bodies[0], "k").content == first.content
    assert send(client, "threads", bodies[1], "k").status_code == 409


def test_64_equal_requests_at_once_create_one_object_and_get_one_answer(client, thread, assistant, at_once):
    for number, (path, body, listed) in enumerate(paths(thread, assistant)):
        before = count(client, listed)
        answers = at_once(lambda _, path=path, body=body, n=number: send(client, path, body, f"k{n}"))
        assert {answer.status_code for answer in answers} == {200}, answers[0].text
        assert len({answer.content for answer in answers}) == 1
        assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
        assert count(client, listed) == before + 1


def test_of_equal_copies_that_take_many_slices_one_stays(client, at_once, monkeypatch):
    monkeypatch.setattr(copies, "COPIED_AT_ONCE", 2)
    thread = client.beta.threads.create(messages=[MESSAGE] * 9)
    before = count(client, "threads")
    answers = at_once(lambda _: send(client, f"threads/{thread.id}/copy", {}, "many"))
    assert {answer.status_code for answer in answers} == {200}, answers[0].text
    assert len({answer.content for answer in answers}) == 1
    assert count(client, "threads") == before + 1
    assert count(client, f"threads/{answers[0].json()['id']}/messages") == 9


def test_of_64_different_requests_with_one_key_one_is_carried_out(client, thread, at_once):
    path = f"threads/{thread.id}/messages"
    answers = at_once(lambda n: send(client, path, {"role": "user", "content": f"{n}"}, "k"))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * (AT_ONCE - 1)
    assert count(client, path) == 1


def test_one_run_of_64_equal_requests_that_would_refuse_each_other_is_created(client, thread, assistant, at_once):
    client.beta.threads.messages.create(thread.id, **MESSAGE)
    path = f"threads/{thread.id}/runs"
    answers = at_once(lambda _: send(client, path, {"assistant_id": assistant.id}, "k"))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert count(client, path) == 1


def test_equal_requests_to_two_servers_on_one_postgres_create_one_object(postgres, postgres_settings, at_once):
    database = postgres()
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(testing.serve(database=database, api_key="k", **postgres_settings)) for _ in range(2)
        ]
        clients = [
            stack.enter_context(openai.OpenAI(base_url=node.base_url, api_key="k", max_retries=0)) for node in nodes
        ]
        thread, assistant = clients[0].beta.threads.create(), clients[1].beta.assistants.create(model="echo")
        for number, (path, body, listed) in enumerate(paths(thread, assistant)):
            before = count(clients[0], listed)
            answers = at_once(lambda n, path=path, body=body, k=number: send(clients[n % 2], path, body, f"k{k}"))
            assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
            assert len({answer.content for answer in answers}) == 1
            assert count(clients[1], listed) == before + 1
        # A stream that began on one node is told on the other.
        body = {"assistant_id": assistant.id, "thread": {"messages": [MESSAGE]}, "stream": True}
        streams = at_once(lambda n: send(clients[n % 2], "threads/runs", body, "stream"))
        assert len({tuple(events(stream)) for stream in streams}) == 1


def test_a_streamed_run_is_told_again_from_its_first_event(client, thread, assistant):
    body = {"assistant_id": assistant.id, "additional_messages": [MESSAGE], "stream": True}
    first, again = (send(client, f"threads/{thread.id}/runs", body, "k") for _ in range(2))
    assert first.headers["content-type"] == again.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert events(first)[0].startswith("id: 1\nevent: thread.run.created\n")
    assert events(first)[-1].endswith("data: [DONE]")
    assert events(again) == events(first)
    assert count(client, f"threads/{thread.id}/runs") == 1


def test_the_sdks_stream_helper_gets_the_same_run_again(client, thread, assistant):
    client.beta.threads.messages.create(thread.id, **MESSAGE)

    def stream():
        options = {"thread_id": thread.id, "assistant_id": assistant.id, "extra_headers": key("k")}
        with client.beta.threads.runs.stream(**options) as helper:
            return "".join(helper.text_deltas), helper.get_final_run(), helper.get_final_messages()

    assert stream() == stream()


@pytest.fixture
def model():
    with testing.model() as model:
        yield model


@pytest.fixture
def own_server(database, model, postgres, postgres_settings):
    own = {"database": postgres(), **postgres_settings} if database == "postgres" else {}
    with testing.serve(upstream_url=model.base_url, **own) as server:
        yield server


@pytest.fixture
def model_client(own_server, new_client):
    return new_client(own_server)


def test_a_stream_joins_while_the_first_one_is_under_way(model_client, model):
    client = model_client
    assistant = client.beta.assistants.create(model="scripted")
    body = {"assistant_id": assistant.id, "thread": {"messages": [MESSAGE]}, "stream": True}
    model.hold(1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(send, client, "threads/runs", body, "k")
        model.wait_for_requests(1)
        second = pool.submit(send, client, "threads/runs", body, "k")
        model.release()
        assert events(second.result()) == events(first.result())
    assert len(model.requests) == 1


@pytest.mark.parametrize("streams", [False, True])
def test_tool_outputs_are_submitted_once_and_answered_as_the_first_time(model_client, model, streams):
    client = model_client
    model.reply(tool_calls(call("f", {"a": 1}, "call_1")), text("done"))
    assistant = client.beta.assistants.create(model="scripted", tools=[FUNCTION])
    run = client.beta.threads.create_and_run_poll(assistant_id=assistant.id, thread={"messages": [MESSAGE]})
    assert run.status == "requires_action"
    path = f"threads/{run.thread_id}/runs/{run.id}/submit_tool_outputs"
    body = {"tool_outputs": [{"tool_call_id": "call_1", "output": "1"}], "stream": streams}
    first, again = (send(client, path, body, "k") for _ in range(2))
    assert first.status_code == again.status_code == 200
    if streams:
        assert "thread.run.requires_action" not in first.text
        assert events(again) == events(first)
    else:
        assert again.content == first.content
    assert_refused(send(client, path, body, "other"), 400, "do not accept tool outputs")
    assert client.beta.threads.runs.poll(run.id, thread_id=run.thread_id).status == "completed"
    assert len(model.requests) == 2


def test_a_message_that_waits_for_its_thread_is_added_once(model_client, model):
    client = model_client
    assistant = client.beta.assistants.create(model="scripted")
    model.hold(1)
    run = client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": [MESSAGE]})
    path = f"threads/{run.thread_id}/messages"
    body = {**MESSAGE, "if_active": "wait"}
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(send, client, path, body, "k") for _ in range(2)]
        model.wait_for_requests(1)
        model.release()
        first, second = (answer.result() for answer in waiting)
    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    # The first message, the assistant's, and this one.
    assert count(client, path) == 3


def test_a_key_may_be_used_anew_when_its_time_is_over_and_is_removed_within_a_minute(own_server):
    run, store = own_server.run, own_server.app.store
    kept_s = own_server.app.settings.idempotency_keys_kept_s
    created = int(time.time())

    def create(at, value):
        ctx = own_server.app.context_of("project")
        keyed = dataclasses.replace(ctx, clock=lambda: at, keyed=KeyedRequest(value, "hash"))
        return bytes(run(threads.create(keyed, ThreadCreateParams())))

    def left(at):
        run(idempotency.sweep(store, at, kept_s))
        find = idempotency.sql.find_answer
        return [value for value in ("a", "b") if run(store.one(find, key=value, project_id="project"))]

    first = create(created, "a")
    with pytest.raises(AnsweredBeforeError) as caught:
        create(created + kept_s - 1, "a")
    assert caught.value.answer.encode() == first
    again = created + kept_s
    assert create(again, "a") != first
    create(again + 50, "b")
    assert left(again + kept_s + SWEPT_EVERY_S) == ["a", "b"]
    assert left(again + kept_s + SWEPT_EVERY_S + 1) == []
    create(again + 200, "b")
    assert left(again + kept_s + 200) == ["b"]


def test_what_was_deleted_is_neither_created_again_nor_told(client, server, thread):
    message_path = f"threads/{thread.id}/messages"
    message = send(client, message_path, MESSAGE, "message").json()
    made = send(client, "threads", {}, "thread").json()
    assistant = send(client, "assistants", {"model": "m"}, "assistant").json()
    client.beta.threads.messages.delete(message["id"], thread_id=thread.id)
    client.beta.threads.delete(made["id"])
    client.beta.assistants.delete(assistant["id"])
    server.run(threads.sweep(server.app.store, int(time.time())))
    for path, body, value, gone in (
        (message_path, MESSAGE, "message", message),
        ("threads", {}, "thread", made),
        ("assistants", {"model": "m"}, "assistant", assistant),
    ):
        answer = send(client, path, body, value)
        assert_refused(answer, 404, f"What this Idempotency-Key created, '{gone['id']}', has been deleted.")


def test_a_thread_made_anew_under_its_id_keeps_the_answer_of_its_own(client, server):
    body = {"id": f"thread_again_{client.api_key[-20:]}"}
    send(client, "threads", body, "first")
    client.beta.threads.delete(body["id"])
    second = send(client, "threads", body, "second")
    assert second.status_code == 200
    server.run(threads.sweep(server.app.store, int(time.time())))
    assert send(client, "threads", body, "second").content == second.content
    assert send(client, "threads", body, "first").status_code == 404
