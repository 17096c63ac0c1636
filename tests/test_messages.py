"""Messages, through the official SDK against a real server."""

from __future__ import annotations

import openai
import pytest

PNG = "https://example.com/picture.png"


@pytest.fixture
def thread(client):
    return client.beta.threads.create()


def texts(page):
    return [message.content[0].text.value for message in page]


def test_a_message_has_all_fields_the_schema_promises(client, thread):
    message = client.beta.threads.messages.create(thread.id, role="user", content="How does AI work?")
    assert message.to_dict() == {
        "id": message.id,
        "object": "thread.message",
        "created_at": message.created_at,
        "assistant_id": None,
        "thread_id": thread.id,
        "run_id": None,
        "role": "user",
        "content": [{"type": "text", "text": {"value": "How does AI work?", "annotations": []}}],
        "attachments": [],
        "metadata": {},
        "status": "completed",
        "incomplete_details": None,
        "completed_at": message.created_at,
        "incomplete_at": None,
    }
    assert message.id.startswith("msg_")
    assert client.beta.threads.messages.retrieve(message.id, thread_id=thread.id) == message


def test_content_parts_are_kept_with_their_defaults_shown(client, thread):
    message = client.beta.threads.messages.create(
        thread.id,
        role="assistant",
        content=[
            {"type": "text", "text": "Look:"},
            {"type": "image_url", "image_url": {"url": PNG}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
            {"type": "image_file", "image_file": {"file_id": "file-abc", "detail": "high"}},
        ],
    )
    assert message.role == "assistant"
    assert [part.to_dict() for part in message.content] == [
        {"type": "text", "text": {"value": "Look:", "annotations": []}},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "auto"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "image_file", "image_file": {"file_id": "file-abc", "detail": "high"}},
    ]


def test_attachments_are_echoed_as_sent(client, thread):
    attachments = [
        {"file_id": "file-a", "tools": [{"type": "file_search"}]},
        {"file_id": "file-a", "tools": [{"type": "code_interpreter"}]},
    ]
    message = client.beta.threads.messages.create(thread.id, role="user", content="x", attachments=attachments)
    assert [attachment.to_dict() for attachment in message.attachments] == attachments


def test_file_ids_of_the_first_version_become_attachments(client, thread):
    message = client.beta.threads.messages.create(
        thread.id, role="user", content="x", extra_body={"file_ids": ["file-a"]}
    )
    assert message.attachments[0].to_dict() == {"file_id": "file-a", "tools": [{"type": "file_search"}]}


def test_text_comes_back_character_for_character(client, thread):
    text = '\t"quotes" \\ / \r\n \u2028 é 漢字 🧵 \u202eabc \x1f\x7f'
    message = client.beta.threads.messages.create(thread.id, role="user", content=text, metadata={"é 漢": text})
    again = client.beta.threads.messages.retrieve(message.id, thread_id=thread.id)
    assert again.content[0].text.value == again.metadata["é 漢"] == text


def test_modify_merges_metadata_and_changes_nothing_else(client, thread):
    message = client.beta.threads.messages.create(thread.id, role="user", content="x", metadata={"a": "1", "b": "1"})
    updated = client.beta.threads.messages.update(message.id, thread_id=thread.id, metadata={"b": None, "c": "2"})
    assert updated.metadata == {"a": "1", "c": "2"}
    assert updated.to_dict() | {"metadata": {}} == message.to_dict() | {"metadata": {}}
    assert client.beta.threads.messages.retrieve(message.id, thread_id=thread.id) == updated


def test_a_deleted_message_is_gone_and_the_others_stay(client, thread):
    first, second = (client.beta.threads.messages.create(thread.id, role="user", content=text) for text in "ab")
    deleted = client.beta.threads.messages.delete(first.id, thread_id=thread.id)
    assert deleted.to_dict() == {"id": first.id, "object": "thread.message.deleted", "deleted": True}
    assert client.beta.threads.messages.list(thread.id).data == [second]
    for call in (
        lambda: client.beta.threads.messages.retrieve(first.id, thread_id=thread.id),
        lambda: client.beta.threads.messages.update(first.id, thread_id=thread.id, metadata={}),
        lambda: client.beta.threads.messages.delete(first.id, thread_id=thread.id),
    ):
        with pytest.raises(openai.NotFoundError, match=f"No message found with id '{first.id}'"):
            call()


