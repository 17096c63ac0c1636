"""`python -m threadkeep.testing --port 9000`: the scripted model server as a process, until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket

from threadkeep import server
from threadkeep.testing.scripted import BACKLOG, ScriptedModel


def main() -> None:
    """Serves; the first line printed is the base URL."""
    parser = argparse.ArgumentParser(prog="python -m threadkeep.testing", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--key", default="", help="the only key it accepts")
    parser.add_argument("--model", action="append", help="a name for its list of models")
    arguments = parser.parse_args()
    scripted = ScriptedModel(arguments.model or ("scripted",), arguments.key)
    listener = socket.create_server(("127.0.0.1", arguments.port), backlog=BACKLOG)

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.call_soon(lambda: print(scripted.base_url, flush=True))  # noqa: T201 - the caller reads it
        await scripted.serve(listener, stop)

    with asyncio.Runner(loop_factory=server.loop_factory()) as runner:
        runner.run(run())


if __name__ == "__main__":
    main()
