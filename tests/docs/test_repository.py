"""No file of the repository depends on where it was made."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Put together here, so that this file does not find itself.
HOME_FOLDERS = ("home", "root", "work", "Users")
ABSOLUTE_PATH = re.compile(rf"(?<![\w.}}-])/(?:{'|'.join(HOME_FOLDERS)})/[\w.]")
REGISTRY_HOSTS = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"))]


def files():
    """Every file that is committed, or would be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git clone")
    for name in listed.stdout.rstrip("\0").split("\0"):
        path = ROOT / name
        if path.is_file():
            yield name, path.read_text(encoding="utf-8", errors="replace")


def test_no_file_names_a_folder_of_the_machine_it_was_made_on():
    found = [f"{name}: {match[0]}" for name, text in files() for match in ABSOLUTE_PATH.finditer(text)]
    assert found == []


def test_no_file_names_a_registry():
    found = [f"{name}: {host}" for name, text in files() for host in REGISTRY_HOSTS if host in text]
    assert found == []
