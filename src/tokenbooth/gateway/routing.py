"""Which upstreams to try for a model, and in which order."""

import random
from collections.abc import Iterator

from tokenbooth.catalog import Model, Route


def in_order(model: Model, rng: random.Random) -> Iterator[Route]:
    """Every route of the model once; the first is chosen by weight, and so is each next of what is left."""
    left = list(model.routes)
    while len(left) > 1:
        chosen = rng.choices(left, weights=[route.weight for route in left])[0]
        left.remove(chosen)
        yield chosen
    yield from left
