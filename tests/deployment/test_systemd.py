"""The units of "Run with systemd": systemd reads them without a word, and what they start works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import openai
import pytest
from tests import banner
from tests.deployment.conftest import replaced, shown

from threadkeep.settings import Settings

PAGE = "run-with-systemd.md"
BIN = Path(sys.executable).parent
UNITS = dict(
    zip(
        ("threadkeep.service", "threadkeep-backup.service", "threadkeep-backup.timer", "threadkeep-worker.service"),
        shown(PAGE, "ini"),
        strict=True,
    )
)


@pytest.fixture
def place(tmp_path, model):
    """Puts what the page keeps in folders of the system into one of the test: `place(text)` gives the text for it."""
    for name in ("opt", "etc", "var", "credentials"):
        (tmp_path / name).mkdir()

    def placed(text):
        folders = {
            "/opt/threadkeep/bin": BIN,
            "/etc/threadkeep": tmp_path / "etc",
            "/var/lib/threadkeep": tmp_path / "var",
            "http://127.0.0.1:11434/v1": model.base_url,
        }
        for old, new in folders.items():
            text = text.replace(old, str(new))
        return text

    settings = next(block for block in shown(PAGE, "text") if block.startswith("database = "))
    (tmp_path / "etc/threadkeep.toml").write_text(placed(settings))
    return placed


def directive(unit, name):
    """The values of a directive, in their order."""
    return re.findall(rf"^{name}=(.*)$", UNITS[unit], re.MULTILINE)


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_nothing_to_say_of_a_unit(unit, place, tmp_path):
    for name, text in UNITS.items():
        (tmp_path / name).write_text(place(text))
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / unit],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    ).stdout
    # Of other units that the machine has it may have something to say.
    assert [line for line in said.splitlines() if "threadkeep" in line] == []


def test_systemd_gives_a_server_the_time_that_it_takes_to_stop():
    for unit in ("threadkeep.service", "threadkeep-worker.service"):
        [seconds] = directive(unit, "TimeoutStopSec")
        assert int(seconds) > Settings().shutdown_timeout_s


def test_what_systemd_starts_serves_and_is_copied_at_night(place, tmp_path, model):
    [command], [variable] = directive("threadkeep.service", "ExecStart"), directive("threadkeep.service", "Environment")
    (tmp_path / "credentials/upstream_key").write_text("sk-of-a-file\n")
    name, _, value = replaced(variable, {"%d": str(tmp_path / "credentials")}).partition("=")
    command = [*shlex.split(place(command)), "--port", "0"]
    with subprocess.Popen(command, env=os.environ | {name: value}, stdout=subprocess.PIPE, text=True) as process:
        base_url = banner.read(process.stdout)
        assert base_url
        with openai.OpenAI(base_url=base_url, api_key="none") as client:
            assistant = client.beta.assistants.create(model="text:1", instructions="Speak.")
            run = client.beta.threads.create_and_run_poll(assistant_id=assistant.id)
        assert run.status == "completed"
        backup, sweep = directive("threadkeep-backup.service", "Exec\\w+")
        (tmp_path / "var-backups").mkdir()
        # systemd takes two percent signs for one.
        for words in (backup, sweep):
            subprocess.run(shlex.split(place(words).replace("%%", "%")), check=True, stdout=subprocess.DEVNULL)
        process.terminate()
    assert model.requests[0].headers["authorization"] == "Bearer sk-of-a-file"
    [copy] = (tmp_path / "var-backups").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d\.db", copy.name)