def test_a_message_is_not_found_in_another_thread(client, thread):
    message = client.beta.threads.messages.create(thread.id, role="user", content="x")
    other = client.beta.threads.create()
    with pytest.raises(openai.NotFoundError, match="No message found"):
        client.beta.threads.messages.retrieve(message.id, thread_id=other.id)
    with pytest.raises(openai.NotFoundError, match="No message found"):
        client.beta.threads.messages.list(other.id, after=message.id)


class TestList:
    def test_messages_come_newest_first_in_the_order_they_were_added(self, client, thread):
        for text in "abcde":
            client.beta.threads.messages.create(thread.id, role="user", content=text)
        assert texts(client.beta.threads.messages.list(thread.id).data) == list("edcba")
        assert texts(client.beta.threads.messages.list(thread.id, order="asc").data) == list("abcde")

    def test_the_sdk_pages_through_all_messages(self, client):
        thread = client.beta.threads.create(messages=[{"role": "user", "content": str(n)} for n in range(45)])
        for size in (1, 7, 20, 44, 45, 100):
            walked = texts(client.beta.threads.messages.list(thread.id, order="asc", limit=size))
            assert walked == [str(n) for n in range(45)]

    def test_before_gives_the_page_nearest_the_cursor(self, client):
        thread = client.beta.threads.create(messages=[{"role": "user", "content": text} for text in "abcdef"])
        ids = {text: m.id for m in client.beta.threads.messages.list(thread.id) for text in texts([m])}
        page = client.beta.threads.messages.list(thread.id, order="asc", before=ids["e"], limit=2)
        assert texts(page.data) == ["c", "d"]
        assert page.has_more is True
        page = client.beta.threads.messages.list(thread.id, before=ids["e"], limit=2)
        assert (texts(page.data), page.has_more) == (["f"], False)

    def test_after_and_before_together_bound_the_page_on_both_sides(self, client):
        thread = client.beta.threads.create(messages=[{"role": "user", "content": text} for text in "abcdef"])
        ids = {text: m.id for m in client.beta.threads.messages.list(thread.id) for text in texts([m])}
        page = client.beta.threads.messages.list(thread.id, order="asc", after=ids["b"], before=ids["e"])
        assert (texts(page.data), page.has_more) == (["c", "d"], False)
        page = client.beta.threads.messages.list(thread.id, order="asc", after=ids["e"], before=ids["b"])
        assert (texts(page.data), page.has_more) == ([], False)

    def test_a_cursor_at_a_deleted_message_still_works(self, client):
        thread = client.beta.threads.create(messages=[{"role": "user", "content": text} for text in "abcde"])
        third = client.beta.threads.messages.list(thread.id).data[2]
        client.beta.threads.messages.delete(third.id, thread_id=thread.id)
        assert texts(client.beta.threads.messages.list(thread.id, order="asc", after=third.id).data) == ["d", "e"]
        assert texts(client.beta.threads.messages.list(thread.id, after=third.id).data) == ["b", "a"]

    def test_messages_of_an_unknown_run_are_none(self, client):
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "x"}])
        assert client.beta.threads.messages.list(thread.id, run_id="run_unknown").data == []

    def test_empty_cursors_count_as_absent(self, client, thread):
        client.beta.threads.messages.create(thread.id, role="user", content="x")
        assert len(client.beta.threads.messages.list(thread.id, after="", before="", run_id="").data) == 1


def test_a_full_thread_takes_another_message_once_one_is_deleted(servers, new_client, database):
    client = new_client(servers(database, thread_messages_max=2))
    thread = client.beta.threads.create(messages=[{"role": "user", "content": text} for text in "ab"])
    with pytest.raises(openai.BadRequestError, match="already has 2 messages"):
        client.beta.threads.messages.create(thread.id, role="user", content="c")
    first = client.beta.threads.messages.list(thread.id, order="asc").data[0]
    client.beta.threads.messages.delete(first.id, thread_id=thread.id)
    client.beta.threads.messages.create(thread.id, role="user", content="c")
    assert texts(client.beta.threads.messages.list(thread.id, order="asc").data) == ["b", "c"]


