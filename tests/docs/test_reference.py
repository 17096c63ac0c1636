"""The reference is complete: settings, flags, routes, errors, limits, differences."""

from __future__ import annotations

import argparse
import ast
import operator
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import get_args

import openai
import pytest

from threadkeep import (
    assistants,
    cli,
    drafts,
    errors,
    idempotency,
    ids,
    message_parts,
    messages,
    metadata,
    pages,
    references,
    run_params,
    run_rows,
    run_steps,
    runs,
    threads,
    tools,
    webhook_secrets,
    webhooks,
)
from threadkeep.http import connection, query
from threadkeep.http.openapi import document
from threadkeep.http.routes import ROUTES
from threadkeep.settings import FILE_SUFFIX, Settings, table
from threadkeep.store import postgres, sqlite_reader
from threadkeep.upstream import chunks

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/threadkeep"
REFERENCE = ROOT / "docs/reference"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

# Flags of other programs.
FLAGS_OF_OTHERS = {
    "--system",
    "--home-dir",
    "--shell",
    "--preserve-env",
    "--now",
    "--globoff",
    "--editable",
    "--format",
    "--file",
    "--no-owner",
    "--exit-on-error",
    "--dbname",
}
# Variables of the examples and of the configuration file itself.
VARIABLES_OF_OTHERS = {"THREADKEEP_URL", "THREADKEEP_KEY", "THREADKEEP_CONFIG"}


def read(path):
    return path.read_text(encoding="utf-8")


def every_page(pattern):
    """Each match of `pattern` in any page, with the page's name for a message."""
    return [(found, page.name) for page in PAGES for found in re.findall(pattern, read(page))]


def commands(parser, words=()):
    """Each command as a tuple of words, with its own parser."""
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from commands(command, (*words, name))


def test_the_generated_pages_are_up_to_date():
    done = subprocess.run(
        [sys.executable, ROOT / "docs/generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_setting_is_on_its_page():
    text = read(REFERENCE / "settings.md")
    for setting in table():
        assert f"| `{setting.name}` |" in text
        assert setting.is_table or f"`{setting.variable}`" in text


def test_every_command_is_on_its_page():
    text = read(REFERENCE / "cli.md")
    for words, parser in commands(cli.parser()):
        if parser.get_default("command"):
            assert f"\n## {' '.join(('threadkeep', *words))}\n" in text


def test_every_flag_in_prose_exists():
    flags = {flag for _, parser in commands(cli.parser()) for flag in parser._option_string_actions}
    for flag, page in every_page(r"(?<![\w-])--[a-z][a-z-]*"):
        assert flag in flags | FLAGS_OF_OTHERS, f"{page}: {flag}"


def test_every_variable_in_prose_exists():
    variables = {setting.variable for setting in table()}
    variables |= {setting.variable + FILE_SUFFIX for setting in table() if setting.secret}
    for variable, page in every_page(r"\bTHREADKEEP_[A-Z_]+"):
        assert variable in variables | VARIABLES_OF_OTHERS, f"{page}: {variable}"


def test_every_command_in_prose_exists():
    names = {words[0] for words, _ in commands(cli.parser()) if words}
    for name, page in every_page(r"(?:`|\$ |\$\(|^)(?:\.venv/bin/)?threadkeep\s+([a-z]+)"):
        assert name in names, f"{page}: threadkeep {name}"


def test_every_route_is_on_the_api_page():
    text = read(REFERENCE / "api.md")
    for route in ROUTES:
        assert f"`{route.method} /v1{route.path}`" in text


def test_every_sdk_method_on_the_api_page_exists():
    methods = re.findall(r"`client\.([\w.]+)`", read(REFERENCE / "api.md"))
    assert len(methods) >= sum(not route.ours for route in ROUTES)
    with openai.OpenAI(api_key="not-needed", base_url="http://127.0.0.1:9/v1") as client:
        for method in methods:
            if method != "get":
                assert callable(operator.attrgetter(method)(client)), method


def test_the_readme_names_each_route_group_among_what_works():
    text = read(ROOT / "README.md")
    works = text.partition("## What works")[2].partition("**Not yet**")[0]
    groups = {operation["tags"][0] for methods in document()["paths"].values() for operation in methods.values()}
    for group in groups:
        assert re.search(rf"^- .*`{group}`", works, re.MULTILINE), group


def codes_in_source():
    """Each error code: `code="..."` in a call, and `code = "..."` in a class."""
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(read(file))):
            match node:
                case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
                    yield code
                case ast.keyword(arg="code", value=ast.JoinedStr(values=[_, ast.Constant(value=rest)])):
                    # `{kind}_above_max_value` of a number.
                    yield from (f"{kind}{rest}" for kind in ("integer", "decimal"))
                case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
                    yield code


def last_errors_in_source():
    """The words of each `LastError`, and of each fault of a model server that has a code of its own."""
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(read(file))):
            match node:
                case ast.Call(func=ast.Name(id="LastError"), args=[_, words]):
                    pass
                case ast.Call(
                    func=ast.Name(id="UpstreamError" | "PassingError"), args=[ast.Constant(value=code), words, *_]
                ):
                    if code == "server_error":
                        continue
                case _:
                    continue
            match words:
                case ast.Constant(value=str(text)):
                    yield text
                case ast.JoinedStr(values=parts):
                    yield from (part.value for part in parts if isinstance(part, ast.Constant))


