"""Each refusal of the original's validator: status, message, `param` and `code`, word for word."""

from __future__ import annotations

import json

import httpx2
import openai
import pytest

LONG = "x" * 600
MANY = {f"key{n}": "x" for n in range(17)}


@pytest.fixture
def ask(server):
    """One request, as raw as it gets: `ask("POST", "/threads", json)`."""
    with httpx2.Client(base_url=server.base_url, headers={"Authorization": f"Bearer {server.new_key()}"}) as http:

        def send(method, path, body=None, **options):
            content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            return http.request(method, path, content=content, **options)

        yield send


def refusal(answer):
    """The four fields; and that there is nothing else."""
    body = answer.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    error = body["error"]
    return answer.status_code, error["type"], error["code"], error["param"], error["message"]


BAD_CREATE_THREAD = [
    ([], "invalid_type", None, "Invalid type: expected an object, but got an array instead."),
    (
        {"metadata": {"modified": True}},
        "invalid_type",
        "metadata.modified",
        "Invalid type for 'metadata.modified': expected a string, but got a boolean instead.",
    ),
    (
        {"metadata": {"n": 1}},
        "invalid_type",
        "metadata.n",
        "Invalid type for 'metadata.n': expected a string, but got an integer instead.",
    ),
    (
        {"metadata": {"n": 1.5}},
        "invalid_type",
        "metadata.n",
        "Invalid type for 'metadata.n': expected a string, but got a decimal number instead.",
    ),
    (
        {"metadata": {"mykey": None}},
        "invalid_type",
        "metadata.mykey",
        "Invalid type for 'metadata.mykey': expected a string, but got null instead.",
    ),
    (
        {"metadata": "text"},
        "invalid_type",
        "metadata",
        "Invalid type for 'metadata': expected an object, but got a string instead.",
    ),
    (
        {"metadata": {"k": LONG}},
        "string_above_max_length",
        "metadata.k",
        "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, "
        "but got a string with length 600 instead.",
    ),
    (
        {"metadata": {"k" * 65: "x"}},
        "property_name_above_max_length",
        "metadata." + "k" * 65,
        f"Invalid property name in 'metadata': '{'k' * 65}' is too long. Expected a string with maximum length 64, "
        "but got a string with length 65 instead.",
    ),
    (
        {"metadata": MANY},
        "object_above_max_properties",
        "metadata",
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
        "but got an object with 17 properties instead.",
    ),
    (
        {"messages": {}},
        "invalid_type",
        "messages",
        "Invalid type for 'messages': expected an array of objects, but got an object instead.",
    ),
    (
        {"messages": [{"role": "user", "content": "x"}, {"content": "x"}]},
        "missing_required_parameter",
        "messages[1].role",
        "Missing required parameter: 'messages[1].role'.",
    ),
    (
        {"messages": [{"role": "user", "content": "x", "metadata": {"a": "b", "c": 3}}]},
        "invalid_type",
        "messages[0].metadata.c",
        "Invalid type for 'messages[0].metadata.c': expected a string, but got an integer instead.",
    ),
    (
        {"tool_resources": {"code_interpreter": {"file_ids": [f"file-{n}" for n in range(21)]}}},
        "array_above_max_length",
        "tool_resources.code_interpreter.file_ids",
        "Invalid 'tool_resources.code_interpreter.file_ids': array too long. Expected an array with maximum length 20, "
        "but got an array with length 21 instead.",
    ),
    (
        {"tool_resources": {"file_search": {"vector_store_ids": ["vs_1", "vs_2"]}}},
        "array_above_max_length",
        "tool_resources.file_search.vector_store_ids",
        "Invalid 'tool_resources.file_search.vector_store_ids': array too long. Expected an array with maximum "
        "length 1, but got an array with length 2 instead.",
    ),
    (
        {"tool_resources": {"file_search": {"vector_store_ids": ["file-1"]}}},
        "invalid_value",
        "tool_resources.file_search.vector_store_ids[0]",
        "Invalid 'tool_resources.file_search.vector_store_ids[0]': 'file-1'. Expected an ID that begins with 'vs'.",
    ),
    (
        {"tool_resources": {"file_search": {"vector_store_ids": ["vs_1"], "vector_stores": [{}]}}},
        None,
        "tool_resources.file_search",
        "You can only specify one of 'vector_store_ids' and 'vector_stores'.",
    ),
    (
        {"metadata": {"k": "a\x00b"}},
        "invalid_value",
        "metadata.k",
        "Invalid 'metadata.k': the character U+0000 cannot be stored.",
    ),
]

