"""The command line: `threadkeep <command>`, such as `serve`, `backup`, `prune`, `get`; docs/reference/cli.md has all.

    serving.py     serve, worker
    data.py        migrate, backup, restore, export, import, prune
    transfers.py   the files of export and import
    projects.py    projects, keys
    webhooks.py    webhooks
    reports.py     settings, usage, doctor, get
    command.py     what they share

Exit status: 0 done, 1 it cannot be done (the message says why and what to do next), 2 the command is misspelt.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from threadkeep import __version__
from threadkeep.cli import data, projects, reports, serving, webhooks
from threadkeep.errors import APIError, CommandError
from threadkeep.settings_sources import load

# In the order in which help lists them.
COMMANDS = (
    *(serving.add_serve, serving.add_worker),
    *(data.add_migrate, data.add_backup, data.add_restore, data.add_export, data.add_import),
    *(projects.add_projects, projects.add_keys, data.add_prune, reports.add_settings, webhooks.add_webhooks),
    *(reports.add_usage, reports.add_doctor, reports.add_get),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command."""
    _open_missing_streams()
    arguments = parser().parse_args(argv)
    try:
        _require_text(argv if argv is not None else sys.argv[1:])
        settings, sources = load(_flags(arguments), os.environ, arguments.config or "")
        arguments.command(arguments, settings, sources)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe has seen enough. Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except CommandError as error:
        print(error.printed(), file=sys.stderr)
        sys.exit(1)
    except APIError as error:
        sys.exit(f"threadkeep: {error.message}")
    except KeyboardInterrupt:
        sys.exit(130)


def _open_missing_streams() -> None:
    """Whoever started this may have closed some: a file that is opened next would get what is printed there."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # Nothing can be read from it either, so an import says that it cannot.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))


def _require_text(argv: Sequence[str]) -> None:
    """Raises `CommandError` for bytes that are no text, which no database takes."""
    for argument in argv:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise CommandError(f"The argument {argument!r} is not UTF-8 text.") from None


def parser() -> argparse.ArgumentParser:
    """What reads the command line."""
    made = argparse.ArgumentParser(
        prog="threadkeep", description="A self-hosted server that speaks OpenAI's Assistants API."
    )
    made.add_argument("--version", action="version", version=f"threadkeep {__version__}")
    commands = made.add_subparsers(metavar="command", required=True)
    for add in COMMANDS:
        add(commands)
    return made


def _flags(arguments: argparse.Namespace) -> dict[str, str]:
    return {
        name.removeprefix("set_"): value
        for name, value in vars(arguments).items()
        if name.startswith("set_") and value is not None
    }
