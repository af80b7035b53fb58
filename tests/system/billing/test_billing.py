"""Billing from the customer's side, with the real sandbox over real HTTP."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path

import httpx
import pytest

from tests.support.billing.shop import CARD, DECLINED_CARD, DELAYED_CARD, FAILS_LATER_CARD, Shop, running_shop
from tests.support.fakes import FakeClock
from tests.support.store import another_key, new_customer, row_counts
from tokenbooth.domain.keys import Scope
from tokenbooth.domain.ledger import MEMO_CONTRA, Entry, Transfer, TransferKind, window_spend
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.windows import window_at
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store import ledger
from tokenbooth.store.accounts.accounts import find_account
from tokenbooth.store.engine import Store
from tokenbooth.store.reports.audit import audit

HOUR_S, DAY_S = 3_600, 86_400
MARCH_S = 31 * DAY_S
FIVE_HOURS_US = 5 * HOUR_S * 1_000_000
WRITING = ("checkout", "cancel", "topup", "verify-topup")


@pytest.fixture
def shop(store: Store) -> Iterator[Shop]:
    """A running product; the ledger is audited afterwards."""
    with running_shop(store) as running:
        yield running
        assert store.read_now(audit).differences == ()


def error_code(answer: httpx.Response) -> tuple[int, str]:
    """An error's status and code."""
    return answer.status_code, answer.json()["error"]["code"]


def test_a_paid_checkout_is_an_active_subscription(shop: Shop) -> None:
    """The reference's script: check out, pay, read the status, and find it active at once."""
    answer = shop.post("checkout", {"planSlug": "pro"})
    assert answer.status_code == 200
    payload = answer.json()["data"]
    assert answer.json() == {"success": True, **payload, "data": payload}
    assert list(payload) == ["sessionUrl", "sessionId"]
    assert shop.subscriptions() == []
    assert shop.pay(payload["sessionUrl"]).json() == {"status": "complete", "payment_status": "paid"}
    (subscription,) = shop.subscriptions()
    assert subscription == {
        "id": subscription["id"],
        "planSlug": "pro",
        "status": "active",
        "currentPeriodEnd": "2026-04-05T10:00:00.000Z",
        "cancelAtPeriodEnd": False,
        "pendingPlan": None,
        "changesAt": None,
        "keyCount": 0,
        "keys": [],
        "budget": {"limit": "0.42", "spent": "0.00", "resetsAt": "2026-03-05T15:00:00.000Z"},
    }
    assert str(subscription["id"]).startswith("sub_")
    assert shop.data("status")["creditBalance"] == "0.00"
    assert shop.live.changed_calls > 0


def test_the_status_shows_keys_and_what_the_window_spent(shop: Shop) -> None:
    """The keys of a subscription and the spend of the open window stand beside it."""
    subscription_id = str(shop.subscribe()["id"])
    made = shop.http.post("/api/keys/subscription", json={"name": "prod", "subscriptionId": subscription_id})
    key_id = made.json()["id"]
    now_us = shop.clock.now_us()
    spend = window_spend(subscription_id, window_at(now_us, FIVE_HOURS_US).start_us)
    transfer = Transfer(
        id=new_id(IdPrefix.TRANSFER, now_us),
        kind=TransferKind.ADJUSTMENT,
        reference="test:1",
        entries=(Entry(spend, 1_234_000), Entry(MEMO_CONTRA, -1_234_000)),
    )
    shop.store.write_now(ledger.post, transfer, now_us=now_us)
    (subscription,) = shop.subscriptions()
    assert (subscription["keyCount"], subscription["keys"]) == (1, [{"id": key_id, "name": "prod"}])
    assert subscription["budget"] == {"limit": "0.42", "spent": "0.001234", "resetsAt": "2026-03-05T15:00:00.000Z"}
    shop.clock.advance(5 * HOUR_S)
    assert shop.subscriptions()[0]["budget"] == {
        "limit": "0.42",
        "spent": "0.00",
        "resetsAt": "2026-03-05T20:00:00.000Z",
    }


def test_two_checkouts_are_two_subscriptions_newest_first(shop: Shop) -> None:
    """22: subscriptions of one plan are independent pools."""
    first = shop.subscribe()
    shop.clock.advance(60)
    second = shop.subscribe()
    assert [entry["id"] for entry in shop.subscriptions()] == [second["id"], first["id"]]
    shop.post("cancel", {"subscriptionId": second["id"]})
    assert [entry["cancelAtPeriodEnd"] for entry in shop.subscriptions()] == [True, False]


