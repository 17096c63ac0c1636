"""The whole route table: the error shape, isolation between projects, and the description that is generated from it."""

from __future__ import annotations

import json
import re

import httpx2
import pytest

from threadkeep.http.endpoint import PREFIXES
from threadkeep.http.routes import ROUTES

BODIES = {
    "ThreadCreateParams": {"metadata": {"of": "intruder"}},
    "ThreadUpdateParams": {"metadata": {"of": "intruder"}},
    "MessageCreateParams": {"role": "user", "content": "intruder"},
    "MessageUpdateParams": {"metadata": {"of": "intruder"}},
    "ThreadCopyParams": {"metadata": {"of": "intruder"}},
    "AssistantCreateParams": {"model": "intruder"},
    "AssistantUpdateParams": {"metadata": {"of": "intruder"}},
}
# Their answers are no lists of objects that a cursor could name.
OF_NO_OBJECT = {"/threads/search", "/export"}
IDS = [pytest.param(route, id=f"{route.method} {route.path}") for route in ROUTES]


@pytest.fixture
def http(server):
    with httpx2.Client(base_url=server.base_url, headers={"Authorization": f"Bearer {server.new_key()}"}) as client:
        yield client


@pytest.mark.parametrize("route", IDS)
def test_every_route_answers_errors_in_the_envelope(http, route):
    path = re.sub(r"\{\w+\}", "nonsense", route.path)
    answers = [
        http.request(route.method, path, headers={"Authorization": "Bearer wrong"}),
        http.request("PATCH", path),
        http.request(route.method, f"{path}/more/of/it"),
    ]
    if path != route.path:
        answers.append(http.request(route.method, path, json=BODIES.get(getattr(route.body, "__name__", ""), {})))
    if route.body:
        answers.append(http.request(route.method, path, content=b"{"))
    for answer in answers:
        assert 400 <= answer.status_code < 500
        error = answer.json()["error"]
        assert list(error) == ["message", "type", "param", "code"]
        assert error["type"] == "invalid_request_error"
        assert error["message"]


@pytest.mark.parametrize("route", [param for param in IDS if "/models" not in param.id])
def test_another_projects_objects_are_a_plain_404_everywhere(server, route):
    owner = {"Authorization": f"Bearer {server.new_key('owner')}"}
    intruder = {"Authorization": f"Bearer {server.new_key('intruder')}"}
    body = {"metadata": {"of": "owner"}, "messages": [{"role": "user", "content": "secret"}]}
    with httpx2.Client(base_url=server.base_url) as http:
        thread = http.post("/threads", json=body, headers=owner).json()
        messages = f"/threads/{thread['id']}/messages"
        message = http.get(messages, headers=owner).json()["data"][0]
        assistant = http.post("/assistants", json={"model": "secret"}, headers=owner).json()
        theirs = {"thread_id": thread["id"], "message_id": message["id"], "assistant_id": assistant["id"]}
        path = route.path.format(**theirs)
        sent = BODIES[route.body.__name__] if route.body else None

        def attempt(headers):
            return http.request(route.method, path, json=sent, headers=headers)

        if "{" in route.path:
            # Of a child, the parent is looked for first.
            parent = re.findall(r"\{(\w+)\}", route.path)[0]
            missing = route.path.format(**{name: f"{PREFIXES[name]}_missing" for name in theirs})
            plain = http.request(route.method, missing, json=sent, headers=intruder)
            stolen = attempt(intruder)
            assert stolen.status_code == plain.status_code == 404
            assert stolen.text == plain.text.replace(f"{PREFIXES[parent]}_missing", theirs[parent])
        elif route.method == "GET":
            own = thread if route.path == "/threads" else assistant
            assert own["id"] not in attempt(intruder).text
            if route.path not in OF_NO_OBJECT:
                assert http.get(path, params={"after": own["id"]}, headers=intruder).status_code == 404
            if route.path == "/threads":
                assert own["id"] not in http.get(path, params={"metadata[of]": "owner"}, headers=intruder).text
        assert http.get(f"/threads/{thread['id']}", headers=owner).json() == thread
        assert http.get(messages, headers=owner).json()["data"] == [message]
        assert http.get(f"/assistants/{assistant['id']}", headers=owner).json() == assistant


def test_a_message_is_not_reached_through_a_thread_of_ones_own(server):
    owner = {"Authorization": f"Bearer {server.new_key('owner')}"}
    intruder = {"Authorization": f"Bearer {server.new_key('intruder')}"}
    with httpx2.Client(base_url=server.base_url) as http:
        theirs = http.post("/threads", json={"messages": [{"role": "user", "content": "x"}]}, headers=owner).json()
        mine = http.post("/threads", headers=intruder).json()
        message = http.get(f"/threads/{theirs['id']}/messages", headers=owner).json()["data"][0]
        path = f"/threads/{mine['id']}/messages/{message['id']}"
        for method, body in (("GET", None), ("POST", {"metadata": {"a": "b"}}), ("DELETE", None)):
            assert http.request(method, path, json=body, headers=intruder).status_code == 404
        after = {"after": message["id"]}
        assert http.get(f"/threads/{mine['id']}/messages", params=after, headers=intruder).status_code == 404


def test_the_description_names_every_route(server):
    described = httpx2.get(f"{server.url}/openapi.json").json()
    operations = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert operations == {(route.method, f"/v1{route.path}") for route in ROUTES}
    assert all(operation["x-ours"] in (True, False) for m in described["paths"].values() for operation in m.values())


def test_every_reference_in_the_description_leads_somewhere(server):
    text = httpx2.get(f"{server.url}/openapi.json").text
    components = json.loads(text)["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= set(components)


def test_the_reference_page_shows_every_operation_and_needs_nothing_from_elsewhere(server):
    page = httpx2.get(f"{server.url}/docs")
    for route in ROUTES:
        assert f"</span>/v1{route.path}</code>" in page.text
    assert "<script" not in page.text
    assert not re.search(r"(src|href)='?(https?:)?//", page.text)
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
