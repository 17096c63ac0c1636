"""What travels beside the bodies: keys, the beta header, response headers, CORS, and paths with and without /v1."""

from __future__ import annotations

import re

import httpx2
import openai
import pytest

from threadkeep import projects, testing


@pytest.fixture
def http(server):
    with httpx2.Client(base_url=server.url) as client:
        yield client


@pytest.fixture
def key(server):
    return server.new_key()


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def test_every_answer_carries_the_original_headers(http, key):
    for answer in (
        http.post("/v1/threads", headers=bearer(key)),
        http.get("/v1/threads/thread_x", headers=bearer(key)),
        http.get("/v1/threads"),
        http.get("/v1/nowhere"),
        http.put("/v1/threads"),
        http.get("/healthz"),
        http.get("/docs"),
    ):
        assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
        assert answer.headers["openai-version"] == "2020-10-01"
        assert int(answer.headers["openai-processing-ms"]) >= 0


def test_the_sdk_shows_the_request_id_of_answers_and_errors(client):
    assert client.beta.threads.create()._request_id.startswith("req_")
    with pytest.raises(openai.NotFoundError) as caught:
        client.beta.threads.retrieve("thread_x")
    assert caught.value.request_id.startswith("req_")


def test_paths_work_with_and_without_v1(http, key):
    thread = http.post("/threads", headers=bearer(key)).json()
    assert http.get(f"/v1/threads/{thread['id']}", headers=bearer(key)).json() == thread


def test_a_missing_key_is_refused(http):
    answer = http.get("/v1/threads/thread_x")
    error = answer.json()["error"]
    assert answer.status_code == 401
    assert error["message"].startswith("You didn't provide an API key.")
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)


def test_a_key_that_another_process_made_right_after_a_look_works_at_once(http, server, key):
    async def make():
        await server.app.authenticator.look()
        default = await projects.find(server.app.store, projects.DEFAULT_PROJECT)
        return (await projects.create_key(server.app.store, default, "", 0))[1]

    made = server.run(make())
    assert key
    assert http.get("/v1/threads", headers=bearer(made)).status_code == 200


def test_the_first_key_of_an_open_server_opens_its_own_project_at_once(postgres, postgres_settings, database):
    async def make(store):
        project = await projects.create(store, "other", 0)
        return (await projects.create_key(store, project, "", 0))[1]

    own = {"database": postgres(), **postgres_settings} if database == "postgres" else {}
    with testing.serve(**own) as server, httpx2.Client(base_url=server.base_url) as http:
        assert http.get("/threads").status_code == 200
        server.run(server.app.authenticator.look())
        made = server.run(make(server.app.store))
        thread = http.post("/threads", headers=bearer(made)).json()
        server.run(server.app.authenticator.look())
        listed = http.get("/threads", headers=bearer(made)).json()["data"]
    assert listed == [thread]


@pytest.mark.parametrize("wrong", ["tk-wrong-key-0123456789", "x", "ä" * 20, "sk-" + "y" * 5000])
def test_a_wrong_key_is_refused_and_hardly_shown(http, wrong):
    answer = http.get("/v1/threads/thread_x", headers={"Authorization": f"Bearer {wrong}".encode()})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (401, "invalid_api_key")
    assert error["message"].startswith("Incorrect API key provided: ")
    assert wrong not in error["message"]


@pytest.mark.parametrize("spelling", ["Bearer {}", "bearer {}", "BEARER  {}"])
def test_a_key_works_in_any_spelling_of_bearer(http, key, spelling):
    assert http.get("/v1/threads", headers={"Authorization": spelling.format(key)}).status_code == 200


