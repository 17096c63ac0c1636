"""A receiver of webhooks: a real HTTP server that notes what it is sent and answers what it is told to."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WAIT_S = 60
# A server that may tell receivers on this machine, and does not wait long to tell them again.
TELLS = {"webhook_private_addresses": True, "webhook_retry_s": 0.05}


class Receiver:
    def __init__(self):
        self.received = []
        # Status and headers of the next answers; then 200.
        self.answers = deque()
        # Answers wait for it.
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._news = threading.Condition()

    def note(self, path, headers, body):
        with self._news:
            self.received.append((path, dict(headers), body))
            self._news.notify_all()
        self.may_answer.wait(WAIT_S)
        return self.answers.popleft() if self.answers else (200, {})

    def wait_for(self, count):
        """What has come, when there is at least so much."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.received) >= count, WAIT_S), f"{len(self.received)} came"
            return list(self.received)


@contextmanager
def receiving(port=0):
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            status, headers = receiver.note(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()
            except ConnectionError:
                # Who asked was killed.
                return

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    receiver.port = server.server_address[1]
    receiver.url = f"http://127.0.0.1:{receiver.port}/hook"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.may_answer.set()
        server.shutdown()
        thread.join()
        server.server_close()


def create(client, url, **more):
    return client.post("/webhooks", body={"url": url, **more}, cast_to=object)


def deliveries(client, webhook, *, until=lambda _: True):
    """What the API says became of what a webhook was told, once that is as wanted."""
    deadline = time.monotonic() + WAIT_S
    while True:
        page = client.get(f"/webhooks/{webhook['id']}/deliveries", cast_to=object)["data"]
        if page and until(page):
            return page
        assert time.monotonic() < deadline, page


def finish_run(client, model_name="text:2", **assistant):
    made = client.beta.assistants.create(model=model_name, instructions="Be brief.", **assistant)
    thread = client.beta.threads.create()
    return client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=made.id, metadata={"order": "12"})
