"""Builds the playground from `web/` into the package. With `--check` it compares instead, and changes nothing.

Node comes from the PATH when it is recent enough, otherwise from a package that pip installs.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
BUILT = ROOT / "src/threadkeep/playground"
sys.path.append(str(ROOT / "tests/eras"))

import environments


def main() -> int:
    programs = environments.node_programs()
    install(programs)
    environments.run_quietly(programs / "node", "node_modules/typescript/bin/tsc", "--project", ".", cwd=HERE)
    with tempfile.TemporaryDirectory(prefix="threadkeep-playground-") as folder:
        new = Path(folder)
        environments.run_quietly(programs / "node", "build.mjs", new, cwd=HERE)
        if "--check" in sys.argv:
            return compared(files_in(new), files_in(BUILT))
        shutil.rmtree(BUILT, ignore_errors=True)
        shutil.copytree(new, BUILT)
    return 0


def install(programs: Path) -> None:
    """Has in `web/node_modules` what the lock file says."""
    wanted = (HERE / "package-lock.json").read_text()
    stamp = HERE / "node_modules/installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print("installing what builds the playground into web/node_modules", flush=True)
        npm = ("ci", "--no-audit", "--no-fund", "--ignore-scripts")
        environments.run_quietly(programs / "npm", *npm, cwd=HERE)
        stamp.write_text(wanted)


def compared(new: dict[str, bytes], committed: dict[str, bytes]) -> int:
    """0 when both are the same; otherwise says what is not."""
    differing = sorted(name for name in new | committed if new.get(name) != committed.get(name))
    if differing:
        print(f"The built playground is not that of web/: {', '.join(differing)}. Run `make playground`.")
    return int(bool(differing))


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


if __name__ == "__main__":
    sys.exit(main())
