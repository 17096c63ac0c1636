"""A server as a process of its own, so that its memory is nobody else's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from tests import banner

KEY = "tk-a-key-for-fuzzing-0123456789"


class Process:
    """`threadkeep serve` with a key, on a new database."""

    def __init__(self, folder, *flags):
        self.key = KEY
        database = f"sqlite:///{folder / 'threadkeep.db'}"
        with (folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "threadkeep", "serve", "--port", "0", "--database", database, *flags],
                env={**os.environ, "THREADKEEP_API_KEY": KEY},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.pid = self._process.pid
        self.base_url = banner.read(self._process.stdout)
        if self.base_url is None:
            self.stop()
            raise AssertionError(f"the server did not start: {(folder / 'server.log').read_text()}")
        self.url = self.base_url.removesuffix("/v1")
        parts = urlsplit(self.url)
        self.address = (parts.hostname, parts.port)

    def connect(self):
        """A raw connection; reading from it fails after a minute of silence."""
        return socket.create_connection(self.address, timeout=60)

    def stop(self):
        self._process.terminate()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """Starts a server with the given flags, or finds the one that is running."""
    running = {}
    with ExitStack() as stack:

        def find(*flags):
            if flags not in running:
                running[flags] = Process(tmp_path_factory.mktemp("fuzz"), *flags)
                stack.callback(running[flags].stop)
            return running[flags]

        yield find
