"""What the how-to pages show for other programs, with those programs: nginx, Caddy, Prometheus, systemd.

They come from Debian, because pip has none of them; what is missing and cannot be had is left out and this says why.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))

import debian

# Where each package has its program. Tests that need it have its name in theirs.
PROGRAMS = {"nginx": "usr/sbin", "caddy": "usr/bin", "prometheus": "usr/bin"}


def main() -> int:
    folders, missing = [debian.SEARCHED], []
    for program, folder in PROGRAMS.items():
        if debian.found(program):
            continue
        if files := debian.unpacked(program, f"The tests of {program}"):
            folders.insert(0, str(files / folder))
        else:
            missing.append(program)
    if not debian.found("systemd-analyze") and not debian.installed("systemd", "The tests of systemd"):
        missing.append("systemd")
    if len(missing) > len(PROGRAMS):
        return 0
    tests = [sys.executable, "-m", "pytest", "tests/deployment", "-k", " and ".join(f"not {name}" for name in missing)]
    environ = os.environ | {"PATH": os.pathsep.join(folders)}
    return subprocess.run([*tests, *sys.argv[1:]], cwd=ROOT, env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
