"""The commands that keep data: its schema, copies, exports and imports, and what is old enough to go."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from threadkeep import context, imports, projects, retention, search_index, threads
from threadkeep.cli import transfers
from threadkeep.cli.command import add_anchor, add_command, now, seconds, with_store
from threadkeep.errors import CommandError
from threadkeep.settings import Settings
from threadkeep.store import backups, is_shared, migrate, sqlite_path
from threadkeep.store.interface import Store, Transaction


def add_migrate(commands: Any) -> None:
    add_command(commands, "migrate", _migrate, "bring the database's schema up to date")


def add_backup(commands: Any) -> None:
    backup = add_command(
        commands, "backup", _backup, "write a consistent copy of the database, also while it is served"
    )
    backup.add_argument("file", type=Path)


def add_restore(commands: Any) -> None:
    restore = add_command(
        commands, "restore", _restore, "put a copy back; the present database is kept under another name"
    )
    restore.add_argument("file", type=Path)


def add_export(commands: Any) -> None:
    export = add_command(commands, "export", _export, "write a project as lines of JSON, even while a server runs")
    export.add_argument("file", help="a new file, or `-` for standard output")
    export.add_argument("--project", default=projects.DEFAULT_PROJECT, help="the project to export")


def add_import(commands: Any) -> None:
    take_in = add_command(commands, "import", _import, "import threads that were exported, here or elsewhere")
    take_in.add_argument("file", help="a file, a folder of another exporter, or `-` for standard input")
    take_in.add_argument("--project", default=projects.DEFAULT_PROJECT, help="the project to import into")
    take_in.add_argument("--dry-run", action="store_true", help="change nothing, only report what would be done")
    take_in.add_argument("--json", action="store_true", help="for programs")


def add_prune(commands: Any) -> None:
    prune = add_command(commands, "prune", _prune, "delete old threads, even while a server runs")
    prune.add_argument("--older-than", required=True, metavar="TIME", help="such as 90d; units are s, m, h, d, w")
    add_anchor(prune)
    prune.add_argument("--project", help="only this project; by default all")
    prune.add_argument("--dry-run", action="store_true", help="only count them")


def _migrate(_: argparse.Namespace, settings: Settings, __: dict[str, str]) -> None:
    async def work(store: Store) -> list[str]:
        return await store.migrate()

    applied = with_store(settings, work, migrated=False)
    print("\n".join(f"applied {name}" for name in applied) or "nothing to do: the schema is up to date")


def _backup(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    _refuse_shared(settings, "pg_dump, which takes a consistent copy while others read and write")
    backups.copy(sqlite_path(settings.database), arguments.file, _finish_deletions)
    print(f"wrote {arguments.file}")


def _finish_deletions(copy: Transaction) -> None:
    """What the server has not removed yet must not live on in copies. One for an upgrade may have an older schema."""
    if migrate.version(copy) == migrate.LATEST:
        threads.finish_deletions(copy)
        search_index.finish(copy)


def _restore(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    _refuse_shared(settings, "pg_restore")
    database = sqlite_path(settings.database)
    kept = backups.restore(arguments.file, database)
    print(f"restored {database} from {arguments.file}" + (f"; what was there is now {kept}" if kept else ""))


def _refuse_shared(settings: Settings, instead: str) -> None:
    if is_shared(settings):
        raise CommandError("PostgreSQL has commands of its own for this.", f"Use {instead}.")


def _export(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    async def work(store: Store) -> transfers.Counts:
        project = await projects.find(store, arguments.project)
        return await transfers.write(store, project.project_id, arguments.file)

    counts = with_store(settings, work, must_exist=True)
    told_to = sys.stderr if arguments.file == transfers.PIPE else sys.stdout
    print(f"wrote {transfers.spell(counts) or 'nothing'}", file=told_to)


def _import(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    async def work(store: Store) -> imports.Report:
        project = await projects.find(store, arguments.project)
        ctx = context.outside_a_server(store, settings, project.project_id)
        return await transfers.read(ctx, arguments.file, dry_run=arguments.dry_run)

    report = with_store(settings, work, writes_much=True)
    if arguments.json:
        print(msgspec.json.encode(report).decode())
    else:
        print("\n".join(transfers.told(report)))
    if report.refused:
        sys.exit(1)


def _prune(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    rule = threads.ExpiresAfter(anchor=arguments.anchor, seconds=seconds(arguments.older_than))

    async def work(store: Store) -> int:
        at, pruned = now(), 0
        named = [await projects.find(store, arguments.project)] if arguments.project else await projects.list_(store)
        for project in named:
            pruned += await retention.prune(
                store, project.project_id, rule, at, also_own=True, dry_run=arguments.dry_run
            )
        if pruned and not arguments.dry_run:
            await threads.sweep(store, at)
        return pruned

    pruned = with_store(settings, work, must_exist=True, writes_much=True)
    print(f"{'would delete' if arguments.dry_run else 'deleted'} {pruned} thread{'' if pruned == 1 else 's'}")
