"""PostgreSQL killed under load, and servers killed on PostgreSQL: what was acknowledged stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx2
import openai
import psutil
from tests import banner

from threadkeep import testing

CLIENTS = 6
KEY = "a-key-for-this-test-only"


class Writers:
    """Clients that create threads and add a third message, until they are stopped; they remember what was acknowledged.

    A create is one statement, adding a message a transaction of several.
    """

    def __init__(self, base_url):
        self.acknowledged = []
        self.refused = []
        self.unexpected = []
        self._base_url = base_url
        self._stop = threading.Event()
        self._changed = threading.Condition()

    def __enter__(self):
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._running = [self._pool.submit(self._write) for _ in range(CLIENTS)]
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._pool.shutdown()
        for running in self._running:
            running.result()

    def wait_for(self, what, more):
        """Waits until `what` has grown by `more`."""
        goal = len(what) + more
        with self._changed:
            assert self._changed.wait_for(lambda: len(what) >= goal, 60), (self.unexpected, self.refused[-3:])

    def _write(self):
        messages = [{"role": "user", "content": text} for text in "ab"]
        with openai.OpenAI(base_url=self._base_url, api_key=KEY, max_retries=0, timeout=60) as client:
            while not self._stop.is_set():
                self._note(*self._create(client, messages))

    def _create(self, client, messages):
        try:
            thread_id = client.beta.threads.create(messages=messages).id
            client.beta.threads.messages.create(thread_id, role="user", content="c")
        except openai.APIStatusError as error:
            plain = (error.status_code, error.code) == (503, "storage_unavailable")
            return self.refused if plain else self.unexpected, error
        except openai.APIConnectionError as error:
            return self.refused, error
        return self.acknowledged, thread_id

    def _note(self, outcomes, outcome):
        with self._changed:
            outcomes.append(outcome)
            self._changed.notify_all()


def assert_whole(base_url, thread_ids):
    with openai.OpenAI(base_url=base_url, api_key=KEY, timeout=60) as client:
        for thread_id in thread_ids:
            listed = client.beta.threads.messages.list(thread_id, order="asc")
            assert [message.content[0].text.value for message in listed.data] == list("abc")


def test_a_killed_postgres_loses_nothing_acknowledged_and_the_server_reconnects(cluster, kill_cluster):
    with testing.serve(database=cluster.get_uri(), api_key=KEY) as server:
        with Writers(server.base_url) as writers:
            for _ in range(3):
                writers.wait_for(writers.acknowledged, 20)
                kill_cluster()
                writers.wait_for(writers.refused, 3)
                assert httpx2.get(f"{server.url}/readyz").status_code == 503
                cluster.ensure_postgres_running()
                writers.wait_for(writers.acknowledged, 20)
        assert writers.unexpected == []
        assert_whole(server.base_url, writers.acknowledged)


def test_the_log_has_one_line_when_postgres_goes_and_one_when_it_is_back(cluster, kill_cluster, serve, eventually):
    server = serve(cluster.get_uri())

    def status():
        return httpx2.get(f"{server.base_url}/threads").status_code

    kill_cluster()
    # Each is tried for a while; meanwhile every task of the server finds the database away, again and again.
    assert [status() for _ in range(5)] == [503] * 5
    cluster.ensure_postgres_running()
    eventually(lambda: status() == 200)
    gone, back = server.log.read_text().splitlines()
    assert "storage: PostgreSQL is away" in gone
    assert "storage: PostgreSQL is back after" in back


@contextmanager
def two_processes(database, folder):
    """A server of two processes; gives its process and base URL. Shows what it logged when the test fails."""
    command = [sys.executable, "-m", "threadkeep", "serve", "--port", "0", "--processes", "2", "--database", database]
    with (
        (folder / "log").open("w+") as log,
        subprocess.Popen(
            [*command, "--no-request-log"], cwd=folder, env={**os.environ, "THREADKEEP_API_KEY": KEY},
            stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
        ) as server,
    ):  # fmt: skip
        try:
            yield server, banner.read(server.stdout)
        except BaseException:
            print(f"exit status {server.poll()}\n{(folder / 'log').read_text()}")
            raise
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def test_killed_servers_on_postgres_lose_nothing_acknowledged(postgres, tmp_path):
    database = postgres()
    acknowledged = []
    for _ in range(3):
        with two_processes(database, tmp_path) as (server, base_url):
            assert_whole(base_url, acknowledged)
            with Writers(base_url) as writers:
                writers.wait_for(writers.acknowledged, 50)
                os.killpg(server.pid, signal.SIGKILL)
            acknowledged += writers.acknowledged
            assert writers.unexpected == []
    assert len(acknowledged) >= 150


def test_a_process_that_dies_while_postgres_is_away_is_there_again_when_postgres_is(
    cluster, kill_cluster, tmp_path, eventually
):
    with two_processes(cluster.get_uri(), tmp_path) as (server, base_url):
        kill_cluster()
        for child in psutil.Process(server.pid).children():
            child.kill()
        # Two died; from the third on, they are such as could not start.
        eventually(lambda: (tmp_path / "log").read_text().count("starting another") > 3)
        cluster.ensure_postgres_running()

        def answers():
            try:
                return httpx2.get(f"{base_url}/threads", headers={"api-key": KEY}, timeout=5).status_code == 200
            except httpx2.TransportError:
                return False

        eventually(answers)
        assert server.poll() is None


def test_children_stop_when_their_parent_is_killed(postgres, tmp_path, eventually):
    with two_processes(postgres(), tmp_path) as (server, base_url):
        assert httpx2.get(f"{base_url}/threads", headers={"api-key": KEY}).status_code == 200
        server.kill()

        def is_gone():
            try:
                httpx2.get(f"{base_url}/threads", timeout=5)
            except httpx2.TransportError:
                return True
            return False

        eventually(is_gone)
