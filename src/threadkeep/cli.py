"""The command line: `threadkeep <command>`, such as `serve`, `backup`, `prune`, `get`; docs/reference/cli.md has all.

Exit status: 0 done, 1 it cannot be done (the message says why and what to do next), 2 the command is misspelt.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import logging
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from threadkeep import (
    __version__,
    context,
    imports,
    limits,
    projects,
    retention,
    search,
    threads,
    transfers,
    usage,
    webhooks,
)
from threadkeep.errors import APIError, BadRequestError, StartupError
from threadkeep.http import api
from threadkeep.http.routes import RouteTable
from threadkeep.limits import Limits
from threadkeep.pages import ListParams
from threadkeep.settings import Settings, load, table
from threadkeep.store import backups, create_store, is_shared, migrate, sqlite_path
from threadkeep.store.interface import BIGINT_MAX, Store, Transaction
from threadkeep.streaming import Download, EventStream

T = TypeVar("T")
# So many days back `usage` looks.
USAGE_DAYS = 30
LIMIT_WORDS = {"none": 0, "default": -1}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command."""
    arguments = _parser().parse_args(argv)
    try:
        settings, sources = load(_flags(arguments), os.environ, arguments.config or "")
        arguments.command(arguments, settings, sources)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe has seen enough. Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except StartupError as error:
        print(f"threadkeep: {error.message}", file=sys.stderr)
        if error.hint:
            print(error.hint, file=sys.stderr)
        sys.exit(1)
    except APIError as error:
        sys.exit(f"threadkeep: {error.message}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="threadkeep", description="A self-hosted server that speaks OpenAI's Assistants API."
    )
    parser.add_argument("--version", action="version", version=f"threadkeep {__version__}")
    commands = parser.add_subparsers(metavar="command", required=True)

    _add_settings(_command(commands, "serve", _serve, "start the server"))
    _add_settings(_command(commands, "worker", _worker, "carry out runs, beside servers on the same PostgreSQL"))
    _command(commands, "migrate", _migrate, "bring the database's schema up to date")
    backup = _command(commands, "backup", _backup, "write a consistent copy of the database, also while it is served")
    backup.add_argument("file", type=Path)
    restore = _command(
        commands, "restore", _restore, "put a copy back; the present database is kept under another name"
    )
    restore.add_argument("file", type=Path)
    export = _command(commands, "export", _export, "write a project as lines of JSON, also while it is served")
    export.add_argument("file", help="a new file, or `-` for standard output")
    export.add_argument("--project", default=projects.DEFAULT_PROJECT, help="whose objects to write")
    take_in = _command(commands, "import", _import, "take in threads that were exported, here or elsewhere")
    take_in.add_argument("file", help="a file, a folder of another exporter, or `-` for standard input")
    take_in.add_argument("--project", default=projects.DEFAULT_PROJECT, help="whose they are to be")
    take_in.add_argument("--dry-run", action="store_true", help="change nothing, but say what would be done")
    take_in.add_argument("--json", action="store_true", help="for programs")
    _add_projects(_command(commands, "projects", None, "list and create projects"))
    _add_keys(_command(commands, "keys", None, "list, create and revoke API keys"))
    prune = _command(commands, "prune", _prune, "delete old threads, also while they are served")
    prune.add_argument("--older-than", required=True, metavar="TIME", help="such as 90d; units are s, m, h, d, w")
    _add_anchor(prune)
    prune.add_argument("--project", help="only this project's; otherwise those of all projects")
    prune.add_argument("--dry-run", action="store_true", help="only count them")
    shown = _command(commands, "settings", _settings, "show each setting, its value and where it came from")
    shown.add_argument("--json", action="store_true", help="for programs")
    _add_webhooks(_command(commands, "webhooks", None, "list, create and delete addresses that are told of runs"))
    _add_usage(_command(commands, "usage", _usage, "show the tokens that finished runs used"))
    doctor = _command(commands, "doctor", _doctor, "look at all that a server needs, and say what to do")
    doctor.add_argument("--json", action="store_true", help="for programs")
    get = _command(commands, "get", _get, "answer one GET request without a server")
    get.add_argument("path", help="such as /v1/threads?limit=5")
    get.add_argument("--project", default=projects.DEFAULT_PROJECT, help="whose objects to look at")
    return parser


