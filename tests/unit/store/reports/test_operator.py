"""Credit given and taken by hand, with its reason; plans in use; the figures."""

import pytest

from tests.support.billing.billing_rows import add_subscription, add_usage, charge
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import Customer, new_customer
from tokenbooth.domain.ledger import TransferKind
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.kit.errors import Conflict, NotFound, Unprocessable
from tokenbooth.store.accounts.credit import CreditChange, change_credit, find_customer
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import inbox
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.reports.figures import StoreFigures, figures
from tokenbooth.store.reports.operator import list_log, plans_in_use


@pytest.fixture
def ada(store: Store) -> Customer:
    """A customer."""
    return new_customer(store, now_us=NOW_US)


def change(
    store: Store,
    account: str,
    amount_nano: int,
    *,
    kind: TransferKind = TransferKind.ADJUSTMENT,
    reference: str | None = None,
) -> CreditChange:
    """Change credit by hand."""
    return store.write_now(
        change_credit,
        account=account,
        kind=kind,
        amount_nano=amount_nano,
        reason="a reason",
        reference=reference,
        now_us=NOW_US,
    )


def test_every_change_is_in_the_audit_log_with_its_reason(store: Store, ada: Customer) -> None:
    """A grant and both ways of an adjustment, each with who, what and why; a repetition is no new line."""
    change(store, ada.email, 10, kind=TransferKind.GRANT, reference="one")
    change(store, ada.email, 10, kind=TransferKind.GRANT, reference="one")
    change(store, ada.email, 5, reference="two")
    change(store, ada.account_id, -25, reference="three")
    lines = [row for row in store.read_now(list_log) if row.action.startswith("credit.")]
    assert sorted((row.actor, row.action, row.account, row.detail) for row in lines) == [
        ("operator", "credit.adjustment", ada.email, "-0.000000025 USD: a reason (operator:adjustment:three)"),
        ("operator", "credit.adjustment", ada.email, "0.000000005 USD: a reason (operator:adjustment:two)"),
        ("operator", "credit.grant", ada.email, "0.00000001 USD: a reason (operator:grant:one)"),
    ]
    assert store.read_now(audit).differences == ()


def test_what_is_taken_beyond_the_balance_is_owed(store: Store, ada: Customer) -> None:
    """And paid first by what comes next."""
    change(store, ada.email, 10)
    taken = change(store, ada.email, -25)
    given = change(store, ada.email, 20)
    assert [(c.balance_nano, c.debt_nano) for c in (taken, given)] == [(0, 15), (5, 0)]


def test_a_reference_stands_for_one_change(store: Store, ada: Customer) -> None:
    """Again it changes nothing; for another amount or account it is refused; without one every call counts."""
    ben = new_customer(store, now_us=NOW_US, email="ben@example.com")
    again = [change(store, ada.email, -10, reference="one") for _ in range(2)]
    assert [(c.debt_nano, c.repeated) for c in again] == [(10, False), (10, True)]
    for account, amount_nano in ((ada.email, -11), (ben.email, -10)):
        with pytest.raises(Conflict):
            change(store, account, amount_nano, reference="one")
    assert [change(store, ben.email, 1).balance_nano for _ in range(2)] == [1, 2]


def test_balances_stay_in_the_exact_range(store: Store, ada: Customer) -> None:
    """Four billion dollars are the most; nobody is found under an unknown name."""
    change(store, ada.email, 4 * 10**18)
    with pytest.raises(Unprocessable):
        change(store, ada.email, 1)
    with pytest.raises(NotFound):
        store.read_now(find_customer, "nobody@example.com")


def test_plans_in_use_are_those_that_were_paid_and_go_on(store: Store, ada: Customer) -> None:
    """An ended subscription uses none, nor does one that was never paid."""

    def add(paid_until_us: int | None, ended_at_us: int | None) -> None:
        store.write_now(
            add_subscription, ada.account_id, now_us=NOW_US, paid_until_us=paid_until_us, ended_at_us=ended_at_us
        )

    add(None, None)
    add(NOW_US + 5, NOW_US)
    assert store.read_now(plans_in_use, now_us=NOW_US) == {}
    add(NOW_US + 5, None)
    add(NOW_US + 5, NOW_US + 1)
    assert store.read_now(plans_in_use, now_us=NOW_US) == {"pro": 2}


def test_the_figures(store: Store, ada: Customer) -> None:
    """Requests and charges of all time, and what waits in the inbox."""
    assert store.read_now(figures) == StoreFigures(0, 0, 0, 0, 0)
    store.write_now(add_usage, charge(ada.account_id, finished_at_us=NOW_US, cost_nano=NANO_PER_USD))
    store.write_now(
        inbox.insert, source=inbox.STRIPE, external_id="evt_1", event_type="invoice.paid", payload=b"{}", now_us=NOW_US
    )
    assert store.read_now(figures) == StoreFigures(1, NANO_PER_USD, 0, 1, 0)
    assert store.read_now(inbox.known, inbox.STRIPE, ["evt_1", "evt_2"]) == {"evt_1"}
