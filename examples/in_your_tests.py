"""Tests of a program that keeps its conversations in Threadkeep: a real server, nothing to start, nothing mocked.

Needs no running server. Copy this file to your own project and run `pytest in_your_tests.py` there. Inside the clone,
pytest would read the clone's configuration, which needs plugins; `pytest -c /dev/null --rootdir examples
examples/in_your_tests.py` keeps it from that.
"""

import openai
import pytest

from threadkeep import testing


def remember(client: openai.OpenAI, user: str, text: str) -> str:
    """The program under test: a thread for a first text."""
    return client.beta.threads.create(metadata={"user": user}, messages=[{"role": "user", "content": text}]).id


@pytest.fixture(scope="session")
def threadkeep_server():
    with testing.serve() as server:
        yield server


@pytest.fixture
def client(threadkeep_server, request):
    # A project for each test: they share the server and see nothing of each other.
    key = threadkeep_server.new_key(project=request.node.name)
    with openai.OpenAI(base_url=threadkeep_server.base_url, api_key=key) as client:
        yield client


def test_what_was_said_is_remembered(client):
    thread_id = remember(client, "ada", "Hello")
    (message,) = client.beta.threads.messages.list(thread_id).data
    assert message.content[0].text.value == "Hello"


def test_a_user_starts_with_no_threads(client):
    assert client.get("/threads", cast_to=object)["data"] == []
