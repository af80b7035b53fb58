"""The use cases' dependencies over a real database, with fakes beside it."""

import pytest

from tests.support.management import Plane
from tokenbooth.services.context import ServiceContext


@pytest.fixture
def context(plane: Plane) -> ServiceContext:
    """What the use cases are given; neither Stripe nor a chain is configured."""
    return plane.context