def _add_settings(serve: argparse.ArgumentParser) -> None:
    for setting in table():
        if setting.name == "database" or setting.secret or setting.is_table:
            continue
        if setting.type is bool:
            # Only the flag that changes the default is shown; both work.
            for flag, value in ((setting.flag, True), (setting.flag.replace("--", "--no-", 1), False)):
                words = setting.help if value else f"Do not: {setting.help[0].lower()}{setting.help[1:]}"
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


def _command(commands: Any, name: str, run: Any, help_text: str) -> argparse.ArgumentParser:
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


def _add_projects(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="action", required=True)
    create = _command(actions, "create", _projects_create, "make a project")
    create.add_argument("name")
    _add_limits(_command(actions, "limits", _projects_limits, "show what a project may use, or say it"), "name")
    rule = _command(actions, "set-retention", _projects_set_retention, "say how long a project's threads stay")
    rule.add_argument("name")
    rule.add_argument("after", help="such as 90d; units are s, m, h, d, w; `none` for ever")
    _add_anchor(rule)
    listed = _command(actions, "list", _projects_list, "list the projects")
    listed.add_argument("--json", action="store_true", help="for programs")


def _add_anchor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--anchor",
        choices=("last_active_at", "created_at"),
        default="last_active_at",
        help="what the time is counted from: the newest message, or the thread's creation",
    )


def _add_keys(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="action", required=True)
    create = _command(actions, "create", _keys_create, "make a key; it is shown this once")
    create.add_argument("--project", default=projects.DEFAULT_PROJECT, help="the project it opens")
    create.add_argument("--name", default="", help="what it is for")
    create.add_argument("--json", action="store_true", help="for programs")
    _add_limits(_command(actions, "limits", _keys_limits, "show what a key may use, or say it"), "key_id")
    listed = _command(actions, "list", _keys_list, "list the keys, without their secrets")
    listed.add_argument("--json", action="store_true", help="for programs")
    revoke = _command(actions, "revoke", _keys_revoke, "make a key useless, at once and for good")
    revoke.add_argument("key_id")


def _add_webhooks(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="action", required=True)
    create = _command(actions, "create", _webhooks_create, "add an address; its secret is shown this once")
    create.add_argument("url")
    create.add_argument(
        "--events", metavar="NAMES", help=f"what it is told, separated by commas: {' '.join(webhooks.ALL_EVENTS)}"
    )
    listed = _command(actions, "list", _webhooks_list, "list a project's addresses, without their secrets")
    delete = _command(actions, "delete", _webhooks_delete, "remove an address, with all it has not been told")
    delete.add_argument("webhook_id")
    for action in (create, listed, delete):
        action.add_argument("--project", default=projects.DEFAULT_PROJECT, help="whose runs")
    for action in (create, listed):
        action.add_argument("--json", action="store_true", help="for programs")


def _add_limits(parser: argparse.ArgumentParser, subject: str) -> None:
    parser.add_argument(subject)
    for name, what in (
        ("requests-per-minute", "most requests a minute"),
        ("runs", "most unfinished runs"),
        ("tokens-per-day", "most tokens a day, in UTC"),
    ):
        parser.add_argument(f"--{name}", type=_limit, metavar="N", help=f"{what}; `none`, or `default` for the setting")
    parser.add_argument("--json", action="store_true", help="for programs")


def _limit(text: str) -> int:
    """The number of a limit; 0 for none, -1 for the default."""
    if text in LIMIT_WORDS:
        return LIMIT_WORDS[text]
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= BIGINT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number above zero nor `none` or `default`")
    return int(text)


