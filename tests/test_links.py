"""Every link from one file of the repository to another leads somewhere, its anchor included.

mkdocs checks the links between the pages of docs/; it does not read the files beside that folder.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(ROOT.glob("*.md"))
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?![a-z]+:)([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as mkdocs and code hosts make them."""
    text = page.read_text(encoding="utf-8")
    given = set(re.findall(r"\{ #([\w-]+) \}", text))
    words = (re.sub(r"[^\w\s-]", "", title).strip().lower() for title in HEADING.findall(text))
    return given | {re.sub(r"\s+", "-", title) for title in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_there_are_links_to_check() -> None:
    found = sum(len(LINK.findall(page.read_text(encoding="utf-8"))) for page in PAGES)

    assert found > 10
