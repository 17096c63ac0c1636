"""Assistants, through the official SDK against a real server."""

from __future__ import annotations

import time

import openai
import pytest

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True}}
SEARCH_DEFAULTS = {"ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0, "hybrid_search": None}}


def ids_of(page):
    return [assistant.id for assistant in page.data]


def on_the_wire(client, assistant):
    """The JSON of the answer, whose order of keys the SDK does not keep."""
    return client.get(f"/assistants/{assistant.id}", cast_to=object)


def refusal(error_class, call, *args, **params):
    """Param, code and message of the error that the call raises."""
    with pytest.raises(error_class) as caught:
        call(*args, **params)
    assert caught.value.type == "invalid_request_error"
    return caught.value.param, caught.value.code, caught.value.body["message"]


def test_an_assistant_of_a_model_alone_has_every_field_with_its_default(client):
    assistant = client.beta.assistants.create(model="gpt-4o")
    assert assistant.id.startswith("asst_")
    assert len(assistant.id) == len("asst_") + 24
    assert abs(assistant.created_at - time.time()) < 60
    assert list(on_the_wire(client, assistant).items()) == [
        ("id", assistant.id),
        ("object", "assistant"),
        ("created_at", assistant.created_at),
        ("name", None),
        ("description", None),
        ("model", "gpt-4o"),
        ("instructions", None),
        ("tools", []),
        ("top_p", 1.0),
        ("temperature", 1.0),
        ("reasoning_effort", None),
        ("tool_resources", {}),
        ("metadata", {}),
        ("response_format", "auto"),
    ]


def test_null_is_the_same_as_nothing_on_create(client):
    optional = "name description instructions tools tool_resources metadata temperature top_p response_format"
    nothing = dict.fromkeys([*optional.split(), "reasoning_effort"])
    shown = client.beta.assistants.create(model="m", extra_body=nothing).to_dict()
    plain = client.beta.assistants.create(model="m").to_dict()
    assert {k: v for k, v in shown.items() if k not in {"id", "created_at"}} == {
        k: v for k, v in plain.items() if k not in {"id", "created_at"}
    }


def test_an_assistant_is_retrieved_as_it_was_created(client):
    given = {
        "model": "meta-llama/Llama-3.1-8B:free",
        "name": "n" * 256,
        "description": "d" * 512,
        "instructions": "ä" * 256_000,
        "metadata": {str(n): "x" for n in range(16)},
        "temperature": 2.0,
        "top_p": 0.0,
        "reasoning_effort": "high",
        "response_format": SCHEMA,
    }
    created = client.beta.assistants.create(**given)
    assert created.to_dict() | given == created.to_dict()
    assert client.beta.assistants.retrieve(created.id) == created


def test_a_function_is_given_back_with_strict_and_its_schema_as_it_was_sent(client):
    odd = {"b": [1.0, None, {"z": 1e300, "a": 2**70}], "a": {"$ref": "#/x"}}
    tools = [WEATHER, {"type": "function", "function": {"parameters": odd, "strict": True, "name": "odd"}}]
    shown = on_the_wire(client, client.beta.assistants.create(model="m", tools=tools))["tools"]
    assert shown == [
        {"type": "function", "function": WEATHER["function"] | {"strict": False}},
        {"type": "function", "function": {"name": "odd", "parameters": odd, "strict": True}},
    ]
    assert list(shown[0]["function"]) == ["name", "description", "parameters", "strict"]
    assert list(shown[1]["function"]["parameters"]) == ["b", "a"]


def test_a_function_needs_a_name_only(client):
    shown = client.beta.assistants.create(model="m", tools=[{"type": "function", "function": {"name": "f"}}])
    assert shown.to_dict()["tools"] == [{"type": "function", "function": {"name": "f", "strict": False}}]


def test_null_is_the_same_as_nothing_in_functions_and_formats(client):
    nothing = {"type": "function", "function": {"name": "f", "description": None, "parameters": None, "strict": None}}
    schema = {"type": "json_schema", "json_schema": {"name": "n", "description": None, "schema": None}}
    shown = on_the_wire(client, client.beta.assistants.create(model="m", tools=[nothing], response_format=schema))
    assert shown["tools"] == [{"type": "function", "function": {"name": "f", "strict": False}}]
    assert shown["response_format"] == {"type": "json_schema", "json_schema": {"name": "n"}}


def test_file_search_is_given_back_with_the_ranking_of_the_original(client):
    few = {"type": "file_search", "file_search": {"max_num_results": 5}}
    ranked = {"type": "file_search", "file_search": {"ranking_options": {"ranker": "auto", "score_threshold": 0.5}}}
    for given, shown in (
        ({"type": "file_search"}, SEARCH_DEFAULTS),
        (few, {"max_num_results": 5} | SEARCH_DEFAULTS),
        (ranked, {"ranking_options": {"ranker": "auto", "score_threshold": 0.5, "hybrid_search": None}}),
    ):
        tools = client.beta.assistants.create(model="m", tools=[given]).to_dict()["tools"]
        assert tools == [{"type": "file_search", "file_search": shown}]


@pytest.mark.parametrize(
    "response_format",
    [
        "auto",
        {"type": "text"},
        {"type": "json_object"},
        SCHEMA,
        {"type": "json_schema", "json_schema": {"name": "n", "strict": None}},
    ],
)
def test_a_response_format_is_given_back_as_it_was_sent(client, response_format):
    assistant = client.beta.assistants.create(model="m", response_format=response_format)
    assert assistant.to_dict()["response_format"] == response_format


def test_an_assistant_has_128_tools_at_most(client):
    tools = [{"type": "function", "function": {"name": f"f{n}"}} for n in range(129)]
    assert len(client.beta.assistants.create(model="m", tools=tools[:128]).tools) == 128
    assert refusal(openai.BadRequestError, client.beta.assistants.create, model="m", tools=tools) == (
        "tools",
        "array_above_max_length",
        "Invalid 'tools': array too long. Expected an array with maximum length 128, "
        "but got an array with length 129 instead.",
    )


class TestToolResources:
    def test_a_code_interpreter_shows_a_list_of_files_though_it_is_empty(self, client):
        assistants = client.beta.assistants
        tools = [{"type": "code_interpreter"}]
        assistant = assistants.create(model="m", tools=tools)
        assert assistant.to_dict()["tool_resources"] == {"code_interpreter": {"file_ids": []}}
        assert assistants.update(assistant.id, tools=[]).to_dict()["tool_resources"] == {}
        again = assistants.update(assistant.id, tools=tools)
        assert again.to_dict()["tool_resources"] == {"code_interpreter": {"file_ids": []}}

    def test_resources_are_shown_as_they_were_given(self, client):
        resources = {"code_interpreter": {"file_ids": ["file-a"]}, "file_search": {"vector_store_ids": ["vs_a"]}}
        tools = [{"type": "file_search"}, {"type": "code_interpreter"}]
        assistant = client.beta.assistants.create(model="m", tools=tools, tool_resources=resources)
        assert assistant.to_dict()["tool_resources"] == resources

    def test_modify_replaces_the_resources_of_the_named_tool_only(self, client):
        resources = {"code_interpreter": {"file_ids": ["file-a"]}, "file_search": {"vector_store_ids": ["vs_a"]}}
        assistant = client.beta.assistants.create(model="m", tool_resources=resources)
        patch = {"file_search": {"vector_store_ids": ["vs_b"]}}
        updated = client.beta.assistants.update(assistant.id, tool_resources=patch)
        assert updated.to_dict()["tool_resources"] == resources | patch

    @pytest.mark.parametrize("helper", [{}, {"file_ids": []}, {"file_ids": ["file-a"], "metadata": {"a": "b"}}])
    def test_a_vector_store_helper_is_kept_as_it_was_sent(self, client, helper):
        resources = {"file_search": {"vector_stores": [helper]}}
        assistant = client.beta.assistants.create(model="m", tool_resources=resources)
        assert assistant.to_dict()["tool_resources"] == resources

    def test_strict_knows_no_vector_store_helper_on_modify(self, strict_client):
        assistant = strict_client.beta.assistants.create(model="m")
        param = "tool_resources.file_search.vector_stores"
        patch = {"file_search": {"vector_stores": [{}]}}
        found = refusal(
            openai.BadRequestError, strict_client.beta.assistants.update, assistant.id, tool_resources=patch
        )
        assert found == (param, "unknown_parameter", f"Unknown parameter: '{param}'.")

    def test_ids_of_another_kind_are_refused(self, client):
        resources = {"code_interpreter": {"file_ids": ["vs_a"]}}
        param, code, _ = refusal(
            openai.BadRequestError, client.beta.assistants.create, model="m", tool_resources=resources
        )
        assert (param, code) == ("tool_resources.code_interpreter.file_ids[0]", "invalid_value")


class TestModify:
    @pytest.fixture
    def full(self, client):
        return client.beta.assistants.create(
            model="m",
            name="n",
            description="d",
            instructions="i",
            tools=[WEATHER],
            metadata={"keep": "1", "change": "1"},
            temperature=0.5,
            top_p=0.5,
            reasoning_effort="low",
            response_format=SCHEMA,
        )

    def test_nothing_changes_nothing(self, client, full):
        assert client.beta.assistants.update(full.id) == full
        nothing = {"model": None, "tools": None, "tool_resources": None, "metadata": None}
        assert client.beta.assistants.update(full.id, extra_body=nothing) == full

    @pytest.mark.parametrize(
        "change",
        [
            {"model": "other/model"},
            {"name": "", "description": "new"},
            {"instructions": "new"},
            {"tools": []},
            {"temperature": 0.0, "top_p": 1.0},
            {"reasoning_effort": "none"},
            {"response_format": {"type": "text"}},
        ],
    )
    def test_only_what_is_given_changes(self, client, full, change):
        updated = client.beta.assistants.update(full.id, **change)
        assert updated.to_dict() == full.to_dict() | change
        assert client.beta.assistants.retrieve(full.id) == updated

    def test_null_puts_back_what_a_new_assistant_has(self, client, full):
        fields = ["name", "description", "instructions", "temperature", "top_p", "reasoning_effort", "response_format"]
        updated = client.beta.assistants.update(full.id, extra_body=dict.fromkeys(fields))
        fresh = client.beta.assistants.create(model="m").to_dict()
        assert updated.to_dict() == full.to_dict() | {name: fresh[name] for name in fields}

    def test_metadata_merges_and_null_removes_a_key(self, client, full):
        updated = client.beta.assistants.update(full.id, metadata={"change": "2", "add": "2"})
        assert updated.metadata == {"keep": "1", "change": "2", "add": "2"}
        assert client.beta.assistants.update(full.id, metadata={"keep": None}).metadata == {"change": "2", "add": "2"}

    def test_a_refused_change_changes_nothing(self, client, full):
        metadata = {str(n): "x" for n in range(17)}
        param, code, _ = refusal(
            openai.BadRequestError, client.beta.assistants.update, full.id, name="new", metadata=metadata
        )
        assert (param, code) == ("metadata", "object_above_max_properties")
        assert client.beta.assistants.retrieve(full.id) == full


def test_a_deleted_assistant_is_gone(client):
    assistants = client.beta.assistants
    assistant = assistants.create(model="m")
    deleted = assistants.delete(assistant.id)
    assert deleted.to_dict() == {"id": assistant.id, "object": "assistant.deleted", "deleted": True}
    assert assistants.list().data == []
    for call in (assistants.retrieve, assistants.update, assistants.delete):
        message = f"No assistant found with id '{assistant.id}'."
        assert refusal(openai.NotFoundError, call, assistant.id) == (None, None, message)


class TestGivenIds:
    def test_an_assistant_can_be_created_under_a_given_id(self, client):
        assistant = client.beta.assistants.create(model="m", extra_body={"id": "asst_support-desk_1"})
        assert assistant.id == "asst_support-desk_1"
        assert client.beta.assistants.retrieve(assistant.id) == assistant

    def test_an_id_in_use_is_refused_and_nothing_changes(self, client):
        assistant = client.beta.assistants.create(model="m", extra_body={"id": "asst_taken"})
        found = refusal(
            openai.BadRequestError, client.beta.assistants.create, model="other", extra_body={"id": "asst_taken"}
        )
        assert found == ("id", "invalid_value", "Invalid 'id': 'asst_taken' is already in use.")
        assert client.beta.assistants.list().data == [assistant]

    def test_two_projects_may_have_the_same_id(self, client, new_client, server):
        other = new_client(server)
        given = {"extra_body": {"id": "asst_shared"}}
        mine = client.beta.assistants.create(model="mine", **given)
        theirs = other.beta.assistants.create(model="theirs", **given)
        other.beta.assistants.update("asst_shared", name="changed")
        assert client.beta.assistants.retrieve("asst_shared") == mine
        client.beta.assistants.delete("asst_shared")
        assert other.beta.assistants.retrieve("asst_shared").model == theirs.model

    def test_the_id_of_a_deleted_assistant_can_be_given_again_and_is_new_then(self, client):
        client.beta.assistants.create(model="old", name="old", extra_body={"id": "asst_again"})
        between = client.beta.assistants.create(model="between")
        client.beta.assistants.delete("asst_again")
        again = client.beta.assistants.create(model="new", extra_body={"id": "asst_again"})
        assert again.name is None
        assert ids_of(client.beta.assistants.list()) == ["asst_again", between.id]

    @pytest.mark.parametrize(
        "assistant_id", ["", "thread_x", "asst", "asst_", "asst_a b", "asst_ä", "asst_" + "x" * 200]
    )
    def test_an_id_of_the_wrong_form_is_refused(self, client, assistant_id):
        param, _, _ = refusal(
            openai.BadRequestError, client.beta.assistants.create, model="m", extra_body={"id": assistant_id}
        )
        assert param == "id"

    def test_strict_knows_no_given_ids(self, strict_client):
        found = refusal(
            openai.BadRequestError, strict_client.beta.assistants.create, model="m", extra_body={"id": "asst_mine"}
        )
        assert found == ("id", "unknown_parameter", "Unknown parameter: 'id'.")


class TestList:
    @pytest.fixture
    def created(self, client):
        return [client.beta.assistants.create(model="m", name=str(n)) for n in range(7)]

    def test_assistants_come_newest_first_in_the_exact_order_of_creation(self, client, created):
        assert client.beta.assistants.list().data == created[::-1]
        assert client.beta.assistants.list(order="asc").data == created
        assert list(client.beta.assistants.list(limit=2)) == created[::-1]

    def test_cursors_bound_a_page_on_either_side(self, client, created):
        listed = client.beta.assistants.list
        assert listed(order="asc", after=created[1].id, limit=2).data == created[2:4]
        assert listed(order="desc", after=created[4].id, limit=2).data == created[3:1:-1]
        assert listed(order="asc", before=created[4].id, limit=2).data == created[2:4]
        assert listed(order="asc", after=created[1].id, before=created[4].id).data == created[2:4]

    def test_a_cursor_at_a_deleted_assistant_still_works(self, client, created):
        client.beta.assistants.delete(created[3].id)
        assert client.beta.assistants.list(order="asc", after=created[3].id).data == created[4:]
        assert client.beta.assistants.list(order="asc", before=created[3].id).data == created[:3]

    def test_a_new_assistant_never_takes_the_place_of_a_deleted_one(self, client, created):
        client.beta.assistants.delete(created[-1].id)
        new = client.beta.assistants.create(model="m")
        assert client.beta.assistants.list(order="asc", after=created[-1].id).data == [new]

    def test_an_unknown_cursor_is_a_404(self, client):
        found = refusal(openai.NotFoundError, client.beta.assistants.list, after="asst_nowhere")
        assert found == (None, None, "No assistant found with id 'asst_nowhere'.")
        param, _, _ = refusal(openai.BadRequestError, client.beta.assistants.list, before="thread_x")
        assert param == "before"

    def test_no_assistants_give_the_empty_envelope(self, client):
        empty = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
        assert client.get("/assistants", cast_to=object) == empty


class TestFirstVersion:
    """What programs of the API's first version send and read."""

    @pytest.fixture
    def v1(self, client):
        headers = {"OpenAI-Beta": "assistants=v1"}

        def call(path="", **body):
            return client.post(f"/assistants{path}", cast_to=object, body=body, options={"headers": headers})

        return call

    @pytest.mark.parametrize(
        ("tools", "resources"),
        [
            (["code_interpreter"], {"code_interpreter": {"file_ids": ["file-a", "file-b"]}}),
            (["retrieval"], {"file_search": {"vector_stores": [{"file_ids": ["file-a", "file-b"]}]}}),
            (
                ["retrieval", "code_interpreter"],
                {
                    "code_interpreter": {"file_ids": ["file-a", "file-b"]},
                    "file_search": {"vector_stores": [{"file_ids": ["file-a", "file-b"]}]},
                },
            ),
            ([], {"code_interpreter": {"file_ids": ["file-a", "file-b"]}}),
        ],
    )
    def test_files_go_to_the_tools_that_read_files(self, client, v1, tools, resources):
        given = v1(model="m", tools=[{"type": tool} for tool in tools], file_ids=["file-a", "file-b"])
        assert given["file_ids"] == ["file-a", "file-b"]
        assert [tool["type"] for tool in given["tools"]] == tools
        now = client.beta.assistants.retrieve(given["id"]).to_dict()
        assert now["tool_resources"] == resources
        assert [tool["type"] for tool in now["tools"]] == [tool.replace("retrieval", "file_search") for tool in tools]
        assert "file_ids" not in now

    def test_modify_replaces_the_files(self, v1):
        assistant = v1(model="m", tools=[{"type": "retrieval"}], file_ids=["file-a"])
        assert v1(f"/{assistant['id']}", file_ids=["file-b"])["file_ids"] == ["file-b"]
        assert v1(f"/{assistant['id']}", name="new")["file_ids"] == ["file-b"]
        assert v1(f"/{assistant['id']}", file_ids=[])["file_ids"] == []

    def test_values_of_metadata_become_text(self, v1):
        assert v1(model="m", metadata={"modified": True, "n": 1})["metadata"] == {"modified": "True", "n": "1"}

    def test_an_assistant_had_20_files_at_most(self, v1):
        param, code, _ = refusal(openai.BadRequestError, v1, model="m", file_ids=[f"file-{n}" for n in range(21)])
        assert (param, code) == ("file_ids", "array_above_max_length")

    def test_retrieval_is_no_tool_of_the_second_version(self, client):
        found = refusal(openai.BadRequestError, client.beta.assistants.create, model="m", tools=[{"type": "retrieval"}])
        assert found == (
            "tools[0].type",
            "invalid_value",
            "Invalid value: 'retrieval'. Supported values are: 'function', 'code_interpreter', and 'file_search'.",
        )

    def test_strict_knows_no_file_ids(self, strict_client):
        param, code, _ = refusal(
            openai.BadRequestError, strict_client.beta.assistants.create, model="m", extra_body={"file_ids": []}
        )
        assert (param, code) == ("file_ids", "unknown_parameter")
