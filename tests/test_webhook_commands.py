"""`threadkeep webhooks`: what an operator does who has no key of the project."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import openai
import pytest
from tests.receiver import TELLS, create, deliveries

from threadkeep import testing

URL = "https://app.example.com/hook"
PRIVATE = "https://10.0.0.1/hook"


@pytest.fixture
def run(tmp_path):
    """`run("list")` in a folder with an empty database; gives the finished process."""
    threadkeep = [sys.executable, "-m", "threadkeep"]
    subprocess.run([*threadkeep, "migrate"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)

    def command(*arguments, **environ):
        return subprocess.run(
            [*threadkeep, "webhooks", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return command


@pytest.fixture
def made(run):
    return json.loads(run("create", URL, "--events", "completed,thread.run.failed", "--json").stdout)


def test_webhooks_are_made_listed_and_deleted(run):
    made = run("create", URL, "--events", "completed,thread.run.failed")
    assert made.stdout.startswith("whsec_"), made.stderr
    (listed,) = json.loads(run("list", "--json").stdout)
    assert (listed["url"], listed["events"]) == (URL, ["thread.run.completed", "thread.run.failed"])
    assert run("list").stdout.endswith(f"  {URL}  completed,failed\n")
    assert run("delete", listed["id"]).stdout == f"deleted {listed['id']}\n"
    assert run("list").stdout == "no webhooks\n"


def test_a_webhook_is_switched_off_and_on(run, made):
    off = run("modify", made["id"], "--off")
    assert off.stdout.endswith(f"  {URL}  completed,failed  (off)\n")
    assert run("list").stdout == off.stdout
    refused = run("test", made["id"])
    assert (refused.returncode, "is off, so nothing is sent to it" in refused.stderr) == (1, True)
    assert json.loads(run("modify", made["id"], "--on", "--json").stdout)["enabled"] is True


def test_a_webhook_gets_another_address_and_other_events(run, made):
    changed = run("modify", made["id"], "--url", f"{URL}/new", "--events", "expired,expired")
    assert changed.stdout.endswith(f"  {URL}/new  expired\n")
    assert run("modify", made["id"], "--events", "all").stdout.endswith(f"  {URL}/new  all events\n")
    refused = run("modify", made["id"])
    assert (refused.returncode, refused.stderr.splitlines()) == (
        1,
        ["threadkeep: There is nothing to change.", "Give --url, --events, --on or --off."],
    )
    assert "No webhook found with id 'wh_x'" in run("modify", "wh_x", "--off").stderr


@pytest.mark.parametrize("names", ["begun", "", "completed,", ",".join(["completed"] * 7)])
@pytest.mark.parametrize("action", ["create", "modify"])
def test_events_that_there_are_not_are_refused_in_the_words_of_the_api(run, made, action, names):
    refused = run(action, URL if action == "create" else made["id"], "--events", names)
    assert refused.returncode == 1
    words = "array too long" if names.count(",") > 1 else "Supported values are: 'thread.run.completed', 'thread.run."
    assert words in refused.stderr


def test_a_secret_is_replaced(run, made):
    rotated = json.loads(run("rotate-secret", made["id"], "--overlap-seconds", "0", "--json").stdout)
    assert rotated["secret"] != made["secret"]
    assert rotated["old_secret_expires_at"] is None
    printed = run("rotate-secret", made["id"])
    assert printed.stdout.startswith("whsec_")
    assert printed.stdout.endswith("The one before signs too, for 86400 seconds.\n")
    assert json.loads(run("list", "--json").stdout)[0]["old_secret_expires_at"]
    refused = run("rotate-secret", made["id"], "--overlap-seconds", "604801")
    assert (refused.returncode, "Expected a value <= 604800" in refused.stderr) == (1, True)


def test_a_private_address_needs_the_setting_where_the_command_runs(run, made):
    for arguments in (
        ("create", PRIVATE),
        ("create", "http://app.example.com"),
        ("modify", made["id"], "--url", PRIVATE),
    ):
        refused = run(*arguments)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "--webhook-private-addresses" in refused.stderr.splitlines()[0]
        assert "set THREADKEEP_WEBHOOK_PRIVATE_ADDRESSES=true" in refused.stderr.splitlines()[1]
        assert run(*arguments, THREADKEEP_WEBHOOK_PRIVATE_ADDRESSES="true").returncode == 0
    wrong = run("create", "ftp://10.0.0.1/hook")
    assert wrong.stderr == "threadkeep: Invalid 'url': expected a URL that begins with 'https://'.\n"


def test_a_test_is_sent_by_the_server(run, tmp_path, receiver):
    url = f"sqlite:///{tmp_path / 'a.db'}"
    with testing.serve(database=url, **TELLS) as server:
        with openai.OpenAI(base_url=server.base_url, api_key=server.new_key("mine")) as client:
            webhook = create(client, receiver.url)
            asked = run("test", webhook["id"], "--project", "mine", "--database", url)
            ((_, headers, body),) = receiver.wait_for(1)
            client.webhooks.verify_signature(body, headers, secret=webhook["secret"])
            (delivery,) = deliveries(client, webhook, until=lambda page: page[0]["status"] == "delivered")
        assert asked.stdout == f"{delivery['id']} is pending; a running server sends it\n"
        assert json.loads(body)["type"] == "webhook.test"
        missing = run("test", webhook["id"], "--database", url)
        assert "No webhook found" in missing.stderr
