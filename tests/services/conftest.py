"""The use cases' dependencies over a real database, with fakes beside it, and a customer."""

from collections.abc import AsyncIterator

import pytest

from tests.support.management import Plane, management_plane
from tests.support.store import Customer, new_customer, store
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.engine import Store

__all__ = ["context", "customer", "plane", "store"]


@pytest.fixture
async def plane(store: Store) -> AsyncIterator[Plane]:
    """The management plane without Stripe, over an empty database."""
    async with management_plane(store) as built:
        yield built


@pytest.fixture
def context(plane: Plane) -> ServiceContext:
    """What the use cases are given; neither Stripe nor a chain is configured."""
    return plane.context


@pytest.fixture
def customer(plane: Plane) -> Customer:
    """A customer."""
    return new_customer(plane.context.store, now_us=plane.clock.now_us())
