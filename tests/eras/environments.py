"""Virtual environments and processes of the SDK matrices: made once, remade when what they should hold changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache"


def with_requirements(folder: Path, requirements: Path) -> Path:
    """The folder of the programs of a virtual environment that holds `requirements` and nothing else."""
    programs = folder / "bin"
    wanted = f"{sys.version}\n{requirements.read_text()}"
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {requirements.relative_to(ROOT)} into {folder.relative_to(ROOT)}", flush=True)
        run_quietly(sys.executable, "-m", "venv", "--clear", folder)
        pip = (programs / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        run_quietly(*pip, "--requirement", requirements)
        stamp.write_text(wanted)
    return programs


def run_quietly(*command: str | Path, **options) -> None:
    """Runs a command whose output matters only when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}")


def loopback_only(**variables: str) -> dict[str, str]:
    """The environment without what would lead an SDK elsewhere: `OPENAI_*` and proxies."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("OPENAI_") and not name.lower().endswith("_proxy")
    }
    return kept | variables
