"""The database, the plane over it, and a customer of it."""

from collections.abc import AsyncIterator

import pytest

from tests.support.management import Plane, management_plane
from tests.support.store import Customer, new_customer, store
from tokenbooth.store.engine import Store

__all__ = ["customer", "plane", "store"]


@pytest.fixture
async def plane(store: Store) -> AsyncIterator[Plane]:
    """The management plane without Stripe, over an empty database."""
    async with management_plane(store) as built:
        yield built


@pytest.fixture
def customer(plane: Plane) -> Customer:
    """An account whose management key may do everything."""
    return new_customer(plane.context.store, now_us=plane.clock.now_us())
