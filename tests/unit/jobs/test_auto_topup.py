"""Automatic top-ups: one charge when the credit is low, bounded, off when it fails."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, cast

import httpx
import pytest
import structlog
from sqlalchemy import Connection, select

from tests.support.billing.shop import API_KEY, FAILS_LATER_CARD, PREFIX, Json, Shop, running_shop
from tests.support.mail import mail_server, mail_settings
from tokenbooth.domain.ledger import TransferKind
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.jobs.auto_topup import AutoTopUp
from tokenbooth.payments.stripe.client import PaymentProviderError, StripeClient
from tokenbooth.services.checkouts import caps_of
from tokenbooth.services.mail import LogMailer, make_mailer
from tokenbooth.store.accounts import accounts
from tokenbooth.store.accounts.credit import change_credit
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import auto_topups
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import audit_log

RULE = {"enabled": True, "threshold": 10, "amount": "25.00", "monthlyLimit": 60}


@pytest.fixture
def shop(store: Store) -> Iterator[Shop]:
    """A running product; the books are audited and held against Stripe's afterwards."""
    with running_shop(store) as running:
        yield running
        report = running.reconcile()
        assert report.at_stripe_nano == report.here_nano
        assert store.read_now(audit).differences == ()


def put(shop: Shop, body: object) -> httpx.Response:
    """Set the rule."""
    return shop.http.put("/api/billing/auto-topup", json=body)


def rule(shop: Shop) -> Json:
    """The rule as the account reads it."""
    return shop.data("auto-topup")


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


def test_low_credit_is_topped_up_once(shop: Shop) -> None:
    """Above the threshold nothing happens; below it the saved card is charged once, what is held counted as gone."""
    shop.top_up(20)
    assert put(shop, RULE).json()["data"] == {
        "enabled": True,
        "threshold": "10.00",
        "amount": "25.00",
        "monthlyLimit": "60.00",
        "chargedThisMonth": "0.00",
        "failure": None,
        "failedAt": None,
    }
    shop.top_up_automatically()
    assert shop.credit() == "20.00"
    shop.live.held[shop.ada.account_id] = 11 * NANO_PER_USD
    shop.top_up_automatically()
    shop.top_up_automatically()
    assert shop.credit() == "45.00"
    assert rule(shop)["chargedThisMonth"] == "25.00"


def test_the_months_limit_is_kept(shop: Shop) -> None:
    """What one month may charge is bounded; the next month begins anew."""
    shop.top_up(20)
    put(shop, RULE)
    for _ in range(4):
        spend(shop, 20)
        shop.top_up_automatically()
    assert rule(shop)["chargedThisMonth"] == "50.00"
    assert rule(shop)["enabled"] is True
    shop.clock.advance(31 * 86_400)
    shop.top_up_automatically()
    assert rule(shop)["chargedThisMonth"] == "25.00"


def test_never_two_at_once(shop: Shop) -> None:
    """Many processes that look at the same moment make one charge."""
    shop.top_up(20)
    put(shop, RULE)
    spend(shop, 15)
    barrier = threading.Barrier(6)

    def run() -> None:
        barrier.wait()
        shop.top_up_automatically()

    with ThreadPoolExecutor(6) as threads:
        for future in [threads.submit(run) for _ in range(6)]:
            future.result()
    assert shop.credit() == "30.00"
    assert len(shop.stripe_ids("charges")) == 2


def test_a_charge_that_fails_switches_it_off_and_the_owner_is_told(shop: Shop) -> None:
    """The rule is off with its reason until it is set again; the card is not tried a second time."""
    shop.top_up(20, card=FAILS_LATER_CARD)
    put(shop, RULE)
    spend(shop, 15)
    shop.top_up_automatically()
    shop.top_up_automatically()
    shown = rule(shop)
    assert (shown["enabled"], shown["failure"], shown["failedAt"]) == (
        False,
        "generic_decline",
        "2026-03-05T10:00:00.000Z",
    )
    assert len(shop.stripe_ids("charges")) == 2
    shop.top_up(20)
    assert put(shop, {"enabled": True}).json()["data"]["failure"] is None
    spend(shop, 20)
    shop.top_up_automatically()
    assert shop.credit() == "30.00"


def test_the_owner_gets_one_mail_when_it_switches_off(shop: Shop) -> None:
    """A real mail server gets the reason and the page to go to, once; a further failure is told anew."""
    received: list[str] = []
    shop.top_up(20, card=FAILS_LATER_CARD)
    for _ in range(2):
        put(shop, RULE)
        shop.live.held[shop.ada.account_id] = 15 * NANO_PER_USD
        shop.clock.advance(1)
        for _ in range(2):
            asyncio.run(_run_with_mail(shop, received))
    mails = " ".join(received)
    assert mails.count("Subject: Automatic top-ups are switched off") == 2
    assert mails.count("rcpt TO:<") == 2
    assert "(generic_decline)" in mails
    assert f"{shop.origin}/dashboard/billing" in mails


