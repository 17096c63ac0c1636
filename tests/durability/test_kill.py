"""`kill -9` at any moment: what was acknowledged is there and whole, and nothing is there in part."""

from __future__ import annotations

import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

ROUNDS = 10
CLIENTS = 6
FIRST_MESSAGES = 5
THREADS_OF_A_CLIENT = 6
SHARED = "thread_shared"


class Client:
    """Writes to threads of its own, and to one that all write to, until the server dies.

    `possible` has the states that each thread may be in: one when its last write is acknowledged, two while one is
    under way. A state is metadata and texts; None is that of a thread which does not exist.
    """

    def __init__(self, number, server):
        self.number = number
        self.restarted(server)
        self.possible = {}
        self.said_to_all = []
        self._words = itertools.count()

    def restarted(self, server):
        self.threads = server.client.beta.threads

    def write_until_killed(self, chance, acknowledged):
        try:
            while True:
                thread_id, state, request = self._next_write(chance)
                states = self.possible.setdefault(thread_id, [None])
                states.append(state)
                request()
                del states[0]
                acknowledged.release()
                self._tell_all()
                acknowledged.release()
        except openai.APIConnectionError:
            return

    def _next_write(self, chance):
        """Which thread, the state it is brought to, and what does it."""
        there = [thread_id for thread_id, states in self.possible.items() if states[-1]]
        if not there or (len(there) < THREADS_OF_A_CLIENT and chance.random() < 0.5):
            return self._creation(f"thread_{self.number}_{next(self._words)}", chance)
        thread_id = chance.choice(there)
        metadata, texts = self.possible[thread_id][-1]
        match chance.randrange(8):
            case 0:
                return thread_id, None, lambda: self.threads.delete(thread_id)
            case 1 | 2:
                patch = dict.fromkeys("abcdef", self._word())
                return thread_id, (metadata | patch, texts), lambda: self.threads.update(thread_id, metadata=patch)
            case 3 | 4 if texts:
                first = self.threads.messages.list(thread_id, order="asc", limit=1).data[0].id
                delete = self.threads.messages.delete
                return thread_id, (metadata, texts[1:]), lambda: delete(first, thread_id=thread_id)
            case _:
                text = self._long_word(chance)
                create = self.threads.messages.create
                return thread_id, (metadata, [*texts, text]), lambda: create(thread_id, role="user", content=text)

    def _creation(self, thread_id, chance):
        metadata, texts = {"made by": self._word()}, [self._long_word(chance) for _ in range(FIRST_MESSAGES)]
        messages = [{"role": "user", "content": text} for text in texts]
        create = self.threads.create
        request = lambda: create(messages=messages, metadata=metadata, extra_body={"id": thread_id})  # noqa: E731
        return thread_id, (metadata, texts), request

    def _tell_all(self):
        text = self._word()
        self.threads.messages.create(SHARED, role="user", content=text)
        self.said_to_all.append(text)

    def _word(self):
        return f"client {self.number} word {next(self._words)}"

    def _long_word(self, chance):
        return self._word() + "." * chance.randrange(20_000)

    def check(self, said_to_all):
        """Every thread is in a possible state, and what was said to all is there in its order."""
        for thread_id, states in self.possible.items():
            state = self._state(thread_id)
            assert state in states, thread_id
            states[:] = [state]
        mine = [text for text in said_to_all if text.startswith(f"client {self.number} ")]
        # One more may be there whose answer was lost.
        assert mine[: len(self.said_to_all)] == self.said_to_all
        assert len(mine) <= len(self.said_to_all) + 1
        self.said_to_all = mine

    def _state(self, thread_id):
        try:
            metadata = self.threads.retrieve(thread_id).metadata
        except openai.NotFoundError:
            return None
        return metadata, texts_of(self.threads, thread_id)


def texts_of(threads, thread_id):
    return [message.content[0].text.value for message in threads.messages.list(thread_id, order="asc", limit=100)]


def test_a_killed_server_keeps_every_acknowledged_write(serve, stored, eventually):
    chance = random.Random(1)
    server = serve(stored.url)
    server.client.beta.threads.create(extra_body={"id": SHARED})
    clients = [Client(number, server) for number in range(CLIENTS)]
    for _ in range(ROUNDS):
        acknowledged = threading.Semaphore(0)
        with ThreadPoolExecutor(CLIENTS) as pool:
            writing = [
                pool.submit(client.write_until_killed, random.Random(chance.random()), acknowledged)
                for client in clients
            ]
            for _ in range(chance.randrange(20, 200)):
                assert acknowledged.acquire(timeout=30)
            server.kill()
        for client in writing:
            client.result()
        eventually(stored.is_let_go)
        server = serve(stored.url)
        said_to_all = texts_of(server.client.beta.threads, SHARED)
        for client in clients:
            client.restarted(server)
            client.check(said_to_all)
        there = {thread_id for client in clients for thread_id, [state] in client.possible.items() if state}
        listed = server.client.get("/threads?limit=100", cast_to=object)["data"]
        assert {thread["id"] for thread in listed} == there | {SHARED}
    assert server.stop() == 0
    stored.assert_sound()


def test_a_long_deletion_that_a_kill_cut_short_is_finished_after_the_restart(serve, stored, eventually):
    server = serve(stored.url, "--thread-create-messages-max", "5000")
    threads = server.client.beta.threads
    threads.create(messages=[{"role": "user", "content": "x"}] * 5000, extra_body={"id": "thread_long"})
    threads.delete("thread_long")
    server.kill()
    assert stored.rows("select 1 from messages limit 1")
    server = serve(stored.url)
    with pytest.raises(openai.NotFoundError):
        server.client.beta.threads.retrieve("thread_long")
    eventually(lambda: not stored.rows("select 1 from messages limit 1"))
    server.client.beta.threads.create(extra_body={"id": "thread_long"})


def test_a_server_killed_while_it_makes_its_database_can_be_started_again(serve, stored, start_command, eventually):
    making = start_command("serve", stored.url, "--port", "0")
    eventually(stored.is_touched)
    making.kill()
    making.wait()
    serve(stored.url).client.beta.threads.create()


def bytes_of(file):
    """Its size; it may be renamed at any moment."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_killed_backup_leaves_no_broken_file_under_its_name(serve, db, run, start_command, eventually, assert_sound):
    server = serve(db)
    for _ in range(20):
        server.client.beta.threads.create(messages=[{"role": "user", "content": "x" * 250_000}] * 8)
    copy, partial = db.with_name("copy.db"), db.with_name("copy.db.partial")
    backup = start_command("backup", db, copy)
    eventually(lambda: copy.exists() or bytes_of(partial))
    backup.kill()
    backup.wait()
    if copy.exists():
        # It was quicker than the kill.
        assert_sound(copy)
        copy.unlink()
    assert run("backup", db, copy).returncode == 0
    assert not partial.exists()
    assert_sound(copy)
    server.client.beta.threads.create()
