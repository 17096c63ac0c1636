"""The commands about projects: their keys and limits, and how long their threads stay."""

from __future__ import annotations

import argparse
import json
from typing import Any

import msgspec

from threadkeep import limits, projects
from threadkeep.cli.command import add_anchor, add_command, day, now, print_rows, seconds, with_store
from threadkeep.limits import Limits
from threadkeep.settings import Settings
from threadkeep.store.interface import BIGINT_MAX, Store

LIMIT_WORDS = {"none": 0, "default": -1}


def add_projects(commands: Any) -> None:
    parser = add_command(commands, "projects", None, "list and create projects")
    actions = parser.add_subparsers(metavar="action", required=True)
    create = add_command(actions, "create", _projects_create, "make a project")
    create.add_argument("name")
    _add_limits(add_command(actions, "limits", _projects_limits, "show or set a project's limits"), "name")
    rule = add_command(actions, "set-retention", _projects_set_retention, "set how long a project's threads are kept")
    rule.add_argument("name")
    rule.add_argument("after", help="such as 90d; units are s, m, h, d, w; `none` for ever")
    add_anchor(rule)
    listed = add_command(actions, "list", _projects_list, "list the projects")
    listed.add_argument("--json", action="store_true", help="for programs")


def add_keys(commands: Any) -> None:
    parser = add_command(commands, "keys", None, "list, create and revoke API keys")
    actions = parser.add_subparsers(metavar="action", required=True)
    create = add_command(actions, "create", _keys_create, "make a key; it is shown only once")
    create.add_argument("--project", default=projects.DEFAULT_PROJECT, help="the project it opens")
    create.add_argument("--name", default="", help="what it is for")
    create.add_argument("--json", action="store_true", help="for programs")
    _add_limits(add_command(actions, "limits", _keys_limits, "show or set a key's limits"), "key_id")
    listed = add_command(actions, "list", _keys_list, "list the keys, without their secrets")
    listed.add_argument("--json", action="store_true", help="for programs")
    revoke = add_command(actions, "revoke", _keys_revoke, "revoke a key, at once and for good")
    revoke.add_argument("key_id")


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


def _projects_create(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    project = with_store(settings, lambda store: projects.create(store, arguments.name, now()))
    print(f"{project.project_id}  {project.name}")


def _projects_list(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    found = with_store(settings, projects.list_, must_exist=True)

    def line(project: projects.Project) -> str:
        rule = f"  ({project.retention_s} s after {project.retention_anchor})" if project.retention_s else ""
        return f"{project.project_id}  {day(project.created_at)}  {project.name}{rule}"

    print_rows(arguments, found, line, "projects")


def _projects_set_retention(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    after_s = None if arguments.after == "none" else seconds(arguments.after)
    anchor = arguments.anchor if after_s else None

    async def work(store: Store) -> None:
        await projects.set_retention(store, await projects.find(store, arguments.name), anchor, after_s)

    with_store(settings, work, must_exist=True)
    words = {"created_at": "their creation", "last_active_at": "their newest message"}
    rule = f"deleted {arguments.after} after {words[anchor]}" if anchor else "kept"
    print(f"threads of {arguments.name} are {rule}, unless they have their own rule")


def _projects_limits(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    async def work(store: Store) -> Limits:
        project = await projects.find(store, arguments.name)
        return await _change_limits(store, project.project_id, arguments)

    own = with_store(settings, work, must_exist=True)
    _print_limits(arguments, own, limits.of_project(settings))


def _keys_create(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    async def work(store: Store) -> tuple[str, str]:
        project = await projects.find(store, arguments.project)
        return await projects.create_key(store, project, arguments.name, now())

    key_id, secret = with_store(settings, work)
    if arguments.json:
        print(json.dumps({"key_id": key_id, "key": secret, "project": arguments.project}))
    else:
        print(
            f"{secret}\n\nIt opens the project {arguments.project!r} in {settings.database_shown}.\n"
            f"This is the only time the key is shown. Revoke it with: threadkeep keys revoke {key_id}"
        )


def _keys_list(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    def line(key: projects.Key) -> str:
        state = f"revoked {day(key.revoked_at)}" if key.revoked_at else "active"
        return f"{key.key_id}  {key.hint}  {day(key.created_at)}  {state:18}  {key.project}  {key.name}".rstrip()

    print_rows(arguments, with_store(settings, projects.list_keys, must_exist=True), line, "keys")


def _keys_revoke(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    with_store(settings, lambda store: projects.revoke_key(store, arguments.key_id, now()), must_exist=True)
    print(f"revoked {arguments.key_id}")


def _keys_limits(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    async def work(store: Store) -> Limits:
        await projects.require_key(store, arguments.key_id)
        return await _change_limits(store, arguments.key_id, arguments)

    _print_limits(arguments, with_store(settings, work, must_exist=True), limits.of_key(settings))


async def _change_limits(store: Store, subject: str, arguments: argparse.Namespace) -> Limits:
    """The limits that a project or key has of its own, once the command has changed them."""
    own = await limits.find(store, subject)
    given = {name: getattr(arguments, name) for name in Limits.__struct_fields__}
    changes = {name: None if value < 0 else value for name, value in given.items() if value is not None}
    if changes:
        own = msgspec.structs.replace(own, **changes)
        await projects.set_limits(store, subject, own)
    return own


def _print_limits(arguments: argparse.Namespace, own: Limits, default: Limits) -> None:
    chosen = own.over(default)
    if arguments.json:
        print(json.dumps({name: getattr(chosen, name) or None for name in Limits.__struct_fields__}))
        return
    for name in Limits.__struct_fields__:
        source = "" if getattr(own, name) is not None else "  (default)"
        print(f"{name.replace('_', ' '):22}{getattr(chosen, name) or 'none'}{source}")