def test_a_declined_card_buys_nothing_and_may_be_followed_by_another(shop: Shop) -> None:
    """A declined payment leaves the page open and the list empty."""
    url, _ = shop.open_page("checkout", {"planSlug": "standard"})
    assert shop.pay(url, DECLINED_CARD).status_code == 402
    assert shop.subscriptions() == []
    assert shop.pay(url).status_code == 200
    assert [entry["planSlug"] for entry in shop.subscriptions()] == ["standard"]


def test_a_top_up_is_credited_once(shop: Shop) -> None:
    """A paid top-up is there at once, and never twice, however often Stripe says so."""
    url, session_id = shop.open_page("topup", {"amount": 50, "method": "stripe"})
    assert shop.data("credits")["balance"] == "0.00"
    assert shop.pay(url).status_code == 200
    shop.live.held[shop.ada.account_id] = NANO_PER_USD // 4
    assert shop.data("credits") == {
        "balance": "50.00",
        "held": "0.25",
        "available": "49.75",
        "totalTopUp": "50.00",
        "totalSpent": "0.00",
    }
    (event_id,) = shop.event_ids("checkout.session.completed")
    shop.control("resend", event=event_id, copies=20)
    assert shop.data("status")["creditBalance"] == "50.00"
    assert session_id in shop.stripe_ids("checkout/sessions")


def test_amounts_are_read_exactly(shop: Shop) -> None:
    """A number and a decimal string of the same amount are the same."""
    for amount in (25, "25", "25.00", 25.0, "25.5"):
        url, _ = shop.open_page("topup", {"amount": amount, "method": "stripe"})
        shop.pay(url)
    assert shop.data("status")["creditBalance"] == "125.50"


def test_a_delayed_payment_is_credited_when_it_succeeds(shop: Shop) -> None:
    """3: completed but unpaid brings nothing; failed brings nothing; paid brings the credit, once."""
    url, session_id = shop.open_page("topup", {"amount": 30, "method": "stripe"})
    assert shop.pay(url, DELAYED_CARD).status_code == 200
    assert shop.data("status")["creditBalance"] == "0.00"
    shop.control("settle", session=session_id, succeeds=True)
    assert shop.data("status")["creditBalance"] == "30.00"
    failed_url, failed_id = shop.open_page("topup", {"amount": 30, "method": "stripe"})
    shop.pay(failed_url, DELAYED_CARD)
    shop.control("settle", session=failed_id, succeeds=False)
    assert shop.data("status")["creditBalance"] == "30.00"


def test_an_expired_session_brings_nothing(shop: Shop) -> None:
    """4: a page that nobody paid expires, and is no longer counted as pending."""
    shop.open_page("topup", {"amount": 30, "method": "stripe"})
    shop.advance(2 * DAY_S)
    assert ("checkout.session.expired", "handled") in shop.inbox_rows()
    assert shop.data("status")["creditBalance"] == "0.00"


def test_cancel_keeps_access_until_the_period_ends(shop: Shop) -> None:
    """Cancelled, it is active until its paid period ends, then canceled, then gone from the list."""
    subscription = shop.subscribe()
    first = shop.post("cancel", {"subscriptionId": subscription["id"]})
    assert first.status_code == 200
    assert first.json()["data"] == {**subscription, "cancelAtPeriodEnd": True}
    again = shop.post("cancel", {"subscriptionId": subscription["id"]})
    assert (again.status_code, again.json()) == (200, first.json())
    shop.advance(MARCH_S - 60)
    assert shop.subscriptions()[0]["status"] == "active"
    shop.advance(120)
    assert [entry["status"] for entry in shop.subscriptions()] == ["canceled"]
    assert error_code(shop.post("cancel", {"subscriptionId": subscription["id"]})) == (409, "subscription_ended")
    shop.advance(30 * DAY_S)
    assert shop.subscriptions() == []


def test_a_cancellation_in_the_portal_shows_and_can_be_undone(shop: Shop) -> None:
    """14: what a customer does in Stripe's portal shows here, and so does its undoing."""
    shop.subscribe()
    (stripe_id,) = shop.stripe_ids("subscriptions")
    shop.control("portal_cancel", subscription=stripe_id, cancel=True)
    assert shop.subscriptions()[0]["cancelAtPeriodEnd"] is True
    shop.control("portal_cancel", subscription=stripe_id, cancel=False)
    assert shop.subscriptions()[0]["cancelAtPeriodEnd"] is False


