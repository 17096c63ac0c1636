"""Each refusal of the original's validator: status, message, `param` and `code`, word for word."""

from __future__ import annotations

import json

import httpx2
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
        "Invalid type for 'messages': expected an array, but got an object instead.",
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
        "Invalid type for 'role': expected a string, but got null instead.",
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


@pytest.mark.parametrize(("query", "code", "param", "message"), BAD_LIST)
@pytest.mark.parametrize("of", ["threads", "messages"])
def test_a_bad_list_query_is_refused(ask, of, query, code, param, message):
    path = "/threads" if of == "threads" else f"/threads/{ask('POST', '/threads').json()['id']}/messages"
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
