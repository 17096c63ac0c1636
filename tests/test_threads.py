"""Threads, through the official SDK against a real server."""

from __future__ import annotations

import dataclasses
import itertools
import re
import time
from pathlib import Path

import msgspec
import openai
import pytest

from threadkeep import messages, threads
from threadkeep.messages import MessageCreateParams, MessageListParams
from threadkeep.store import queries


def sweep(server):
    """Removes what deleted threads left, as the server does by itself soon after."""
    server.run(threads.sweep(server.app.store, int(time.time())))


def list_threads(client, **query):
    """`GET /threads`, which the SDK has no method for."""
    return client.get("/threads", cast_to=object, options={"params": query})


def test_an_empty_thread_has_all_fields(client):
    thread = client.beta.threads.create()
    assert thread.id.startswith("thread_")
    assert len(thread.id) == len("thread_") + 24
    assert thread.object == "thread"
    assert abs(thread.created_at - time.time()) < 60
    assert thread.metadata == {}
    assert thread.tool_resources.to_dict() == {}


@pytest.mark.parametrize("body", [b"", b"{}", b"  \n", b'{"messages": null, "metadata": null, "tool_resources": null}'])
def test_a_thread_can_be_created_with_hardly_any_body(client, body):
    answer = client._client.post(
        f"{client.base_url}threads", content=body, headers={"Authorization": f"Bearer {client.api_key}"}
    )
    assert answer.status_code == 200
    assert answer.json()["metadata"] == {}


def test_a_thread_is_retrieved_as_it_was_created(client):
    resources = {"code_interpreter": {"file_ids": ["file-abc"]}, "file_search": {"vector_store_ids": ["vs_abc"]}}
    created = client.beta.threads.create(metadata={"user": "abc123"}, tool_resources=resources)
    assert client.beta.threads.retrieve(created.id) == created
    assert created.tool_resources.to_dict() == resources


def test_a_thread_is_created_with_messages_in_their_order(client):
    thread = client.beta.threads.create(messages=[{"role": "user", "content": f"number {n}"} for n in range(50)])
    texts = [m.content[0].text.value for m in client.beta.threads.messages.list(thread.id, order="asc", limit=100)]
    assert texts == [f"number {n}" for n in range(50)]


def test_first_messages_are_as_old_as_their_thread(server):
    clock = itertools.count(1_700_000_000)
    ctx = dataclasses.replace(server.app.context_of("project"), clock=lambda: next(clock))
    hello = MessageCreateParams(role="user", content="hello")
    thread = msgspec.json.decode(server.run(threads.create(ctx, threads.ThreadCreateParams(messages=[hello] * 3))))
    page = server.run(messages.list_(ctx, thread["id"], MessageListParams()))
    assert [msgspec.json.decode(message)["created_at"] for message in page.data] == [thread["created_at"]] * 3


def test_a_thread_with_one_bad_message_is_not_created(client):
    before = list_threads(client)["data"]
    with pytest.raises(openai.BadRequestError) as caught:
        client.beta.threads.create(messages=[{"role": "user", "content": "fine"}, {"role": "user", "content": ""}])
    assert caught.value.param == "messages[1].content"
    assert list_threads(client)["data"] == before == []


def test_more_messages_than_allowed_are_refused(client, strict_client):
    messages = [{"role": "user", "content": "hello"}]
    for refusing, maximum in ((client, 1000), (strict_client, 32)):
        refusing.beta.threads.create(messages=messages * maximum)
        with pytest.raises(openai.BadRequestError, match=f"array with maximum length {maximum}") as caught:
            refusing.beta.threads.create(messages=messages * (maximum + 1))
        assert caught.value.code == "array_above_max_length"
        assert caught.value.param == "messages"


def test_metadata_merges_and_null_removes_a_key(client):
    thread = client.beta.threads.create(metadata={"keep": "1", "change": "1", "remove": "1"})
    updated = client.beta.threads.update(thread.id, metadata={"change": "2", "add": "2", "remove": None})
    assert updated.metadata == {"keep": "1", "change": "2", "add": "2"}
    assert client.beta.threads.retrieve(thread.id) == updated


def test_strict_refuses_to_remove_a_metadata_key(strict_client):
    thread = strict_client.beta.threads.create(metadata={"mykey": "1"})
    with pytest.raises(openai.BadRequestError) as caught:
        strict_client.beta.threads.update(thread.id, metadata={"mykey": None})
    assert caught.value.body["message"] == (
        "Invalid type for 'metadata.mykey': expected a string, but got null instead."
    )


@pytest.mark.parametrize("metadata", [None, {}])
def test_modifying_with_no_metadata_changes_nothing(client, metadata):
    thread = client.beta.threads.create(metadata={"user": "abc123"})
    assert client.beta.threads.update(thread.id, metadata=metadata) == thread