def test_the_azure_header_works_and_the_optional_ones_are_accepted(http, key):
    headers = {"api-key": key, "OpenAI-Organization": "org_x", "OpenAI-Project": "proj_x"}
    assert http.get("/v1/threads", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/docs"])
def test_pages_around_the_api_need_no_key(http, path):
    assert http.get(path).status_code == 200
    assert http.post(path).status_code == 405
    assert http.post(path).json()["error"]["type"] == "invalid_request_error"


BETA_MISSING = (
    "You must provide the 'OpenAI-Beta' header to access the Assistants API. "
    "Please try again by setting the header 'OpenAI-Beta: assistants=v2'."
)
BETA_V1 = (
    "The v1 Assistants API has been deprecated. Please try again by setting the header 'OpenAI-Beta: assistants=v2'. "
    "See the migration guide for more information: https://platform.openai.com/docs/assistants/migration."
)
BETA_GONE = BETA_V1.replace(" Please try again by setting the header 'OpenAI-Beta: assistants=v2'.", "")


@pytest.mark.parametrize(
    ("header", "message"),
    [(None, BETA_MISSING), ("", BETA_MISSING), ("realtime=v1", BETA_MISSING), ("assistants=v1", BETA_V1)],
)
def test_strict_needs_the_beta_header_and_lenient_does_not(server, strict_server, header, message):
    for running, expected in ((server, 200), (strict_server, 400)):
        headers = bearer(running.new_key()) | ({"OpenAI-Beta": header} if header is not None else {})
        answer = httpx2.post(f"{running.base_url}/threads", headers=headers)
        assert answer.status_code == expected
        if expected == 400:
            error = answer.json()["error"]
            assert (error["message"], error["code"], error["param"]) == (message, "invalid_beta", None)


@pytest.mark.parametrize("header", ["assistants=v1", "assistants=v2"])
@pytest.mark.parametrize("path", ["assistants/asst_a/files", "threads/thread_a/messages/msg_a/files"])
def test_strict_says_that_what_only_the_first_version_had_is_gone(server, strict_server, path, header):
    for running, status, message in (
        (server, 404, f"Invalid URL (GET /v1/{path}{{}})"),
        (strict_server, 400, BETA_GONE),
    ):
        headers = bearer(running.new_key()) | {"OpenAI-Beta": header}
        for file in ("", "/file-a"):
            answer = httpx2.get(f"{running.base_url}/{path}{file}", headers=headers)
            assert (answer.status_code, answer.json()["error"]["message"]) == (status, message.format(file))
            assert answer.json()["error"]["code"] == (None if status == 404 else "invalid_beta")


@pytest.mark.parametrize("header", ["assistants=v2", "realtime=v1, assistants=v2", "Assistants=V2;x=y"])
def test_the_beta_token_may_stand_anywhere_in_the_list(strict_server, header):
    headers = bearer(strict_server.new_key()) | {"OpenAI-Beta": header}
    assert httpx2.post(f"{strict_server.base_url}/threads", headers=headers).status_code == 200


def test_a_program_of_the_first_version_is_served(http, key):
    headers = bearer(key) | {"OpenAI-Beta": "assistants=v1"}
    body = {"metadata": {"yes": True, "n": 3}, "messages": [{"role": "user", "content": "x", "metadata": {"f": 1.5}}]}
    thread = http.post("/v1/threads", json=body, headers=headers).json()
    assert thread["metadata"] == {"yes": "True", "n": "3"}
    messages = f"/v1/threads/{thread['id']}/messages"
    sent = {"role": "user", "content": "y", "file_ids": ["file-a", "file-b"]}
    assert http.post(messages, json=sent, headers=headers).json()["file_ids"] == ["file-a", "file-b"]
    listed = http.get(messages, headers=headers).json()["data"]
    assert [message["file_ids"] for message in listed] == [["file-a", "file-b"], []]
    assert listed[1]["metadata"] == {"f": "1.5"}


class TestCors:
    def test_no_origin_is_allowed_by_default(self, http, key):
        answer = http.get("/v1/threads", headers=bearer(key) | {"Origin": "https://app.example"})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers

    def test_a_named_origin_is_allowed_and_preflight_answered(self, servers, database):
        server = servers(database, cors_origins=("https://app.example",))
        key = server.new_key()
        with httpx2.Client(base_url=server.base_url, headers={"Origin": "https://app.example"}) as http:
            preflight = http.options("/threads", headers={"Access-Control-Request-Headers": "authorization"})
            assert preflight.status_code == 204
            assert preflight.headers["access-control-allow-origin"] == "https://app.example"
            assert preflight.headers["access-control-allow-headers"] == "authorization"
            assert "POST" in preflight.headers["access-control-allow-methods"]
            for answer in (http.get("/threads", headers=bearer(key)), http.get("/threads"), http.get("/nowhere")):
                assert answer.headers["access-control-allow-origin"] == "https://app.example"
                assert "x-request-id" in answer.headers["access-control-expose-headers"]
                assert "x-ratelimit-remaining-tokens" in answer.headers["access-control-expose-headers"]
            page = http.options(f"{server.url}/openapi.json", headers={"Access-Control-Request-Headers": "x"})
            assert (page.status_code, page.headers["access-control-allow-headers"]) == (204, "x")
            stranger = http.get("/threads", headers=bearer(key) | {"Origin": "https://other.example"})
            assert "access-control-allow-origin" not in stranger.headers
            assert "origin" in stranger.headers["vary"]
        assert "origin" in httpx2.get(f"{server.base_url}/threads").headers["vary"]


class TestOpenServer:
    """Loopback and no key ever made: open to programs of this machine, closed to web pages."""

    @pytest.fixture
    def open_server(self, servers, database):
        # A setting of its own gives it a server of its own, on which no test makes a key.
        return servers(database, keep_alive_s=70.0)

    def test_any_key_or_none_is_the_default_project(self, open_server):
        thread = httpx2.post(f"{open_server.base_url}/threads", headers=bearer("anything")).json()
        assert httpx2.get(f"{open_server.base_url}/threads/{thread['id']}").json() == thread

    def test_a_page_of_another_origin_is_refused(self, open_server):
        answer = httpx2.post(f"{open_server.base_url}/threads", headers={"Origin": "https://evil.example"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (403, None)
        same = httpx2.post(f"{open_server.base_url}/threads", headers={"Origin": open_server.url})
        assert same.status_code == 200

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "[::2]:8000", ""])
    def test_another_name_for_this_machine_is_refused(self, open_server, host):
        assert httpx2.get(f"{open_server.base_url}/threads", headers={"Host": host}).status_code in (400, 403)

    @pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "X-Real-IP", "Via"])
    def test_a_request_through_a_proxy_is_refused(self, open_server, header):
        answer = httpx2.get(f"{open_server.base_url}/threads", headers={header: "203.0.113.7"})
        assert answer.status_code == 403

    @pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8000"])
    def test_its_own_names_are_fine(self, open_server, host):
        assert httpx2.get(f"{open_server.base_url}/threads", headers={"Host": host}).status_code == 200
