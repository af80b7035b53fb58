"""Buying with the saved card: credit, subscriptions, another plan, and the ways back."""

from collections.abc import Iterator

import pytest

from tests.support.billing.shop import (
    AUTHENTICATED_CARD,
    FAILS_LATER_CARD,
    PREFIX,
    Shop,
    running_shop,
)
from tests.support.store import new_customer, row_counts
from tokenbooth.config.payments import BillingSettings
from tokenbooth.config.settings import PlanSettings
from tokenbooth.store.engine import Store
from tokenbooth.store.reports.audit import audit

DAY_S = 86_400
MARCH_S = 31 * DAY_S


@pytest.fixture
def shop(store: Store) -> Iterator[Shop]:
    """A running product; the books are audited and held against Stripe's afterwards."""
    with running_shop(store) as running:
        yield running
        report = running.reconcile()
        assert report.at_stripe_nano == report.here_nano == running.balance_nano()
        assert store.read_now(audit).differences == ()


def refused(shop: Shop, path: str, body: object) -> tuple[int, str]:
    """How a call is refused."""
    answer = shop.post(path, body)
    return answer.status_code, answer.json()["error"]["code"]


def test_a_saved_card_buys_credit_at_once(shop: Shop) -> None:
    """`stripe_direct` charges the card that a top-up saved, and credits in the same answer."""
    shop.top_up(20)
    answer = shop.post("topup", {"amount": 30, "method": "stripe_direct"}, idempotency_key="d1")
    shown = answer.json()["data"]
    assert (answer.status_code, shown["status"], shown["credited"], shown["balance"]) == (
        200,
        "credited",
        "30.00",
        "50.00",
    )
    again = shop.post("topup", {"amount": 30, "method": "stripe_direct"}, idempotency_key="d1")
    assert again.json() == answer.json()
    assert shop.credit() == "50.00"
    assert len(shop.stripe_ids("charges")) == 2