def test_the_limit_on_metadata_pairs_holds_for_the_merged_result(client):
    thread = client.beta.threads.create(metadata={str(n): "x" for n in range(16)})
    with pytest.raises(openai.BadRequestError) as caught:
        client.beta.threads.update(thread.id, metadata={"16": "x"})
    assert caught.value.code == "object_above_max_properties"
    assert client.beta.threads.retrieve(thread.id) == thread
    assert len(client.beta.threads.update(thread.id, metadata={"0": None, "16": "x"}).metadata) == 16


def test_modify_replaces_the_resources_of_the_named_tool_only(client):
    thread = client.beta.threads.create(
        tool_resources={"code_interpreter": {"file_ids": ["file-a"]}, "file_search": {"vector_store_ids": ["vs_a"]}}
    )
    updated = client.beta.threads.update(thread.id, tool_resources={"code_interpreter": {"file_ids": ["file-b"]}})
    assert updated.tool_resources.to_dict() == {
        "code_interpreter": {"file_ids": ["file-b"]},
        "file_search": {"vector_store_ids": ["vs_a"]},
    }


def test_file_ids_that_are_null_are_an_empty_list(client):
    thread = client.beta.threads.create(tool_resources={"code_interpreter": {"file_ids": None}})
    assert thread.tool_resources.to_dict() == {"code_interpreter": {"file_ids": []}}
    assert client.beta.threads.retrieve(thread.id) == thread


def test_every_query_that_looks_for_a_thread_passes_over_deleted_ones():
    # These know that the thread is there, or are about what deleted threads leave.
    others = {
        "update_thread",
        "occupy_thread",
        "release_thread",
        "remember_deleted_message",
        "remove_thread",
        "locate_thread",
        "look_again",
        "find_newest_thread",
    }
    looking = re.compile(r"\b(from|join|update) threads\b")
    nouns = [file.stem for file in Path(threads.__file__).parent.glob("*.sql")]
    found = {
        query.name: "deleted_at" in text
        for noun in nouns
        for query in queries.load(noun)
        for text in (query.sqlite, query.postgres)
        if looking.search(text)
    }
    assert {name for name, passes_over in found.items() if not passes_over} == others


