"""`http/` imports nouns, nouns import `store/`, never upward."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import threadkeep

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/threadkeep"
MODULES = sorted(SOURCE.rglob("*.py"))

# From the bottom up. A module imports from its own layer and from those below; what is not named here is a noun.
GROUND, STORE, NOUNS, HTTP, TOP = range(5)
LAYER_OF = {
    "database_urls": GROUND,
    "errors": GROUND,
    "invalid": GROUND,
    "validation": GROUND,
    "settings": GROUND,
    "settings_sources": GROUND,
    "upstream_settings": GROUND,
    "logs": GROUND,
    "metrics": GROUND,
    "chance": GROUND,
    "tasks": GROUND,
    "store": STORE,
    "http": HTTP,
    "app": TOP,
    "processes": TOP,
    "server": TOP,
    "cli": TOP,
    "doctor": TOP,
    "testing": TOP,
    "__init__": TOP,
    "__main__": TOP,
}


def name_of(path):
    return str(path.relative_to(SOURCE))


def layer_of(first_part):
    return LAYER_OF.get(first_part, NOUNS)


def imports_of(path):
    """The first parts below `threadkeep` that the module imports: `store` for `threadkeep.store.interface`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            first_part = rest.partition(".")[0]
            if package == "threadkeep" and first_part != "__version__":
                yield first_part or "__init__"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_never_go_upward(path):
    own = layer_of(path.relative_to(SOURCE).with_suffix("").parts[0])
    for first_part in imports_of(path):
        assert layer_of(first_part) <= own, f"imports threadkeep.{first_part}"


def test_the_reader_of_imports_sees_them():
    assert "threads" in set(imports_of(SOURCE / "http/routes.py"))
    assert "store" in set(imports_of(SOURCE / "threads.py"))


def test_every_module_that_architecture_names_exists():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([\w/]+\.py)`", text):
        assert (SOURCE / name).exists() or (ROOT / name).exists(), name


def test_the_public_names_are_sorted_and_exist():
    assert threadkeep.__all__ == sorted(threadkeep.__all__)
    for name in threadkeep.__all__:
        assert hasattr(threadkeep, name)
