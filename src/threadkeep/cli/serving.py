"""The commands that stay: the server, and a worker beside servers. Each setting is a flag of theirs."""

from __future__ import annotations

import argparse
from typing import Any

from threadkeep.cli.command import add_command
from threadkeep.settings import Settings, table


def add_serve(commands: Any) -> None:
    _add_settings(add_command(commands, "serve", _serve, "start the server"))


def add_worker(commands: Any) -> None:
    _add_settings(add_command(commands, "worker", _worker, "execute runs, beside servers on the same PostgreSQL"))


def _serve(_: argparse.Namespace, settings: Settings, __: dict[str, str]) -> None:
    from threadkeep import server  # noqa: PLC0415 - the other commands do not pay for it

    server.run(settings, lambda text: print(text, flush=True))


def _worker(_: argparse.Namespace, settings: Settings, __: dict[str, str]) -> None:
    from threadkeep import server  # noqa: PLC0415 - as above

    server.run_worker(settings, lambda text: print(text, flush=True))


def _add_settings(serve: argparse.ArgumentParser) -> None:
    for setting in table():
        if setting.name == "database" or setting.secret or setting.is_table:
            continue
        if setting.type is bool:
            # Only the flag that changes the default is shown; both work.
            for flag, value in ((setting.flag, True), (setting.flag.replace("--", "--no-", 1), False)):
                words = setting.help if value else setting.off
                serve.add_argument(
                    flag,
                    dest=f"set_{setting.name}",
                    action="store_const",
                    const=str(value).lower(),
                    help=argparse.SUPPRESS if value is setting.default else words,
                )
        else:
            serve.add_argument(
                setting.flag,
                dest=f"set_{setting.name}",
                metavar=setting.name.rpartition("_")[2].upper(),
                help=f"{setting.help} Default: {setting.spelled_default or 'none'}.".replace("%", "%%"),
            )
