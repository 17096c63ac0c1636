"""Virtual environments and processes of the SDK matrices: made once, remade when what they should hold changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache"
# What the newest Node SDK asks for.
NODE_MAJOR_MIN = 22


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


def node_programs() -> Path:
    """The folder that holds `node` and `npm`: from the PATH when they are recent enough, otherwise installed by pip."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and Path(node).parent == Path(npm).parent and node_major(node) >= NODE_MAJOR_MIN:
        return Path(node).parent
    return with_requirements(CACHE / "node" / "programs", ROOT / "tests/node/requirements.txt")


def node_major(node: str) -> int:
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.removeprefix("v").partition(".")[0])


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
