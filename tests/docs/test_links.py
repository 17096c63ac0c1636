"""Links between the pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(page):
    return str(page.relative_to(ROOT))


def without_code(text):
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def links_of(page):
    return [link for link in LINK.findall(without_code(page.read_text(encoding="utf-8"))) if "://" not in link]


def anchors_of(page):
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page):
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors_of(target), link


def test_every_page_of_the_docs_is_in_the_index():
    linked = {(ROOT / "docs" / link).resolve() for link in links_of(ROOT / "docs/README.md")}
    assert linked == {page for page in PAGES if page.is_relative_to(ROOT / "docs") and page.name != "README.md"}


def test_every_page_of_the_root_can_be_reached_from_the_readme():
    linked = set(links_of(ROOT / "README.md"))
    assert {page.name for page in ROOT.glob("*.md")} - {"README.md"} <= linked
