"""Chooses the newest versions of what `*.in` name and writes them, with hashes, to `*.txt`."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
OPTIONS = [
    *("--quiet", "--upgrade", "--universal", "--python-version", "3.11", "--generate-hashes"),
    *("--no-header", "--no-annotate", "--no-emit-index-url"),
]

subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "uv"], check=True)
for name in ("run", "build", "test", "bench", "browser"):
    subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", *OPTIONS, f"{name}.in", "-o", f"{name}.txt"],
        check=True,
        cwd=HERE,
    )
