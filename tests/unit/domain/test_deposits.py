"""How deposits are asked for."""

from tokenbooth.domain.deposits import payment_uri


def test_payment_uri() -> None:
    """A wallet is asked for micro-USD, not for the nano-USD of the books."""
    uri = payment_uri(token="0xToken", chain_id=8453, address="0xAddress", amount_nano=12_500_000_000)
    assert uri == "ethereum:0xToken@8453/transfer?address=0xAddress&uint256=12500000"
