"""What an account does with its money stands in the audit log: who asked, for what, and from where."""

from collections.abc import Iterator

import pytest

from tests.support.billing.shop import Shop, running_shop
from tokenbooth.store.accounts.audit_log import Actor
from tokenbooth.store.engine import Store
from tokenbooth.store.reports.operator import list_log

RULE = {"enabled": True, "threshold": 5, "amount": 20, "monthlyLimit": 100}


@pytest.fixture
def shop(store: Store) -> Iterator[Shop]:
    """A running product with a customer who has a card and a subscription."""
    with running_shop(store) as running:
        running.subscribe("standard")
        yield running


def said(shop: Shop, action: str) -> list[tuple[str, str, str | None]]:
    """Who, what about, and from where, for every entry of an action, the first one first."""
    rows = shop.store.read_now(list_log, account_id=shop.ada.account_id, action=action)
    return [(row.actor, row.detail, row.address) for row in reversed(rows)]


def by_key(shop: Shop, detail: str) -> tuple[str, str, str]:
    """An entry of something that the customer's management key asked for."""
    return shop.ada.key_id, detail, "127.0.0.1"


def test_what_is_bought_and_ended_is_noted(shop: Shop) -> None:
    """Opening a page, charging the saved card, canceling, going on, changing the plan, opening the portal."""
    subscription_id = str(shop.subscriptions()[0]["id"])
    asked = {"subscriptionId": subscription_id}
    for path, body in (
        ("cancel", asked),
        ("resume", asked),
        ("change", {**asked, "planSlug": "pro"}),
        ("topup", {"amount": 20, "method": "stripe"}),
        ("topup", {"amount": 25, "method": "stripe_direct"}),
        ("subscribe", {"planSlug": "pro"}),
        ("portal", {}),
    ):
        answer = shop.post(path, body)
        assert answer.status_code == 200, answer.text
    assert said(shop, "subscription.canceled") == [by_key(shop, subscription_id)]
    assert said(shop, "subscription.resumed") == [by_key(shop, subscription_id)]
    assert said(shop, "subscription.plan_changed") == [by_key(shop, f"{subscription_id}: pro")]
    assert set(said(shop, "checkout.opened")) == {by_key(shop, "standard"), by_key(shop, "20.00 USD of credit")}
    assert said(shop, "credit.bought") == [by_key(shop, "25.00 USD of credit")]
    assert said(shop, "subscription.begun") == [by_key(shop, "pro")]
    assert said(shop, "portal.opened") == [by_key(shop, "cards and invoices at Stripe")]


def test_a_plan_that_is_bought_with_a_key_is_noted(shop: Shop) -> None:
    """The answer shows the key, so a repetition is refused; what was bought stands in the log all the same, once."""
    body = {"planSlug": "pro", "createKey": True}
    assert [shop.post("subscribe", body, idempotency_key="one").status_code for _ in range(2)] == [200, 409]
    assert said(shop, "subscription.begun") == [by_key(shop, "pro")]


def test_a_repeated_request_is_noted_once(shop: Shop) -> None:
    """The second answer is the kept one."""
    body = {"subscriptionId": shop.subscriptions()[0]["id"]}
    for _ in range(2):
        assert shop.post("cancel", body, idempotency_key="one").status_code == 200
    assert len(said(shop, "subscription.canceled")) == 1


def test_what_was_refused_is_not_noted(shop: Shop) -> None:
    """Also where the refusal is kept for repetitions."""
    body = {"subscriptionId": "sub_" + "0" * 26}
    for path in ("cancel", "resume"):
        assert shop.post(path, body, idempotency_key=path).status_code == 404
    assert shop.post("change", {**body, "planSlug": "pro"}, idempotency_key="c").status_code == 404
    for action in ("subscription.canceled", "subscription.resumed", "subscription.plan_changed"):
        assert said(shop, action) == []


def test_the_rule_of_automatic_top_ups_is_noted(shop: Shop) -> None:
    """Set, changed and taken away, each with what it says then; the same again is no change."""
    for rule in (RULE, RULE, {**RULE, "amount": 30}, {"enabled": False}):
        assert shop.http.put("/api/billing/auto-topup", json=rule).status_code == 200
    assert said(shop, "auto_top_up.switched_on") == [
        by_key(shop, "below 5.00 USD: 20.00 USD, at most 100.00 USD a month")
    ]
    assert said(shop, "auto_top_up.changed") == [by_key(shop, "below 5.00 USD: 30.00 USD, at most 100.00 USD a month")]
    assert said(shop, "auto_top_up.switched_off") == [
        by_key(shop, "below 5.00 USD: 30.00 USD, at most 100.00 USD a month")
    ]


def test_keys_are_noted_with_the_address(shop: Shop) -> None:
    """API keys and management keys, made and deleted."""
    key = shop.http.post("/api/keys/credit", json={"name": "a"}).json()["id"]
    management_key = shop.http.post("/api/keys/management", json={"name": "b"}).json()["id"]
    shop.http.delete(f"/api/keys/{key}").raise_for_status()
    shop.http.delete(f"/api/keys/management/{management_key}").raise_for_status()
    assert said(shop, "api_key.created") == said(shop, "api_key.deleted") == [by_key(shop, key)]
    # Beside the key that asks.
    assert by_key(shop, management_key) in said(shop, "management_key.created")
    assert said(shop, "management_key.deleted") == [by_key(shop, management_key)]


def test_an_actor_is_an_id() -> None:
    """Whatever takes an id takes an actor."""
    assert {Actor("key_1", "127.0.0.1"): 1} == {"key_1": 1}