TEXT = {"type": "text", "text": "x"}
BAD_CREATE_MESSAGE = [
    ({"content": "x"}, "missing_required_parameter", "role", "Missing required parameter: 'role'."),
    ({"role": "user"}, "missing_required_parameter", "content", "Missing required parameter: 'content'."),
    (
        {"role": "system", "content": "x"},
        "invalid_value",
        "role",
        "Invalid value: 'system'. Supported values are: 'user' and 'assistant'.",
    ),
    (
        {"role": None, "content": "x"},
        "invalid_type",
        "role",
        "Invalid type for 'role': expected one of 'user' or 'assistant', but got null instead.",
    ),
    ({"role": "user", "content": ""}, None, "content", "Message content must be non-empty."),
    (
        {"role": "user", "content": []},
        "empty_array",
        "content",
        "Invalid 'content': empty array. Expected an array with minimum length 1, but got an empty array instead.",
    ),
    (
        {"role": "user", "content": 3},
        "invalid_type",
        "content",
        "Invalid type for 'content': expected one of a string or array of objects, but got an integer instead.",
    ),
    (
        {"role": "user", "content": "x" * 256_001},
        "string_above_max_length",
        "content",
        "Invalid 'content': string too long. Expected a string with maximum length 256000, "
        "but got a string with length 256001 instead.",
    ),
    (
        {"role": "user", "content": [TEXT, {"type": "text", "text": "é" * 256_001}]},
        "string_above_max_length",
        "content[1].text",
        "Invalid 'content[1].text': string too long. Expected a string with maximum length 256000, "
        "but got a string with length 256001 instead.",
    ),
    (
        {"role": "user", "content": [{"text": "x"}]},
        "missing_required_parameter",
        "content[0].type",
        "Missing required parameter: 'content[0].type'.",
    ),
    (
        {"role": "user", "content": [{"type": "video"}]},
        "invalid_value",
        "content[0].type",
        "Invalid value: 'video'. Supported values are: 'text', 'image_file', and 'image_url'.",
    ),
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b.png", "detail": "huge"}}]},
        "invalid_value",
        "content[0].image_url.detail",
        "Invalid value: 'huge'. Supported values are: 'auto', 'low', and 'high'.",
    ),
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]},
        "empty_string",
        "content[0].image_url.url",
        "Invalid 'content[0].image_url.url': empty string. Expected a string with minimum length 1, "
        "but got an empty string instead.",
    ),
    (
        {"role": "user", "content": "x", "attachments": [{"file_id": "file-a"}]},
        "missing_required_parameter",
        "attachments[0].tools",
        "Missing required parameter: 'attachments[0].tools'.",
    ),
    (
        {"role": "user", "content": "x", "attachments": [{"file_id": "a", "tools": []}]},
        "invalid_value",
        "attachments[0].file_id",
        "Invalid 'attachments[0].file_id': 'a'. Expected an ID that begins with 'file'.",
    ),
]


def function(**fields):
    return {"tools": [{"type": "function", "function": {"name": "f"} | fields}]}


def nested(depth):
    return {"a": nested(depth - 1)} if depth else {}


