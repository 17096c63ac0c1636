"""Every call of threads, messages, assistants and runs of one era of the SDK: `python suite.py BASE_URL API_KEY`.

Runs in the era's own environment, so there is no pytest here and nothing but the SDK. A fact is a function that takes
a client; what an era does not have is stated once, where the fact is.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import traceback
import warnings

import openai
import run_facts  # noqa: F401 - it tells facts too
from facts import ERRORS_HAVE_REQUEST_IDS, OBJECTS_HAVE_REQUEST_IDS, V1, V2, fact, facts, refusal
from openai import AsyncOpenAI, OpenAI

THREAD_CALLS = {"create", "retrieve", "update", "delete"}
MESSAGE_CALLS = {"create", "retrieve", "update", "list"} | ({"delete"} if V2 else set())

ASSISTANT_CALLS = {"create", "retrieve", "update", "delete", "list"}


def thread_with_messages(client, count):
    """A new thread with numbered messages, and their ids, oldest first."""
    thread = client.beta.threads.create(messages=[{"role": "user", "content": f"number {n}"} for n in range(count)])
    ids = [message.id for message in client.beta.threads.messages.list(thread.id, order="asc", limit=100).data]
    assert len(ids) == count
    return thread, ids


def ids_of(messages):
    return [message.id for message in messages]


def text_of(message):
    return message.content[0].text.value


# Threads


@fact()
def these_are_all_the_calls_that_this_sdk_has(client):
    def calls_of(resource):
        functions = inspect.getmembers(type(resource), inspect.isfunction)
        return {name for name, _ in functions if not name.startswith(("_", "create_and_run"))}

    assert calls_of(client.beta.threads) == THREAD_CALLS
    assert calls_of(client.beta.threads.messages) == MESSAGE_CALLS
    assert calls_of(client.beta.assistants) == ASSISTANT_CALLS


@fact()
def this_sdk_speaks_the_version_that_its_era_spoke(client):
    answer = client.beta.threads.with_raw_response.create()
    assert answer.http_request.headers["openai-beta"] == ("assistants=v1" if V1 else "assistants=v2")
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.parse().id.startswith("thread_")


@fact()
def an_empty_thread_has_all_fields(client):
    thread = client.beta.threads.create()
    assert thread.id.startswith("thread_")
    assert thread.object == "thread"
    assert isinstance(thread.created_at, int)
    assert thread.metadata == {}


@fact(V2)
def an_empty_thread_has_no_tool_resources(client):
    resources = client.beta.threads.create().tool_resources
    assert resources.code_interpreter is None
    assert resources.file_search is None


@fact()
def a_thread_is_retrieved_as_it_was_created(client):
    created = client.beta.threads.create(metadata={"user": "abc123"})
    assert created.metadata == {"user": "abc123"}
    assert client.beta.threads.retrieve(created.id) == created


@fact()
def a_thread_is_created_with_messages_in_their_order(client):
    thread = client.beta.threads.create(
        messages=[
            {"role": "user", "content": "first", "metadata": {"place": "1"}},
            {"role": "user", "content": "second"},
        ]
    )
    first, second = client.beta.threads.messages.list(thread.id, order="asc").data
    assert (text_of(first), text_of(second)) == ("first", "second")
    assert (first.metadata, second.metadata) == ({"place": "1"}, {})


@fact(V2)
def a_thread_keeps_the_resources_it_is_given(client):
    threads = client.beta.threads
    thread = threads.create(
        tool_resources={"code_interpreter": {"file_ids": ["file-a"]}, "file_search": {"vector_store_ids": ["vs_a"]}}
    )
    assert threads.retrieve(thread.id).tool_resources.code_interpreter.file_ids == ["file-a"]
    updated = threads.update(thread.id, tool_resources={"code_interpreter": {"file_ids": ["file-b"]}})
    assert updated.tool_resources.code_interpreter.file_ids == ["file-b"]
    assert updated.tool_resources.file_search.vector_store_ids == ["vs_a"]


@fact()
def modifying_a_thread_merges_its_metadata(client):
    thread = client.beta.threads.create(metadata={"user": "nobody", "kept": "yes"})
    updated = client.beta.threads.update(thread.id, metadata={"modified": "true", "user": "abc123"})
    assert updated.id == thread.id
    assert updated.metadata == {"kept": "yes", "modified": "true", "user": "abc123"}
    assert client.beta.threads.retrieve(thread.id).metadata == updated.metadata


@fact()
def a_deleted_thread_is_gone(client):
    thread = client.beta.threads.create()
    deleted = client.beta.threads.delete(thread.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (thread.id, "thread.deleted", True)
    assert refusal(openai.NotFoundError, client.beta.threads.retrieve, thread.id).status_code == 404
    refusal(openai.NotFoundError, client.beta.threads.delete, thread.id)


# Messages


@fact()
def a_string_becomes_one_text_part(client):
    thread = client.beta.threads.create()
    message = client.beta.threads.messages.create(thread.id, role="user", content="grüß 👋 dich")
    assert message.id.startswith("msg_")
    assert (message.object, message.thread_id, message.role) == ("thread.message", thread.id, "user")
    assert (message.assistant_id, message.run_id, message.metadata) == (None, None, {})
    (part,) = message.content
    assert (part.type, part.text.value, part.text.annotations) == ("text", "grüß 👋 dich", [])


@fact(V2)
def a_message_may_be_the_assistants(client):
    thread = client.beta.threads.create()
    message = client.beta.threads.messages.create(thread.id, role="assistant", content="How can I help?")
    assert message.role == "assistant"
    assert message.status == "completed"


@fact(V2)
def parts_of_text_and_images_keep_their_order(client):
    thread = client.beta.threads.create()
    message = client.beta.threads.messages.create(
        thread.id,
        role="user",
        content=[
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "https://example.com/cat.png", "detail": "low"}},
            {"type": "image_file", "image_file": {"file_id": "file-cat"}},
        ],
    )
    text, url, file = client.beta.threads.messages.retrieve(message.id, thread_id=thread.id).content
    assert text.text.value == "What is this?"
    assert (url.image_url.url, url.image_url.detail) == ("https://example.com/cat.png", "low")
    assert (file.image_file.file_id, file.image_file.detail) == ("file-cat", "auto")


@fact(V2)
def attachments_are_kept_with_their_tools(client):
    thread = client.beta.threads.create()
    given = [{"file_id": "file-a", "tools": [{"type": "file_search"}, {"type": "code_interpreter"}]}]
    message = client.beta.threads.messages.create(thread.id, role="user", content="Read this.", attachments=given)
    (attachment,) = client.beta.threads.messages.retrieve(message.id, thread_id=thread.id).attachments
    assert attachment.file_id == "file-a"
    assert [tool.type for tool in attachment.tools] == ["file_search", "code_interpreter"]


@fact()
def a_message_is_retrieved_as_it_was_created(client):
    thread = client.beta.threads.create()
    created = client.beta.threads.messages.create(thread.id, role="user", content="hello", metadata={"a": "1"})
    assert client.beta.threads.messages.retrieve(created.id, thread_id=thread.id) == created
    assert client.beta.threads.messages.list(thread.id).data == [created]


@fact()
def modifying_a_message_merges_its_metadata(client):
    messages = client.beta.threads.messages
    thread = client.beta.threads.create()
    message = messages.create(thread.id, role="user", content="hello", metadata={"kept": "yes"})
    updated = messages.update(message.id, thread_id=thread.id, metadata={"modified": "true", "user": "abc123"})
    assert updated.metadata == {"kept": "yes", "modified": "true", "user": "abc123"}
    assert text_of(updated) == "hello"
    assert messages.retrieve(message.id, thread_id=thread.id) == updated


@fact(V2)
def a_deleted_message_is_gone(client):
    thread, (first, second) = thread_with_messages(client, 2)
    deleted = client.beta.threads.messages.delete(first, thread_id=thread.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (first, "thread.message.deleted", True)
    assert ids_of(client.beta.threads.messages.list(thread.id)) == [second]
    refusal(openai.NotFoundError, client.beta.threads.messages.retrieve, first, thread_id=thread.id)


# Assistants

WEATHER = {"name": "weather", "description": "Of a place.", "parameters": {"type": "object", "properties": {}}}


@fact()
def an_assistant_of_a_model_alone_has_all_fields(client):
    assistant = client.beta.assistants.create(model="any/model")
    assert assistant.id.startswith("asst_")
    assert (assistant.object, assistant.model) == ("assistant", "any/model")
    assert isinstance(assistant.created_at, int)
    assert (assistant.name, assistant.description, assistant.instructions) == (None, None, None)
    assert (assistant.tools, assistant.metadata) == ([], {})


@fact(V2)
def an_assistant_has_the_defaults_of_v2(client):
    assistant = client.beta.assistants.create(model="m", tools=[{"type": "code_interpreter"}])
    assert (assistant.temperature, assistant.top_p, assistant.response_format) == (1.0, 1.0, "auto")
    assert assistant.tool_resources.code_interpreter.file_ids == []


@fact()
def an_assistant_is_retrieved_as_it_was_created(client):
    created = client.beta.assistants.create(
        model="m",
        name="Math Tutor",
        description="It teaches.",
        instructions="Answer questions.",
        tools=[{"type": "code_interpreter"}, {"type": "function", "function": WEATHER}],
        metadata={"user": "abc123"},
    )
    assert client.beta.assistants.retrieve(created.id) == created
    assert (created.name, created.instructions) == ("Math Tutor", "Answer questions.")
    code, function = created.tools
    assert (code.type, function.type) == ("code_interpreter", "function")
    assert (function.function.name, function.function.parameters) == ("weather", WEATHER["parameters"])


@fact()
def modifying_an_assistant_changes_what_is_given(client):
    assistants = client.beta.assistants
    tools = [{"type": "function", "function": WEATHER}]
    assistant = assistants.create(model="m", name="old", description="kept", tools=tools, metadata={"kept": "yes"})
    updated = assistants.update(assistant.id, name="new", instructions=None, tools=[], metadata={"new": "yes"})
    assert (updated.id, updated.name, updated.description) == (assistant.id, "new", "kept")
    assert (updated.tools, updated.metadata) == ([], {"kept": "yes", "new": "yes"})
    assert assistants.retrieve(assistant.id) == updated
    assert assistants.update(assistant.id, description=None).description is None


@fact()
def a_deleted_assistant_is_gone(client):
    assistant = client.beta.assistants.create(model="m")
    deleted = client.beta.assistants.delete(assistant.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (assistant.id, "assistant.deleted", True)
    error = refusal(openai.NotFoundError, client.beta.assistants.retrieve, assistant.id)
    assert f"No assistant found with id '{assistant.id}'." in str(error)


@fact()
def assistants_are_listed_newest_first(client):
    created = [client.beta.assistants.create(model="m").id for _ in range(5)]
    assert ids_of(client.beta.assistants.list(limit=5).data) == created[::-1]
    walked = []
    for assistant in client.beta.assistants.list(limit=2):
        walked.append(assistant.id)
        if len(walked) == len(created):
            break
    assert walked == created[::-1]
    assert ids_of(client.beta.assistants.list(order="asc", after=created[2]).data) == created[3:]


@fact(V1)
def v1_files_of_an_assistant_are_readable(client):
    assistants = client.beta.assistants
    tools = [{"type": "retrieval"}, {"type": "code_interpreter"}]
    assistant = assistants.create(model="m", tools=tools, file_ids=["file-a", "file-b"])
    assert assistant.file_ids == ["file-a", "file-b"]
    assert [tool.type for tool in assistant.tools] == ["retrieval", "code_interpreter"]
    assert assistants.retrieve(assistant.id) == assistant
    assert assistants.update(assistant.id, file_ids=["file-c"]).file_ids == ["file-c"]
    assert assistants.create(model="m").file_ids == []


# Lists


@fact()
def messages_are_listed_newest_first_and_twenty_at_a_time(client):
    thread, ids = thread_with_messages(client, 21)
    page = client.beta.threads.messages.list(thread.id)
    assert ids_of(page.data) == ids[:0:-1]
    assert page.has_next_page()
    assert ids_of(page.get_next_page().data) == ids[:1]


@fact()
def walking_through_pages_meets_every_message_once(client):
    thread, ids = thread_with_messages(client, 7)
    for order, expected in (("asc", ids), ("desc", ids[::-1])):
        assert ids_of(client.beta.threads.messages.list(thread.id, order=order, limit=3)) == expected
        assert ids_of(client.beta.threads.messages.list(thread.id, order=order, limit=7)) == expected


@fact()
def a_thread_without_messages_has_an_empty_list(client):
    thread = client.beta.threads.create()
    page = client.beta.threads.messages.list(thread.id)
    assert page.data == ids_of(page) == []
    assert not page.has_next_page()


@fact()
def cursors_bound_a_page_on_either_side(client):
    thread, ids = thread_with_messages(client, 6)

    def listed(**query):
        return ids_of(client.beta.threads.messages.list(thread.id, **query).data)

    assert listed(order="asc", after=ids[1], limit=2) == ids[2:4]
    assert listed(order="desc", after=ids[4], limit=2) == [ids[3], ids[2]]
    assert listed(order="asc", before=ids[4], limit=2) == ids[2:4]
    assert listed(order="desc", before=ids[1], limit=2) == [ids[3], ids[2]]
    assert listed(order="asc", after=ids[1], before=ids[4]) == ids[2:4]


@fact(V2)
def a_run_that_nobody_knows_wrote_no_messages(client):
    thread, _ = thread_with_messages(client, 1)
    assert client.beta.threads.messages.list(thread.id, run_id="run_unknown").data == []


# Errors


@fact()
def what_is_missing_is_not_found(client):
    error = refusal(openai.NotFoundError, client.beta.threads.retrieve, "thread_missing")
    assert error.status_code == 404
    assert "No thread found with id 'thread_missing'." in str(error)
    assert (error.type, error.code, error.param) == ("invalid_request_error", None, None)
    thread = client.beta.threads.create()
    error = refusal(openai.NotFoundError, client.beta.threads.messages.retrieve, "msg_missing", thread_id=thread.id)
    assert "No message found with id 'msg_missing'." in str(error)


@fact()
def a_bad_request_names_the_parameter_and_a_code(client):
    thread = client.beta.threads.create()
    error = refusal(openai.BadRequestError, client.beta.threads.messages.list, thread.id, limit=101)
    assert (error.status_code, error.code, error.param) == (400, "integer_above_max_value", "limit")
    error = refusal(openai.BadRequestError, client.beta.threads.create, messages=[{"role": "user"}])
    assert (error.code, error.param) == ("missing_required_parameter", "messages[0].content")
    error = refusal(openai.BadRequestError, client.beta.threads.messages.create, thread.id, role="user", content="")
    assert (error.code, error.param) == (None, "content")


@fact(V2)
def metadata_values_must_be_text(client):
    error = refusal(openai.BadRequestError, client.beta.threads.create, metadata={"modified": True})
    assert (error.code, error.param) == ("invalid_type", "metadata.modified")


@fact()
def a_wrong_key_opens_nothing(client):
    stranger = client.with_options(api_key="sk-wrong")
    error = refusal(openai.AuthenticationError, stranger.beta.threads.create)
    assert (error.status_code, error.code) == (401, "invalid_api_key")


@fact(ERRORS_HAVE_REQUEST_IDS)
def an_error_has_a_request_id(client):
    error = refusal(openai.NotFoundError, client.beta.threads.retrieve, "thread_missing")
    assert error.request_id.startswith("req_")


@fact(OBJECTS_HAVE_REQUEST_IDS)
def an_object_has_the_id_of_its_request(client):
    thread, _ = thread_with_messages(client, 1)
    assert thread._request_id.startswith("req_")
    page = client.beta.threads.messages.list(thread.id)
    assert page._request_id.startswith("req_")
    assert page._request_id != thread._request_id


# The API's first version


@fact(V1)
def v1_metadata_values_become_text(client):
    threads = client.beta.threads
    thread = threads.create(
        metadata={"modified": True, "count": 1}, messages=[{"role": "user", "content": "hi", "metadata": {"n": 1.5}}]
    )
    assert thread.metadata == {"modified": "True", "count": "1"}
    assert threads.messages.list(thread.id).data[0].metadata == {"n": "1.5"}
    assert threads.update(thread.id, metadata={"count": 2}).metadata == {"modified": "True", "count": "2"}
    message = threads.messages.create(thread.id, role="user", content="hello", metadata={"seen": False})
    assert message.metadata == {"seen": "False"}
    assert threads.messages.update(message.id, thread_id=thread.id, metadata={"seen": True}).metadata == {
        "seen": "True"
    }


@fact(V1)
def v1_files_of_a_message_are_readable(client):
    messages = client.beta.threads.messages
    files = ["file-a", "file-b"]
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Read these.", "file_ids": files}])
    (first,) = messages.list(thread.id).data
    assert first.file_ids == files
    second = messages.create(thread.id, role="user", content="And these.", file_ids=files)
    assert second.file_ids == files
    assert messages.retrieve(second.id, thread_id=thread.id).file_ids == files
    assert messages.update(second.id, thread_id=thread.id, metadata={"read": "yes"}).file_ids == files
    assert messages.create(thread.id, role="user", content="No files.").file_ids == []


@fact(V1)
def v1_file_objects_of_a_message_are_not_served(client):
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Read.", "file_ids": ["file-a"]}])
    (message,) = client.beta.threads.messages.list(thread.id).data
    files = client.beta.threads.messages.files
    refusal(openai.NotFoundError, files.list, message.id, thread_id=thread.id)
    refusal(openai.NotFoundError, files.retrieve, "file-a", thread_id=thread.id, message_id=message.id)


# The asynchronous client


@fact()
async def the_async_client_creates_changes_and_deletes(client):
    threads = client.beta.threads
    thread = await threads.create(messages=[{"role": "user", "content": "hello"}])
    assert await threads.retrieve(thread.id) == thread
    assert (await threads.update(thread.id, metadata={"user": "abc123"})).metadata == {"user": "abc123"}
    message = await threads.messages.create(thread.id, role="user", content="there")
    assert await threads.messages.retrieve(message.id, thread_id=thread.id) == message
    await threads.messages.update(message.id, thread_id=thread.id, metadata={"read": "yes"})
    if V2:
        assert (await threads.messages.delete(message.id, thread_id=thread.id)).deleted
    assert (await threads.delete(thread.id)).deleted


@fact()
async def the_async_client_walks_through_pages(client):
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": str(n)} for n in range(7)])
    for order, expected in (("asc", "0123456"), ("desc", "6543210")):
        pages = client.beta.threads.messages.list(thread.id, order=order, limit=3)
        assert [text_of(message) async for message in pages] == list(expected)


@fact()
async def the_async_client_raises_the_same_errors(client):
    (error,) = await asyncio.gather(client.beta.threads.retrieve("thread_missing"), return_exceptions=True)
    assert isinstance(error, openai.NotFoundError)
    assert error.status_code == 404


async def with_async_client(function, options):
    async with AsyncOpenAI(**options) as client:
        await function(client)


def holds(function, client, options):
    try:
        if inspect.iscoroutinefunction(function):
            asyncio.run(with_async_client(function, options))
        else:
            function(client)
    except Exception:  # noqa: BLE001 - one fact that fails must not hide the others
        traceback.print_exc()
        return False
    return True


def main(base_url, api_key):
    # The SDK deprecates the very API this project keeps alive.
    for message in ("The Assistants API is deprecated", "deprecated$"):
        warnings.filterwarnings("ignore", message=message, category=DeprecationWarning)
    options = {"base_url": base_url, "api_key": api_key, "max_retries": 0, "timeout": 60}
    failed = 0
    with OpenAI(**options) as client:
        for function in facts:
            held = holds(function, client, options)
            failed += not held
            print("ok  " if held else "FAIL", function.__name__.replace("_", " "), flush=True)
    print(f"{len(facts) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
