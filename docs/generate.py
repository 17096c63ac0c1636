"""Writes what is made from the code: the reference pages of settings, command line and API, statements for Citus.

docs/generate.py            rewrites them in place
docs/generate.py --check    exit status 1 when one of them is not up to date
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from threadkeep import cli, upstream_settings
from threadkeep.http import openapi, reference
from threadkeep.settings import FILE_SUFFIX, Described, table
from threadkeep.store import migrate

DOCS = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py from {source}. Change that, then run `make docs`. -->"
KIB, MIB = 1024, 1024**2
# Arguments of every command, told once.
COMMON = ("help", "config", "set_database")
# The words for a type are those of `/docs`: names and values become code, the rest plain text.
_CODE = re.compile(r"</?(?:code|a)\b[^>]*>")
_PLAIN = re.compile(r"</?span\b[^>]*>")
# The block of text that stands below the note in a page which is otherwise written by hand.
_NOTED_BLOCK = re.compile(r"<!-- Written by .*? -->\n```text\n.*?^```$", re.MULTILINE | re.DOTALL)


def settings_page() -> str:
    """Every setting: flag, variable, default, meaning."""
    lines = [
        NOTE.format(source="src/threadkeep/settings.py"),
        "# Settings",
        "",
        "None is needed to start. A value comes from the first of these that has one:",
        "",
        "1. the flag of `threadkeep serve`, such as `--port 9000`",
        "2. the environment variable, such as `THREADKEEP_PORT=9000`; for a secret also the file that the variable",
        "   with `_FILE` at its end names",
        "3. the TOML file that `--config` or `THREADKEEP_CONFIG` names; its keys are the names below, at the top level",
        "4. the default",
        "",
        "`threadkeep settings` shows each value and where it came from. A list is separated by commas in flags and",
        "variables, and is an array in TOML. A yes-or-no setting is `true` or `false`; its flag takes no value, and",
        "has a twin that says no. The unit stands at the end of a name: `_s` is seconds, `_bytes_max` is bytes.",
        "",
        "A value out of range, an empty secret, or a variable that looks like a misspelt setting: the server refuses",
        "to start.",
        "What `api_key` is for: [Make keys and projects](../how-to/keys-and-projects.md#one-key-from-the-environment).",
        "",
        "| name | flag | variable | default | meaning |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{row.name}` | {_flags(row)} | {_variables(row)} | {_default(row)} | {_cell(row.help)} |" for row in table()
    ]
    lines += [
        "",
        "## Model servers",
        "",
        "For one, `upstream_url` is enough. For several, the file has a table `[[upstreams]]` for each, with these",
        "keys; `name` and `url` are needed. See",
        "[Connect a model](../how-to/connect-a-model.md#several-model-servers).",
        "",
        "| key | meaning |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {_cell(meaning)} |" for name, meaning in upstream_settings.HELP.items()]
    return "\n".join(lines) + "\n"


def _flags(setting: Described) -> str:
    if setting.is_table:
        return "none"
    if setting.secret:
        return "none: a secret on a command line can be seen by others"
    if setting.type is bool:
        return f"`{setting.flag}`, `{setting.flag.replace('--', '--no-', 1)}`"
    return f"`{setting.flag}`"


def _variables(setting: Described) -> str:
    if setting.is_table:
        return "none"
    return f"`{setting.variable}`" + (f", `{setting.variable}{FILE_SUFFIX}`" if setting.secret else "")


def _default(setting: Described) -> str:
    if setting.spelled_default == "":
        return "none"
    words = f"`{setting.spelled_default}`"
    if "bytes" in setting.name:
        size = setting.default
        words += f" ({size // MIB} MiB)" if size >= MIB else f" ({size // KIB} KiB)"
    return words


def cli_page() -> str:
    """Every command with its arguments."""
    parser = cli.parser()
    lines = [
        NOTE.format(source="src/threadkeep/cli/"),
        "# Command line",
        "",
        "Commands work beside a running server on the same database; `restore` alone needs it stopped. Those that only",
        "look make no SQLite database: they say that there is none. `python -m threadkeep` is the same program.",
        "",
        "Every command takes `--database URL` and `--config FILE` (a TOML file with [settings](settings.md)).",
        "",
        "Exit status: 0 done; 1 it cannot be done, and the message says why and what to do next; 2 the command is",
        "misspelt.",
    ]
    for command, description, actions in _commands(parser, ()):
        lines += ["", f"## {command}", "", description, ""]
        if command == "threadkeep serve":
            lines += [
                "Each flag is a [setting](settings.md) and can also come from a variable or a file. A flag without a",
                "value has a twin that says the opposite, such as `--no-strict`.",
                "",
            ]
        if not actions:
            lines.pop()
            continue
        lines += ["| argument | meaning |", "|---|---|"]
        lines += [f"| `{_spelling(action)}` | {_cell(_help(action))} |" for action in actions]
    return "\n".join(lines) + "\n"


def _commands(
    parser: argparse.ArgumentParser, words: tuple[str, ...]
) -> Iterator[tuple[str, str, list[argparse.Action]]]:
    """The commands below `parser`, each with its description and the arguments worth showing."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        for name, command in action.choices.items():
            below = list(_commands(command, (*words, name)))
            if below:
                yield from below
            else:
                shown = [a for a in command._actions if a.help != argparse.SUPPRESS and a.dest not in COMMON]
                yield " ".join(("threadkeep", *words, name)), command.description or "", shown


