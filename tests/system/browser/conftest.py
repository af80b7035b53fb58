"""A browser for each module, and one demo for all; each test has an account of its own.

Playwright's loop runs on the thread that began it, so the browser is gone before tests with a loop of their own run.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.dashboard.chromium import Demo, chromium, running_demo


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo on a port of its own."""
    with running_demo(tmp_path_factory.mktemp("demo")) as started:
        yield started
