"""Copying threads, through the official SDK against a real server."""

from __future__ import annotations

import time

import openai
import pytest

from threadkeep import copies, testing, threads

EMPTY = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def copy(client, thread_id, **body):
    return client.post(f"/threads/{thread_id}/copy", body=body, cast_to=object)


def said(client, thread_id):
    """What stays the same of each message in a copy."""
    return [
        (m.role, m.content, m.metadata, m.created_at, m.attachments, m.assistant_id)
        for m in client.beta.threads.messages.list(thread_id, order="asc", limit=100)
    ]


def test_a_copy_has_the_same_messages_in_their_order_under_new_ids(client):
    thread = client.beta.threads.create(
        metadata={"user": "ann"},
        tool_resources={"code_interpreter": {"file_ids": ["file-a"]}},
        messages=[
            {"role": ("user", "assistant")[n % 2], "content": f"number {n}", "metadata": {"n": str(n)}}
            for n in range(5)
        ],
    )
    copied = copy(client, thread.id)
    assert copied["id"] != thread.id
    assert copied["metadata"] == {"user": "ann"}
    assert copied["tool_resources"] == {"code_interpreter": {"file_ids": ["file-a"]}}
    assert client.beta.threads.retrieve(copied["id"]).to_dict() == copied
    assert said(client, copied["id"]) == said(client, thread.id)
    ids = {m.id for m in client.beta.threads.messages.list(thread.id)}
    for message in client.beta.threads.messages.list(copied["id"]):
        assert message.thread_id == copied["id"]
        assert message.id not in ids
        assert client.beta.threads.messages.retrieve(message.id, thread_id=copied["id"]) == message


def test_metadata_is_merged_into_the_copys_and_can_be_found(client):
    thread = client.beta.threads.create(metadata={"user": "ann", "state": "open"})
    copied = copy(client, thread.id, metadata={"state": None, "branch": "2"})
    assert copied["metadata"] == {"user": "ann", "branch": "2"}
    found = client.get("/threads", cast_to=object, options={"params": {"metadata[branch]": "2"}})
    assert [t["id"] for t in found["data"]] == [copied["id"]]
    assert client.beta.threads.retrieve(thread.id) == thread


def test_a_copy_up_to_a_message_ends_with_that_one(client):
    thread = client.beta.threads.create(messages=[{"role": "user", "content": str(n)} for n in range(6)])
    messages = client.beta.threads.messages.list(thread.id, order="asc").data
    client.beta.threads.messages.delete(messages[1].id, thread_id=thread.id)
    copied = copy(client, thread.id, up_to=messages[3].id)
    texts = [content[0].text.value for _, content, *_ in said(client, copied["id"])]
    assert texts == ["0", "2", "3"]


def test_a_copy_up_to_the_last_message_of_a_slice_is_shown(client):
    count = copies.COPIED_AT_ONCE
    thread = client.beta.threads.create(messages=[{"role": "user", "content": str(n)} for n in range(count + 1)])
    messages = list(client.beta.threads.messages.list(thread.id, order="asc", limit=100))
    copied = copy(client, thread.id, up_to=messages[count - 1].id)
    texts = [content[0].text.value for _, content, *_ in said(client, copied["id"])]
    assert texts == [str(n) for n in range(count)]


def test_thread_and_copy_go_on_apart(client):
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "first"}])
    copied = copy(client, thread.id)
    client.beta.threads.messages.create(copied["id"], role="user", content="second")
    assert len(said(client, thread.id)) == 1
    assert len(said(client, copied["id"])) == 2
    client.beta.threads.delete(thread.id)
    assert len(said(client, copied["id"])) == 2


@pytest.mark.parametrize("count", [0, copies.COPIED_AT_ONCE - 1, copies.COPIED_AT_ONCE, 2 * copies.COPIED_AT_ONCE + 1])
def test_threads_of_every_length_are_copied_whole(client, count):
    thread = client.beta.threads.create(messages=[{"role": "user", "content": str(n)} for n in range(count)])
    copied = copy(client, thread.id)
    assert [content[0].text.value for _, content, *_ in said(client, copied["id"])] == [str(n) for n in range(count)]


def test_what_is_not_there_cannot_be_copied(client):
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "x"}] * 2)
    gone = client.beta.threads.messages.list(thread.id).data[0].id
    client.beta.threads.messages.delete(gone, thread_id=thread.id)
    for up_to in ("msg_none", gone):
        with pytest.raises(openai.NotFoundError, match="No message found"):
            copy(client, thread.id, up_to=up_to)
    with pytest.raises(openai.BadRequestError) as caught:
        copy(client, thread.id, up_to="thread_x")
    assert caught.value.param == "up_to"
    with pytest.raises(openai.NotFoundError, match="No thread found"):
        copy(client, "thread_none")
    assert len(client.get("/threads", cast_to=object)["data"]) == 1


def test_of_a_thread_with_an_active_run_what_is_finished_is_copied(servers, database, new_client):
    with testing.model() as model:
        client = new_client(servers(database, upstream_url=model.base_url))
        assistant = client.beta.assistants.create(model="scripted")
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "hello"}])
        model.reply(testing.text("an ", "answer"))
        model.hold(after=2)
        with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
            written = next(e.data for e in stream if e.event == "thread.message.created")
            copied = copy(client, thread.id)
            with pytest.raises(openai.BadRequestError, match="still being written"):
                copy(client, thread.id, up_to=written.id)
            with pytest.raises(openai.BadRequestError, match="still being written"):
                client.beta.threads.messages.update(written.id, thread_id=thread.id, extra_body={"content": "x"})
            model.release()
            stream.until_done()
        assert [m.role for m in client.beta.threads.messages.list(copied["id"])] == ["user"]
        again = copy(client, thread.id)
        answer = client.beta.threads.messages.list(again["id"]).data[0]
        assert answer.role == "assistant"
        assert (answer.run_id, answer.assistant_id) == (None, assistant.id)


def test_a_copy_that_was_broken_off_is_removed_when_its_time_has_come(server):
    store, now = server.app.store, int(time.time())
    thread = {"thread_id": "thread_broken", "project_id": "p", "created_at": now, "shape": 1, "expires_at": None}
    body = '{"id":"thread_broken","created_at":1,"metadata":{},"tool_resources":{}}'
    begin = (copies.sql.begin_copy, {**thread, "body": body, "deleted_at": now + 1000})
    server.run(store.write(lambda tx: tx.run_all([begin])))
    find = threads.sql.hold_leftover
    for at, is_left in ((now, True), (now + 1000, False)):
        server.run(threads.sweep(store, at))
        assert (server.run(store.one(find, thread_id="thread_broken", counted_max=1)) is not None) is is_left