def _spelling(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar or action.dest).upper()
    metavar = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return f"{action.option_strings[-1]}{metavar}"


def _help(action: argparse.Action) -> str:
    text = (action.help or "").replace("%%", "%")
    if action.default and action.default != argparse.SUPPRESS:
        text += f". Default: `{action.default}`"
    return text


def api_page() -> str:
    """Every route with what it takes and gives."""
    document = openapi.document()
    lines = [
        NOTE.format(source="the route table and the wire types"),
        "# API",
        "",
        "Every address is served with and without `/v1`. A running server has this page with all objects at `/docs`,",
        "and the machine-readable description at `/openapi.json`.",
        "",
        "A key goes into `Authorization: Bearer <key>`, or Azure's `api-key: <key>`. *Ours* marks what the original",
        "did not have; the SDK reaches it with `client.get`. What a refusal looks like is in [errors](errors.md), the",
        "bounds are in [limits](limits.md).",
        "",
        "| request | operation | Python SDK |",
        "|---|---|---|",
    ]
    operations = [
        (path, method.upper(), operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    for path, method, operation in operations:
        link = f"#{operation['summary'].lower().replace(' ', '-')}"
        lines.append(f"| `{method} {path}` | [{operation['summary']}]({link}) | {_sdk(path, operation)} |")
    for path, method, operation in operations:
        lines += ["", f"## {operation['summary']}", "", f"`{method} {path}`", "", operation["description"]]
        rows = list(_parameters(document, operation))
        if rows:
            lines += ["", "| parameter | in | type |", "|---|---|---|", *rows]
        answer = reference.json_schema(operation["responses"]["200"])
        answers = operation["responses"]["200"]["content"]
        events = ", or [events](events.md) where they were asked for" if "text/event-stream" in answers else ""
        lines += ["", f"Answers {type_in_words(answer) if answer else 'lines of JSON'}{events}."]
    lines += [
        "",
        "## Without a key",
        "",
        "| request | answer |",
        "|---|---|",
        "| `GET /healthz` | 200 while the process serves |",
        "| `GET /readyz` | 200 while the database answers too, else 503 |",
        "| `GET /metrics` | counts for [Prometheus](../how-to/monitor-with-prometheus.md); needs a key of its own "
        "unless the server listens on loopback |",
        "| `GET /docs` | this reference, with all objects |",
        "| `GET /openapi.json` | OpenAPI 3.1 |",
    ]
    return "\n".join(lines) + "\n"


def _sdk(path: str, operation: dict) -> str:
    if operation["x-ours"]:
        return "*ours*"
    verb = operation["operationId"].rpartition(".")[2]
    if path == "/v1/threads/runs":
        return "`client.beta.threads.create_and_run`"
    # The path of an action ends with its verb.
    nouns = [part for part in path.removeprefix("/v1/").split("/") if not part.startswith("{") and part != verb]
    resource = ".".join(nouns if nouns == ["models"] else ["beta", *nouns])
    return f"`client.{resource}.{verb}`"


def _parameters(document: dict, operation: dict) -> Iterator[str]:
    for parameter in operation["parameters"]:
        name, place, schema = reference.shown_parameter(parameter)
        yield f"| `{name}` | {place} | {type_in_words(schema)} |"
    if "requestBody" not in operation:
        return
    schema = reference.json_schema(operation["requestBody"])
    if schema is None:
        yield "| body | lines of JSON, of any length | |"
        return
    component = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    required = component.get("required", [])
    for name, field in component["properties"].items():
        yield f"| `{name}` | body{', required' if name in required else ''} | {type_in_words(field)} |"


def type_in_words(schema: dict) -> str:
    """A schema in a few words: those of `/docs`, as Markdown."""
    html = reference.type_in_words(schema) + reference.limits_of_enum(schema)
    return unescape(_PLAIN.sub("", _CODE.sub("`", html)))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def citus_page() -> str:
    """The page about Citus as it is, with the statements that the list of tables gives."""
    first, *others = migrate.THREAD_FAMILY
    statements = [
        f"select create_distributed_table('{first}', 'thread_id');",
        *(f"select create_distributed_table('{name}', 'thread_id', colocate_with => '{first}');" for name in others),
        *(f"select create_reference_table('{name}');" for name in migrate.SHARED_TABLES),
    ]
    before, after = _NOTED_BLOCK.split((DOCS / "how-to/citus.md").read_text(encoding="utf-8"))
    note = NOTE.format(source="src/threadkeep/store/migrate.py")
    return before + "\n".join([note, "```text", *statements, "```"]) + after


PAGES = {
    "reference/settings.md": settings_page,
    "reference/cli.md": cli_page,
    "reference/api.md": api_page,
    "how-to/citus.md": citus_page,
}


def main() -> None:
    """Writes the pages, or says which are out of date."""
    parser = argparse.ArgumentParser(description="Writes the pages that are made from the code.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a page is out of date")
    check = parser.parse_args().check
    stale = []
    for name, page in PAGES.items():
        path, text = DOCS / name, page()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"docs/{name} {'is out of date: run make docs' if check else 'was rewritten'}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
