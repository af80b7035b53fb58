"""Refunds and disputes in the store: what a payment brought is taken back, and restored, exactly and once."""

from collections.abc import Iterator
from itertools import permutations

import pytest
from sqlalchemy import Connection, select

from tests.support.billing.stripe_state import (
    PRO,
    PRO_NANO,
    TOP_UP,
    TOP_UP_NANO,
    grant,
    new_checkout,
    paid_topup,
    upsert,
)
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import Customer, new_customer
from tokenbooth.domain.ledger import (
    STRIPE_CLEARING,
    SUBSCRIPTION_REVENUE,
    TAX_DUE,
    LedgerAccount,
    TransferKind,
    credit_of,
    debt_of,
)
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.payment_commands import CreditTopup, ReversalKind, SettleReversal
from tokenbooth.kit.errors import NotFound
from tokenbooth.store import ledger
from tokenbooth.store.accounts.accounts import is_disputed
from tokenbooth.store.accounts.credit import change_credit
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import reversals
from tokenbooth.store.payments.apply import apply_command
from tokenbooth.store.payments.subscriptions import StaleSnapshot
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import audit_log, subscription_periods

INTENT = "pi_of_cs_at_stripe"


@pytest.fixture
def ada(store: Store) -> Iterator[Customer]:
    """A customer who topped up; the ledger is audited afterwards."""
    customer = new_customer(store, now_us=NOW_US)
    checkout_id = new_checkout(store, customer.account_id, TOP_UP, now_us=NOW_US)
    store.write_now(apply_command, paid_topup(customer.account_id, checkout_id), now_us=NOW_US)
    yield customer
    assert store.read_now(audit).differences == ()


def taken(
    nano: int,
    *,
    name: str = "re_1",
    kind: ReversalKind = ReversalKind.REFUND,
    intent: str = INTENT,
    currency: str = "usd",
) -> SettleReversal:
    """What Stripe says of a refund or a dispute."""
    return SettleReversal(name, kind, intent, nano, currency)


def dispute(nano: int, name: str = "dp_1") -> SettleReversal:
    """A dispute that holds this much of the top-up."""
    return taken(nano, name=name, kind=ReversalKind.DISPUTE)


def apply(store: Store, command: SettleReversal, **seen: int | None) -> str | None:
    """Carry a command out."""
    return store.write_now(apply_command, command, seen=seen, now_us=NOW_US + 1)


def standing(store: Store, customer: Customer) -> tuple[int, int]:
    """Credit and debt in nano-USD."""
    return _nano(store, credit_of(customer.account_id)), -_nano(store, debt_of(customer.account_id))


def _nano(store: Store, account: LedgerAccount) -> int:
    return store.read_now(ledger.balance_nano, account)


def _actions(store: Store) -> list[str]:
    """What the audit log says was done; what was done in one microsecond is in no order."""

    def read(conn: Connection) -> list[str]:
        return list(conn.scalars(select(audit_log.c.action).order_by(audit_log.c.id)))

    return store.read_now(read)


