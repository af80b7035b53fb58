"""What is sold with tax on top: who gets which part, and of a refund too."""

from collections.abc import Iterator

import pytest

from tests.support.shop import Shop, running_shop
from tokenbooth.domain.ledger import TAX_DUE
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.store import ledger
from tokenbooth.store.audit import audit
from tokenbooth.store.engine import Store


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
