"""Limits that need a server in a certain state."""

from __future__ import annotations

import asyncio
import socket
import threading

import httpx2
from tests import another_program

BIG = {"messages": [{"role": "user", "content": "x" * 200_000}] * 3}


def test_large_bodies_count_until_their_requests_are_answered(servers):
    server = servers("sqlite", bodies_bytes_max=1_000_000)
    headers = {"Authorization": f"Bearer {server.new_key()}"}
    statuses = []

    def create():
        statuses.append(httpx2.post(f"{server.base_url}/threads", json=BIG, headers=headers, timeout=60).status_code)

    other = another_program.opened(server.app.store.path)
    # Another program writes, so the first request has been read and waits.
    other.execute("begin immediate")
    waiting = threading.Thread(target=create)
    waiting.start()
    while not server.app.api._bodies._bytes_held:
        assert waiting.is_alive()
    refused = httpx2.post(f"{server.base_url}/threads", json=BIG, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    other.execute("rollback")
    other.close()
    waiting.join()
    create()
    assert statuses == [200, 200]
    assert server.app.api._bodies._bytes_held == 0


def test_a_body_is_not_lost_to_a_wish_for_another_protocol(server):
    body = b'{"metadata": {"a": "b"}}'
    head = (
        b"POST /v1/threads HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n"
        b"authorization: Bearer %s\r\ncontent-length: %d\r\n\r\n" % (server.new_key().encode(), len(body))
    )
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"cannot ask for an upgrade" in answer


def test_while_the_fault_in_a_large_body_is_looked_for_others_are_answered(servers):
    server = servers("sqlite")
    message = b'{"role":"user","content":"x"},'
    body = b'{"messages":[' + message * (15_000_000 // len(message)) + b"5]}"
    headers = {"Authorization": f"Bearer {server.new_key()}"}

    async def ask():
        """The answer, and how many other requests were answered before it."""
        others = 0
        async with httpx2.AsyncClient(base_url=server.base_url, headers=headers) as client:
            refused = asyncio.create_task(client.post("/threads", content=body))
            while not refused.done():
                await client.get("/threads")
                others += 1
        return await refused, others

    answer, others = asyncio.run(ask())
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_type")
    # Without that, one or two: those that were sent before it was read.
    print("OTHERS", others)
    assert others > 10
