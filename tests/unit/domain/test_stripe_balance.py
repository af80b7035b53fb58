"""What the entries of Stripe's balance mean for our books."""

import pytest

from tokenbooth.domain.stripe_balance import BalanceTransaction, TransactionMeaning


@pytest.mark.parametrize(
    ("entry_type", "source_id", "meaning"),
    [
        ("charge", "ch_1", TransactionMeaning.PAYMENT),
        ("payment", "py_1", TransactionMeaning.PAYMENT),
        ("refund", "re_1", TransactionMeaning.REFUND),
        ("payment_failure_refund", "pyr_1", TransactionMeaning.REFUND),
        ("adjustment", "du_1", TransactionMeaning.DISPUTE),
        ("adjustment", "dp_1", TransactionMeaning.DISPUTE),
        ("adjustment", "ch_1", TransactionMeaning.OTHER),
        ("adjustment", None, TransactionMeaning.OTHER),
        ("stripe_fee", None, TransactionMeaning.FEE),
        ("payout", "po_1", TransactionMeaning.OTHER),
    ],
)
def test_meaning(entry_type: str, source_id: str | None, meaning: TransactionMeaning) -> None:
    """An adjustment is a dispute only where its source is one, and an unknown type is no customer's money."""
    entry = BalanceTransaction(
        id="txn_1",
        type=entry_type,
        currency="usd",
        source_id=source_id,
        payment_intent_id=None,
        amount_nano=5_000_000_000,
        fee_nano=0,
        created_at_us=0,
    )
    assert meaning == entry.meaning
