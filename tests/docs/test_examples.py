"""The examples run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from threadkeep import testing

EXAMPLES = Path(__file__).parents[2] / "examples"
# What each prints, in part.
NEED_A_SERVER = {
    "first_thread.py": "assistant: In spring or in autumn?",
    "find_threads.py": "{'user': 'grace', 'number': '0'}",
    "curl.sh": '"deleted":true',
}
NEED_NONE = {"in_your_tests.py": "2 passed"}


def run(command, **environ):
    done = subprocess.run(
        [str(word) for word in command],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NEED_A_SERVER)
def test_an_example_runs_against_a_server(name):
    interpreter = sys.executable if name.endswith(".py") else "sh"
    with testing.serve() as server:
        key = server.new_key()
        printed = run([interpreter, EXAMPLES / name], THREADKEEP_URL=server.base_url, THREADKEEP_KEY=key)
    assert NEED_A_SERVER[name] in printed


@pytest.mark.parametrize("name", NEED_NONE)
def test_an_example_runs_alone(name, tmp_path):
    # Copied out of the clone, as it says: pytest would read the clone's configuration.
    shutil.copy(EXAMPLES / name, tmp_path)
    assert NEED_NONE[name] in run([sys.executable, "-m", "pytest", "-q", tmp_path / name])


def test_every_example_is_run():
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".sh"}}
    assert names == set(NEED_A_SERVER) | set(NEED_NONE)
