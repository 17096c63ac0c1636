"""Programs of Debian that some tests need and pip does not have."""

from __future__ import annotations

import os
import shutil
import subprocess


def installed(package: str, left_out: str) -> bool:
    """Installs a package, for root. Otherwise says that the tests named by `left_out` are left out, and why."""
    if not shutil.which("apt-get"):
        reason = "there is no apt-get to install it with"
    elif os.geteuid() != 0:
        reason = f"only root can install it: apt-get install {package}"
    else:
        print(f"installing {package}", flush=True)
        reason = _install(package)
    if reason:
        print(f"{left_out} are left out. {package} is missing, and {reason}")
    return not reason


def _install(package: str) -> str:
    """What went wrong."""
    for command in (("apt-get", "update"), ("apt-get", "install", "--yes", "--no-install-recommends", package)):
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
            return f"{' '.join(command)} failed\n{done.stdout}"
    return ""