def test_a_deleted_thread_is_gone_with_its_messages(client):
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "hello"}])
    message = client.beta.threads.messages.list(thread.id).data[0]
    deleted = client.beta.threads.delete(thread.id)
    assert deleted.to_dict() == {"id": thread.id, "object": "thread.deleted", "deleted": True}
    gone = f"No thread found with id '{thread.id}'."
    for call in (
        lambda: client.beta.threads.retrieve(thread.id),
        lambda: client.beta.threads.update(thread.id, metadata={}),
        lambda: client.beta.threads.delete(thread.id),
        lambda: client.beta.threads.messages.list(thread.id),
        lambda: client.beta.threads.messages.create(thread.id, role="user", content="hello"),
        lambda: client.beta.threads.messages.retrieve(message.id, thread_id=thread.id),
        lambda: client.beta.threads.messages.update(message.id, thread_id=thread.id, metadata={}),
        lambda: client.beta.threads.messages.delete(message.id, thread_id=thread.id),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert caught.value.body == {"message": gone, "type": "invalid_request_error", "param": None, "code": None}


class TestGivenIds:
    def test_a_thread_can_be_created_under_a_given_id(self, client):
        thread = client.beta.threads.create(extra_body={"id": "thread_support-desk_1"})
        assert thread.id == "thread_support-desk_1"
        assert client.beta.threads.retrieve(thread.id) == thread

    def test_an_id_in_use_is_refused_and_nothing_changes(self, client):
        thread = client.beta.threads.create(extra_body={"id": "thread_taken"}, metadata={"first": "1"})
        with pytest.raises(openai.BadRequestError, match="'thread_taken' is already in use") as caught:
            client.beta.threads.create(extra_body={"id": "thread_taken"}, metadata={"second": "2"})
        assert caught.value.param == "id"
        assert client.beta.threads.retrieve(thread.id) == thread
        assert list_threads(client, **{"metadata[second]": "2"})["data"] == []

    def test_the_id_of_a_deleted_thread_can_be_given_again(self, client):
        client.beta.threads.create(extra_body={"id": "thread_again"}, messages=[{"role": "user", "content": "old"}])
        client.beta.threads.delete("thread_again")
        client.beta.threads.create(extra_body={"id": "thread_again"})
        assert client.beta.threads.messages.list("thread_again").data == []

    @pytest.mark.parametrize(
        "thread_id", ["", "asst_x", "thread", "thread_", "thread_a b", "thread_ä", "thread_" + "x" * 200]
    )
    def test_an_id_of_the_wrong_form_is_refused(self, client, thread_id):
        with pytest.raises(openai.BadRequestError) as caught:
            client.beta.threads.create(extra_body={"id": thread_id})
        assert caught.value.param == "id"

    def test_strict_knows_no_given_ids(self, strict_client):
        with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'id'"):
            strict_client.beta.threads.create(extra_body={"id": "thread_mine"})


class TestList:
    def test_threads_come_newest_first_and_in_pages(self, client):
        created = [client.beta.threads.create(metadata={"n": str(n)}) for n in range(5)]
        expected = sorted(created, key=lambda t: (t.created_at, t.id), reverse=True)
        first = list_threads(client, limit=3)
        assert [t["id"] for t in first["data"]] == [t.id for t in expected[:3]]
        assert first["object"] == "list"
        assert (first["first_id"], first["last_id"], first["has_more"]) == (expected[0].id, expected[2].id, True)
        rest = list_threads(client, after=first["last_id"])
        assert [t["id"] for t in rest["data"]] == [t.id for t in expected[3:]]
        assert rest["has_more"] is False
        back = list_threads(client, before=expected[3].id, limit=2)
        assert [t["id"] for t in back["data"]] == [t.id for t in expected[1:3]]
        assert back["has_more"] is True
        ascending = list_threads(client, order="asc")
        assert [t["id"] for t in ascending["data"]] == [t.id for t in reversed(expected)]

    def test_no_threads_give_the_empty_envelope(self, client):
        assert list_threads(client) == {
            "object": "list",
            "data": [],
            "first_id": None,
            "last_id": None,
            "has_more": False,
        }

    def test_all_metadata_filters_must_match(self, client):
        both = client.beta.threads.create(metadata={"user": "ann", "kind": "chat", "more": "x"})
        client.beta.threads.create(metadata={"user": "ann", "kind": "mail"})
        client.beta.threads.create(metadata={"user": "bob", "kind": "chat"})

        def found(**filters):
            return {t["id"] for t in list_threads(client, **{f"metadata[{k}]": v for k, v in filters.items()})["data"]}

        assert found(user="ann", kind="chat") == {both.id}
        assert len(found(user="ann")) == 2
        assert found(user="bob", kind="mail") == set()
        assert found(nothing="") == set()
        assert found(user="ann", **{f"key{n}": "x" for n in range(50)}) == set()

    def test_filters_follow_every_change_of_metadata(self, client):
        thread = client.beta.threads.create(metadata={"state": "open", "gone": "soon"})

        def found(key, value):
            return [t["id"] for t in list_threads(client, **{f"metadata[{key}]": value})["data"]]

        client.beta.threads.update(thread.id, metadata={"state": "closed", "gone": None, "new": "ä [x] & =?"})
        assert found("state", "open") == found("gone", "soon") == []
        assert found("state", "closed") == found("new", "ä [x] & =?") == [thread.id]
        client.beta.threads.delete(thread.id)
        assert found("state", "closed") == []

    def test_filtered_pages_meet_every_thread_once(self, client):
        ids = {client.beta.threads.create(metadata={"a": "1", "b": str(n % 2)}).id for n in range(20)}
        seen, after = [], None
        while True:
            query = {"metadata[a]": "1", "metadata[b]": "0", "limit": 3} | ({"after": after} if after else {})
            page = list_threads(client, **query)
            seen += [t["id"] for t in page["data"]]
            if not page["has_more"]:
                break
            after = page["last_id"]
        assert len(seen) == len(set(seen)) == 10
        assert set(seen) <= ids

    def test_a_cursor_at_a_deleted_thread_still_works(self, client):
        for _ in range(4):
            client.beta.threads.create()
        ids = [t["id"] for t in list_threads(client)["data"]]
        client.beta.threads.delete(ids[1])
        assert [t["id"] for t in list_threads(client, after=ids[1])["data"]] == ids[2:]
        assert [t["id"] for t in list_threads(client, before=ids[1])["data"]] == ids[:1]

    def test_a_cursor_at_a_removed_thread_still_works(self, client, server):
        ids = [client.beta.threads.create().id for _ in range(3)]
        client.beta.threads.delete(ids[1])
        sweep(server)
        assert [t["id"] for t in list_threads(client, after=ids[1], order="asc")["data"]] == ids[2:]

    def test_an_unknown_cursor_is_a_404(self, client):
        with pytest.raises(openai.NotFoundError, match="No thread found with id 'thread_nowhere'"):
            list_threads(client, after="thread_nowhere")

    def test_strict_refuses_as_the_original_did(self, strict_client):
        with pytest.raises(openai.AuthenticationError) as caught:
            list_threads(strict_client)
        assert caught.value.code == "missing_scope"
        assert caught.value.body["message"].startswith(
            "Your request to GET /v1/threads must be made with a session key"
        )