def test_the_owner_is_told_of_a_failure_that_was_read_back(shop: Shop) -> None:
    """A rule that something else switched off, such as the reconciler, is told by the next run, and its mail
    stands in the log where no mail server is configured."""
    shop.top_up(20)
    put(shop, RULE)
    shop.store.write_now(auto_topups.switch_off, shop.ada.account_id, "not_charged", now_us=shop.clock.now_us())
    with structlog.testing.capture_logs() as lines:
        shop.top_up_automatically()
        shop.top_up_automatically()
    assert [line["event"] for line in lines] == ["auto_top_up_switched_off", "mail_not_sent"]


async def _run_with_mail(shop: Shop, received: list[str]) -> None:
    async with mail_server(received) as port:
        await shop.run_auto_top_up(make_mailer(mail_settings(port)))


def test_a_rule_needs_a_card_and_makes_sense(shop: Shop) -> None:
    """Without a saved card 402; with a limit below the amount, or without one, 400; switched off it needs nothing."""
    assert put(shop, RULE).json()["error"]["code"] == "no_payment_method"
    assert put(shop, {**RULE, "monthlyLimit": 20}).json()["error"]["param"] == "monthlyLimit"
    assert put(shop, {"enabled": True}).json()["error"]["param"] == "threshold"
    assert put(shop, {"enabled": 1}).json()["error"]["code"] == "invalid_type"
    assert put(shop, {"enabled": False}).json()["data"]["enabled"] is False


def owners_stripe_id(shop: Shop) -> str:
    """Stripe's id of the customer."""
    return str(shop.stripe(f"payment_intents/{shop.paid_intent()}")["customer"])


def delete_at_stripe(shop: Shop, customer_id: str) -> None:
    """Delete a customer in Stripe's dashboard."""
    answer = shop.bare.request(
        "DELETE", f"{PREFIX}/v1/customers/{customer_id}", headers={"authorization": f"Bearer {API_KEY}"}
    )
    assert answer.status_code == 200, answer.text


def of_another_account(shop: Shop, customer_id: str) -> None:
    """Let our account name a customer that this Stripe account does not have."""
    shop.store.write_now(accounts.set_stripe_customer, shop.ada.account_id, f"{customer_id}_elsewhere")


@pytest.mark.parametrize(
    ("lose", "reason"), [(delete_at_stripe, "no_payment_method"), (of_another_account, "resource_missing")]
)
def test_a_customer_who_is_gone_ends_it(shop: Shop, lose: Callable[[Shop, str], None], reason: str) -> None:
    """What Stripe refuses for good is asked once: the rule is off with its reason, its owner told, and written down."""
    shop.top_up(20)
    put(shop, RULE)
    spend(shop, 15)
    lose(shop, owners_stripe_id(shop))
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            shop.top_up_automatically()
            shop.clock.advance(7_200)
    assert [line["event"] for line in lines] == ["auto_top_up_switched_off", "mail_not_sent"]
    assert (rule(shop)["enabled"], rule(shop)["failure"]) == (False, reason)
    assert [entry for entry in written(shop) if entry[0] == "auto_top_up.switched_off"] == [
        ("auto_top_up.switched_off", reason)
    ]
    assert len(shop.stripe_ids("charges")) == 1
    assert shop.top_up(20)
    assert put(shop, {"enabled": True}).json()["data"]["failure"] is None


def written(shop: Shop) -> list[tuple[str, str]]:
    """What the record says of automatic top-ups."""

    def read(conn: Connection) -> list[tuple[str, str]]:
        rows = conn.execute(select(audit_log).where(audit_log.c.action.like("auto_top_up%")))
        return [(row.action, row.detail) for row in rows]

    return shop.store.read_now(read)


class Scripted:
    """A way to Stripe that answers about the saved card as a test says; nothing else is asked of it."""

    def __init__(self, failure: PaymentProviderError) -> None:
        self.failure = failure
        self.asked = 0
        self.cards = self

    async def find_saved(self, customer_id: str) -> str | None:
        """Fail."""
        self.asked += 1
        raise self.failure


def job(shop: Shop, stripe: Scripted) -> AutoTopUp:
    """The job over a scripted Stripe."""
    return AutoTopUp(
        shop.store,
        cast("StripeClient", stripe),
        shop.clock,
        caps_of(shop.settings.billing),
        shop.live.held_nano,
        mailer=LogMailer(),
        billing_url="https://shop.example/billing",
    )


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("unavailable", None),
        ("invalid", "idempotency_error"),
        ("invalid", "stripe_tax_inactive"),
    ],
)
def test_what_passes_is_tried_again_ever_later(shop: Shop, kind: Literal["unavailable", "invalid"], code: str) -> None:
    """An outage, or what the operator has to mend, leaves the rule on; tries come after 30, 60, 120 s, up to 1 h."""
    shop.top_up(20)
    put(shop, RULE)
    spend(shop, 15)
    stripe = Scripted(PaymentProviderError(kind, "away", provider_code=code))
    running = job(shop, stripe)
    waits = []
    for _ in range(12):
        before, waited = stripe.asked, 0
        while stripe.asked == before:
            asyncio.run(running.run())
            if stripe.asked == before:
                shop.clock.advance(30)
                waited += 30
        waits.append(waited)
    assert waits == [0, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]
    assert rule(shop)["enabled"] is True
    shop.top_up_automatically()
    assert shop.credit() == "30.00"
