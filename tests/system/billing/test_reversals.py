"""Refunds and disputes, from the sandbox's events to the customer's credit, debt and keys."""

from collections.abc import Iterator
from itertools import permutations

import pytest
from sqlalchemy import Connection, select

from tests.support.billing.shop import Shop, running_shop
from tests.support.fakes import FakeClock
from tokenbooth.domain.ledger import TransferKind, credit_of, debt_of
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.store import ledger
from tokenbooth.store.accounts.credit import change_credit
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import reversals
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import subscription_periods
from tokenbooth.store.usage.admission import load_account


@pytest.fixture
def shop(store: Store) -> Iterator[Shop]:
    """A running product; the books are audited and held against Stripe's afterwards."""
    with running_shop(store) as running:
        yield running
        report = running.reconcile()
        assert report.at_stripe_nano == report.here_nano == running.balance_nano()
        assert store.read_now(audit).differences == ()


def spend(shop: Shop, usd: int) -> None:
    """Let the customer use up credit."""
    shop.store.write_now(
        change_credit,
        account=shop.ada.account_id,
        kind=TransferKind.ADJUSTMENT,
        amount_nano=-usd * NANO_PER_USD,
        reason="used",
        reference=None,
        now_us=shop.clock.now_us(),
    )


def standing(shop: Shop) -> tuple[int, int]:
    """The customer's credit and debt, in whole USD."""
    account_id = shop.ada.account_id
    found = shop.store.read_now(ledger.balances_nano, [credit_of(account_id), debt_of(account_id)])
    return found[credit_of(account_id)] // NANO_PER_USD, -found[debt_of(account_id)] // NANO_PER_USD


def is_stopped(shop: Shop) -> bool:
    """Whether the gateway refuses the customer's keys."""
    account = shop.store.read_now(load_account, shop.ada.account_id)
    assert account is not None
    return account.suspended


def test_a_full_refund_of_unspent_credit(shop: Shop) -> None:
    """18: what was bought and not spent goes back whole."""
    intent = shop.top_up(50)
    shop.stripe_post("refunds", payment_intent=intent)
    assert standing(shop) == (0, 0)


def test_a_refund_of_spent_credit_is_a_debt_that_the_next_top_up_pays(shop: Shop) -> None:
    """18: what is no longer there becomes a debt, paid first by the next top-up."""
    intent = shop.top_up(50)
    spend(shop, 30)
    shop.stripe_post("refunds", payment_intent=intent)
    assert standing(shop) == (0, 30)
    shop.top_up(40)
    assert standing(shop) == (10, 0)


def test_two_partial_refunds_in_any_order(store: Store) -> None:
    """18: events of two partial refunds, in every order and doubled, take back each part once."""
    clock = FakeClock()
    with running_shop(store, clock) as shop:
        expected = 0
        for order in permutations(range(3)):
            intent = shop.top_up(50)
            shop.lose_webhooks()
            shop.stripe_post("refunds", payment_intent=intent, amount="1000")
            shop.stripe_post("refunds", payment_intent=intent, amount="1500")
            shop.send_webhooks()
            second, first = shop.event_ids("refund.created")[:2]
            events = (first, second, first)
            for number in order:
                shop.control("resend", event=events[number], copies=2)
            expected += 25
            assert standing(shop) == (expected, 0)
        assert store.read_now(audit).differences == ()


def test_a_refund_that_fails_later_is_restored(shop: Shop) -> None:
    """18: the money is the customer's again, also when its debt was paid in between."""
    intent = shop.top_up(50)
    spend(shop, 50)
    refund = shop.stripe_post("refunds", payment_intent=intent)
    assert standing(shop) == (0, 50)
    shop.top_up(60)
    assert standing(shop) == (10, 0)
    shop.control("fail_refund", refund=refund["id"])
    assert standing(shop) == (60, 0)
    for event_id in shop.event_ids("refund.created"):
        shop.control("resend", event=event_id, copies=1)
    assert standing(shop) == (60, 0)


def test_a_dispute_takes_back_and_pauses_and_a_won_one_restores(shop: Shop) -> None:
    """19: funds withdrawn are taken back and the keys paused; reinstated, all is exactly as before."""
    intent = shop.top_up(50)
    spend(shop, 20)
    shop.control("dispute", payment_intent=intent)
    assert standing(shop) == (0, 20)
    assert is_stopped(shop)
    assert shop.data("credits")["balance"] == "0.00"
    (dispute_id,) = shop.stripe_ids("disputes")
    shop.control("close_dispute", dispute=dispute_id, won=True)
    assert standing(shop) == (30, 0)
    assert not is_stopped(shop)


