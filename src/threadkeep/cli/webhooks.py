"""The commands about webhooks: the operations of the API, for an operator who has no key of the project."""

from __future__ import annotations

import argparse
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from threadkeep import projects, validation, webhook_urls, webhooks
from threadkeep.cli.command import add_command, day, in_project
from threadkeep.context import Context
from threadkeep.errors import BadRequestError, CommandError
from threadkeep.pages import ListParams
from threadkeep.settings import Settings
from threadkeep.webhook_events import ALL_EVENTS, RUN_EVENT_PREFIX

T = TypeVar("T")
Params = TypeVar("Params")


def add_webhooks(commands: Any) -> None:
    parser = add_command(commands, "webhooks", None, "manage webhooks, which are notified of runs")
    actions = parser.add_subparsers(metavar="action", required=True)
    create = add_command(actions, "create", _create, "add a webhook; its secret is shown only once")
    create.add_argument("url")
    listed = add_command(actions, "list", _list, "list a project's webhooks, without their secrets")
    modify = add_command(actions, "modify", _modify, "change a webhook, or switch it off and on")
    rotate = add_command(actions, "rotate-secret", _rotate_secret, "replace a secret; the new one is shown only once")
    test = add_command(actions, "test", _test, "have the server send a test event")
    delete = add_command(actions, "delete", _delete, "delete a webhook and its pending events")
    for action in (modify, rotate, test, delete):
        action.add_argument("webhook_id")
    modify.add_argument("--url", help="the new address")
    short = " ".join(event.removeprefix(RUN_EVENT_PREFIX) for event in ALL_EVENTS)
    create.add_argument("--events", metavar="NAMES", help=f"the events to send, separated by commas: {short}")
    modify.add_argument("--events", metavar="NAMES", help=f"the same, or `all`: {short}")
    state = modify.add_mutually_exclusive_group()
    state.add_argument("--on", dest="enabled", action="store_true", default=None, help="send again")
    state.add_argument("--off", dest="enabled", action="store_false", help="send nothing until it is on again")
    rotate.add_argument(
        "--overlap-seconds",
        metavar="SECONDS",
        type=int,
        default=webhooks.OVERLAP_S,
        help="how long the old secret signs too; 0 after a leak",
    )
    for action in (create, listed, modify, rotate, test, delete):
        action.add_argument("--project", default=projects.DEFAULT_PROJECT, help="whose runs")
    for action in (create, listed, modify, rotate, test):
        action.add_argument("--json", action="store_true", help="for programs")


def _create(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    body = {"url": arguments.url, "events": _events(arguments.events)}
    params = _params(body, webhooks.WebhookCreateParams, settings)
    made = json.loads(bytes(in_project(arguments, settings, lambda ctx: webhooks.create(ctx, params))))
    _print_secret(arguments, made)


def _list(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    params = ListParams(limit=100, order="asc")
    page = in_project(arguments, settings, lambda ctx: webhooks.list_(ctx, params))
    found = [json.loads(bytes(webhook)) for webhook in page.data]
    if arguments.json:
        print(json.dumps(found))
    else:
        print("\n".join(map(_line, found)) or "no webhooks")


def _modify(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    body: dict[str, Any] = {}
    if arguments.url is not None:
        body["url"] = arguments.url
    if arguments.events is not None:
        body["events"] = _events(arguments.events)
    if arguments.enabled is not None:
        body["enabled"] = arguments.enabled
    if not body:
        raise CommandError("There is nothing to change.", "Give --url, --events, --on or --off.")
    params = _params(body, webhooks.WebhookUpdateParams, settings)
    changed = json.loads(bytes(_of_one(arguments, settings, lambda ctx, id_: webhooks.update(ctx, id_, params))))
    print(json.dumps(changed) if arguments.json else _line(changed))


def _rotate_secret(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    body = {"overlap_seconds": arguments.overlap_seconds}
    params = _params(body, webhooks.WebhookRotateSecretParams, settings)
    stored = _of_one(arguments, settings, lambda ctx, id_: webhooks.rotate_secret(ctx, id_, params))
    _print_secret(arguments, json.loads(bytes(stored)))
    if params.overlap_seconds and not arguments.json:
        print(f"The one before signs too, for {params.overlap_seconds} seconds.")


def _test(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    delivery = _of_one(arguments, settings, webhooks.test)
    if arguments.json:
        print(msgspec.json.encode(delivery).decode())
    else:
        print(f"{delivery.id} is pending; a running server sends it")


def _delete(arguments: argparse.Namespace, settings: Settings, _: dict[str, str]) -> None:
    _of_one(arguments, settings, webhooks.delete)
    print(f"deleted {arguments.webhook_id}")


def _of_one(arguments: argparse.Namespace, settings: Settings, operation: Callable[[Context, str], Awaitable[T]]) -> T:
    """Runs an operation on the webhook that the command names."""
    webhook_id = arguments.webhook_id
    return in_project(arguments, settings, lambda ctx: operation(ctx, webhook_id))


def _events(names: str | None) -> list[str] | None:
    """The events that `--events` names, in short or in full; None for all."""
    if names is None or names == "all":
        return None
    full = {event.removeprefix(RUN_EVENT_PREFIX): event for event in ALL_EVENTS}
    return [full.get(name, name) for name in names.split(",")]


def _params(body: dict[str, Any], wanted: type[Params], settings: Settings) -> Params:
    """The body of a request, refused in the words of the API."""
    if error := validation.explain(body, wanted, strict=True):
        raise error
    if url := body.get("url"):
        _check_url(url, settings)
    return msgspec.convert(body, wanted)


def _check_url(url: str, settings: Settings) -> None:
    try:
        webhook_urls.check(url, allows_private=settings.webhook_private_addresses)
    except BadRequestError as error:
        if webhook_urls.SETTING not in error.message:
            raise
        raise CommandError(
            error.message,
            "This command reads the setting itself: set THREADKEEP_WEBHOOK_PRIVATE_ADDRESSES=true here too, "
            "or name the server's file with --config.",
        ) from None


def _line(webhook: dict[str, Any]) -> str:
    events = webhook["events"]
    names = "all events" if len(events) == len(ALL_EVENTS) else ",".join(events).replace(RUN_EVENT_PREFIX, "")
    state = "" if webhook["enabled"] else "  (off)"
    return f"{webhook['id']}  {day(webhook['created_at'])}  {webhook['url']}  {names}{state}"


def _print_secret(arguments: argparse.Namespace, webhook: dict[str, Any]) -> None:
    if arguments.json:
        print(json.dumps(webhook))
        return
    print(
        f"{webhook['secret']}\n\nIt signs what {webhook['id']} sends to {webhook['url']}.\n"
        "This is the only time the secret is shown."
    )
