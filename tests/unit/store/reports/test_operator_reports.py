"""The operator's figures: spend and margin by model, plan and account, parked events, and who did what."""

import pytest

from tests.support.billing.billing_rows import DAY_US, add_usage, by_window, charge
from tests.support.billing.stripe_state import PRO, PRO_NANO, grant, new_checkout, paid_topup, upsert
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import Customer, new_customer, unchecked
from tokenbooth.domain.ledger import TransferKind
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.kit.errors import NotFound
from tokenbooth.store.accounts.credit import change_credit
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import inbox, subscriptions
from tokenbooth.store.payments.apply import apply_command
from tokenbooth.store.reports import operator as reports
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.reports.figures import figures
from tokenbooth.store.reports.operator import Sale
from tokenbooth.store.usage.usage_reports import Span

SPAN = Span(NOW_US - NOW_US % DAY_US, NOW_US - NOW_US % DAY_US + 30 * DAY_US)


@pytest.fixture
def ada(store: Store) -> Customer:
    """A customer with credit, a plan, calls on both, and one call outside of the span."""
    customer = new_customer(store, now_us=NOW_US)
    store.write_now(
        change_credit,
        account=customer.email,
        kind=TransferKind.GRANT,
        amount_nano=5 * NANO_PER_USD,
        reason="welcome",
        reference=None,
        now_us=NOW_US,
    )
    checkout_id = new_checkout(store, customer.account_id, PRO, now_us=NOW_US)
    store.write_now(apply_command, upsert(customer.account_id, checkout_id), now_us=NOW_US)
    store.write_now(apply_command, grant("in_1", NOW_US), now_us=NOW_US)
    subscription_id = store.read_now(subscriptions.id_of, "sub_at_stripe")
    store.write_now(
        add_usage,
        charge(customer.account_id, finished_at_us=NOW_US, cost_nano=100),
        charge(customer.account_id, finished_at_us=NOW_US, cost_nano=200, key_id="key_b", model="large"),
        by_window(charge(customer.account_id, finished_at_us=NOW_US + 1, cost_nano=400), subscription_id),
        by_window(charge(customer.account_id, finished_at_us=NOW_US + 1, cost_nano=800), "sub_of_another_file"),
        charge(customer.account_id, finished_at_us=NOW_US - 40 * DAY_US, cost_nano=10_000),
    )
    return customer


def sale(requests: int, charged_nano: int) -> Sale:
    """So many of the test's calls: each cost the upstream 7 and left 5 uncollected."""
    return Sale(requests, charged_nano, 5 * requests, 7 * requests)


def park(store: Store) -> str:
    """An event that failed for good."""
    row_id = store.write_now(
        inbox.insert, source=inbox.STRIPE, external_id="evt_1", event_type="invoice.paid", payload=b"{}", now_us=NOW_US
    )
    command = paid_topup("acct_unknown", "chk_unknown")
    store.write_now(inbox.carry_out, row_id, [command], seen={}, now_us=NOW_US)
    return row_id


def test_the_business_by_model_and_plan(store: Store, ada: Customer) -> None:
    """Spend, cost and margin of a span; what subscriptions paid, what is owed, what waits."""
    park(store)
    shown = store.read_now(reports.business, SPAN)
    assert shown.by_model == {"small": sale(3, 1_300), "large": sale(1, 200)}
    assert shown.by_plan == {"": sale(2, 300), "pro": sale(1, 400), "sub_of_another_file": sale(1, 800)}
    assert (shown.total, shown.total.margin_nano) == (sale(4, 1_500), 1_500 - 28)
    assert (shown.subscriptions_paid_nano, shown.credit_owed_nano) == (PRO_NANO, 5 * NANO_PER_USD)
    assert (shown.uncollected_nano, shown.accounts, shown.parked) == (0, 1, 1)
    assert store.read_now(figures).inbox_parked == 1


