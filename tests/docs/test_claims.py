"""What the pages say of other people's clients, and of the server's own words."""

from __future__ import annotations

import base64
import hmac
import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace

import openai
import pytest
from tests.ports import free_port
from tests.receiver import TELLS, create, deliveries

from threadkeep import testing
from threadkeep.server import banner
from threadkeep.settings import Settings

README = Path(__file__).parents[2] / "README.md"
WEBHOOKS = README.parent / "docs/how-to/be-notified-of-runs.md"

VERSION = "2024-05-01-preview"


@pytest.fixture(scope="module")
def server():
    with testing.serve() as server:
        yield server


def test_the_azure_client_works_with_a_base_url(server):
    with openai.AzureOpenAI(base_url=server.base_url, api_version=VERSION, api_key=server.new_key()) as client:
        thread = client.beta.threads.create()
        assert client.beta.threads.retrieve(thread.id) == thread
        # It sends `api-version` with every request, also with those whose unknown parameters are refused.
        assert [found["id"] for found in client.get("/threads", cast_to=object)["data"]] == [thread.id]


def test_the_azure_client_gets_a_404_with_an_endpoint(server):
    endpoint = server.base_url.removesuffix("/v1")
    with (
        openai.AzureOpenAI(azure_endpoint=endpoint, api_version=VERSION, api_key=server.new_key()) as client,
        pytest.raises(openai.NotFoundError, match=r"Invalid URL \(POST /openai/threads\)"),
    ):
        client.beta.threads.create()


@pytest.mark.parametrize("path", ["/files", "/vector_stores", "/uploads"])
def test_what_is_not_there_yet_is_a_404(server, path):
    with (
        openai.OpenAI(base_url=server.base_url, api_key=server.new_key()) as client,
        pytest.raises(openai.NotFoundError, match="does not have files and vector stores yet"),
    ):
        client.post(path, cast_to=object, body={})


def test_the_readme_shows_what_the_server_prints():
    listener = SimpleNamespace(getsockname=lambda: ("127.0.0.1", 8000))
    printed = banner(Settings(), listener, is_open=True, is_new=True)
    shown = printed.replace(str(Path.cwd()), "/srv/threadkeep")
    assert f"```text\n{shown}\n```" in README.read_text(encoding="utf-8")


def test_a_server_names_its_model_servers_and_hides_their_keys():
    listener = SimpleNamespace(getsockname=lambda: ("127.0.0.1", 8000))
    settings = Settings(upstream_url="http://127.0.0.1:11434/v1", upstream_key="sk-secret", worker=False)
    shown = banner(settings, listener, is_open=True)
    assert "  models    http://127.0.0.1:11434/v1\n  runs      not executed here" in shown
    assert "secret" not in shown


@pytest.fixture
def start(tmp_path):
    """Starts a program that is text, with variables; it ends with the test."""
    with ExitStack() as stack:

        def begin(program, **environ):
            (tmp_path / "program.py").write_text(program, encoding="utf-8")
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "program.py"],
                    cwd=tmp_path,
                    env=os.environ | environ,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )
            stack.callback(process.terminate)
            return process

        yield begin


def test_the_receiver_of_the_page_takes_what_a_server_sends_and_keeps_it_once(tmp_path, start):
    program = re.search(r"```python\n(.*?)```", WEBHOOKS.read_text(encoding="utf-8"), re.DOTALL)[1]
    port = free_port()
    with (
        testing.serve(**TELLS) as server,
        openai.OpenAI(base_url=server.base_url, api_key=server.new_key()) as client,
    ):
        hook = create(client, f"http://127.0.0.1:{port}/hook")
        path = f"/webhooks/{hook['id']}"
        client.post(f"{path}/rotate_secret", cast_to=object)
        receiver = start(program, PORT=str(port), WEBHOOK_SECRETS=f"whsec_b3RoZXI= {hook['secret']}")
        told = client.post(f"{path}/test", cast_to=object)
        assert receiver.stdout.readline() == f"webhook.test {hook['id']}\n"
        deliveries(client, hook, until=lambda page: page[0]["status_code"] == 204)
        client.post(f"{path}/deliveries/{told['id']}/resend", cast_to=object)
        deliveries(
            client, hook, until=lambda page: [a["status_code"] for a in page[0]["last_attempts"]][:2] == [204] * 2
        )
        # Without the overlap, the old secret signs no more.
        client.post(f"{path}/rotate_secret", body={"overlap_seconds": 0}, cast_to=object)
        refused = client.post(f"{path}/test", cast_to=object)["id"]
        deliveries(client, hook, until=lambda page: {one["id"]: one["status_code"] for one in page}[refused] == 401)
    receiver.terminate()
    assert receiver.stdout.read() == ""
    with closing(sqlite3.connect(tmp_path / "events.db")) as database:
        assert database.execute("select id from events").fetchall() == [(told["id"],)]


def test_the_sdk_has_no_class_for_the_events_of_a_server():
    body, at = b'{"id": "evt_1", "type": "thread.run.completed", "data": {}}', str(int(time.time()))
    signed = base64.b64encode(hmac.digest(b"secret", f"evt_1.{at}.".encode() + body, "sha256")).decode()
    headers = {"webhook-id": "evt_1", "webhook-timestamp": at, "webhook-signature": f"v1,{signed}"}
    with openai.OpenAI(api_key="x", webhook_secret="whsec_c2VjcmV0") as client:
        event = client.webhooks.unwrap(body, headers)
    assert event.type == "thread.run.completed"
    assert event.type not in str(type(event).model_fields["type"].annotation)
