"""The database of a million threads, kept between runs in `.cache/`: seeding it takes minutes."""

from __future__ import annotations

import hashlib
import shutil
from importlib import resources
from pathlib import Path

from bench.contest import seed
from bench.data import Data
from threadkeep import messages, threads

HERE = Path(__file__).parent
FOLDER = HERE.parent / ".cache/bench"


def seeded(data: Data) -> tuple[Path, list[str]]:
    """A database with the data, to be copied before it is used, and the ids of its threads."""
    kept = FOLDER / _key(data)
    if not (kept / "ids").exists():
        # One is kept: it is large, and one for another schema is of no use.
        shutil.rmtree(FOLDER, ignore_errors=True)
        kept.mkdir(parents=True)
        ids = seed(["bench.seed", f"sqlite:///{kept / 'seeded.db'}"], data, kept)
        (kept / "ids").write_text("\n".join(ids))
    return kept / "seeded.db", (kept / "ids").read_text().split()


def _key(data: Data) -> str:
    """Another for another schema, another form of the stored objects, other data or another way to seed."""
    migrations = resources.files("threadkeep").joinpath("store/migrations").iterdir()
    parts = sorted(file.read_bytes() for file in migrations if file.name.endswith(".sql"))
    parts += [(HERE / name).read_bytes() for name in ("data.py", "seed.py")]
    parts += [repr((threads.SHAPE, messages.SHAPE, data)).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