class TestStrict:
    def test_image_addresses_must_end_in_an_image_suffix(self, client, strict_client):
        def create(c, url):
            part = {"type": "image_url", "image_url": {"url": url}}
            return c.beta.threads.create(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, part]}])

        create(client, "https://example.com/picture?id=3")
        create(strict_client, f"{PNG}?size=3")
        with pytest.raises(openai.BadRequestError) as caught:
            create(strict_client, "https://example.com/picture?id=3")
        assert caught.value.param == "messages[0].content[1].image_url.url"

    def test_a_deleted_message_is_no_cursor(self, strict_client):
        thread = strict_client.beta.threads.create(messages=[{"role": "user", "content": text} for text in "abc"])
        second = strict_client.beta.threads.messages.list(thread.id).data[1]
        assert texts(strict_client.beta.threads.messages.list(thread.id, after=second.id).data) == ["a"]
        strict_client.beta.threads.messages.delete(second.id, thread_id=thread.id)
        with pytest.raises(openai.NotFoundError, match=f"No message found with id '{second.id}'"):
            strict_client.beta.threads.messages.list(thread.id, after=second.id)

    def test_file_ids_are_unknown(self, strict_client):
        thread = strict_client.beta.threads.create()
        with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'file_ids'"):
            strict_client.beta.threads.messages.create(
                thread.id, role="user", content="x", extra_body={"file_ids": ["file-a"]}
            )


class TestEditing:
    def edit(self, client, message, content):
        body = {"content": content}
        return client.beta.threads.messages.update(message.id, thread_id=message.thread_id, extra_body=body)

    def versions(self, client, message, **query):
        path = f"/threads/{message.thread_id}/messages/{message.id}/versions"
        return client.get(path, cast_to=object, options={"params": query})

    def message(self, client, content="first", role="user"):
        thread = client.beta.threads.create()
        return client.beta.threads.messages.create(thread.id, role=role, content=content)

    @pytest.mark.parametrize("role", ["user", "assistant"])
    def test_an_edited_message_says_something_else_and_stays_the_same_otherwise(self, client, role):
        message = self.message(client, role=role)
        edited = self.edit(client, message, "second")
        assert edited.content[0].text.value == "second"
        assert edited.to_dict() | {"content": message.to_dict()["content"]} == message.to_dict()
        assert client.beta.threads.messages.retrieve(message.id, thread_id=message.thread_id) == edited

    def test_earlier_versions_are_kept_newest_first(self, client):
        message = self.message(client)
        assert self.versions(client, message)["data"] == []
        for text in ("second", "third", "fourth"):
            self.edit(client, message, text)
        page = self.versions(client, message)
        said = [version["content"][0]["text"]["value"] for version in page["data"]]
        assert said == ["third", "second", "first"]
        assert page["object"] == "list"
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        oldest = page["data"][-1]
        assert oldest["object"] == "thread.message.version"
        assert (oldest["thread_id"], oldest["message_id"]) == (message.thread_id, message.id)
        assert oldest["created_at"] == message.created_at
        assert page["data"][0]["created_at"] == page["data"][1]["replaced_at"]
        rest = self.versions(client, message, after=page["data"][0]["id"], limit=1)
        assert rest["data"] == [page["data"][1]]
        assert rest["has_more"] is True

    def test_an_edit_that_changes_nothing_makes_no_version(self, client):
        message = self.message(client)
        assert self.edit(client, message, "first") == message
        assert self.versions(client, message)["data"] == []

    def test_parts_are_edited_as_they_are_created(self, client):
        message = self.message(client)
        edited = self.edit(client, message, [{"type": "image_url", "image_url": {"url": "https://a.example/x"}}])
        assert edited.content[0].image_url.detail == "auto"
        for content in ("", [], [{"type": "text", "text": ""}], "x" * 256_001, 5):
            with pytest.raises(openai.BadRequestError) as caught:
                self.edit(client, message, content)
            assert caught.value.param.startswith("content")

    def test_metadata_is_changed_without_a_version(self, client):
        message = self.message(client)
        client.beta.threads.messages.update(message.id, thread_id=message.thread_id, metadata={"a": "b"})
        assert self.versions(client, message)["data"] == []

    def test_earlier_versions_go_with_their_message(self, client):
        message = self.message(client)
        self.edit(client, message, "second")
        client.beta.threads.messages.delete(message.id, thread_id=message.thread_id)
        with pytest.raises(openai.NotFoundError, match="No message found"):
            self.versions(client, message)

    def test_strict_knows_no_editing(self, strict_client):
        message = self.message(strict_client)
        with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'content'"):
            self.edit(strict_client, message, "second")
