"""The tests of the playground, in a real Chromium.

Chromium comes from Debian, because pip has none; where it is missing and cannot be installed, they are left out and
this says why. `CHROMIUM` names another one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))

import debian

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main() -> int:
    program = os.environ.get("CHROMIUM") or found()
    if not program and debian.installed("chromium", "The tests of the playground"):
        program = found()
    if not program:
        return 0
    tests = [sys.executable, "-m", "pytest", "tests/browser", *sys.argv[1:]]
    return subprocess.run(tests, cwd=ROOT, env=os.environ | {"CHROMIUM": program}, check=False).returncode


def found() -> str | None:
    return next(filter(None, map(debian.found, NAMES)), None)


if __name__ == "__main__":
    sys.exit(main())