def test_every_order_of_a_disputes_events_ends_the_same(store: Store) -> None:
    """19: withdrawn, reinstated and closed, in all orders: restored, not paused."""
    with running_shop(store) as shop:
        kinds = [f"charge.dispute.{name}" for name in ("created", "funds_withdrawn", "funds_reinstated", "closed")]
        for number, order in enumerate(permutations(kinds), start=1):
            intent = shop.top_up(10)
            shop.lose_webhooks()
            shop.control("dispute", payment_intent=intent)
            shop.control("close_dispute", dispute=shop.stripe_ids("disputes")[0], won=True)
            shop.send_webhooks()
            newest = {kind: shop.event_ids(kind)[0] for kind in kinds}
            for kind in order:
                shop.control("resend", event=newest[kind], copies=1)
            assert standing(shop) == (10 * number, 0)
            assert not is_stopped(shop)
        assert store.read_now(audit).differences == ()


def test_a_lost_dispute_pauses_until_the_operator_says_otherwise(shop: Shop) -> None:
    """19: a lost dispute goes on pausing; the operator may release it, and the next one pauses again."""
    first, second = shop.top_up(20), shop.top_up(30)
    shop.control("dispute", payment_intent=first)
    shop.control("close_dispute", dispute=shop.stripe_ids("disputes")[0], won=False)
    assert (standing(shop), is_stopped(shop)) == ((30, 0), True)
    released = shop.store.write_now(
        reversals.release, shop.ada.account_id, actor="operator", reason="settled", now_us=shop.clock.now_us()
    )
    assert (released, is_stopped(shop)) == (1, False)
    shop.control("dispute", payment_intent=second)
    assert is_stopped(shop)


def test_a_refund_that_comes_before_its_credit_nets_to_zero(shop: Shop) -> None:
    """20: the refund's event brings the credit along, whose own event then changes nothing."""
    shop.lose_webhooks()
    intent = shop.top_up(50)
    shop.stripe_post("refunds", payment_intent=intent)
    shop.send_webhooks()
    shop.control("resend", event=shop.event_ids("refund.created")[0], copies=1)
    assert standing(shop) == (0, 0)
    shop.control("resend", event=shop.event_ids("checkout.session.completed")[0], copies=1)
    assert standing(shop) == (0, 0)
    assert shop.data("credits")["totalTopUp"] == "50.00"


def test_a_refund_of_a_charge_of_the_saved_card(shop: Shop) -> None:
    """18: credit bought with `stripe_direct` is taken back just so."""
    shop.top_up(20)
    shop.post("topup", {"amount": 30, "method": "stripe_direct"})
    shop.stripe_post("refunds", payment_intent=shop.paid_intent(), amount="1000")
    assert standing(shop) == (40, 0)


def test_a_refunded_subscription_keeps_its_period_and_says_so(shop: Shop) -> None:
    """A refund of an invoice takes the revenue back; the period stays, flagged, until the operator ends it."""
    before = shop.subscribe("pro")
    shop.stripe_post("refunds", payment_intent=shop.paid_intent(), amount="2000")
    (after,) = shop.subscriptions()
    assert (after["status"], after["currentPeriodEnd"]) == ("active", before["currentPeriodEnd"])
    assert standing(shop) == (0, 0)

    def flagged(conn: Connection) -> list[int]:
        return list(conn.execute(select(subscription_periods.c.refunded_nano)).scalars())

    assert shop.store.read_now(flagged) == [20 * NANO_PER_USD]
    (invoice,) = shop.http.get("/api/billing/invoices").json()["data"]
    assert (invoice["paid"], invoice["refunded"]) == ("60.00", "20.00")


def test_a_disputed_subscription_pauses_the_keys(shop: Shop) -> None:
    """19: a dispute of an invoice takes no credit, but pauses the keys while it holds the money."""
    shop.top_up(20)
    shop.subscribe("pro")
    shop.control("dispute", payment_intent=shop.paid_intent())
    assert (standing(shop), is_stopped(shop)) == ((20, 0), True)
    shop.control("close_dispute", dispute=shop.stripe_ids("disputes")[0], won=True)
    assert not is_stopped(shop)


def test_a_foreign_refund_has_no_effect(shop: Shop) -> None:
    """8: a refund of something that another product sold through the same account is accepted and ignored."""
    customer = shop.stripe_post("customers", email="x@example.com")
    session = shop.stripe_post(
        "checkout/sessions",
        **{
            "mode": "payment",
            "customer": str(customer["id"]),
            "success_url": "https://shop.example/done",
            "line_items[0][quantity]": "1",
            "line_items[0][price_data][currency]": "usd",
            "line_items[0][price_data][unit_amount]": "5000",
            "line_items[0][price_data][product_data][name]": "Book",
        },
    )
    shop.pay(str(session["url"]))
    shop.stripe_post("refunds", payment_intent=shop.paid_intent())
    assert standing(shop) == (0, 0)
    assert {status for _, status in shop.inbox_rows()} == {"handled"}
