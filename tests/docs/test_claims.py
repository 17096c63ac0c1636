"""What the pages say of other people's clients, and of the server's own words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import openai
import pytest

from threadkeep import testing
from threadkeep.server import banner
from threadkeep.settings import Settings

README = Path(__file__).parents[2] / "README.md"

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
