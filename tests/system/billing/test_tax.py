"""What is sold with tax on top: who gets which part, and of a refund too."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from tests.support.billing.shop import Shop, running_shop
from tokenbooth.domain.ledger import TAX_DUE
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.store import ledger
from tokenbooth.store.engine import Store
from tokenbooth.store.reports.audit import audit


@pytest.fixture
def shop(store: Store) -> Iterator[Shop]:
    """A product that collects tax; the books are audited and held against Stripe's afterwards."""
    with running_shop(store, collects_tax=True) as running:
        yield running
        report = running.reconcile()
        assert report.at_stripe_nano == report.here_nano == running.balance_nano()
        assert (report.differences, store.read_now(audit).differences) == ([], ())


def tax_usd(shop: Shop) -> float:
    """What is owed to the state, USD."""
    return shop.store.read_now(ledger.balance_nano, TAX_DUE) / NANO_PER_USD


def paid_usd(shop: Shop) -> list[float]:
    """What was charged at Stripe, newest first, USD."""
    charged = [shop.stripe(f"charges/{charge_id}")["amount"] for charge_id in shop.stripe_ids("charges")]
    return [amount / 100 for amount in charged if isinstance(amount, int)]


def test_a_top_up_credits_what_was_asked_for_and_owes_the_tax(shop: Shop) -> None:
    """The amount before tax is held against our record: 50 are credited of 55 that are paid."""
    shop.top_up(50)
    assert (shop.credit(), paid_usd(shop), tax_usd(shop)) == ("50.00", [55.0], 5.0)


def test_a_refund_takes_its_share_of_the_tax(shop: Shop) -> None:
    """A fifth of the payment is a fifth of the credit and a fifth of the tax; the rest takes the rest."""
    intent = shop.top_up(50)
    shop.stripe_post("refunds", payment_intent=intent, amount="1100")
    assert (shop.credit(), tax_usd(shop)) == ("40.00", 4.0)
    shop.stripe_post("refunds", payment_intent=intent)
    assert (shop.credit(), tax_usd(shop)) == ("0.00", 0.0)


def test_a_subscription_and_its_renewal_owe_tax_each(shop: Shop) -> None:
    """Each paid invoice owes a tenth, and grants its period as it does without tax."""
    assert shop.subscribe("pro")["status"] == "active"
    assert (paid_usd(shop), tax_usd(shop)) == ([66.0], 6.0)
    shop.clock.advance(32 * 86_400)
    shop.control("advance", seconds=0)
    assert shop.subscriptions()[0]["status"] == "active"
    assert (paid_usd(shop), tax_usd(shop)) == ([66.0, 66.0], 12.0)


def test_a_saved_card_pays_the_tax_that_the_page_adds(shop: Shop) -> None:
    """50 of credit cost 55 on the page and with the saved card; both owe 5, and Stripe has a transaction of it."""
    shop.top_up(50)
    answer = shop.post("topup", {"amount": 50, "method": "stripe_direct"})
    assert (answer.status_code, answer.json()["data"]["credited"]) == (200, "50.00")
    assert (shop.credit(), paid_usd(shop), tax_usd(shop)) == ("100.00", [55.0, 55.0], 10.0)
    counts = shop.control("wait")["counts"]
    assert isinstance(counts, dict)
    assert (counts["TaxCalculation"], counts["TaxTransaction"]) == (1, 1)


def test_automatic_top_ups_pay_it_too(shop: Shop) -> None:
    """The rule's amount is the credit; the card is charged with the tax on top, once."""
    shop.top_up(20)
    rule = {"enabled": True, "threshold": 10, "amount": "25.00", "monthlyLimit": 60}
    assert shop.http.put("/api/billing/auto-topup", json=rule).status_code == 200
    shop.live.held[shop.ada.account_id] = 15 * NANO_PER_USD
    shop.top_up_automatically()
    shop.live.held.clear()
    assert (shop.credit(), paid_usd(shop), tax_usd(shop)) == ("45.00", [27.5, 22.0], 4.5)


