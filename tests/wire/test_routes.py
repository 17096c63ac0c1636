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
    "MessageAddParams": {"role": "user", "content": "intruder"},
    "MessageUpdateParams": {"metadata": {"of": "intruder"}},
    "ThreadCopyParams": {"metadata": {"of": "intruder"}},
    "AssistantCreateParams": {"model": "intruder"},
    "AssistantUpdateParams": {"metadata": {"of": "intruder"}},
    "RunCreateParams": {"assistant_id": "asst_intruders"},
    "ThreadAndRunCreateParams": {"assistant_id": "asst_intruders"},
    "RunUpdateParams": {"metadata": {"of": "intruder"}},
    "ToolOutputsParams": {"tool_outputs": []},
    "WebhookCreateParams": {"url": "https://intruder.example.com/hook"},
    "WebhookUpdateParams": {"url": "https://intruder.example.com/hook"},
    "WebhookRotateSecretParams": {"overlap_seconds": 0},
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


class Owner:
    """A project with one object of each kind."""

    def __init__(self, http, key):
        self._http = http
        self.headers = {"Authorization": f"Bearer {key}"}
        body = {"metadata": {"of": "owner"}, "messages": [{"role": "user", "content": "secret"}]}
        self.thread = self._post("/threads", body)
        self.assistant = self._post("/assistants", {"model": "echo"})
        # A project cannot have many.
        webhooks = self.get("/webhooks").json()["data"]
        self.webhook = webhooks[0] if webhooks else self._post("/webhooks", {"url": "https://owner.example.com/hook"})
        self._runs = f"/threads/{self.thread['id']}/runs"
        self._run_id = self._post(self._runs, {"assistant_id": self.assistant["id"]})["id"]
        while self.get(f"{self._runs}/{self._run_id}").json()["status"] != "completed":
            pass
        self.ids = {
            "thread_id": self.thread["id"],
            "assistant_id": self.assistant["id"],
            "run_id": self._run_id,
            "message_id": self.get(f"/threads/{self.thread['id']}/messages").json()["data"][-1]["id"],
            "webhook_id": self.webhook["id"],
            "event_id": self.get(f"/webhooks/{self.webhook['id']}/deliveries").json()["data"][0]["id"],
            "step_id": self.get(f"{self._runs}/{self._run_id}/steps").json()["data"][0]["id"],
        }
        self.before = self.everything()

    def _post(self, path, body):
        return self._http.post(path, json=body, headers=self.headers).json()

    def get(self, path):
        return self._http.get(path, headers=self.headers)

    def everything(self):
        """All that the project has, as it is sent."""
        thread = f"/threads/{self.thread['id']}"
        run = f"{self._runs}/{self._run_id}"
        paths = (thread, f"{thread}/messages", self._runs, f"{run}/steps", "/assistants", "/webhooks")
        return [self.get(path).text for path in paths]


@pytest.mark.parametrize("route", [param for param in IDS if "/models" not in param.id])
def test_another_projects_objects_are_a_plain_404_everywhere(server, route):
    intruder = {"Authorization": f"Bearer {server.new_key('intruder')}"}
    with httpx2.Client(base_url=server.base_url) as http:
        owner = Owner(http, server.new_key("owner"))
        path = route.path.format(**owner.ids)
        sent = BODIES[route.body.__name__] if route.body else None

        def attempt():
            return http.request(route.method, path, json=sent, headers=intruder)

        if "{" in route.path:
            # Of a child, the parent is looked for first.
            parent = re.findall(r"\{(\w+)\}", route.path)[0]
            missing = route.path.format(**{name: f"{PREFIXES[name]}_missing" for name in owner.ids})
            plain = http.request(route.method, missing, json=sent, headers=intruder)
            stolen = attempt()
            assert stolen.status_code == plain.status_code == 404
            assert stolen.text == plain.text.replace(f"{PREFIXES[parent]}_missing", owner.ids[parent])
        elif route.method == "GET":
            lists = {"/threads": owner.thread, "/assistants": owner.assistant, "/webhooks": owner.webhook}
            own = lists.get(route.path, owner.thread)
            assert own["id"] not in attempt().text
            if route.path not in OF_NO_OBJECT:
                assert http.get(path, params={"after": own["id"]}, headers=intruder).status_code == 404
            if route.path == "/threads":
                assert own["id"] not in http.get(path, params={"metadata[of]": "owner"}, headers=intruder).text
        assert owner.everything() == owner.before


def test_another_projects_assistant_runs_on_nothing(server):
    intruder = {"Authorization": f"Bearer {server.new_key('intruder')}"}
    with httpx2.Client(base_url=server.base_url) as http:
        owner = Owner(http, server.new_key("owner"))
        mine = http.post("/threads", json={"messages": [{"role": "user", "content": "x"}]}, headers=intruder).json()
        body = {"assistant_id": owner.assistant["id"]}
        for path in (f"/threads/{mine['id']}/runs", "/threads/runs"):
            answer = http.post(path, json=body, headers=intruder)
            assert (answer.status_code, answer.json()["error"]["message"]) == (
                404,
                f"No assistant found with id '{owner.assistant['id']}'.",
            )
        assert http.get(f"/threads/{mine['id']}/runs", headers=intruder).json()["data"] == []


def test_a_run_and_its_steps_are_not_reached_through_a_thread_of_ones_own(server):
    intruder = {"Authorization": f"Bearer {server.new_key('intruder')}"}
    with httpx2.Client(base_url=server.base_url) as http:
        owner = Owner(http, server.new_key("owner"))
        mine = http.post("/threads", headers=intruder).json()
        run = f"/threads/{mine['id']}/runs/{owner.ids['run_id']}"
        calls = [
            ("GET", run, None),
            ("GET", f"{run}?stream=true", None),
            ("POST", run, {"metadata": {"a": "b"}}),
            ("POST", f"{run}/cancel", {}),
            ("POST", f"{run}/submit_tool_outputs", {"tool_outputs": []}),
            ("GET", f"{run}/steps", None),
            ("GET", f"{run}/steps/{owner.ids['step_id']}", None),
        ]
        for method, path, body in calls:
            answer = http.request(method, path, json=body, headers=intruder)
            expected = f"No run found with id '{owner.ids['run_id']}'."
            assert (answer.status_code, answer.json()["error"]["message"]) == (404, expected)
        listed = http.get(f"/threads/{mine['id']}/messages", params={"run_id": owner.ids["run_id"]}, headers=intruder)
        assert listed.json()["data"] == []
        assert owner.everything() == owner.before


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
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


def test_the_examples_of_the_reference_page_name_the_server_as_it_was_asked(server):
    by_name = server.url.replace("127.0.0.1", "localhost")
    for url in (server.url, by_name):
        page = httpx2.get(f"{url}/docs").text
        assert f"{url}/v1/threads" in page
        assert ".invalid" not in page
