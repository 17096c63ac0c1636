"""Servers as the how-to pages start them, with the programs and configurations that the pages show."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import banner
from tests.conftest import PATIENCE_S

HOW_TO = Path(__file__).parents[2] / "docs/how-to"
THREADKEEP = [sys.executable, "-m", "threadkeep"]


def shown(page, language):
    """The blocks of a language that a how-to page shows."""
    text = (HOW_TO / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def replaced(text, changes):
    """The text with each of `changes` made; each must be there."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def wait_until_listening(port, process):
    deadline = time.monotonic() + PATIENCE_S
    while not _listens(port):
        assert process.poll() is None
        assert time.monotonic() < deadline


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Served:
    """A server of its own process."""

    # What it listens on: host and port, or the path of a socket.
    address: str
    database: str
    log: Path
    process: subprocess.Popen

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def new_key(self):
        made = [*THREADKEEP, "keys", "create", "--json", "--database", self.database]
        return json.loads(subprocess.run(made, stdout=subprocess.PIPE, check=True).stdout)["key"]


@pytest.fixture
def serve(model, tmp_path):
    """Starts a server with the scripted model behind it: `serve("--uds", path)`."""
    with ExitStack() as stack:

        def start(*flags):
            database, log = f"sqlite:///{tmp_path / 'threadkeep.db'}", tmp_path / "server.log"
            command = [*THREADKEEP, "serve", "--port", "0", "--database", database, "--upstream-url", model.base_url]
            with log.open("w") as file:
                process = stack.enter_context(
                    subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=file, text=True)
                )
            stack.callback(process.terminate)
            url = banner.read(process.stdout)
            assert url, log.read_text()
            return Served(url.removeprefix("http://").removesuffix("/v1"), database, log, process)

        yield start


@pytest.fixture
def run(tmp_path):
    """Starts another program in a folder of its own; it ends with the test."""
    with ExitStack() as stack:

        def start(*command):
            log = stack.enter_context((tmp_path / f"{command[0]}.log").open("w"))
            process = stack.enter_context(subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log))
            stack.callback(process.terminate)
            return process

        yield start
