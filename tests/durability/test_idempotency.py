"""`kill -9` between a commit and its answer: the request is sent again with its key, and was done once."""

from __future__ import annotations

import itertools
import json
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx2
import openai
import pytest

from threadkeep import testing

CLIENTS = 4
ROUNDS = 4
HELLO = {"role": "user", "content": "Hello you there"}
KEPT = "select answer from idempotency_keys where key = 'k' and answer is not null"


def send(server, path, body):
    content = json.dumps(body)
    return httpx2.post(f"{server.base_url}{path}", content=content, headers={"Idempotency-Key": "k"}, timeout=60)


def send_without_reading(server, path, body):
    """Sends the request as `send` does, on a socket that nobody reads."""
    address = urlsplit(server.base_url)
    content = json.dumps(body).encode()
    head = f"POST /v1{path} HTTP/1.1\r\nhost: localhost\r\nidempotency-key: k\r\ncontent-length: {len(content)}\r\n\r\n"
    connection = socket.create_connection((address.hostname, address.port))
    connection.sendall(head.encode() + content)
    return connection


@pytest.mark.parametrize("kind", ["thread", "message", "assistant", "run", "thread and run"])
def test_a_request_whose_answer_died_with_the_server_was_done_once(serve, stored, eventually, kind):
    server = serve(stored.url)
    thread = server.client.beta.threads.create(messages=[HELLO]).id
    assistant = server.client.beta.assistants.create(model="echo").id
    path, body, listed = {
        "thread": ("/threads", {"messages": [HELLO]}, "/threads"),
        "message": (f"/threads/{thread}/messages", HELLO, f"/threads/{thread}/messages"),
        "assistant": ("/assistants", {"model": "m"}, "/assistants"),
        "run": (f"/threads/{thread}/runs", {"assistant_id": assistant}, f"/threads/{thread}/runs"),
        "thread and run": ("/threads/runs", {"assistant_id": assistant, "thread": {"messages": [HELLO]}}, "/threads"),
    }[kind]

    def count():
        return len(server.client.get(listed, cast_to=object)["data"])

    before = count()
    with send_without_reading(server, path, body):
        eventually(lambda: stored.rows(KEPT))
        server.kill()
    eventually(stored.is_let_go)
    [[answer]] = stored.rows(KEPT)
    server = serve(stored.url)
    again = send(server, path, body)
    assert (again.status_code, again.text) == (200, answer)
    assert again.headers["idempotent-replayed"] == "true"
    assert count() == before + 1


def test_a_streamed_run_whose_server_died_is_followed_from_its_start_to_its_end(serve, stored, eventually):
    flags = ("--run-lease-s", "1")
    server = serve(stored.url, *flags)
    assistant = server.client.beta.assistants.create(model="echo").id
    thread = {"messages": [{"role": "user", "content": "word " * 500}]}
    body = {"assistant_id": assistant, "thread": thread, "stream": True}
    with send_without_reading(server, "/threads/runs", body):
        eventually(lambda: stored.rows(KEPT))
        server.kill()
    eventually(stored.is_let_go)
    server = serve(stored.url, *flags)
    names = [line for line in send(server, "/threads/runs", body).text.splitlines() if line.startswith("event: ")]
    assert names[:2] == ["event: thread.created", "event: thread.run.created"]
    assert names[-2:] == ["event: thread.run.completed", "event: done"]
    assert len(stored.rows("select 1 from runs")) == 1


class Client:
    """Adds messages to a thread that all write to, until the server dies, each with a key of its own.

    What was under way then is sent again with its key.
    """

    def __init__(self, number):
        self._texts = (f"client {number} word {n}" for n in itertools.count())
        self._under_way = None
        self.said = []

    def write_until_killed(self, messages, thread_id, acknowledged):
        try:
            while True:
                text = self._under_way = self._under_way or next(self._texts)
                messages.create(thread_id, role="user", content=text, extra_headers={"Idempotency-Key": text})
                self.said.append(text)
                self._under_way = None
                acknowledged.release()
        except openai.APIConnectionError:
            return


def test_clients_that_try_again_with_their_keys_say_everything_once(serve, stored, eventually):
    chance = random.Random(1)
    server = serve(stored.url)
    thread_id = server.client.beta.threads.create().id
    clients = [Client(number) for number in range(CLIENTS)]
    for round_number in range(ROUNDS + 1):
        acknowledged = threading.Semaphore(0)
        messages = server.client.beta.threads.messages
        with ThreadPoolExecutor(CLIENTS) as pool:
            writing = [pool.submit(one.write_until_killed, messages, thread_id, acknowledged) for one in clients]
            for _ in range(chance.randrange(20, 100)):
                assert acknowledged.acquire(timeout=30)
            server.kill()
        for client in writing:
            client.result()
        eventually(stored.is_let_go)
        server = serve(stored.url)
        listed = server.client.beta.threads.messages.list(thread_id, order="asc", limit=100)
        texts = [message.content[0].text.value for message in listed]
        assert len(texts) == len(set(texts)), round_number
        for number, client in enumerate(clients):
            mine = [text for text in texts if text.startswith(f"client {number} ")]
            # One more may be there whose answer was lost; it is sent again in the next round.
            assert mine[: len(client.said)] == client.said
            assert len(mine) <= len(client.said) + 1
    stored.assert_sound()


def test_a_key_that_was_never_committed_is_free(serve, stored, eventually):
    server = serve(stored.url)
    with stored.writes_held_up(), send_without_reading(server, "/threads", {}):
        server.kill()
    eventually(stored.is_let_go)
    server = serve(stored.url)
    assert stored.rows(KEPT) == []
    assert "idempotent-replayed" not in send(server, "/threads", {}).headers
    assert len(server.client.get("/threads", cast_to=object)["data"]) == 1


def server_client(server):
    return openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0, timeout=60)


def add_until_told_to_stop(client, thread_id, number, stop, added):
    """Adds messages, each again with its key until it is answered."""
    for n in itertools.count():
        if stop.is_set():
            return
        text = f"client {number} word {n}"
        body = {"thread_id": thread_id, "role": "user", "content": text, "extra_headers": {"Idempotency-Key": text}}
        while refusal := refusal_of(client.beta.threads.messages.create, body):
            # The SDK would try again by itself.
            assert (refusal.code, refusal.response.headers.get("x-should-retry")) == ("storage_unavailable", None)
        added.append(text)


def refusal_of(create, body):
    try:
        create(**body)
    except openai.InternalServerError as error:
        return error
    return None


def test_keys_make_it_safe_to_try_again_while_postgres_dies(cluster, kill_cluster, eventually):
    stop, added = threading.Event(), []
    with testing.serve(database=cluster.get_uri()) as server, server_client(server) as client:
        thread_id = client.beta.threads.create().id
        with ThreadPoolExecutor(CLIENTS) as pool:
            adding = [pool.submit(add_until_told_to_stop, client, thread_id, n, stop, added) for n in range(CLIENTS)]
            for _ in range(3):
                goal = len(added) + 20
                eventually(lambda goal=goal: len(added) >= goal)
                kill_cluster()
                cluster.ensure_postgres_running()
            stop.set()
            for one in adding:
                one.result()
        listed = client.beta.threads.messages.list(thread_id, limit=100)
        assert sorted(message.content[0].text.value for message in listed) == sorted(added)
