"""Requests that are made from `/openapi.json`, good ones and bad ones: each answer is as described there."""

from __future__ import annotations

import json
import urllib.request

import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from threadkeep.http.endpoint import PREFIXES
from threadkeep.http.routes import ROUTES

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@schemathesis.serializer("application/x-ndjson")
def as_lines(_, value):
    """The body of an import: text, or whatever is generated in its place."""
    return (value if isinstance(value, str) else json.dumps(value)).encode()


@pytest.fixture(scope="module")
def server(serve):
    return serve()


@pytest.fixture(scope="module")
def headers(server):
    return {"Authorization": f"Bearer {server.key}"}


@pytest.fixture(scope="module")
def schema(server):
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


@pytest.fixture(scope="module")
def new_ids(server, headers):
    """Makes a thread with a message, an assistant and its run; gives their ids under the names that paths have."""

    def send(path, body=None, method=None):
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{server.base_url}{path}", content, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def new_webhook():
        # A project can have twenty, and requests made here make more.
        for webhook in send("/webhooks?limit=100")["data"]:
            send(f"/webhooks/{webhook['id']}", method="DELETE")
        # The name leads nowhere: nothing is sent anywhere.
        return send("/webhooks", {"url": "https://hooks.example/", "events": ["thread.run.expired"]})["id"]

    def make():
        thread_id = send("/threads", {})["id"]
        message_id = send(f"/threads/{thread_id}/messages", {"role": "user", "content": "hello"})["id"]
        assistant_id = send("/assistants", {"model": "echo"})["id"]
        run = f"/threads/{thread_id}/runs"
        run_id = send(run, {"assistant_id": assistant_id})["id"]
        while not (steps := send(f"{run}/{run_id}/steps")["data"]):
            pass
        return {
            "thread_id": thread_id,
            "message_id": message_id,
            "assistant_id": assistant_id,
            "run_id": run_id,
            "step_id": steps[0]["id"],
            "model": "org/model:free",
            "webhook_id": new_webhook(),
            # It was told of nothing, so there is none.
            "event_id": "evt_none",
        }

    return make


def can_be_wrong(route):
    return route.body or route.query or any(f"{{{name}}}" in route.path for name in PREFIXES)


CASES = [
    pytest.param(route, mode, id=f"{route.method} {route.path}-{mode.value}")
    for route in ROUTES
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or can_be_wrong(route)
]


@pytest.mark.parametrize(("route", "mode"), CASES)
def test_every_answer_is_as_described(schema, headers, new_ids, route, mode):
    operation = schema[f"/v1{route.path}"][route.method]

    @settings(max_examples=60)
    @given(case=operation.as_strategy(generation_mode=mode), there=st.booleans())
    def check(case, there):
        if there:
            # Ids that nobody made would give nothing but refusals.
            ids = new_ids()
            case.path_parameters |= {name: ids[name] for name in case.path_parameters}
        case.call_and_validate(headers=headers, checks=CHECKS)

    check()
