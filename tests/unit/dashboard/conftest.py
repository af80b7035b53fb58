"""The dashboard over an empty database."""

from collections.abc import AsyncIterator

import pytest

from tests.support.dashboard.dashboard import Booth, open_booth
from tokenbooth.store.engine import Store


@pytest.fixture
async def booth(store: Store) -> AsyncIterator[Booth]:
    """A dashboard with the default settings."""
    async with open_booth(store) as built:
        yield built
