"""The double-entry ledger: accounts, entries, and the transfers that the business knows.

Every transfer has at least two entries and sums to zero. An amount is positive where the customer (or the operator's
revenue) gains: a top-up takes from a clearing account, which therefore stands negative by what came in, and adds to
the customer's credit. Memo accounts record spend that moves no money: of a window, of a key, and what was uncollected.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class AccountKind(StrEnum):
    """What a ledger account stands for."""

    CREDIT = "credit"
    DEBT = "debt"
    CLEARING = "clearing"
    REVENUE = "revenue"
    PROMOTION = "promotion"
    WINDOW_SPEND = "window_spend"
    KEY_SPEND = "key_spend"
    UNCOLLECTED = "uncollected"
    MEMO_CONTRA = "memo_contra"
    EXPENSE = "expense"
    TAX = "tax"
    EXTERNAL = "external"


class TransferKind(StrEnum):
    """Why money moved."""

    TOP_UP = "top_up"
    SUBSCRIPTION_PAYMENT = "subscription_payment"
    GRANT = "grant"
    ADJUSTMENT = "adjustment"
    USAGE = "usage"
    REFUND = "refund"
    REVERSAL = "reversal"
    DISPUTE = "dispute"
    PRORATION = "proration"
    TAX = "tax"
    PROCESSOR_FEE = "processor_fee"
    PROCESSOR_OTHER = "processor_other"


@dataclass(frozen=True, slots=True)
class LedgerAccount:
    """A ledger account; its id is its kind and its owner."""

    kind: AccountKind
    owner: str

    @property
    def id(self) -> str:
        """The stored id."""
        return f"{self.kind}:{self.owner}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a transfer: `amount_nano` added to the account's balance."""

    account: LedgerAccount
    amount_nano: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """A balanced set of entries.

    Attributes:
        id: ours, prefixed and time-sortable.
        kind: why.
        reference: the business reference; a second transfer with the same one is refused by the store.
        entries: at least two, summing to zero.
        note: for people; a reason, never a secret.
        corrects: the transfer that this one corrects.
    """

    id: str
    kind: TransferKind
    reference: str
    entries: tuple[Entry, ...]
    note: str = ""
    corrects: str | None = None

    def __post_init__(self) -> None:
        if len(self.entries) < 2:
            raise UnbalancedTransfer("a transfer needs at least two entries")
        if sum(entry.amount_nano for entry in self.entries) != 0:
            raise UnbalancedTransfer("the entries of a transfer must sum to zero")


class UnbalancedTransfer(ValueError):
    """A transfer that would create or destroy money."""


STRIPE_CLEARING: Final = LedgerAccount(AccountKind.CLEARING, "stripe")
USDC_CLEARING: Final = LedgerAccount(AccountKind.CLEARING, "usdc")
USAGE_REVENUE: Final = LedgerAccount(AccountKind.REVENUE, "usage")
SUBSCRIPTION_REVENUE: Final = LedgerAccount(AccountKind.REVENUE, "subscriptions")
PROMOTION: Final = LedgerAccount(AccountKind.PROMOTION, "grants")
UNCOLLECTED: Final = LedgerAccount(AccountKind.UNCOLLECTED, "all")
STRIPE_FEES: Final = LedgerAccount(AccountKind.EXPENSE, "stripe")
STRIPE_OTHER: Final = LedgerAccount(AccountKind.EXTERNAL, "stripe")
"""Payouts to the bank, and whatever else moves at Stripe without a customer."""
TAX_DUE: Final = LedgerAccount(AccountKind.TAX, "stripe")
MEMO_CONTRA: Final = LedgerAccount(AccountKind.MEMO_CONTRA, "all")


def credit_of(account_id: str) -> LedgerAccount:
    """The prepaid credit of a customer; never negative."""
    return LedgerAccount(AccountKind.CREDIT, account_id)


def debt_of(account_id: str) -> LedgerAccount:
    """What a customer owes after a refund or dispute took back more than was left; never positive."""
    return LedgerAccount(AccountKind.DEBT, account_id)


def window_spend(subscription_id: str, window_start_us: int) -> LedgerAccount:
    """Memo: what was charged in one window of a subscription."""
    return LedgerAccount(AccountKind.WINDOW_SPEND, f"{subscription_id}:{window_start_us}")


def key_spend(key_id: str) -> LedgerAccount:
    """Memo: what was charged through a key in its lifetime."""
    return LedgerAccount(AccountKind.KEY_SPEND, key_id)


def credit_entries(account_id: str, source: LedgerAccount, amount_nano: int, owed_nano: int) -> tuple[Entry, ...]:
    """Entries that bring `amount_nano` from `source` to a customer, who pays an open debt first.

    Args:
        account_id: the customer.
        source: where the money comes from.
        amount_nano: what comes in; positive.
        owed_nano: the customer's open debt, as a positive number.
    """
    to_debt_nano = min(amount_nano, owed_nano)
    to_credit_nano = amount_nano - to_debt_nano
    entries = [Entry(source, -amount_nano)]
    if to_debt_nano:
        entries.append(Entry(debt_of(account_id), to_debt_nano))
    if to_credit_nano:
        entries.append(Entry(credit_of(account_id), to_credit_nano))
    return tuple(entries)


def take_back_entries(account_id: str, target: LedgerAccount, amount_nano: int, left_nano: int) -> tuple[Entry, ...]:
    """Entries that take `amount_nano` back from a customer to `target`; what is not left becomes a debt.

    Args:
        account_id: the customer.
        target: where the money goes.
        amount_nano: what is taken; positive.
        left_nano: the customer's credit.
    """
    from_credit_nano = min(amount_nano, left_nano)
    to_debt_nano = amount_nano - from_credit_nano
    entries = [Entry(target, amount_nano)]
    if from_credit_nano:
        entries.append(Entry(credit_of(account_id), -from_credit_nano))
    if to_debt_nano:
        entries.append(Entry(debt_of(account_id), -to_debt_nano))
    return tuple(entries)