PATTERN = "string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
# Each beside `model`, which is all that an assistant needs.
BAD_ASSISTANT = [
    ({"model": None}, "invalid_type", "model", "Invalid type for 'model': expected a string, but got null instead."),
    (
        {"model": ""},
        "empty_string",
        "model",
        "Invalid 'model': empty string. Expected a string with minimum length 1, but got an empty string instead.",
    ),
    (
        {"name": "x" * 257},
        "string_above_max_length",
        "name",
        "Invalid 'name': string too long. Expected a string with maximum length 256, "
        "but got a string with length 257 instead.",
    ),
    (
        {"description": "x" * 513},
        "string_above_max_length",
        "description",
        "Invalid 'description': string too long. Expected a string with maximum length 512, "
        "but got a string with length 513 instead.",
    ),
    (
        {"instructions": "ä" * 256_001},
        "string_above_max_length",
        "instructions",
        "Invalid 'instructions': string too long. Expected a string with maximum length 256000, "
        "but got a string with length 256001 instead.",
    ),
    (
        {"temperature": 2.1},
        "decimal_above_max_value",
        "temperature",
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.1 instead.",
    ),
    (
        {"temperature": 3},
        "decimal_above_max_value",
        "temperature",
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
    ),
    (
        {"top_p": -0.1},
        "decimal_below_min_value",
        "top_p",
        "Invalid 'top_p': decimal below minimum value. Expected a value >= 0, but got -0.1 instead.",
    ),
    (
        {"temperature": "warm"},
        "invalid_type",
        "temperature",
        "Invalid type for 'temperature': expected a decimal, but got a string instead.",
    ),
    (
        {"temperature": True},
        "invalid_type",
        "temperature",
        "Invalid type for 'temperature': expected a decimal, but got a boolean instead.",
    ),
    (
        {"reasoning_effort": "huge"},
        "invalid_value",
        "reasoning_effort",
        "Invalid value: 'huge'. Supported values are: 'none', 'minimal', 'low', 'medium', 'high', 'xhigh', and 'max'.",
    ),
    (
        {"tools": "code_interpreter"},
        "invalid_type",
        "tools",
        "Invalid type for 'tools': expected an array of objects, but got a string instead.",
    ),
    (
        {"tools": ["code_interpreter"]},
        "invalid_type",
        "tools[0]",
        "Invalid type for 'tools[0]': expected an object, but got a string instead.",
    ),
    ({"tools": [{}]}, "missing_required_parameter", "tools[0].type", "Missing required parameter: 'tools[0].type'."),
    (
        {"tools": [{"type": "code_interpreter"}, {"type": "browser"}]},
        "invalid_value",
        "tools[1].type",
        "Invalid value: 'browser'. Supported values are: 'function', 'code_interpreter', and 'file_search'.",
    ),
    (
        {"tools": [{"type": "function"}]},
        "missing_required_parameter",
        "tools[0].function",
        "Missing required parameter: 'tools[0].function'.",
    ),
    (
        {"tools": [{"type": "function", "function": {"parameters": {}}}]},
        "missing_required_parameter",
        "tools[0].function.name",
        "Missing required parameter: 'tools[0].function.name'.",
    ),
    *(
        (
            function(name=name),
            "invalid_value",
            "tools[0].function.name",
            f"Invalid 'tools[0].function.name': {PATTERN}",
        )
        for name in ("get weather", "weather.get", "wetter_für", "line\n")
    ),
    (
        function(name=""),
        "empty_string",
        "tools[0].function.name",
        "Invalid 'tools[0].function.name': empty string. Expected a string with minimum length 1, "
        "but got an empty string instead.",
    ),
    (
        function(name="x" * 65),
        "string_above_max_length",
        "tools[0].function.name",
        "Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64, "
        "but got a string with length 65 instead.",
    ),
    (
        function(parameters=[]),
        "invalid_type",
        "tools[0].function.parameters",
        "Invalid type for 'tools[0].function.parameters': expected an object, but got an array instead.",
    ),
    (
        function(strict="yes"),
        "invalid_type",
        "tools[0].function.strict",
        "Invalid type for 'tools[0].function.strict': expected a boolean, but got a string instead.",
    ),
    # What is inside a schema is no business of the server, as long as it can be kept.
    (
        function(parameters={"any": [1, {"z": None}], "k": "a\x00b"}),
        "invalid_value",
        "tools[0].function.parameters.k",
        "Invalid 'tools[0].function.parameters.k': the character U+0000 cannot be stored.",
    ),
    (
        function(parameters=nested(100)),
        "invalid_value",
        "tools[0].function.parameters",
        "Invalid 'tools[0].function.parameters': it is nested too deeply, at most 100 levels are allowed.",
    ),
    (
        {"tools": [{"type": "file_search", "file_search": {"max_num_results": 51}}]},
        "integer_above_max_value",
        "tools[0].file_search.max_num_results",
        "Invalid 'tools[0].file_search.max_num_results': integer above maximum value. Expected a value <= 50, "
        "but got 51 instead.",
    ),
    (
        {"tools": [{"type": "file_search", "file_search": {"max_num_results": None}}]},
        "invalid_type",
        "tools[0].file_search.max_num_results",
        "Invalid type for 'tools[0].file_search.max_num_results': expected an integer, but got null instead.",
    ),
    (
        {"tools": [{"type": "file_search", "file_search": {"ranking_options": {"score_threshold": 2}}}]},
        "decimal_above_max_value",
        "tools[0].file_search.ranking_options.score_threshold",
        "Invalid 'tools[0].file_search.ranking_options.score_threshold': decimal above maximum value. "
        "Expected a value <= 1, but got 2 instead.",
    ),
    (
        {"response_format": 1},
        "invalid_type",
        "response_format",
        "Invalid type for 'response_format': expected one of one of 'auto' or object, but got an integer instead.",
    ),
    (
        {"response_format": "json"},
        "invalid_value",
        "response_format",
        "Invalid value: 'json'. Supported values are: 'auto'.",
    ),
    (
        {"response_format": {"type": "xml"}},
        "invalid_value",
        "response_format.type",
        "Invalid value: 'xml'. Supported values are: 'text', 'json_object', and 'json_schema'.",
    ),
    (
        {"response_format": {"type": "json_schema"}},
        "missing_required_parameter",
        "response_format.json_schema",
        "Missing required parameter: 'response_format.json_schema'.",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "an answer"}}},
        "invalid_value",
        "response_format.json_schema.name",
        f"Invalid 'response_format.json_schema.name': {PATTERN}",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": nested(100)}}},
        "invalid_value",
        "response_format.json_schema.schema",
        "Invalid 'response_format.json_schema.schema': it is nested too deeply, at most 100 levels are allowed.",
    ),
    (
        {"tool_resources": {"code_interpreter": {"file_ids": "file-a"}}},
        "invalid_type",
        "tool_resources.code_interpreter.file_ids",
        "Invalid type for 'tool_resources.code_interpreter.file_ids': expected an array of strings, "
        "but got a string instead.",
    ),
    (
        {"metadata": {"k": LONG}},
        "string_above_max_length",
        "metadata.k",
        "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, "
        "but got a string with length 600 instead.",
    ),
]

