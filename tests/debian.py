"""Programs of Debian that some tests need and pip does not have."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

# Debian keeps servers where only administrators look.
SEARCHED = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
UNPACKED = Path(__file__).parents[1] / ".cache/debian"


def found(program: str) -> str | None:
    """Where the machine has it."""
    return shutil.which(program, path=SEARCHED)


def installed(package: str, left_out: str) -> bool:
    """Installs a package, for root. Otherwise says that the tests named by `left_out` are left out, and why."""
    if not shutil.which("apt-get"):
        reason = "there is no apt-get to install it with"
    elif os.geteuid() != 0:
        reason = f"only root can install it: apt-get install {package}"
    else:
        print(f"installing {package}", flush=True)
        reason = _updated() or _done("apt-get", "install", "--yes", "--no-install-recommends", package)
    return _is_there(package, reason, left_out)


def unpacked(package: str, left_out: str) -> Path | None:
    """The folder of a package's files, which are not installed: no server starts, and nobody needs to be root.

    Otherwise says that the tests named by `left_out` are left out, and why.
    """
    folder = UNPACKED / package
    if folder.exists():
        return folder
    if not shutil.which("apt-get"):
        reason = "there is no apt-get to fetch it with"
    else:
        print(f"fetching {package}", flush=True)
        reason = _unpack(package, folder)
    return folder if _is_there(package, reason, left_out) else None


def _unpack(package: str, folder: Path) -> str:
    """What went wrong."""
    new = folder.with_name(f"{package}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    # Only root can ask for newer lists; the machine may have some.
    reason = _updated() if os.geteuid() == 0 else ""
    reason = reason or _done("apt-get", "download", package, folder=new)
    for file in new.glob("*.deb"):
        reason = reason or _done("dpkg-deb", "--extract", str(file), str(new))
    if not reason:
        new.rename(folder)
    return reason


def _updated() -> str:
    return _done("apt-get", "update")


def _done(*command: str, folder: Path | None = None) -> str:
    """What went wrong."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return f"{' '.join(command)} failed\n{done.stdout}" if done.returncode else ""


def _is_there(package: str, reason: str, left_out: str) -> bool:
    if reason:
        print(f"{left_out} are left out. {package} is missing, and {reason}")
    return not reason
