"""SIGTERM, and a second server on the same file."""

from __future__ import annotations

import http.client
import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit

import openai

IN_FLIGHT = 20


def address_of(server):
    parts = urlsplit(server.base_url)
    return parts.hostname, parts.port


def status_of_a_new_connection(server):
    """None when the server takes no more of them."""
    try:
        with closing(http.client.HTTPConnection(*address_of(server), timeout=60)) as connection:
            connection.request("GET", "/healthz")
            return connection.getresponse().status
    except ConnectionError:
        return None


def send_messages(server, path):
    """Sends requests whose answers are to come: some complete, one in part. Gives their connections and the rest."""
    connections = [http.client.HTTPConnection(*address_of(server), timeout=60) for _ in range(IN_FLIGHT)]
    for n, connection in enumerate(connections):
        body = json.dumps({"role": "user", "content": f"number {n}"})
        connection.request("POST", path, body)
    half_sent = http.client.HTTPConnection(*address_of(server), timeout=60)
    half_sent.putrequest("POST", path)
    half_sent.putheader("content-length", str(len(body)))
    half_sent.endheaders()
    half_sent.send(body[:10].encode())
    # A new connection is answered only after those before it were accepted.
    for _ in range(2):
        assert status_of_a_new_connection(server) == 200
    return [*connections, half_sent], body[10:].encode()


def test_sigterm_lets_every_accepted_request_finish(serve, stored, eventually):
    server = serve(stored.url)
    thread = server.client.beta.threads.create()
    # All writes are under way when the signal comes.
    with stored.writes_held_up():
        connections, rest = send_messages(server, f"/v1/threads/{thread.id}/messages")
        server.signal(signal.SIGTERM)
        eventually(lambda: status_of_a_new_connection(server) is None)
        connections[-1].send(rest)
    answers = [connection.getresponse() for connection in connections]
    assert [answer.status for answer in answers] == [200] * (IN_FLIGHT + 1)
    said = {json.load(answer)["id"] for answer in answers}
    for connection in connections:
        connection.close()
    assert server.wait() == 0
    assert stored.is_at_rest()

    listed = serve(stored.url).client.beta.threads.messages.list(thread.id, limit=100)
    assert {message.id for message in listed} == said


def test_a_server_stopped_under_load_keeps_what_it_acknowledged(serve, stored):
    server = serve(stored.url)
    acknowledged = threading.Semaphore(0)

    def create_until_stopped():
        created = []
        try:
            while True:
                created.append(server.client.beta.threads.create().id)
                acknowledged.release()
        except openai.APIConnectionError:
            return created

    with ThreadPoolExecutor(6) as pool:
        creating = [pool.submit(create_until_stopped) for _ in range(6)]
        for _ in range(100):
            assert acknowledged.acquire(timeout=30)
        assert server.stop() == 0
    assert stored.is_at_rest()
    created = {thread_id for creator in creating for thread_id in creator.result()}
    assert created <= {thread_id for [thread_id] in stored.rows("select thread_id from threads")}


def test_a_second_server_on_a_file_names_the_first_and_leaves_it_alone(serve, run, db):
    first = serve(db)
    thread = first.client.beta.threads.create()
    second = run("serve", db, "--port", "0")
    assert second.returncode == 1
    assert f"already being served by process {first.pid}." in second.stderr
    assert first.client.beta.threads.update(thread.id, metadata={"still": "here"}).metadata == {"still": "here"}
    first.kill()
    assert serve(db).client.beta.threads.retrieve(thread.id).metadata == {"still": "here"}
