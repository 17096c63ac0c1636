"""The commands that stay: the server, and a worker beside servers. Each setting is a flag of theirs."""

from __future__ import annotations

import argparse
from typing import Any

from threadkeep.cli.command import add_command, add_flags
from threadkeep.settings import Settings


def add_serve(commands: Any) -> None:
    add_flags(add_command(commands, "serve", _serve, "start the server"))


def add_worker(commands: Any) -> None:
    add_flags(add_command(commands, "worker", _worker, "execute runs, beside servers on the same PostgreSQL"))


def _serve(_: argparse.Namespace, settings: Settings, __: dict[str, str]) -> None:
    from threadkeep import server  # noqa: PLC0415 - the other commands do not pay for it

    server.run(settings, lambda text: print(text, flush=True))


def _worker(_: argparse.Namespace, settings: Settings, __: dict[str, str]) -> None:
    from threadkeep import server  # noqa: PLC0415 - as above

    server.run_worker(settings, lambda text: print(text, flush=True))
