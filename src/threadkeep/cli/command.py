"""What every command has: its flags, the open store, and how rows and times are read and written."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from threadkeep import context, projects, threads
from threadkeep.errors import CommandError
from threadkeep.settings import Settings, table
from threadkeep.store import create_store, is_missing, migrate, place, sqlite_path
from threadkeep.store.interface import Store

T = TypeVar("T")


def add_command(commands: Any, name: str, run: Any, help_text: str) -> argparse.ArgumentParser:
    """A command, or with `run` None what has commands of its own."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}."
    )
    if run:
        _common(parser, run)
    return parser


def _common(parser: argparse.ArgumentParser, run: Any) -> None:
    database = next(setting for setting in table() if setting.name == "database")
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    parser.add_argument("--database", dest="set_database", metavar="URL", help=database.help)
    parser.set_defaults(command=run)


def add_flags(parser: argparse.ArgumentParser, *, in_help: bool = True) -> None:
    """A flag for each setting that is no secret."""
    for setting in table():
        if setting.name == "database" or setting.secret or setting.is_table:
            continue
        if setting.type is bool:
            # Only the flag that changes the default is shown; both work.
            for flag, value in ((setting.flag, True), (setting.flag.replace("--", "--no-", 1), False)):
                words = setting.help if value else setting.off
                parser.add_argument(
                    flag,
                    dest=f"set_{setting.name}",
                    action="store_const",
                    const=str(value).lower(),
                    help=words if in_help and value is not setting.default else argparse.SUPPRESS,
                )
        else:
            words = f"{setting.help} Default: {setting.spelled_default or 'none'}.".replace("%", "%%")
            parser.add_argument(
                setting.flag,
                dest=f"set_{setting.name}",
                metavar=setting.name.rpartition("_")[2].upper(),
                help=words if in_help else argparse.SUPPRESS,
            )


def add_anchor(parser: argparse.ArgumentParser) -> None:
    """What a time such as `90d` is counted from."""
    parser.add_argument(
        "--anchor",
        choices=("last_active_at", "created_at"),
        default="last_active_at",
        help="what the time is counted from: the newest message, or the thread's creation",
    )


def with_store(
    settings: Settings,
    work: Callable[[Store], Awaitable[T]],
    *,
    migrated: bool = True,
    must_exist: bool = False,
    writes_much: bool = False,
) -> T:
    """Runs `work` on the open store, beside a server that may be using it too; a new database gets its schema."""
    is_new = is_missing(settings)
    if must_exist and is_new:
        raise CommandError(
            f"There is no database at {sqlite_path(settings.database)}.",
            "Name the right one with --database, or go to the folder where the server runs.",
        )

    async def run() -> T:
        store = create_store(settings, writes_much=writes_much)
        await store.open()
        try:
            if migrated:
                await migrate.prepare(store)
                await projects.ensure_default(store, now())
            if is_new:
                # It may have been meant to be there: a relative path names one for each folder.
                print(f"made a new database: {place(settings)}", file=sys.stderr)
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def in_project(
    arguments: argparse.Namespace,
    settings: Settings,
    operation: Callable[[context.Context], Awaitable[T]],
) -> T:
    """Runs an operation for the project that `--project` names, in a database that is there."""

    async def work(store: Store) -> T:
        project = await projects.find(store, arguments.project)
        return await operation(context.outside_a_server(store, settings, project.project_id))

    return with_store(settings, work, must_exist=True)


def print_rows(arguments: argparse.Namespace, rows: list[Any], line: Callable[[Any], str], noun: str) -> None:
    """The rows as lines, or as JSON."""
    if arguments.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
    else:
        print("\n".join(map(line, rows)) or f"no {noun}")


def seconds(text: str) -> int:
    """A time such as `90d`. Raises `CommandError`."""
    match = re.fullmatch(r"([1-9][0-9]{0,9})([smhdw])", text)
    found = int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[match[2]] if match else 0
    if not 0 < found <= threads.EXPIRES_AFTER_S_MAX:
        raise CommandError(f"{text!r} is not a time.", "Give one such as 90d, 12h or 30m.")
    return found


def now() -> int:
    """The time, in whole seconds."""
    return int(time.time())


def day(at: int) -> str:
    """The day of a time, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(at))