def test_one_account_by_key_model_and_plan(store: Store, ada: Customer) -> None:
    """Its own figures only; an account that is not there is told."""
    bob = new_customer(store, now_us=NOW_US + 1, email="bob@example.com")
    store.write_now(add_usage, charge(bob.account_id, finished_at_us=NOW_US))
    shown = store.read_now(reports.account_report, ada.account_id, SPAN)
    assert shown.by_key == {"key_a": sale(3, 1_300), "key_b": sale(1, 200)}
    assert shown.by_model == {"small": sale(3, 1_300), "large": sale(1, 200)}
    assert shown.by_plan == {"": sale(2, 300), "pro": sale(1, 400), "sub_of_another_file": sale(1, 800)}
    assert (shown.row.balance_nano, shown.row.debt_nano, shown.row.sale) == (5 * NANO_PER_USD, 0, sale(4, 1_500))
    assert shown.subscriptions_paid_nano == PRO_NANO
    for unknown in ("acct_unknown", "ada"):
        with pytest.raises(NotFound):
            store.read_now(reports.account_report, unknown, SPAN)


def test_accounts_are_searched_and_paged(store: Store, ada: Customer) -> None:
    """By a part of the email in any case, or the whole id; signs that mean something to the database mean nothing."""
    bob = new_customer(store, now_us=NOW_US + 1, email="b_b@example.com")

    def found(search: str, limit: int = 10, offset: int = 0) -> tuple[list[str], bool]:
        rows, more = store.read_now(reports.list_accounts, search, SPAN, limit=limit, offset=offset)
        return [row.email for row in rows], more

    assert found("") == ([bob.email, ada.email], False)
    assert found("", limit=1) == ([bob.email], True)
    assert found("", limit=1, offset=1) == ([ada.email], False)
    assert found("ADA@") == ([ada.email], False)
    assert found(bob.account_id) == ([bob.email], False)
    assert found("b_b") == ([bob.email], False)
    assert found("a_a") == ([], False)


def test_a_parked_event_is_handled_again_once(store: Store, ada: Customer) -> None:
    """Listed with its reason, due after the operator said so, and then no longer there to retry."""
    row_id = park(store)
    (row,) = store.read_now(reports.list_parked)
    assert (row.id, row.external_id, row.error) == (row_id, "evt_1", "There is no such checkout here.")
    store.write_now(inbox.retry_parked, row_id, actor=ada.account_id, now_us=NOW_US + 1)
    assert store.read_now(reports.count_parked) == 0
    assert store.read_now(inbox.due, now_us=NOW_US + 1, limit=10) == [row_id]
    with pytest.raises(NotFound):
        store.write_now(inbox.retry_parked, row_id, actor=ada.account_id, now_us=NOW_US + 1)
    (entry,) = store.read_now(reports.list_log, action="inbox.retried")
    assert (entry.actor, entry.account, entry.detail) == (ada.email, None, row_id)


def test_the_last_audit_is_told_with_what_it_found(store: Store) -> None:
    """None before the first; then clean, or the first of the differences."""
    assert store.read_now(reports.last_audit) is None
    store.write_now(reports.record_audit, store.read_now(audit), actor="operator", now_us=NOW_US)
    unchecked(store, "INSERT INTO ledger_accounts VALUES ('credit:x', 'credit', 9), ('promotion:x', 'promotion', 9)")
    clean = store.read_now(reports.last_audit)
    store.write_now(reports.record_audit, store.read_now(audit), actor="operator", now_us=NOW_US + 1)
    dirty = store.read_now(reports.last_audit)
    assert clean is not None
    assert dirty is not None
    assert clean.detail == "clean (0 ledger accounts, 0 transfers)"
    assert dirty.detail == "2 differences: balance: credit:x; balance: promotion:x (2 ledger accounts, 0 transfers)"


def test_the_log_of_one_account_or_action(store: Store, ada: Customer) -> None:
    """What a reader filters by, the last first, with emails where they are known."""
    bob = new_customer(store, now_us=NOW_US + 1, email="bob@example.com")
    of_bob = store.read_now(reports.list_log, account_id=bob.account_id)
    assert {row.account for row in of_bob} == {bob.email}
    (given,) = store.read_now(reports.list_log, action="credit.grant")
    assert (given.actor, given.account) == ("operator", ada.email)
    assert given.detail.startswith("5.00 USD: welcome (")
    assert len(store.read_now(reports.list_log, limit=2)) == 2
