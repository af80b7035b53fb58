"""The ledger: transfers that balance, debts that are paid first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.domain.ledger import (
    MEMO_CONTRA,
    STRIPE_CLEARING,
    AccountKind,
    Entry,
    LedgerAccount,
    Transfer,
    TransferKind,
    UnbalancedTransfer,
    credit_entries,
    credit_of,
    debt_of,
    key_spend,
    take_back_entries,
    window_spend,
)

amounts = st.integers(min_value=1, max_value=2**62)
balances = st.integers(min_value=0, max_value=2**62)


def on(entries: tuple[Entry, ...], account: LedgerAccount) -> int:
    """What the entries add to an account."""
    return sum(entry.amount_nano for entry in entries if entry.account == account)


def transfer(*entries: Entry) -> Transfer:
    return Transfer(id="tr_1", kind=TransferKind.TOP_UP, reference="r", entries=entries)


@given(amounts, balances)
def test_what_comes_in_pays_the_debt_first(amount_nano: int, owed_nano: int) -> None:
    """Credit grows only by what the debt leaves over, and everything balances (P1, P3)."""
    entries = credit_entries("acct_1", STRIPE_CLEARING, amount_nano, owed_nano)

    assert transfer(*entries).entries == entries
    assert on(entries, STRIPE_CLEARING) == -amount_nano
    assert on(entries, debt_of("acct_1")) == min(amount_nano, owed_nano)
    assert on(entries, credit_of("acct_1")) == max(amount_nano - owed_nano, 0)
    assert all(entry.amount_nano for entry in entries)


@given(amounts, balances)
def test_what_is_taken_back_beyond_the_credit_becomes_a_debt(amount_nano: int, left_nano: int) -> None:
    """Credit never goes below zero; the rest is owed (18)."""
    entries = take_back_entries("acct_1", STRIPE_CLEARING, amount_nano, left_nano)

    assert transfer(*entries).entries == entries
    assert on(entries, STRIPE_CLEARING) == amount_nano
    assert left_nano + on(entries, credit_of("acct_1")) == max(left_nano - amount_nano, 0)
    assert on(entries, debt_of("acct_1")) == -max(amount_nano - left_nano, 0)
    assert all(entry.amount_nano for entry in entries)


@given(st.lists(st.integers(min_value=-(2**62), max_value=2**62), max_size=5))
def test_a_transfer_that_makes_or_destroys_money_is_refused(parts: list[int]) -> None:
    """Fewer than two entries, or a sum other than zero, is no transfer (P1)."""
    entries = [Entry(credit_of(f"acct_{line}"), amount) for line, amount in enumerate(parts)]
    if len(parts) >= 2 and sum(parts) == 0:
        assert len(transfer(*entries).entries) == len(parts)
        return
    with pytest.raises(UnbalancedTransfer):
        transfer(*entries)


def test_a_single_entry_of_nothing_is_no_transfer() -> None:
    """Even when it sums to zero."""
    with pytest.raises(UnbalancedTransfer, match="at least two"):
        transfer(Entry(MEMO_CONTRA, 0))


def test_ids_of_accounts_say_what_they_are() -> None:
    """The id is the kind and the owner; windows and keys have memo accounts of their own."""
    assert [account.id for account in (credit_of("a"), debt_of("a"), window_spend("s", 5), key_spend("k"))] == [
        "credit:a",
        "debt:a",
        "window_spend:s:5",
        "key_spend:k",
    ]
    assert len({str(kind) for kind in AccountKind}) == len(AccountKind)