def test_a_renewal_grants_the_next_period_once(shop: Shop) -> None:
    """16: the renewal's invoice moves the end on by one period, however often it is told."""
    shop.subscribe()
    shop.advance(MARCH_S + 2 * HOUR_S)
    assert shop.subscriptions()[0]["currentPeriodEnd"] == "2026-05-05T10:00:00.000Z"
    renewal, first = shop.event_ids("invoice.paid")
    for event_id in (renewal, first, renewal):
        shop.control("resend", event=event_id, copies=3)
    assert shop.subscriptions()[0]["currentPeriodEnd"] == "2026-05-05T10:00:00.000Z"


def test_a_renewal_that_fails_is_past_due_until_it_is_paid(store: Store, shop: Shop) -> None:
    """17: without a paid renewal it is past due; paid later, it goes on."""
    shop.subscribe(card=FAILS_LATER_CARD)
    shop.advance(MARCH_S + 2 * HOUR_S)
    (subscription,) = shop.subscriptions()
    assert (subscription["status"], subscription["currentPeriodEnd"]) == ("past_due", "2026-04-05T10:00:00.000Z")
    account = store.read_now(find_account, shop.ada.account_id)
    assert account is not None
    (card_id,) = shop.stripe_ids(f"payment_methods?customer={account.stripe_customer_id}")
    shop.control("card", payment_method=card_id, behaviour="ok")
    shop.control("pay_invoice", invoice=shop.stripe_ids("invoices")[0])
    (subscription,) = shop.subscriptions()
    assert (subscription["status"], subscription["currentPeriodEnd"]) == ("active", "2026-05-05T10:00:00.000Z")


def test_an_unknown_status_at_stripe_changes_nothing(shop: Shop) -> None:
    """17: a status that this version does not know takes nothing away and breaks nothing."""
    shop.subscribe()
    (stripe_id,) = shop.stripe_ids("subscriptions")
    shop.control("subscription_status", subscription=stripe_id, status="hibernating")
    assert shop.subscriptions()[0]["status"] == "active"
    shop.control("subscription_status", subscription=stripe_id, status="paused")
    assert shop.subscriptions()[0]["status"] == "paused"


def test_every_order_of_the_first_events_ends_the_same(store: Store) -> None:
    """12: whichever of the events comes first, the subscription is active and paid for once."""
    wanted = (
        "checkout.session.completed",
        "customer.subscription.created",
        "customer.subscription.updated",
        "invoice.paid",
    )
    clock = FakeClock()
    with running_shop(store, clock) as shop:
        for number, order in enumerate(permutations(wanted)):
            shop.control("delivery", mode="hold")
            url, _ = shop.open_page("checkout", {"planSlug": "standard"})
            shop.pay(url)
            (stripe_id, *_) = shop.stripe_ids("subscriptions")
            shop.control("portal_cancel", subscription=stripe_id, cancel=False)
            newest = {event_type: shop.event_ids(event_type)[:1] for event_type in wanted}
            held = [event_id for event_type in order for event_id in newest[event_type]]
            shop.control("delivery", mode="normal")
            for event_id in (*held, *held[:1]):
                shop.control("resend", event=event_id, copies=1)
            states = {
                (entry["status"], entry["currentPeriodEnd"], entry["cancelAtPeriodEnd"])
                for entry in shop.subscriptions()
            }
            assert states == {("active", "2026-04-05T10:00:00.000Z", False)}
            assert len(shop.subscriptions()) == number + 1
        assert row_counts(store)["subscription_periods"] == 24
        assert store.read_now(audit).differences == ()


def test_an_older_update_after_the_end_does_not_revive(shop: Shop) -> None:
    """13: events that arrive after the deletion leave it canceled."""
    subscription = shop.subscribe()
    shop.post("cancel", {"subscriptionId": subscription["id"]})
    shop.advance(MARCH_S + 60)
    for event_id in shop.event_ids("customer.subscription.updated") + shop.event_ids("invoice.paid"):
        shop.control("resend", event=event_id, copies=1)
    assert [entry["status"] for entry in shop.subscriptions()] == ["canceled"]