def test_what_a_failed_run_says_is_on_the_errors_page():
    text = " ".join(read(REFERENCE / "errors.md").split())
    found = set(last_errors_in_source())
    assert len(found) > 9
    for words in found:
        assert words in text, words


def test_every_event_is_on_its_page():
    text = read(REFERENCE / "events.md")
    names = {f"thread.run.{status}" for status in get_args(run_rows.Status)}
    names |= {f"thread.run.step.{status}" for status in get_args(run_steps.StepStatus)}
    names |= {f"thread.message.{status}" for status in ("in_progress", "completed", "incomplete")}
    names |= {drafts.DELTA, drafts.STEP_DELTA, "thread.created", "thread.run.created", "thread.message.created"}
    for name in names | set(get_args(messages.NoEnd)) | set(get_args(run_rows.IncompleteReason)):
        assert f"`{name}`" in text, name


def all_errors(parent=errors.APIError):
    for error in parent.__subclasses__():
        yield error
        yield from all_errors(error)


def test_every_error_code_is_on_its_page():
    text = read(REFERENCE / "errors.md")
    codes = set(codes_in_source())
    assert len(codes) > 15
    for code in codes:
        assert f"`{code}`" in text, code


def test_every_code_on_the_errors_page_is_in_the_source():
    codes = set(codes_in_source())
    rows = re.findall(r"^\| \d{3} \| (`.*?) \|", read(REFERENCE / "errors.md"), re.MULTILINE)
    for code in re.findall(r"`(\w+)`", " ".join(rows)):
        assert code in codes


