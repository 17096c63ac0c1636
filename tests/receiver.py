"""A receiver of webhooks: a real HTTP server that notes what it is sent and answers what it is told to."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WAIT_S = 30


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
