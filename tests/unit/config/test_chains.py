"""How chains are named."""

import pytest

from tokenbooth.config.chains import BASE, BASE_SEPOLIA, chain_name


@pytest.mark.parametrize(("chain_id", "name"), [(BASE, "base"), (BASE_SEPOLIA, "base-sepolia"), (1, "eip155:1")])
def test_chain_name(chain_id: int, name: str) -> None:
    """A chain without a name of its own is shown by its number, as CAIP-2 writes it."""
    assert name == chain_name(chain_id)
