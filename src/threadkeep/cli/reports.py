"""The commands that only tell: settings, usage, what is wrong with an installation, one GET request."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import logging
import sys
from datetime import date, timedelta
from typing import Any

from threadkeep import context, projects, usage
from threadkeep.cli.command import add_command, add_flags, with_store
from threadkeep.errors import APIError, BadRequestError
from threadkeep.http import api
from threadkeep.http.routes import RouteTable
from threadkeep.settings import Settings, table
from threadkeep.store.interface import Store
from threadkeep.streaming import Download, EventStream

# So many days back `usage` looks.
USAGE_DAYS = 30


def add_settings(commands: Any) -> None:
    shown = add_command(commands, "settings", _settings, "show each setting, its value and where it came from")
    shown.add_argument("--json", action="store_true", help="for programs")


def add_usage(commands: Any) -> None:
    parser = add_command(commands, "usage", _usage, "show the tokens that finished runs used")
    parser.add_argument("--since", type=_day, metavar="DAY", help="first day, as 2026-09-01; 30 days ago")
    parser.add_argument("--until", type=_day, metavar="DAY", help="last day; today. Days are UTC")
    parser.add_argument(
        "--by",
        type=_dimensions,
        default="day,project,assistant",
        metavar="WHAT",
        help=f"what to group by, separated by commas, any of: {' '.join(usage.DIMENSIONS)}",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def add_doctor(commands: Any) -> None:
    help_text = "check what a server with the same flags as serve needs, and say how to fix it"
    doctor = add_command(commands, "doctor", _doctor, help_text)
    doctor.add_argument("--json", action="store_true", help="for programs")
    add_flags(doctor, in_help=False)


def add_get(commands: Any) -> None:
    get = add_command(commands, "get", _get, "answer one GET request without a server")
    get.add_argument("path", help="such as /v1/threads?limit=5")
    get.add_argument("--project", default=projects.DEFAULT_PROJECT, help="the project to look at")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day such as 2026-09-01") from None


def _dimensions(text: str) -> list[usage.Dimension]:
    found = [name for word in text.split(",") for name in usage.DIMENSIONS if name == word.strip()]
    if len(found) != len(text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is none of: {' '.join(usage.DIMENSIONS)}")
    return found


def _settings(arguments: argparse.Namespace, settings: Settings, sources: dict[str, str]) -> None:
    values = {
        setting.name: "***" if setting.secret and getattr(settings, setting.name) else getattr(settings, setting.name)
        for setting in table()
    } | {"database": settings.database_shown}
    if arguments.json:
        values["upstreams"] = [upstream.shown() for upstream in settings.upstreams]
        print(json.dumps({name: {"value": values[name], "source": sources[name]} for name in values}, indent=2))
        return
    for setting in table():
        shown = setting.spell(values[setting.name]) or "-"
        print(f"{setting.name:28}{shown:44}{sources[setting.name]}")


def _usage(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    by = arguments.by
    last = arguments.until or usage.today()
    first = arguments.since or last - min(timedelta(days=USAGE_DAYS), last - date.min)
    rows = with_store(settings, lambda store: usage.report(store, first, last, by), must_exist=True)
    counts = ("runs", "prompt_tokens", "cached_tokens", "completion_tokens")
    if arguments.json:
        print(json.dumps([{name: getattr(row, name) for name in (*by, *counts)} for row in rows], indent=2))
        return
    table = [[*by, *counts], *([str(getattr(row, name) or "-") for name in (*by, *counts)] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        words = [word.ljust(width) for word, width in zip(line[: len(by)], widths, strict=False)]
        numbers = [word.rjust(width) for word, width in zip(line[len(by) :], widths[len(by) :], strict=True)]
        print("  ".join([*words, *numbers]))


def _doctor(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    from threadkeep import doctor  # noqa: PLC0415 - the other commands do not pay for it

    # What is found is told in the findings.
    logging.disable()
    found = asyncio.run(doctor.examine(settings))
    if arguments.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in found], indent=2))
    else:
        for finding in found:
            print(f"{finding.level:9}{finding.check:17}{finding.message}")
            if finding.hint:
                print(f"{'':26}-> {finding.hint}")
    if any(finding.level == "problem" for finding in found):
        sys.exit(1)


def _get(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    async def work(store: Store) -> bytes:
        project = await projects.find(store, arguments.project)
        ctx = context.outside_a_server(store, settings, project.project_id)
        path, _, query_string = arguments.path.partition("?")
        path = f"/{path.lstrip('/')}"
        found = RouteTable(strict=settings.strict).find(path)
        if found is None or "GET" not in found[0]:
            raise api.not_found("GET", path)
        methods, path_ids = found
        await ctx.upstreams.open()
        try:
            answer = await methods["GET"].call(ctx, path_ids, query_string.encode(), {}, b"", v1=False)
        finally:
            await ctx.upstreams.close()
        if isinstance(answer, EventStream):
            await answer.frames.aclose()
            raise BadRequestError("Streams are for clients of a server: leave out `stream`.")
        if isinstance(answer, Download):
            raise BadRequestError("Too long to be shown here: use `threadkeep export`.")
        return answer.payload

    try:
        answer = with_store(settings, work, must_exist=True)
    except APIError as error:
        print(json.dumps(error.body(), indent=2))
        sys.exit(1)
    print(json.dumps(json.loads(answer), indent=2, ensure_ascii=False))
