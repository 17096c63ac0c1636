"""What the figures were measured on, in words that name no host and no folder."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import apsw

from bench.processes import CPUS

MEMORY_FILESYSTEMS = {"tmpfs", "ramfs"}
# Above this, others are at work, and the spread will show it.
BUSY_LOAD = 0.5


def here(folder: Path) -> dict[str, str]:
    """The machine, with the disk that `folder` is on."""
    return {
        "CPU": f"{_processor()}, {len(CPUS)} CPUs",
        "memory": f"{_memory_gib():.0f} GiB",
        "disk": f"{filesystem(folder)} on {_disk(folder)}",
        "kernel": "Linux " + re.match(r"[\d.]*\d", platform.release())[0],
        "Python": platform.python_version(),
        "SQLite": f"{apsw.sqlite_lib_version()} (apsw {apsw.apsw_version()})",
    }


def describe(folder: Path) -> dict[str, str]:
    """The machine and the programs that are measured beside each other."""
    return here(folder) | {
        "HTTP": f"uvicorn {version('uvicorn')}, uvloop {version('uvloop')}, httptools {version('httptools')}",
        "compared with": ", ".join(
            f"{name} {version(package)}"
            for name, package in (
                ("FastAPI", "fastapi"),
                ("pydantic", "pydantic"),
                ("SQLAlchemy", "sqlalchemy"),
                ("aiosqlite", "aiosqlite"),
                ("asyncpg", "asyncpg"),
            )
        ),
        "load": _wrk(),
    }


def require_fit(folder: Path) -> None:
    """Ends the run on a machine where the figures would mean nothing; warns on one that is busy."""
    if filesystem(folder) in MEMORY_FILESYSTEMS:
        sys.exit("The temporary folder is in memory, where writes cost nothing: set TMPDIR to a folder on a disk.")
    load = os.getloadavg()[0]
    if load > BUSY_LOAD:
        print(f"Other programs are at work here (load {load:.1f}): expect wide spreads.")


def filesystem(folder: Path) -> str:
    """The type of the file system that holds `folder`."""
    device = folder.stat().st_dev
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, rest = line.partition(" - ")
        if mount.split()[2] == f"{os.major(device)}:{os.minor(device)}":
            return rest.split()[0]
    return "an unknown file system"


def _disk(folder: Path) -> str:
    device = folder.stat().st_dev
    path = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    if "/virtio" in str(path):
        return "a virtual disk"
    if "/nvme" in str(path):
        return "an NVMe disk"
    # A partition has no queue of its own; its disk has.
    for place in (path, path.parent):
        if (rotational := place / "queue/rotational").exists():
            return "a hard disk" if rotational.read_text().strip() == "1" else "a solid-state disk"
    return "an unknown disk"


def _processor() -> str:
    match = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1].strip() if match else platform.machine()


def _memory_gib() -> float:
    return int(re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())[1]) / 1024**2


def _wrk() -> str:
    shown = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"wrk (?:debian/)?([\d.]+\d)", shown)
    return f"wrk {match[1]}" if match else "wrk"
