"""A transaction of Stripe's balance, and what it means for our ledger."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_PAYMENTS: Final = frozenset({"charge", "payment"})
_REFUNDS: Final = frozenset({"refund", "payment_refund", "refund_failure", "payment_failure_refund"})
_FEES: Final = frozenset({"stripe_fee", "stripe_fx_fee", "network_cost", "tax_fee"})
_DISPUTE_PREFIXES: Final = ("du_", "dp_")


class TransactionMeaning(StrEnum):
    """What an entry of Stripe's balance is to us."""

    PAYMENT = "payment"
    REFUND = "refund"
    DISPUTE = "dispute"
    FEE = "fee"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class BalanceTransaction:
    """What moved Stripe's balance. `amount_nano` is signed, nano-USD, before `fee_nano`; `payment_intent_id` is that of
    the payment it is about, None where there is none."""

    id: str
    type: str
    currency: str
    source_id: str | None
    payment_intent_id: str | None
    amount_nano: int
    fee_nano: int
    created_at_us: int

    @property
    def meaning(self) -> TransactionMeaning:
        """What it is to us; a type that this version does not know moves money without a customer."""
        if self.type in _PAYMENTS:
            return TransactionMeaning.PAYMENT
        if self.type in _REFUNDS:
            return TransactionMeaning.REFUND
        if self.type == "adjustment" and self.source_id is not None and self.source_id.startswith(_DISPUTE_PREFIXES):
            return TransactionMeaning.DISPUTE
        return TransactionMeaning.FEE if self.type in _FEES else TransactionMeaning.OTHER