def test_without_a_card_the_way_to_save_one_is_told(shop: Shop) -> None:
    """No card: 402 that points to a page, for credit and for plans; nothing is noted or charged."""
    assert refused(shop, "topup", {"amount": 30, "method": "stripe_direct"}) == (402, "no_payment_method")
    answer = shop.post("subscribe", {"planSlug": "pro"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "no_payment_method")
    assert "/api/billing/checkout" in answer.json()["error"]["message"]
    assert row_counts(shop.store)["checkouts"] == 0


def test_a_refused_card_is_told_and_credits_nothing(shop: Shop) -> None:
    """A declined card and one whose bank asks its owner are told apart; neither credits."""
    shop.top_up(20, card=FAILS_LATER_CARD)
    assert refused(shop, "topup", {"amount": 30, "method": "stripe_direct"}) == (402, "card_declined")
    shop.top_up(20, card=AUTHENTICATED_CARD)
    assert refused(shop, "topup", {"amount": 30, "method": "stripe_direct"}) == (402, "authentication_required")
    assert refused(shop, "subscribe", {"planSlug": "pro"}) == (402, "authentication_required")
    assert shop.credit() == "40.00"
    assert shop.subscriptions() == []


def test_a_declined_card_is_tried_once_for_a_request(shop: Shop) -> None:
    """It had an effect, so its refusal is kept; one for want of a card had none, and the key is free."""
    body = {"amount": 30, "method": "stripe_direct"}
    assert shop.post("topup", body, idempotency_key="k1").json()["error"]["code"] == "no_payment_method"
    shop.top_up(20, card=FAILS_LATER_CARD)
    answers = [shop.post("topup", body, idempotency_key="k1") for _ in range(2)]
    assert [answer.json()["error"]["code"] for answer in answers] == ["card_declined"] * 2
    shop.top_up(20)
    assert shop.post("topup", body, idempotency_key="k1").json()["error"]["code"] == "card_declined"
    assert shop.post("topup", body, idempotency_key="k2").json()["data"]["credited"] == "30.00"


def test_many_refused_cards_stop_the_trying(store: Store) -> None:
    """Against card testing: after a few refusals saved cards are charged no more that day."""
    with running_shop(store, billing=BillingSettings(max_declined_cards_per_day=2)) as shop:
        shop.top_up(20, card=FAILS_LATER_CARD)
        for _ in range(2):
            assert refused(shop, "topup", {"amount": 30, "method": "stripe_direct"}) == (402, "card_declined")
        answer = shop.post("topup", {"amount": 30, "method": "stripe_direct"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_declined_cards")
        assert int(answer.headers["retry-after"]) == DAY_S
        shop.clock.advance(DAY_S + 1)
        assert refused(shop, "topup", {"amount": 30, "method": "stripe_direct"}) == (402, "card_declined")


def test_a_young_account_tops_up_within_its_bounds(store: Store) -> None:
    """A new account has a daily cap, pages that are not paid yet included; an older one has none."""
    rules = BillingSettings.model_validate({"young_account_top_up_usd_per_day": "50"})
    with running_shop(store, billing=rules) as shop:
        shop.top_up(30)
        assert refused(shop, "topup", {"amount": 30, "method": "stripe"}) == (422, "top_up_cap_exceeded")
        assert refused(shop, "topup", {"amount": 30, "method": "stripe_direct"}) == (422, "top_up_cap_exceeded")
        shop.clock.advance(8 * DAY_S)
        shop.top_up(60)
        assert shop.credit() == "90.00"


def test_a_plan_is_bought_without_a_browser(shop: Shop) -> None:
    """With a saved card: an active subscription and its key in one answer; a repetition cannot show the key."""
    shop.top_up(20)
    body = {"planSlug": "pro", "createKey": True, "keyName": "agent"}
    answer = shop.post("subscribe", body, idempotency_key="s1")
    shown = answer.json()["data"]
    assert answer.status_code == 200, answer.text
    (subscription,) = shop.subscriptions()
    assert (shown["subscriptionId"], shown["planSlug"], shown["status"], shown["currentPeriodEnd"]) == (
        subscription["id"],
        "pro",
        "active",
        "2026-04-05T10:00:00.000Z",
    )
    assert shown["key"]["name"] == "agent"
    assert shown["key"]["apiKey"].startswith("sk_live_")
    assert subscription["keys"] == [{"id": shown["key"]["id"], "name": "agent"}]
    again = shop.post("subscribe", body, idempotency_key="s1")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "key_already_created")
    assert len(shop.stripe_ids("subscriptions")) == 1


def test_a_plan_without_a_key(shop: Shop) -> None:
    """`createKey` is optional; without it the answer has no key, and `keyName` alone is a mistake."""
    shop.top_up(20)
    assert "key" not in shop.post("subscribe", {"planSlug": "standard"}).json()["data"]
    assert refused(shop, "subscribe", {"planSlug": "standard", "keyName": "x"}) == (400, "invalid_value")


def test_a_cancel_is_taken_back(shop: Shop) -> None:
    """Resume undoes a cancel of ours and one of the portal; a subscription that goes on stays as it is."""
    subscription = shop.subscribe()
    wanted = {"subscriptionId": subscription["id"]}
    (stripe_id,) = shop.stripe_ids("subscriptions")
    assert shop.post("cancel", wanted).json()["data"]["cancelAtPeriodEnd"] is True
    assert shop.post("resume", wanted).json()["data"]["cancelAtPeriodEnd"] is False
    shop.control("portal_cancel", subscription=stripe_id)
    assert shop.subscriptions()[0]["cancelAtPeriodEnd"] is True
    assert shop.post("resume", wanted).json()["data"]["cancelAtPeriodEnd"] is False
    assert shop.post("resume", wanted).status_code == 200
    shop.advance(MARCH_S + DAY_S)
    assert [entry["status"] for entry in shop.subscriptions()] == ["active"]


def test_an_ended_subscription_is_not_resumed(shop: Shop) -> None:
    """P8: canceled is final."""
    subscription = shop.subscribe()
    shop.post("cancel", {"subscriptionId": subscription["id"]})
    shop.advance(MARCH_S + 60)
    assert refused(shop, "resume", {"subscriptionId": subscription["id"]}) == (409, "subscription_ended")
    change = {"subscriptionId": subscription["id"], "planSlug": "standard"}
    assert refused(shop, "change", change) == (409, "subscription_ended")


def test_an_upgrade_holds_at_once_and_renews_at_its_price(shop: Shop) -> None:
    """The difference is charged now, the new limit holds now, the period stays, the next renewal is the new price."""
    subscription = shop.subscribe("standard")
    shop.advance(10 * DAY_S)
    answer = shop.post("change", {"subscriptionId": subscription["id"], "planSlug": "pro"})
    assert answer.status_code == 200, answer.text
    changed = answer.json()["data"]
    assert (changed["id"], changed["planSlug"], changed["currentPeriodEnd"]) == (
        subscription["id"],
        "pro",
        subscription["currentPeriodEnd"],
    )
    assert changed["budget"]["limit"] == "0.42"
    shop.advance(22 * DAY_S)
    (renewed,) = shop.subscriptions()
    assert (renewed["planSlug"], renewed["status"], renewed["currentPeriodEnd"]) == (
        "pro",
        "active",
        "2026-05-05T10:00:00.000Z",
    )
    shop.control("wait")
    assert shop.inbox_errors() == []


def test_a_change_that_the_card_does_not_pay_changes_nothing(shop: Shop) -> None:
    """A refused card: 402, and plan, price and period are as before."""
    subscription = shop.subscribe("standard", card=FAILS_LATER_CARD)
    shop.advance(10 * DAY_S)
    change = {"subscriptionId": subscription["id"], "planSlug": "pro"}
    assert refused(shop, "change", change) == (402, "card_declined")
    assert shop.subscriptions()[0]["planSlug"] == "standard"


def test_a_change_whose_answer_was_lost_is_told_by_the_webhook(shop: Shop) -> None:
    """Our record of the change was there first, so Stripe's word of it is enough."""
    subscription = shop.subscribe("standard")
    shop.advance(10 * DAY_S)
    shop.lose_webhooks()
    shop.post("change", {"subscriptionId": subscription["id"], "planSlug": "pro"})
    shop.send_webhooks()
    for event_id in shop.event_ids("customer.subscription.updated"):
        shop.control("resend", event=event_id, copies=1)
    assert shop.subscriptions()[0]["planSlug"] == "pro"


def test_the_portal_is_a_page_of_stripes(shop: Shop) -> None:
    """The answer is an address that opens."""
    url = shop.post("portal", {}).json()["data"]["url"]
    assert url.startswith(f"{shop.origin}{PREFIX}/p/session/")
    assert shop.bare.get(url).status_code == 200


def test_another_accounts_subscription_cannot_be_changed_or_resumed(shop: Shop) -> None:
    """P13: 404, and nothing changes."""
    subscription = shop.subscribe()
    bob = new_customer(shop.store, now_us=shop.clock.now_us(), email="bob@example.com")
    for path, body in (("resume", {}), ("change", {"planSlug": "standard"})):
        answer = shop.bare.post(
            f"/api/billing/{path}", json={"subscriptionId": subscription["id"], **body}, headers=bob.headers
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "subscription_not_found")
    assert shop.subscriptions()[0]["planSlug"] == "pro"


def test_a_yearly_plan_is_paid_by_the_year(store: Store) -> None:
    """A plan's interval is Stripe's: one payment, a period of a year; a monthly plan is no change away."""
    yearly = PlanSettings.model_validate({"price_usd": "600", "interval": "year", "rpm": 200, "budget_usd": "0.42"})
    with running_shop(store, plans={"pro-yearly": yearly}) as shop:
        subscription = shop.subscribe("pro-yearly")
        assert (subscription["status"], subscription["currentPeriodEnd"]) == ("active", "2027-03-05T10:00:00.000Z")
        change = {"subscriptionId": subscription["id"], "planSlug": "pro"}
        assert refused(shop, "change", change) == (422, "plan_not_comparable")
        shop.advance(366 * DAY_S)
        assert shop.subscriptions()[0]["currentPeriodEnd"] == "2028-03-05T10:00:00.000Z"
        assert store.read_now(audit).differences == ()
