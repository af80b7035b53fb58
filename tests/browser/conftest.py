"""One browser and one demo for all tests of this directory; each test has an account of its own."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.chromium import Demo, chromium, running_demo


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo on a port of its own."""
    with running_demo(tmp_path_factory.mktemp("demo")) as started:
        yield started
