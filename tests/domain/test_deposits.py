"""How chains are named and deposits are asked for."""

import pytest

from tokenbooth.domain.deposits import BASE, BASE_SEPOLIA, chain_name, payment_uri


@pytest.mark.parametrize(("chain_id", "name"), [(BASE, "base"), (BASE_SEPOLIA, "base-sepolia"), (1, "eip155:1")])
def test_chain_name(chain_id: int, name: str) -> None:
    """A chain without a name of its own is shown by its number, as CAIP-2 writes it."""
    assert name == chain_name(chain_id)


def test_payment_uri() -> None:
    """A wallet is asked for micro-USD, not for the nano-USD of the books."""
    uri = payment_uri(token="0xToken", chain_id=BASE, address="0xAddress", amount_nano=12_500_000_000)
    assert uri == "ethereum:0xToken@8453/transfer?address=0xAddress&uint256=12500000"