def test_a_repeated_request_gets_the_same_page(shop: Shop) -> None:
    """21: the same Idempotency-Key makes one checkout here and one session at Stripe."""
    first = shop.post("checkout", {"planSlug": "pro"}, idempotency_key="k1")
    again = shop.post("checkout", {"planSlug": "pro"}, idempotency_key="k1")
    assert (again.status_code, again.json()) == (200, first.json())
    other = shop.post("checkout", {"planSlug": "standard"}, idempotency_key="k1")
    assert error_code(other) == (409, "idempotency_mismatch")
    assert len(shop.stripe_ids("checkout/sessions")) == 1
    assert row_counts(shop.store)["checkouts"] == 1


def test_twenty_requests_with_one_key_make_one_page(shop: Shop) -> None:
    """21: of parallel repetitions one works, the others get its answer or are told to wait for it."""
    barrier = threading.Barrier(20)

    def ask() -> httpx.Response:
        barrier.wait()
        return shop.post("topup", {"amount": 20, "method": "stripe"}, idempotency_key="k1")

    with ThreadPoolExecutor(20) as threads:
        answers = [future.result() for future in [threads.submit(ask) for _ in range(20)]]
    assert {answer.status_code for answer in answers} <= {200, 409}
    sessions = {answer.json()["sessionId"] for answer in answers if answer.status_code == 200}
    assert len(sessions) == 1
    assert len(shop.stripe_ids("checkout/sessions")) == 1
    refused = {error_code(answer) for answer in answers if answer.status_code == 409}
    assert refused <= {(409, "idempotency_in_progress")}


def test_first_checkouts_at_once_make_one_customer_and_stay_apart(shop: Shop) -> None:
    """22: two first checkouts in parallel, both paid, are two subscriptions of one customer at Stripe."""
    barrier = threading.Barrier(8)

    def buy() -> int:
        barrier.wait()
        url, _ = shop.open_page("checkout", {"planSlug": "pro"})
        return shop.pay(url).status_code

    with ThreadPoolExecutor(8) as threads:
        assert [future.result() for future in [threads.submit(buy) for _ in range(8)]] == [200] * 8
    assert [entry["status"] for entry in shop.subscriptions()] == ["active"] * 8
    assert len({entry["id"] for entry in shop.subscriptions()}) == 8
    assert len(shop.event_ids("customer.created")) == 1


def test_unpaid_checkouts_are_bounded(store: Store) -> None:
    """An account cannot pile up pages that it does not pay; a day later it may open some again."""
    with running_shop(store, max_pending=2) as shop:
        for _ in range(2):
            shop.open_page("checkout", {"planSlug": "pro"})
        assert error_code(shop.post("checkout", {"planSlug": "pro"})) == (409, "too_many_pending_checkouts")
        assert error_code(shop.post("topup", {"amount": 20, "method": "stripe"})) == (
            409,
            "too_many_pending_checkouts",
        )
        shop.clock.advance(DAY_S)
        shop.open_page("checkout", {"planSlug": "pro"})


def test_an_account_that_never_had_money_opens_fewer_pages(shop: Shop) -> None:
    """Twenty a day; with its first credit it may open more."""
    for _ in range(20):
        shop.open_page("checkout", {"planSlug": "pro"})
    assert error_code(shop.post("checkout", {"planSlug": "pro"})) == (409, "too_many_pending_checkouts")
    shop.store.write_now(
        ledger.grant,
        account_id=shop.ada.account_id,
        amount_nano=1,
        reference="g",
        reason="g",
        now_us=shop.clock.now_us(),
    )
    shop.open_page("checkout", {"planSlug": "pro"})


def test_another_accounts_subscription_is_not_there(shop: Shop) -> None:
    """P13: nobody cancels or sees another account's subscription."""
    subscription = shop.subscribe()
    bob = new_customer(shop.store, now_us=shop.clock.now_us(), email="bob@example.com")
    answer = shop.bare.post("/api/billing/cancel", json={"subscriptionId": subscription["id"]}, headers=bob.headers)
    assert error_code(answer) == (404, "subscription_not_found")
    seen = shop.bare.get("/api/billing/status", headers=bob.headers)
    assert seen.json()["data"] == {"subscriptions": [], "creditBalance": "0.00"}
    assert shop.subscriptions()[0]["cancelAtPeriodEnd"] is False