def test_every_status_is_on_the_errors_page():
    text = read(REFERENCE / "errors.md")
    assert connection.HeadTooLargeError in set(all_errors())
    for error in all_errors():
        assert f"\n| {error.status} |" in text, error


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("metadata of an object", metadata.PAIRS_MAX),
        ("text of a message", message_parts.TEXT_CHARACTERS_MAX),
        ("name, description", assistants.NAME_CHARACTERS_MAX),
        ("name, description", assistants.DESCRIPTION_CHARACTERS_MAX),
        ("name, description", assistants.INSTRUCTIONS_CHARACTERS_MAX),
        ("tools of an assistant", tools.TOOLS_MAX),
        ("name of a function", tools.NAME_CHARACTERS_MAX),
        ("nesting", tools.NESTING_MAX),
        ("`file_ids` of a message", references.V1_FILES_MAX),
        ("`file_ids` of an assistant", references.V1_ASSISTANT_FILES_MAX),
        ("id that a client gives", ids.GIVEN_ID_CHARACTERS_MAX),
        ("`Idempotency-Key`", idempotency.KEY_CHARACTERS_MAX),
        ("time in which an `Idempotency-Key`", Settings().idempotency_keys_kept_s),
        ("objects on a page", pages.ListParams().limit),
        ("query parameters", query.FIELDS_MAX),
        ("deleted thread as a cursor", threads.REMEMBERED_S // 3600),
        ("messages in one create-thread request", threads.STRICT_MESSAGES_MAX),
        ("messages in one create-thread request", Settings().thread_create_messages_max),
        ("messages in one thread", Settings().thread_messages_max),
        ("webhooks of a project", webhooks.WEBHOOKS_MAX),
        ("`overlap_seconds`", webhooks.OVERLAP_S),
        ("`overlap_seconds`", webhooks.OVERLAP_S_MAX),
        ("`overlap_seconds`", webhook_secrets.OLD_SECRETS_MAX),
        ("attempts that a webhook's delivery keeps", webhooks.LAST_ATTEMPTS_MAX),
        ("a webhook's answer", int(Settings().webhook_timeout_s)),
        ("request body", Settings().body_bytes_max // 1024**2),
        ("request bodies", Settings().bodies_bytes_max // 1024**2),
        ("request line", Settings().head_bytes_max // 1024),
        ("time to send", int(Settings().head_timeout_s)),
        ("time to send", int(Settings().body_timeout_s)),
        ("idle connection", int(Settings().keep_alive_s)),
        ("connections \\|", Settings().connections_max),
        ("writes that wait", Settings().write_queue_max),
        ("connections of one process", Settings().postgres_connections_max),
        ("tools of a run", tools.TOOLS_MAX),
        ("tools of a run", runs.OUTPUTS_BYTES_MAX // 1024),
        ("`max_prompt_tokens`", run_params.STRICT_TOKENS_MIN),
        ("how far back", runs.USER_MESSAGE_WITHIN),
        ("function calls in one answer", chunks.CALLS_MAX),
        ("runs that one process", Settings().runs_max),
        ("runs that wait", Settings().runs_waiting_max),
        ("unfinished runs", Settings().project_runs_max),
        ("time of a run", Settings().run_lifetime_s),
        ("times a run may", Settings().run_tool_rounds_max),
        ("times a run is", Settings().run_attempts_max),
        ("events of one run", Settings().run_events_characters_max // 1024**2),
        ("time the events", int(Settings().run_events_kept_s) // 3600),
        ("a polling helper", int(Settings().poll_hold_s)),
        ("a polling helper", int(Settings().message_wait_s)),
        ("one read", sqlite_reader.LONG_READ_STEPS),
        ("one read", postgres.STATEMENT_TIMEOUT_S),
    ],
)
def test_a_limit_is_told_as_it_is(line, value):
    (row,) = re.findall(rf"^\| {line}.*$", read(REFERENCE / "limits.md"), re.MULTILINE)
    assert re.search(rf"\b({value}|{value:,})\b", row)


def test_every_limit_of_the_server_names_its_setting():
    text = read(REFERENCE / "limits.md")
    for setting in table():
        if setting.name.endswith(("_max", "_timeout_s")) and setting.name != "shutdown_timeout_s":
            assert f"`{setting.name}`" in text


def test_every_difference_in_the_source_has_its_row():
    marked = Counter()
    for file in sorted([*SOURCE.rglob("*.py"), *SOURCE.rglob("*.sql")]):
        if count := read(file).count("Differs from OpenAI:"):
            marked[str(file.relative_to(SOURCE))] = count
    rows = re.findall(r"^\| .* \| `([\w/.]+)` \|$", read(ROOT / "docs/concepts/differences.md"), re.MULTILINE)
    assert Counter(rows) == marked


def test_every_dependency_has_its_line():
    text = read(ROOT / "docs/decisions/0002-dependencies.md").lower()
    listed = set(re.findall(r"[\w-]+", " ".join(re.findall(r"^\| ([\w, -]+) \|", text, re.MULTILINE))))
    for file in ROOT.glob("requirements/*.in"):
        for name in re.findall(r"^[\w-]+", read(file).lower(), re.MULTILINE):
            if name not in {"-c", "-r"}:
                assert name in listed, name
