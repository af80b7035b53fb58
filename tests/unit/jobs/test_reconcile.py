"""The reconciler: what lost webhooks left is found and repaired, once; what cannot be explained is told."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, update
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.billing.shop import PREFIX, Shop, running_shop
from tests.support.store import new_customer, row_counts
from tokenbooth.domain.ledger import STRIPE_CLEARING, STRIPE_FEES, STRIPE_OTHER, TransferKind
from tokenbooth.domain.money import NANO_PER_CENT
from tokenbooth.jobs.reconcile import Difference, ReconcileFigures, Report
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store import ledger
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import checkouts
from tokenbooth.store.payments.checkouts import CheckoutKind, Offer
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import checkouts as checkout_rows

DAY_S = 86_400


@pytest.fixture
def shop(store: Store) -> Iterator[Shop]:
    """A running product; the books are audited afterwards."""
    with running_shop(store) as running:
        yield running
        assert store.read_now(audit).differences == ()


def kinds(report: Report) -> set[tuple[str, bool]]:
    """What differed, and whether it was repaired."""
    return {(difference.kind, difference.repaired) for difference in report.differences}


def test_nothing_differs_when_every_webhook_arrived(shop: Shop) -> None:
    """Payments, their fees and a payout: both books say the same, and a second look changes nothing."""
    shop.top_up(50)
    shop.subscribe("pro")
    shop.control("payout", amount=2_000)
    report = shop.reconcile()
    assert report.differences == []
    assert report.here_nano == report.at_stripe_nano == shop.balance_nano()
    rows = row_counts(shop.store)
    assert shop.reconcile().differences == []
    assert row_counts(shop.store) == rows
    fees = shop.store.read_now(ledger.balance_nano, STRIPE_FEES)
    assert fees == -(175 + 204) * NANO_PER_CENT
    assert shop.store.read_now(ledger.balance_nano, STRIPE_OTHER) == -2_000 * NANO_PER_CENT


def test_four_days_without_webhooks_are_made_good(shop: Shop) -> None:
    """11: the endpoint is down for four days; the reconciler fills the gap from /v1/events, without doubles."""
    shop.reconcile()
    shop.lose_webhooks()
    shop.top_up(50)
    url, _ = shop.open_page("checkout", {"planSlug": "pro"})
    shop.pay(url)
    shop.stripe_post("refunds", payment_intent=shop.stripe_ids("payment_intents")[1], amount="1000")
    shop.advance(4 * DAY_S)
    report = shop.reconcile()
    assert kinds(report) == {("event", True)}
    assert report.here_nano == report.at_stripe_nano
    assert (shop.credit(), [entry["status"] for entry in shop.subscriptions()]) == ("40.00", ["active"])
    shop.send_webhooks()
    for event_id in shop.event_ids("checkout.session.completed"):
        shop.control("resend", event=event_id, copies=3)
    assert (shop.credit(), len(shop.subscriptions())) == ("40.00", 1)
    assert shop.reconcile().differences == []


def test_what_events_no_longer_tell_is_found_from_the_objects(shop: Shop) -> None:
    """Events are kept for 30 days; after more, payments and subscriptions are found in the balance and the lists."""
    shop.lose_webhooks()
    shop.top_up(50)
    url, _ = shop.open_page("checkout", {"planSlug": "pro"})
    shop.pay(url)
    for _ in range(3):
        shop.advance(31 * DAY_S)
    report = shop.reconcile()
    assert report.here_nano == report.at_stripe_nano == shop.balance_nano()
    assert report.clean
    assert shop.credit() == "50.00"
    (subscription,) = shop.subscriptions()
    assert (subscription["status"], subscription["currentPeriodEnd"]) == ("active", "2026-07-05T10:00:00.000Z")


def test_a_charge_that_never_reached_stripe_is_given_up(shop: Shop) -> None:
    """Noted, but never made: for an hour it may be under way, then it is over; nothing is credited."""
    shop.top_up(20)
    checkout_id = new_id(IdPrefix.CHECKOUT, shop.clock.now_us())
    shop.store.write_now(
        checkouts.create_checkout,
        checkout_id=checkout_id,
        account_id=shop.ada.account_id,
        offer=Offer(CheckoutKind.DIRECT_TOP_UP, None, 30 * 10**9, "pm_x"),
        max_pending=100,
        now_us=shop.clock.now_us(),
    )
    shop.clock.advance(600)
    assert shop.reconcile().differences == []
    shop.clock.advance(3_600)
    assert shop.reconcile().differences == [Difference("charge", checkout_id, "unknown", "failed", True)]
    assert shop.credit() == "20.00"


def test_what_another_product_sold_is_set_apart(shop: Shop) -> None:
    """8: payments of the same Stripe account that are not ours touch no customer, and both books still agree."""
    session = shop.stripe_post(
        "checkout/sessions",
        **{
            "mode": "payment",
            "success_url": "https://shop.example/done",
            "line_items[0][quantity]": "1",
            "line_items[0][price_data][currency]": "usd",
            "line_items[0][price_data][unit_amount]": "5000",
            "line_items[0][price_data][product_data][name]": "Book",
        },
    )
    shop.pay(str(session["url"]))
    shop.stripe_post("refunds", payment_intent=shop.paid_intent(), amount="1000")
    report = shop.reconcile()
    assert report.differences == []
    assert report.here_nano == report.at_stripe_nano == shop.balance_nano()
    assert shop.store.read_now(ledger.balance_nano, STRIPE_OTHER) == 4_000 * NANO_PER_CENT


def test_money_that_our_books_invent_is_told(shop: Shop) -> None:
    """A transfer that Stripe knows nothing of shows as a difference of the clearing account, unrepaired."""
    shop.store.write_now(
        ledger.add_credit,
        account_id=shop.ada.account_id,
        source=STRIPE_CLEARING,
        amount_nano=10**9,
        kind=TransferKind.TOP_UP,
        reference="test:invented",
        note="",
        now_us=shop.clock.now_us(),
    )
    report = shop.reconcile()
    assert report.differences == [Difference("clearing", "stripe", "1.00", "0.00", False)]
    assert not report.clean


def test_a_payment_of_another_amount_stays_reported(shop: Shop) -> None:
    """5: what is parked for review is named by every report until a person has looked at it."""
    shop.lose_webhooks()
    url, _ = shop.open_page("topup", {"amount": 50, "method": "stripe"})
    shop.pay(url)

    def alter(conn: Connection) -> None:
        conn.execute(update(checkout_rows).values(amount_nano=checkout_rows.c.amount_nano + 1))

    shop.store.write_now(alter)
    shop.clock.advance(600)
    report = shop.reconcile()
    assert ("payment", False) in kinds(report)
    assert ("clearing", False) in kinds(report)
    assert shop.credit() == "0.00"
    assert shop.bare.get(f"{PREFIX}/_control/state").status_code == 200


def test_the_figures_show_the_last_run_and_what_stays_different(shop: Shop) -> None:
    """Nothing before the first run; a difference counts once it was there twice."""
    now_us = shop.clock.now_us()
    assert shop.watch_books(0) == ReconcileFigures(None, 0)
    assert shop.watch_books(2) == ReconcileFigures(now_us, 0)
    shop.store.write_now(
        ledger.add_credit,
        account_id=shop.ada.account_id,
        source=STRIPE_CLEARING,
        amount_nano=NANO_PER_CENT,
        kind=TransferKind.TOP_UP,
        reference="never at Stripe",
        note="never at Stripe",
        now_us=now_us,
    )
    assert shop.watch_books(1) == ReconcileFigures(now_us, 0)
    assert shop.watch_books(2) == ReconcileFigures(now_us, 1)


def test_a_flood_of_pages_does_not_hold_the_reconciler_up(store: Store) -> None:
    """One account with many unpaid pages has some looked at in each run, so another's lost payment is found at once."""
    seen: list[str] = []

    def watched(app: ASGIApp) -> ASGIApp:
        async def watching(scope: Scope, receive: Receive, send: Send) -> None:
            path = str(scope.get("path", ""))
            if scope.get("method") == "GET" and "/v1/checkout/sessions/" in path:
                seen.append(path.rpartition("/")[2])
            await app(scope, receive, send)

        return watching

    with running_shop(store, around_stripe=watched) as shop:
        now_us = shop.clock.now_us()
        bob = new_customer(store, now_us=now_us, email="bob@example.com")
        # With money she may have more pages that she has not paid.
        store.write_now(
            ledger.grant, account_id=shop.ada.account_id, amount_nano=1, reference="one", reason="test", now_us=now_us
        )
        for _ in range(40):
            shop.open_page("topup", {"amount": 50, "method": "stripe"})
        paid = shop.bare.post(
            "/api/billing/topup", json={"amount": 50, "method": "stripe"}, headers=bob.headers
        ).json()["data"]
        shop.lose_webhooks()
        assert shop.pay(str(paid["sessionUrl"])).status_code == 200
        shop.send_webhooks()
        shop.clock.advance(600)
        seen.clear()
        shop.reconcile()
        assert (len(set(seen) - {paid["sessionId"]}), paid["sessionId"] in seen) == (10, True)
        credit = shop.bare.get("/api/billing/credits", headers=bob.headers).json()["data"]
        assert credit["balance"] == "50.00"