BAD_LIST = [
    (
        "limit=1000",
        "integer_above_max_value",
        "limit",
        "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 1000 instead.",
    ),
    (
        "limit=0",
        "integer_below_min_value",
        "limit",
        "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead.",
    ),
    (
        "limit=99999999999999999999999",
        "integer_above_max_value",
        "limit",
        "Invalid 'limit': integer above maximum value. Expected a value <= 100, "
        "but got 99999999999999999999999 instead.",
    ),
    (
        "limit=ten",
        "invalid_type",
        "limit",
        "Invalid type for 'limit': expected an integer, but got a string instead.",
    ),
    (
        "order=newest",
        "invalid_value",
        "order",
        "Invalid value: 'newest'. Supported values are: 'asc' and 'desc'.",
    ),
    ("after=%00", "invalid_value", "after", "Invalid 'after': the character U+0000 cannot be stored."),
]


@pytest.mark.parametrize(("body", "code", "param", "message"), BAD_CREATE_THREAD)
def test_a_bad_thread_is_refused_with_the_exact_place(ask, body, code, param, message):
    assert refusal(ask("POST", "/threads", body)) == (400, "invalid_request_error", code, param, message)


@pytest.mark.parametrize(("body", "code", "param", "message"), BAD_CREATE_MESSAGE)
def test_a_bad_message_is_refused_with_the_exact_place(ask, body, code, param, message):
    thread_id = ask("POST", "/threads").json()["id"]
    answer = ask("POST", f"/threads/{thread_id}/messages", body)
    assert refusal(answer) == (400, "invalid_request_error", code, param, message)


@pytest.mark.parametrize(("body", "code", "param", "message"), BAD_ASSISTANT)
def test_a_bad_assistant_is_refused_with_the_exact_place(ask, body, code, param, message):
    answer = ask("POST", "/assistants", {"model": "m"} | body)
    assert refusal(answer) == (400, "invalid_request_error", code, param, message)


@pytest.mark.parametrize(("body", "code", "param", "message"), BAD_ASSISTANT[1:])
def test_a_bad_change_of_an_assistant_is_refused_in_the_same_words(ask, body, code, param, message):
    assistant = ask("POST", "/assistants", {"model": "m"}).json()
    answer = ask("POST", f"/assistants/{assistant['id']}", body)
    assert refusal(answer) == (400, "invalid_request_error", code, param, message)
    assert ask("GET", f"/assistants/{assistant['id']}").json() == assistant


