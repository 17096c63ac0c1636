"""A real Chromium, a real server, and the scripted model. Each test has a server and a browser profile of its own."""

from __future__ import annotations

import os
import re
import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import openai
import pytest
from playwright.sync_api import expect, sync_playwright

from threadkeep import testing

SCREENS = Path(__file__).parents[2] / ".cache/screens"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDE = {"width": 1280, "height": 800}
WAIT_MS = 30_000
# What Chromium writes into its console for every answer that is not a success; tests make such answers happen.
NETWORK_NOISE = re.compile(r"Failed to load resource|net::ERR_")

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="session")
def browser():
    # A browser that root starts cannot have a sandbox.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *sandbox])
        yield browser
        browser.close()


@pytest.fixture
def model():
    with testing.model() as model:
        yield model


@pytest.fixture
def new_server(model):
    """Starts a server with the model behind it: `new_server(strict=True)`."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            testing.serve(upstream_url=model.base_url, upstream_retries=0, **settings)
        )


@pytest.fixture
def server(new_server):
    """A server without a key."""
    return new_server()


@pytest.fixture
def sdk():
    """The SDK for a server: `sdk(server)`."""
    with ExitStack() as stack:
        yield lambda server, key="none": stack.enter_context(
            openai.OpenAI(base_url=server.base_url, api_key=key, max_retries=0, timeout=30)
        )


@pytest.fixture
def client(sdk, server):
    return sdk(server)


@pytest.fixture
def assistant(client):
    return client.beta.assistants.create(model="scripted", name="Ada", instructions="You help.")


@pytest.fixture
def new_page(browser):
    """Opens a page: `new_page(color_scheme="dark")`. What goes wrong in it, or its policy refuses, fails the test."""
    problems = []
    with ExitStack() as stack:

        def make(**options):
            context = browser.new_context(**{"viewport": WIDE, "locale": "en-GB", **options})
            stack.callback(context.close)
            context.set_default_timeout(WAIT_MS)
            page = context.new_page()
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on(
                "console",
                lambda said: (
                    problems.append(said.text)
                    if said.type in ("error", "warning") and not NETWORK_NOISE.search(said.text)
                    else None
                ),
            )
            return page

        yield make
    assert problems == []


@pytest.fixture
def page(new_page, server):
    """A page that shows the server's playground."""
    page = new_page()
    page.goto(server.url)
    return page


@pytest.fixture
def shoot():
    """Takes a picture of a page, for people to look at: `shoot(page, "dark")`."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    return lambda page, name: page.screenshot(path=SCREENS / f"{name}.png")


@pytest.fixture
def say():
    """Writes a message and sends it."""

    def say(page, text):
        box = page.get_by_role("textbox", name="Message", exact=True)
        box.fill(text)
        box.press("Enter")

    return say


class Wire:
    """A connection between browser and server that a test can cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pairs: list[socket.socket] = []
        self._is_cut = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends all connections; new ones are ended at once."""
        self._is_cut = True
        for end in self._pairs:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self.cut()
        self._listener.close()
        for end in self._pairs:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._port))
            self._pairs += near, far
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(server):
    wire = Wire(int(server.url.rpartition(":")[2]))
    yield wire
    wire.close()
