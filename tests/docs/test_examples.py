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
    "stream.py": "Count\n[the connection breaks]\n from one to ten, please.\n[thread.run.completed]",
    "chat.py": "assistant: Hello there",
}
NEED_FUNCTIONS = {"function_tools.py": 'the model calls weather({"city": "Oslo"})\nassistant: Take one.'}
# What is typed into them.
TYPED = {"chat.py": "Hello there\n"}
NEED_NONE = {"in_your_tests.py": "2 passed"}


def run(command, typed="", **environ):
    done = subprocess.run(
        [str(word) for word in command],
        env=os.environ | environ,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def printed_by(name, server, **environ):
    interpreter = sys.executable if name.endswith(".py") else "sh"
    environ |= {"THREADKEEP_URL": server.base_url, "THREADKEEP_KEY": server.new_key()}
    return run([interpreter, EXAMPLES / name], TYPED.get(name, ""), **environ)


@pytest.mark.parametrize("name", NEED_A_SERVER)
def test_an_example_runs_against_a_server(name):
    with testing.serve() as server:
        assert NEED_A_SERVER[name] in printed_by(name, server)


@pytest.mark.parametrize("name", ["stream.py", "chat.py"])
def test_an_example_runs_with_a_model_server(name):
    with testing.model() as model, testing.serve(upstream_url=model.base_url) as server:
        assert NEED_A_SERVER[name] in printed_by(name, server, MODEL="llama3.1")


@pytest.mark.parametrize("name", NEED_FUNCTIONS)
def test_an_example_has_its_functions_called(name):
    with testing.model() as model, testing.serve(upstream_url=model.base_url) as server:
        model.reply(testing.tool_calls(testing.call("weather", {"city": "Oslo"})), testing.text("Take ", "one."))
        assert NEED_FUNCTIONS[name] in printed_by(name, server)
        (output,) = [said for said in model.requests[-1].body["messages"] if said["role"] == "tool"]
    assert '"sky": "rain"' in output["content"]


@pytest.mark.parametrize("name", NEED_NONE)
def test_an_example_runs_alone(name, tmp_path):
    # Copied out of the clone, as it says: pytest would read the clone's configuration.
    shutil.copy(EXAMPLES / name, tmp_path)
    assert NEED_NONE[name] in run([sys.executable, "-m", "pytest", "-q", tmp_path / name])


def test_every_example_is_run():
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".sh"}}
    assert names == set(NEED_A_SERVER) | set(NEED_FUNCTIONS) | set(NEED_NONE)