def test_an_assistant_needs_a_model(ask):
    expected = ("missing_required_parameter", "model", "Missing required parameter: 'model'.")
    for body in (None, {}, {"name": "n"}):
        assert refusal(ask("POST", "/assistants", body)) == (400, "invalid_request_error", *expected)


def test_a_schema_as_deep_as_allowed_is_kept(ask):
    body = {"model": "m", **function(parameters=nested(99))}
    assistant = ask("POST", "/assistants", body).json()
    assert assistant["tools"][0]["function"]["parameters"] == nested(99)
    assert ask("POST", f"/assistants/{assistant['id']}", {"name": None}).json() == assistant


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize(
    "path", ["/files", "/files/file-a/content", "/vector_stores", "/vector_stores/vs_a", "/uploads"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_what_is_not_there_yet_says_so(server, prefix, path, method):
    answer = httpx2.request(method, f"{server.url}{prefix}{path}")
    assert refusal(answer) == (
        404,
        "invalid_request_error",
        None,
        None,
        "This server does not have files and vector stores yet, nor the tools that need them, file_search and "
        "code_interpreter.",
    )


@pytest.mark.parametrize(("query", "code", "param", "message"), BAD_LIST)
@pytest.mark.parametrize("of", ["threads", "messages", "assistants"])
def test_a_bad_list_query_is_refused(ask, of, query, code, param, message):
    path = f"/threads/{ask('POST', '/threads').json()['id']}/messages" if of == "messages" else f"/{of}"
    assert refusal(ask("GET", f"{path}?{query}")) == (400, "invalid_request_error", code, param, message)


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b"{", "line 1, column 2"),
        (b'{"metadata": {}} x', "line 1, column 18"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": "\xff"}', "not valid UTF-8"),
        (b"[" * 100_000 + b"]" * 100_000, None),
        (b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
        (b'{"unknown":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", "nested too deeply"),
        (b'{"metadata": 1e999}', "out of range"),
        (b'{"metadata": ' + b"9" * 10_000 + b"}", "out of range"),
    ],
)
def test_what_is_not_json_is_refused_with_a_hint(ask, body, hint):
    status, kind, code, param, message = refusal(ask("POST", "/threads", body))
    assert (status, kind) == (400, "invalid_request_error")
    if hint:
        assert (code, param) == (None, None)
        assert message.startswith("We could not parse the JSON body of your request. (HINT: This likely means you")
        assert hint in message


@pytest.mark.parametrize("bad", ["undefined", "null", "thread", "msg_abc"])
def test_an_id_with_another_prefix_is_refused(ask, bad):
    expected = f"Invalid 'thread_id': '{bad}'. Expected an ID that begins with 'thread'."
    for method, path in (("GET", f"/threads/{bad}"), ("POST", f"/threads/{bad}/messages")):
        body = {"role": "user", "content": "x"} if method == "POST" else None
        answer = refusal(ask(method, path, body))
        assert answer == (400, "invalid_request_error", "invalid_value", "thread_id", expected)
    answer = refusal(ask("GET", "/threads/thread_x/messages/thread_y"))
    assert answer[3:] == (
        "message_id",
        "Invalid 'message_id': 'thread_y'. Expected an ID that begins with 'msg'.",
    )


def test_an_unknown_address_is_refused_in_the_envelope(ask):
    for method, path in (
        ("GET", "/threadz"),
        ("POST", "/threads/thread_x/messages/msg_x/parts"),
        ("GET", "/threads/a/b"),
    ):
        answer = refusal(ask(method, path))
        assert answer == (404, "invalid_request_error", None, None, f"Invalid URL ({method} /v1{path})")


@pytest.mark.parametrize("path", ["/chat/completions", "/responses", "/embeddings"])
def test_what_a_model_server_answers_is_refused_with_a_pointer_to_it(ask, path):
    message = refusal(ask("POST", path, {}))[-1]
    assert message.startswith(f"Invalid URL (POST /v1{path}). This server has assistants and threads only: ")


def test_a_method_that_an_address_does_not_take_is_refused(ask):
    answer = ask("PUT", "/threads")
    assert refusal(answer) == (
        405,
        "invalid_request_error",
        None,
        None,
        "Not allowed to PUT on /v1/threads. (HINT: Perhaps you meant to use a different HTTP method?)",
    )
    assert answer.headers["allow"] == "POST, GET"


def test_unknown_fields_are_ignored_at_every_level(ask):
    body = {
        "new": 1,
        "messages": [{"role": "user", "content": [TEXT | {"new": 1}], "new": [1]}],
        "tool_resources": {"new": {}, "code_interpreter": {"new": None}},
    }
    assert ask("POST", "/threads", body).status_code == 200
    tools = [{"type": "function", "new": 1, "function": {"name": "f", "new": 1}}]
    answer = ask("POST", "/assistants", {"model": "m", "new": 1, "tools": tools})
    assert answer.status_code == 200
    assert "new" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/threads/thread_x/copy", {"new": 1}),
        ("POST", "/webhooks", {"url": "https://example.com", "new": 1}),
        ("POST", "/threads/thread_x/copy?new=1", {}),
        ("POST", "/webhooks/wh_x/test?new=1", None),
        ("GET", "/export?new=1", None),
        ("GET", "/webhooks?new=1", None),
        ("GET", "/webhooks/wh_x?new=1", None),
    ],
)
def test_unknown_names_are_refused_in_what_the_original_did_not_have(ask, method, path, body):
    expected = (400, "invalid_request_error", "unknown_parameter", "new", "Unknown parameter: 'new'.")
    assert refusal(ask(method, path, body)) == expected


