"""docs/architecture.md names modules and rooms that are there."""

import re
from typing import Final

import pytest

from tests.system.docs.pages import ROOT, read

SOURCES: Final = ROOT / "src" / "tokenbooth"
# A module below a room, or a room: what is named within the data plane's own table stands below `gateway/`.
NAMED: Final = sorted(set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?|\w+\.py)`", read("architecture.md"))))


def test_modules_are_named() -> None:
    """The page says where things are."""
    assert len(NAMED) > 50


@pytest.mark.parametrize("name", NAMED)
def test_what_is_named_is_there(name: str) -> None:
    """No module was moved away from under the page."""
    assert (SOURCES / name).exists() or (SOURCES / "gateway" / name).exists() or list(SOURCES.rglob(name))