def _add_usage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", type=date.fromisoformat, metavar="DAY", help="first day, as 2026-09-01; 30 days ago")
    parser.add_argument("--until", type=date.fromisoformat, metavar="DAY", help="last day; today. Days are UTC")
    parser.add_argument(
        "--by",
        type=_dimensions,
        default="day,project,assistant",
        metavar="WHAT",
        help=f"what to divide by, separated by commas, any of: {' '.join(usage.DIMENSIONS)}",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def _dimensions(text: str) -> list[usage.Dimension]:
    found = [name for word in text.split(",") for name in usage.DIMENSIONS if name == word.strip()]
    if len(found) != len(text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is none of: {' '.join(usage.DIMENSIONS)}")
    return found


def _flags(arguments: argparse.Namespace) -> dict[str, str]:
    return {
        name.removeprefix("set_"): value
        for name, value in vars(arguments).items()
        if name.startswith("set_") and value is not None
    }


def _serve(_: argparse.Namespace, settings: Settings, __: dict[str, str]) -> None:
    from threadkeep import server  # noqa: PLC0415 - the other commands do not pay for it

    server.run(settings, lambda text: print(text, flush=True))


def _worker(_: argparse.Namespace, settings: Settings, __: dict[str, str]) -> None:
    from threadkeep import server  # noqa: PLC0415 - as above

    server.run_worker(settings, lambda text: print(text, flush=True))


def _migrate(_: argparse.Namespace, settings: Settings, __: dict[str, str]) -> None:
    async def work(store: Store) -> list[str]:
        return await store.migrate()

    applied = _with_store(settings, work, migrated=False)
    print("\n".join(f"applied {name}" for name in applied) or "nothing to do: the schema is up to date")


def _backup(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    _refuse_shared(settings, "pg_dump, which takes a consistent copy while others read and write")
    backups.copy(sqlite_path(settings.database), arguments.file, _finish_deletions)
    print(f"wrote {arguments.file}")


def _finish_deletions(copy: Transaction) -> None:
    """What the server has not removed yet must not live on in copies. One for an upgrade may have an older schema."""
    if migrate.version(copy) == migrate.LATEST:
        threads.finish_deletions(copy)
        search.finish(copy)


def _restore(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    _refuse_shared(settings, "pg_restore")
    database = sqlite_path(settings.database)
    kept = backups.restore(arguments.file, database)
    print(f"restored {database} from {arguments.file}" + (f"; what was there is now {kept}" if kept else ""))


def _export(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    async def work(store: Store) -> transfers.Counts:
        project = await projects.find(store, arguments.project)
        return await transfers.write(store, project.project_id, arguments.file)

    counts = _with_store(settings, work, must_exist=True)
    told_to = sys.stderr if arguments.file == transfers.PIPE else sys.stdout
    print(f"wrote {transfers.spell(counts) or 'nothing'}", file=told_to)


def _import(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    async def work(store: Store) -> imports.Report:
        project = await projects.find(store, arguments.project)
        ctx = context.outside_a_server(store, settings, project.project_id)
        return await transfers.read(ctx, arguments.file, dry_run=arguments.dry_run)

    report = _with_store(settings, work)
    if arguments.json:
        print(msgspec.json.encode(report).decode())
    else:
        print("\n".join(transfers.told(report)))
    if report.refused:
        sys.exit(1)


def _refuse_shared(settings: Settings, instead: str) -> None:
    if is_shared(settings):
        raise StartupError("PostgreSQL has commands of its own for this.", f"Use {instead}.")


def _projects_create(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    project = _with_store(settings, lambda store: projects.create(store, arguments.name, _now()))
    print(f"{project.project_id}  {project.name}")


def _projects_list(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    found = _with_store(settings, projects.list_, must_exist=True)

    def line(project: projects.Project) -> str:
        rule = f"  ({project.retention_s} s after {project.retention_anchor})" if project.retention_s else ""
        return f"{project.project_id}  {_date(project.created_at)}  {project.name}{rule}"

    _print_rows(arguments, found, line, "projects")


def _projects_set_retention(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    seconds = None if arguments.after == "none" else _seconds(arguments.after)
    anchor = arguments.anchor if seconds else None

    async def work(store: Store) -> None:
        await projects.set_retention(store, await projects.find(store, arguments.name), anchor, seconds)

    _with_store(settings, work, must_exist=True)
    words = {"created_at": "they were created", "last_active_at": "their newest message"}
    told = f"go {arguments.after} after {words[anchor]}" if anchor else "stay"
    print(f"threads of {arguments.name} {told}, unless they say otherwise themselves")


def _prune(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    rule = threads.ExpiresAfter(anchor=arguments.anchor, seconds=_seconds(arguments.older_than))

    async def work(store: Store) -> int:
        now, pruned = _now(), 0
        named = [await projects.find(store, arguments.project)] if arguments.project else await projects.list_(store)
        for project in named:
            pruned += await retention.prune(
                store, project.project_id, rule, now, also_own=True, dry_run=arguments.dry_run
            )
        if pruned and not arguments.dry_run:
            await threads.sweep(store, now)
        return pruned

    pruned = _with_store(settings, work, must_exist=True)
    print(f"{'would delete' if arguments.dry_run else 'deleted'} {pruned} thread{'' if pruned == 1 else 's'}")


def _seconds(text: str) -> int:
    """A time such as `90d`. Raises `StartupError`."""
    match = re.fullmatch(r"([1-9][0-9]{0,9})([smhdw])", text)
    seconds = int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[match[2]] if match else 0
    if not 0 < seconds <= threads.EXPIRES_AFTER_S_MAX:
        raise StartupError(f"{text!r} is not a time.", "Give one such as 90d, 12h or 30m.")
    return seconds


def _projects_limits(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    async def work(store: Store) -> Limits:
        project = await projects.find(store, arguments.name)
        return await _change_limits(store, project.project_id, arguments)

    said = _with_store(settings, work, must_exist=True)
    _print_limits(arguments, said, limits.of_project(settings))


def _keys_limits(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    async def work(store: Store) -> Limits:
        await projects.require_key(store, arguments.key_id)
        return await _change_limits(store, arguments.key_id, arguments)

    _print_limits(arguments, _with_store(settings, work, must_exist=True), limits.of_key(settings))


async def _change_limits(store: Store, subject: str, arguments: argparse.Namespace) -> Limits:
    """What was said of a project or key, after what the command says."""
    said = await limits.find(store, subject)
    given = {name: getattr(arguments, name) for name in Limits.__struct_fields__}
    changes = {name: None if value < 0 else value for name, value in given.items() if value is not None}
    if changes:
        said = msgspec.structs.replace(said, **changes)
        await projects.set_limits(store, subject, said)
    return said


def _print_limits(arguments: argparse.Namespace, said: Limits, default: Limits) -> None:
    chosen = said.over(default)
    if arguments.json:
        print(json.dumps({name: getattr(chosen, name) or None for name in Limits.__struct_fields__}))
        return
    for name in Limits.__struct_fields__:
        source = "" if getattr(said, name) is not None else "  (default)"
        print(f"{name.replace('_', ' '):22}{getattr(chosen, name) or 'none'}{source}")


def _keys_create(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    async def work(store: Store) -> tuple[str, str]:
        project = await projects.find(store, arguments.project)
        return await projects.create_key(store, project, arguments.name, _now())

    key_id, secret = _with_store(settings, work)
    if arguments.json:
        print(json.dumps({"key_id": key_id, "key": secret, "project": arguments.project}))
    else:
        print(
            f"{secret}\n\nIt opens the project {arguments.project!r} in {settings.database_shown}.\n"
            f"This is the only time the key is shown. Revoke it with: threadkeep keys revoke {key_id}"
        )


def _keys_list(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    def line(key: projects.Key) -> str:
        state = f"revoked {_date(key.revoked_at)}" if key.revoked_at else "active"
        return f"{key.key_id}  {key.hint}  {_date(key.created_at)}  {state:18}  {key.project}  {key.name}".rstrip()

    _print_rows(arguments, _with_store(settings, projects.list_keys, must_exist=True), line, "keys")


def _keys_revoke(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    _with_store(settings, lambda store: projects.revoke_key(store, arguments.key_id, _now()), must_exist=True)
    print(f"revoked {arguments.key_id}")


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


def _webhooks_create(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    events = arguments.events.split(",") if arguments.events else None
    try:
        params = msgspec.convert({"url": arguments.url, "events": events}, webhooks.WebhookCreateParams)
    except msgspec.ValidationError as error:
        raise StartupError(f"{error}.", "`threadkeep webhooks create --help` lists the events.") from None
    made = json.loads(bytes(_in_project(arguments, settings, lambda ctx: webhooks.create(ctx, params))))
    if arguments.json:
        print(json.dumps(made))
    else:
        print(
            f"{made['secret']}\n\nIt signs what {made['id']} sends to {made['url']}.\n"
            "This is the only time the secret is shown."
        )


def _webhooks_list(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    params = ListParams(limit=100, order="asc")
    page = _in_project(arguments, settings, lambda ctx: webhooks.list_(ctx, params), must_exist=True)
    found = [json.loads(bytes(webhook)) for webhook in page.data]
    if arguments.json:
        print(json.dumps(found))
        return
    lines = [f"{webhook['id']}  {_date(webhook['created_at'])}  {webhook['url']}" for webhook in found]
    print("\n".join(lines) or "no webhooks")


def _webhooks_delete(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    _in_project(arguments, settings, lambda ctx: webhooks.delete(ctx, arguments.webhook_id), must_exist=True)
    print(f"deleted {arguments.webhook_id}")


def _in_project(
    arguments: argparse.Namespace,
    settings: Settings,
    operation: Callable[[context.Context], Awaitable[T]],
    *,
    must_exist: bool = False,
) -> T:
    """Runs an operation for the project that `--project` names."""

    async def work(store: Store) -> T:
        project = await projects.find(store, arguments.project)
        return await operation(context.outside_a_server(store, settings, project.project_id))

    return _with_store(settings, work, must_exist=must_exist)


def _usage(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    by = arguments.by
    last = arguments.until or usage.today()
    first = arguments.since or last - timedelta(days=USAGE_DAYS)
    rows = _with_store(settings, lambda store: usage.report(store, first, last, by), must_exist=True)
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
        answer = _with_store(settings, work, must_exist=True)
    except APIError as error:
        print(json.dumps(error.body(), indent=2))
        sys.exit(1)
    print(json.dumps(json.loads(answer), indent=2, ensure_ascii=False))


def _with_store(
    settings: Settings, work: Callable[[Store], Awaitable[T]], *, migrated: bool = True, must_exist: bool = False
) -> T:
    """Runs `work` on the open store, beside a server that may be using it too; a new database gets its schema."""
    if must_exist and not is_shared(settings) and not sqlite_path(settings.database).exists():
        raise StartupError(
            f"There is no database at {sqlite_path(settings.database)}.",
            "Name the right one with --database, or go to the folder where the server runs.",
        )

    async def run() -> T:
        store = create_store(settings)
        await store.open()
        try:
            if migrated:
                await migrate.prepare(store)
                await projects.ensure_default(store, _now())
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def _print_rows(arguments: argparse.Namespace, rows: list[Any], line: Callable[[Any], str], noun: str) -> None:
    if arguments.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
    else:
        print("\n".join(map(line, rows)) or f"no {noun}")


def _now() -> int:
    return int(time.time())


def _date(at: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