def test_a_refund_takes_back_what_stripe_says_however_often(store: Store, ada: Customer) -> None:
    """18: in part, whole, repeated, and restored when it failed: each time the credit is what is left."""
    for held, times in ((TOP_UP_NANO // 5, 3), (TOP_UP_NANO, 2), (0, 2)):
        assert [apply(store, taken(held)) for _ in range(times)] == [None] * times
        assert standing(store, ada) == (TOP_UP_NANO - held, 0)
        assert store.read_now(reversals.taken_nano, INTENT) == held


def test_partial_refunds_in_every_order_end_the_same(store: Store, ada: Customer) -> None:
    """18, P7: states of two refunds, in any order, lead to what the last state of each says."""
    states = [taken(10**9, name="re_1"), taken(2 * 10**9, name="re_2"), taken(10**9, name="re_1")]
    for order in permutations(states):
        for command in order:
            apply(store, command)
        assert standing(store, ada) == (TOP_UP_NANO - 3 * 10**9, 0)


def test_spent_credit_becomes_a_debt_and_is_restored_exactly(store: Store, ada: Customer) -> None:
    """19: what a dispute takes beyond the credit is owed; won, all is as before."""
    store.write_now(
        change_credit,
        account=ada.account_id,
        kind=TransferKind.ADJUSTMENT,
        amount_nano=-10 * NANO_PER_USD,
        reason="used",
        reference=None,
        now_us=NOW_US,
    )
    apply(store, dispute(TOP_UP_NANO))
    assert standing(store, ada) == (0, 10 * NANO_PER_USD)
    apply(store, dispute(0))
    assert standing(store, ada) == (TOP_UP_NANO - 10 * NANO_PER_USD, 0)


def test_keys_are_paused_while_any_dispute_holds_money(store: Store, ada: Customer) -> None:
    """19: paused once with the first, resumed once with the last."""
    paused = []
    for command in (dispute(10, "dp_1"), dispute(20, "dp_2"), dispute(0, "dp_1"), dispute(0, "dp_2")):
        apply(store, command)
        paused.append(store.read_now(is_disputed, ada.account_id))
    assert paused == [True, True, True, False]
    assert sorted(a for a in _actions(store) if "keys" in a) == ["account.keys_paused", "account.keys_resumed"]


def test_the_operator_lets_a_disputed_account_go_on(store: Store, ada: Customer) -> None:
    """A lost dispute pauses until the operator says otherwise, who is told when there is nothing to release."""
    apply(store, dispute(10))

    def release() -> int:
        return store.write_now(
            reversals.release, ada.account_id, actor="operator", reason="settled by phone", now_us=NOW_US + 2
        )

    assert release() == 1
    assert not store.read_now(is_disputed, ada.account_id)
    with pytest.raises(NotFound):
        release()
    assert "account.unpaused" in _actions(store)


def test_what_was_never_booked_or_is_too_much_is_left_to_a_person(store: Store, ada: Customer) -> None:
    """A refund of a stranger's payment, of more than was paid, or in another currency moves nothing."""
    said = [
        apply(store, taken(10, intent="pi_of_a_stranger")),
        apply(store, taken(TOP_UP_NANO + 1)),
        apply(store, taken(10, currency="eur")),
    ]
    more = "More than was paid, or another currency, is taken back."
    assert said == ["What is taken back was never booked here.", more, more]
    assert standing(store, ada) == (TOP_UP_NANO, 0)


def test_a_row_that_moved_after_the_fetch_is_stale(store: Store, ada: Customer) -> None:
    """P7: an older snapshot never undoes a newer one."""
    assert store.read_now(reversals.version, "re_1") is None
    apply(store, taken(10), re_1=None)
    version = store.read_now(reversals.version, "re_1")
    with pytest.raises(StaleSnapshot):
        apply(store, taken(0), re_1=None)
    assert apply(store, taken(20), re_1=version) is None
    assert standing(store, ada) == (TOP_UP_NANO - 20, 0)


def test_a_refunded_period_goes_on_and_says_so(store: Store, ada: Customer) -> None:
    """The revenue is taken back, the period is flagged with what it lost; restored, the flag is zero."""
    checkout_id = new_checkout(store, ada.account_id, PRO, now_us=NOW_US)
    store.write_now(apply_command, upsert(ada.account_id, checkout_id), now_us=NOW_US)
    store.write_now(apply_command, grant("in_1", NOW_US), now_us=NOW_US)
    for held in (PRO_NANO, 0):
        assert apply(store, taken(held, intent="pi_of_in_1")) is None
        assert _nano(store, SUBSCRIPTION_REVENUE) == PRO_NANO - held
        assert store.read_now(lambda conn: conn.scalar(select(subscription_periods.c.refunded_nano))) == held
    assert _actions(store).count("period.refunded") == 1


def test_the_tax_in_a_refund_is_no_longer_due(store: Store) -> None:
    """A payment with tax goes back in the same parts, rounded in the customer's favour."""
    customer = new_customer(store, now_us=NOW_US)
    checkout_id = new_checkout(store, customer.account_id, TOP_UP, now_us=NOW_US)
    tax_nano = TOP_UP_NANO // 5
    paid = CreditTopup("cs_1", checkout_id, customer.account_id, "pi_1", TOP_UP_NANO, tax_nano, "usd")
    store.write_now(apply_command, paid, now_us=NOW_US)
    assert (_nano(store, TAX_DUE), -_nano(store, STRIPE_CLEARING)) == (tax_nano, TOP_UP_NANO + tax_nano)
    apply(store, taken(1, intent="pi_1"))
    assert (standing(store, customer), _nano(store, TAX_DUE)) == ((TOP_UP_NANO, 0), tax_nano - 1)
    apply(store, taken(6 * NANO_PER_USD, intent="pi_1"))
    assert standing(store, customer) == (TOP_UP_NANO - 5 * NANO_PER_USD, 0)
    assert _nano(store, TAX_DUE) == tax_nano - NANO_PER_USD
    apply(store, taken(TOP_UP_NANO + tax_nano, intent="pi_1"))
    assert (standing(store, customer), _nano(store, TAX_DUE), _nano(store, STRIPE_CLEARING)) == ((0, 0), 0, 0)
    assert store.read_now(audit).differences == ()