TAKES_NO_BODY = ("/webhooks/wh_x/test", "/webhooks/wh_x/deliveries/evt_x/resend")


@pytest.mark.parametrize("path", TAKES_NO_BODY)
def test_what_takes_no_body_refuses_one_where_it_is_ours(ask, path):
    def answer(body):
        return refusal(ask("POST", path, body, headers={"content-type": "application/json"}))

    assert answer(b'{"type": "x"}')[-1] == "Unknown parameter: 'type'."
    assert answer(b"zzz")[-1].startswith("We could not parse the JSON body of your request.")
    assert answer(b"[]")[-1] == "Invalid type: expected an object, but got an array instead."
    for body in (b"", b" ", b"{}"):
        assert answer(body)[0] == 404


def test_what_takes_no_body_looks_at_none_where_the_original_did_not(ask):
    assert refusal(ask("POST", "/threads/thread_x/runs/run_x/cancel", b"zzz"))[0] == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"new": 1}, "new"),
        ({"messages": [{"role": "user", "content": "x", "new": 1}]}, "messages[0].new"),
        ({"messages": [{"role": "user", "content": [TEXT | {"new": 1}]}]}, "messages[0].content[0].new"),
        ({"tool_resources": {"code_interpreter": {"new": 1}}}, "tool_resources.code_interpreter.new"),
        ({"new": 1, "metadata": 3}, "new"),
    ],
)
def test_strict_refuses_unknown_fields_at_every_level(strict_client, body, param):
    answer = strict_client._client.post(
        f"{strict_client.base_url}threads",
        json=body,
        headers={"Authorization": f"Bearer {strict_client.api_key}", "OpenAI-Beta": "assistants=v2"},
    )
    expected = (400, "invalid_request_error", "unknown_parameter", param, f"Unknown parameter: '{param}'.")
    assert refusal(answer) == expected


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"new": 1}, "new"),
        ({"tools": [{"type": "code_interpreter", "new": 1}]}, "tools[0].new"),
        ({"tools": [{"type": "function", "function": {"name": "f", "new": 1}}]}, "tools[0].function.new"),
        ({"response_format": {"type": "text", "new": 1}}, "response_format.new"),
    ],
)
def test_strict_refuses_unknown_fields_of_assistants_at_every_level(strict_client, body, param):
    with pytest.raises(openai.BadRequestError) as caught:
        strict_client.beta.assistants.create(model="m", extra_body=body)
    assert caught.value.body["message"] == f"Unknown parameter: '{param}'."


def test_strict_keeps_schemas_whatever_is_in_them(strict_client):
    tools = function(parameters={"type": "object", "new": {"x": [1]}})["tools"]
    shown = strict_client.beta.assistants.create(model="m", tools=tools).tools[0].function.parameters
    assert shown == tools[0]["function"]["parameters"]
