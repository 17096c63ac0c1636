"""The tests of the playground, in a real Chromium.

Chromium comes from Debian, because pip has none; where it is missing and cannot be installed, they are left out and
this says why. `CHROMIUM` names another one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSTALL = (("apt-get", "update"), ("apt-get", "install", "--yes", "--no-install-recommends", "chromium"))
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main() -> int:
    program = os.environ.get("CHROMIUM") or found() or installed()
    if not program:
        return 0
    tests = [sys.executable, "-m", "pytest", "tests/browser", *sys.argv[1:]]
    return subprocess.run(tests, cwd=ROOT, env=os.environ | {"CHROMIUM": program}, check=False).returncode


def found() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


def installed() -> str | None:
    """Where Chromium is after its installation; otherwise says why it is not there."""
    if not shutil.which("apt-get"):
        return left_out("there is no apt-get to install it with")
    if os.geteuid() != 0:
        return left_out("only root can install it: apt-get install chromium")
    print("installing chromium", flush=True)
    for command in INSTALL:
        done = subprocess.run(
            command,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            return left_out(f"{' '.join(command)} failed\n{done.stdout}")
    return found()


def left_out(reason: str) -> None:
    print(f"The tests of the playground are left out. Chromium is missing, and {reason}")


if __name__ == "__main__":
    sys.exit(main())