def test_a_charge_whose_answer_was_lost_is_read_back_with_its_tax(shop: Shop) -> None:
    """The payment says which part of it is tax, whoever reads it: a webhook that comes twice changes nothing."""
    shop.top_up(20)
    shop.post("topup", {"amount": 30, "method": "stripe_direct"}, idempotency_key="k1")
    for event in shop.event_ids("payment_intent.succeeded"):
        shop.control("resend", event=event, copies=3)
    shop.post("topup", {"amount": 30, "method": "stripe_direct"}, idempotency_key="k1")
    assert (shop.credit(), paid_usd(shop), tax_usd(shop)) == ("50.00", [33.0, 22.0], 5.0)


def test_refunds_of_a_saved_cards_payment_take_their_share_of_the_tax(shop: Shop) -> None:
    """In odd parts; the last one takes what rounding left of both."""
    shop.top_up(20)
    shop.post("topup", {"amount": 50, "method": "stripe_direct"})
    intent = shop.paid_intent()
    for cents in ("333", "1001", "1"):
        shop.stripe_post("refunds", payment_intent=intent, amount=cents)
    shop.stripe_post("refunds", payment_intent=intent)
    assert (shop.credit(), tax_usd(shop)) == ("20.00", 2.0)


@pytest.mark.parametrize("method", ["stripe", "stripe_direct"])
def test_tax_inside_the_price_is_booked(shop: Shop, method: str) -> None:
    """An eleventh of 55 is tax: the customer pays and gets 55, the operator owes 5 of it, a refund takes all back."""
    shop.top_up(20)
    shop.control("tax", inclusive=True)
    if method == "stripe":
        intent = shop.top_up(55)
    else:
        assert shop.post("topup", {"amount": 55, "method": "stripe_direct"}).status_code == 200
        intent = shop.paid_intent()
    assert (shop.credit(), paid_usd(shop), tax_usd(shop)) == ("75.00", [55.0, 22.0], 7.0)
    shop.stripe_post("refunds", payment_intent=intent, amount="1100")
    assert (shop.credit(), tax_usd(shop)) == ("64.00", 6.0)
    shop.stripe_post("refunds", payment_intent=intent)
    assert (shop.credit(), tax_usd(shop)) == ("20.00", 2.0)


def test_a_subscription_with_tax_inside_earns_the_rest(shop: Shop) -> None:
    """Of 60 USD with the tax inside 5.45 are owed; the period is granted as ever, and so is a changed plan's."""
    shop.control("tax", inclusive=True)
    shop.subscribe("standard")
    answer = shop.post("change", {"subscriptionId": shop.subscriptions()[0]["id"], "planSlug": "pro"})
    assert answer.status_code == 200, answer.text
    assert (paid_usd(shop), tax_usd(shop)) == ([40.0, 20.0], 5.46)


def test_without_an_address_nothing_is_charged(shop: Shop) -> None:
    """Stripe cannot calculate the tax: a clear refusal; a rule is switched off, and its owner told why."""
    shop.top_up(20)
    (customer,) = {str(shop.stripe(f"payment_intents/{shop.paid_intent()}")["customer"])}
    shop.control("place", customer=customer, known=False)
    answer = shop.post("topup", {"amount": 30, "method": "stripe_direct"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "tax_not_calculable")
    rule = {"enabled": True, "threshold": 10, "amount": "25.00", "monthlyLimit": 60}
    shop.http.put("/api/billing/auto-topup", json=rule)
    shop.live.held[shop.ada.account_id] = 15 * NANO_PER_USD
    with capture_logs() as lines:
        shop.top_up_automatically()
    shown = shop.data("auto-topup")
    assert (shown["enabled"], shown["failure"]) == (False, "customer_tax_location_invalid")
    assert [line["event"] for line in lines] == ["auto_top_up_switched_off", "mail_not_sent"]
    shop.control("place", customer=customer, known=True)
    assert shop.post("topup", {"amount": 30, "method": "stripe_direct"}).status_code == 200
    assert paid_usd(shop) == [33.0, 22.0]
