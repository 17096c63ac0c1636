"""The parent of several processes and signals that come at the worst moment."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Real processes; the moment is made certain by sending the signal from within the call.
PROGRAM = """
import os, signal, sys
from threadkeep.processes import Processes

def then_stop(call):
    def stop(*arguments):
        result = call(*arguments)
        if result:
            os.kill(os.getpid(), signal.SIGTERM)
        return result
    return stop

os.{name} = then_stop(os.{name})
Processes(2, lambda number: {work}).run()
"""


@pytest.mark.parametrize(
    ("name", "work"),
    [("fork", "signal.pause()"), ("wait", "signal.pause() if number else None")],
    ids=["a child has just begun", "a child has just ended"],
)
def test_a_signal_ends_all_processes_whenever_it_comes(name, work):
    program = PROGRAM.format(name=name, work=work)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
