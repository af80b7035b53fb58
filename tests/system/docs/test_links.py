"""The pages lead to each other, and nowhere else."""

from pathlib import Path

import pytest

from tests.system.docs.pages import PAGES, ROOT, anchors, links, name_of


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A link's file exists, and so does the heading that it names."""
    broken = [link for link in links(page) if not _exists(page, link)]
    assert broken == []


def test_every_page_can_be_found() -> None:
    """The index leads to every page of docs/."""
    index = ROOT / "docs" / "index.md"
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert [name_of(page) for page in PAGES if page.parent != ROOT and page not in {*listed, index}] == []


def _exists(page: Path, link: str) -> bool:
    if link.startswith("https://"):
        return True
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))