BAD_INPUT: tuple[tuple[str, object, int, str, str | None], ...] = (
    ("checkout", {}, 400, "missing_parameter", "planSlug"),
    ("checkout", {"planSlug": 7}, 400, "invalid_type", "planSlug"),
    ("checkout", {"planSlug": ""}, 400, "invalid_value", "planSlug"),
    ("checkout", {"planSlug": "p" * 101}, 400, "invalid_value", "planSlug"),
    ("checkout", {"planSlug": "pro", "coupon": "x"}, 400, "unknown_parameter", "coupon"),
    ("checkout", {"planSlug": "gold"}, 404, "plan_not_found", "planSlug"),
    ("checkout", [], 400, "invalid_json", None),
    ("cancel", {}, 400, "missing_parameter", "subscriptionId"),
    ("cancel", {"subscriptionId": ["sub_1"]}, 400, "invalid_type", "subscriptionId"),
    ("cancel", {"subscriptionId": "sub_unknown"}, 404, "subscription_not_found", "subscriptionId"),
    ("cancel", {"subscriptionId": "sub_\u0000'--"}, 400, "invalid_value", "subscriptionId"),
    ("topup", {"amount": 20}, 400, "missing_parameter", "method"),
    ("topup", {"method": "stripe"}, 400, "missing_parameter", "amount"),
    ("topup", {"amount": 20, "method": "cash"}, 400, "unsupported_method", "method"),
    ("topup", {"amount": True, "method": "stripe"}, 400, "invalid_type", "amount"),
    ("topup", {"amount": -20, "method": "stripe"}, 400, "invalid_value", "amount"),
    ("topup", {"amount": "1e400", "method": "stripe"}, 400, "invalid_value", "amount"),
    ("topup", {"amount": "20.001", "method": "stripe"}, 400, "invalid_value", "amount"),
    ("topup", {"amount": 9.99, "method": "stripe"}, 400, "amount_out_of_range", "amount"),
    ("topup", {"amount": "10000.01", "method": "stripe"}, 400, "amount_out_of_range", "amount"),
    ("topup", {"amount": 999_999_999_999, "method": "stripe"}, 400, "invalid_value", "amount"),
    ("topup", {"amount": "20.0000001", "method": "usdc"}, 400, "invalid_value", "amount"),
    ("topup", {"amount": "20.000001", "method": "usdc"}, 503, "usdc_not_configured", None),
    ("verify-topup", {"amount": 20}, 400, "missing_parameter", "txHash"),
    ("verify-topup", {"txHash": "0x1", "amount": 20}, 503, "usdc_not_configured", None),
)


def test_bad_input_is_told_and_changes_nothing(shop: Shop) -> None:
    """P14: each mistake is named with its field, and nothing is half done."""
    before = row_counts(shop.store)
    told = []
    for path, body, *_ in BAD_INPUT:
        answer = shop.post(path, body)
        told.append((path, body, *error_code(answer), answer.json()["error"]["param"]))
    assert tuple(told) == BAD_INPUT
    assert row_counts(shop.store) == before


def test_an_unknown_plan_is_told_with_those_there_are(shop: Shop) -> None:
    """The message of the 404 names the plans; that of an unknown method names the methods."""
    assert shop.post("checkout", {"planSlug": "gold"}).json()["error"]["message"] == (
        "There is no such plan. Plans: `standard`, `pro`."
    )
    assert shop.post("topup", {"amount": 20, "method": "gold"}).json()["error"]["message"] == (
        "`method` must be one of: `stripe`, `stripe_direct`, `usdc`."
    )


def test_writing_needs_its_scope(shop: Shop) -> None:
    """A key that may only read billing cannot buy or cancel."""
    reader = another_key(
        shop.store, shop.ada.account_id, shop.ada.email, now_us=shop.clock.now_us(), scopes=(Scope.BILLING_READ,)
    )
    for path in WRITING:
        answer = shop.bare.post(f"/api/billing/{path}", json={}, headers=reader.headers)
        assert (path, error_code(answer)) == (path, (403, "insufficient_scope"))
    seen = shop.bare.get("/api/billing/credits", headers=reader.headers)
    assert seen.status_code == 200


def test_no_route_answers_without_a_credential(shop: Shop) -> None:
    """Nobody reads or buys without a management key."""
    for method, path in [*(("POST", path) for path in WRITING), ("GET", "status"), ("GET", "credits")]:
        answer = shop.bare.request(method, f"/api/billing/{path}")
        assert (path, error_code(answer)) == (path, (401, "invalid_management_key"))


def test_cards_are_not_known_here(shop: Shop, tmp_path: Path) -> None:
    """P12: the number that was typed at Stripe's page is nowhere in the database."""
    shop.subscribe()
    files = list(tmp_path.glob("tokenbooth.db*"))
    assert files != []
    assert [path.name for path in files if CARD.encode() in path.read_bytes()] == []
