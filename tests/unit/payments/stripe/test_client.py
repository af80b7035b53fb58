"""Our Stripe client, over real HTTP against the sandbox."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.billing.stripe_rig import (
    API_KEY,
    DAY_S,
    FAILS_LATER_CARD,
    JANUARY_31,
    Rig,
    paid_subscription,
    running_sandbox,
)
from tokenbooth.domain.payment_commands import (
    CreditTopup,
    GrantPeriod,
    MarkPaymentFailed,
    PaymentCommand,
    UpsertSubscription,
)
from tokenbooth.domain.plan_changes import PlanAtStripe, SoldPlan
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.payments.stripe.client import (
    API_VERSION,
    CheckoutCreated,
    PaymentProviderError,
    PlanPrice,
    StripeClient,
)
from tokenbooth.payments.stripe.events import needed
from tokenbooth.payments.stripe.snapshots import Ownership, Snapshot
from tokenbooth.payments.stripe.translation import translate
from tokenbooth.payments.stripe.webhooks import WebhookEvent
from tokenbooth_sandbox.stripe import world

S = 1_000_000
FEBRUARY_28 = JANUARY_31 + 28 * DAY_S
MARCH_31 = JANUARY_31 + 59 * DAY_S


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A fresh sandbox."""
    with running_sandbox() as running:
        yield running


@pytest.fixture
async def client(rig: Rig) -> AsyncIterator[StripeClient]:
    """Our client of that sandbox."""
    made = rig.our_client()
    yield made
    await made.aclose()


async def subscribe(client: StripeClient, key: str = "key-1") -> CheckoutCreated:
    """A checkout for the standard plan."""
    customer_id = await client.customers.ensure("acct_1", "ada@example.com", None, "key-customer")
    return await client.checkouts.create_subscription(
        customer_id=customer_id,
        price=PlanPrice("standard", "Standard", 20_000_000_000, "month"),
        account_id="acct_1",
        checkout_id="chk_1",
        success_url="https://shop.example/done",
        cancel_url="https://shop.example/back",
        idempotency_key=key,
    )


async def top_up(client: StripeClient) -> CheckoutCreated:
    """A checkout for 50 USD of credit."""
    customer_id = await client.customers.ensure("acct_1", "ada@example.com", None, "key-customer")
    return await client.checkouts.create_topup(
        customer_id=customer_id,
        amount_cents=5000,
        account_id="acct_1",
        checkout_id="chk_2",
        success_url="https://shop.example/done",
        cancel_url="https://shop.example/back",
        idempotency_key="key-topup",
    )


async def commands_of(client: StripeClient, event: WebhookEvent) -> tuple[PaymentCommand, ...]:
    """What an event leads to when its objects are fetched now."""
    fetched: tuple[Snapshot, ...] = ()
    while refs := needed(event, fetched, livemode=client.livemode):
        fetched += tuple(await asyncio.gather(*(client.fetch(ref) for ref in refs)))
    return translate(event, fetched, livemode=client.livemode)


async def all_commands(client: StripeClient, rig: Rig) -> list[PaymentCommand]:
    """What all webhooks so far lead to, without the ignored ones and without repetitions."""
    found: list[PaymentCommand] = []
    for received in rig.webhooks:
        found += await commands_of(client, rig.verified(received))
    kinds = (UpsertSubscription, GrantPeriod, CreditTopup, MarkPaymentFailed)
    return [command for command in dict.fromkeys(found) if isinstance(command, kinds)]


async def test_subscription_from_checkout_to_commands(rig: Rig, client: StripeClient) -> None:
    """A paid checkout's real webhooks lead to one subscription and one period, all of them agreeing."""
    checkout = await subscribe(client)
    assert await asyncio.to_thread(lambda: rig.pay(checkout.url).status_code) == 200
    done = await client.fetch_session(checkout.session_id)
    assert done.owner == Ownership("acct_1", "chk_1", "standard")
    assert await all_commands(client, rig) == [
        UpsertSubscription(
            stripe_subscription_id=done.subscription_id or "",
            account_id="acct_1",
            checkout_id="chk_1",
            plan_slug="standard",
            status=SubscriptionStatus.ACTIVE,
            cancel_at_period_end=False,
            cancel_at_us=None,
            ended_at_us=None,
            created_at_us=JANUARY_31 * S,
            billed=PlanAtStripe(SoldPlan("standard", 20_000_000_000), "month", "usd", 1, JANUARY_31 * S),
        ),
        GrantPeriod(
            stripe_subscription_id=done.subscription_id or "",
            stripe_invoice_id=done.invoice_id or "",
            period_start_us=JANUARY_31 * S,
            period_end_us=FEBRUARY_28 * S,
            list_nano=20_000_000_000,
            amount_paid_nano=20_000_000_000,
            tax_nano=0,
            currency="usd",
            payment_intent_id=(await client.fetch_invoice(done.invoice_id or "")).payment_intent_id,
        ),
    ]


async def test_topup_from_checkout_to_credit(rig: Rig, client: StripeClient) -> None:
    """A paid top-up's real webhooks lead to one credit."""
    checkout = await top_up(client)
    assert await asyncio.to_thread(lambda: rig.pay(checkout.url).status_code) == 200
    done = await client.fetch_session(checkout.session_id)
    assert await all_commands(client, rig) == [
        CreditTopup(
            stripe_session_id=checkout.session_id,
            checkout_id="chk_2",
            account_id="acct_1",
            payment_intent_id=done.payment_intent_id or "",
            amount_nano=50_000_000_000,
            tax_nano=0,
            currency="usd",
        )
    ]


async def test_checkout_waits_a_day_and_prices_are_not_converted(rig: Rig, client: StripeClient) -> None:
    """The page's end is told, and the amount cannot change into another currency."""
    checkout = await subscribe(client)
    session = await asyncio.to_thread(rig.client.v1.checkout.sessions.retrieve, checkout.session_id)
    assert checkout.expires_at_us == (JANUARY_31 + DAY_S) * S
    assert session.adaptive_pricing is not None
    assert session.adaptive_pricing.enabled is False


async def test_same_idempotency_key_makes_one_checkout(client: StripeClient, rig: Rig) -> None:
    """Scenario 21: a repeated creation gives the same session."""
    first, second = await subscribe(client), await subscribe(client)
    assert first == second
    assert len((await asyncio.to_thread(rig.client.v1.checkout.sessions.list)).data) == 1


async def test_customer_is_kept_and_replaced_only_when_gone(client: StripeClient) -> None:
    """An account has one customer, as long as Stripe knows it."""
    first = await client.customers.ensure("acct_1", "ada@example.com", None, "key-1")
    kept = await client.customers.ensure("acct_1", "ada@example.com", first, "key-2")
    fresh = await client.customers.ensure("acct_1", "ada@example.com", "cus_gone", "key-3")
    assert (kept == first, fresh != first) == (True, True)


async def test_cancel_at_period_end_is_repeatable(rig: Rig, client: StripeClient) -> None:
    """Canceling twice gives the same answer; the end is the period's end."""
    subscription_id = await asyncio.to_thread(paid_subscription, rig)
    first = await client.subscriptions.cancel_at_period_end(subscription_id, "key-1")
    second = await client.subscriptions.cancel_at_period_end(subscription_id, "key-2")
    assert first == second
    assert (first.cancel_at_period_end, first.cancel_at_us) == (True, FEBRUARY_28 * S)


async def test_failed_renewal_is_marked_and_then_made_good(rig: Rig, client: StripeClient) -> None:
    """Scenario 17: a card that fails at renewal, and the same invoice paid later."""
    subscription_id = await asyncio.to_thread(paid_subscription, rig, FAILS_LATER_CARD)
    rig.webhooks.clear()
    await asyncio.to_thread(rig.control, "advance", seconds=28 * DAY_S + 3_600)
    failed = await all_commands(client, rig)
    snapshot = await client.subscriptions.fetch(subscription_id)
    invoice_id = snapshot.latest_invoice_id or ""
    assert [command for command in failed if not isinstance(command, UpsertSubscription)] == [
        MarkPaymentFailed(subscription_id, invoice_id, 1, (FEBRUARY_28 + 3_600 + 3 * DAY_S) * S)
    ]
    assert snapshot.status == "past_due"
    method = await asyncio.to_thread(rig.client.v1.subscriptions.retrieve, subscription_id)
    await asyncio.to_thread(rig.control, "card", payment_method=method.default_payment_method, behaviour="ok")
    rig.webhooks.clear()
    await asyncio.to_thread(rig.control, "pay_invoice", invoice=invoice_id)
    granted = [command for command in await all_commands(client, rig) if isinstance(command, GrantPeriod)]
    assert [(grant.period_start_us, grant.period_end_us) for grant in granted] == [(FEBRUARY_28 * S, MARCH_31 * S)]


async def test_portal_cancel_and_its_undoing_are_seen(rig: Rig, client: StripeClient) -> None:
    """Scenario 14: flexible billing mode tells a cancel by its date alone."""
    subscription_id = await asyncio.to_thread(paid_subscription, rig)
    seen = []
    for cancel in (True, False):
        rig.webhooks.clear()
        await asyncio.to_thread(rig.control, "portal_cancel", subscription=subscription_id, cancel=cancel)
        snapshot = await client.subscriptions.fetch(subscription_id)
        (command,) = await all_commands(client, rig)
        assert isinstance(command, UpsertSubscription)
        seen.append((snapshot.cancel_at_period_end, command.cancel_at_period_end))
    assert seen == [(False, True), (False, False)]


async def test_event_list_pages_through_everything(rig: Rig, client: StripeClient) -> None:
    """Scenario 11: what was never delivered is found in Stripe's list, page after page."""
    await asyncio.to_thread(rig.control, "delivery", mode="drop")
    for _ in range(12):
        await asyncio.to_thread(paid_subscription, rig)
    first = await client.list_events(created_from_us=JANUARY_31 * S)
    rest = await client.list_events(created_from_us=JANUARY_31 * S, after_id=first.last_id)
    later = await client.list_events(created_from_us=(JANUARY_31 + 1) * S)
    ids = {event.event_id for event in first.events + rest.events}
    assert (len(first.events), first.has_more, rest.has_more) == (100, True, False)
    assert len(ids) == len(first.events) + len(rest.events) == 12 * 12
    assert (later.events, later.last_id) == ((), None)
    assert rig.webhooks == []


async def test_wrong_key_is_our_problem_and_is_never_told(rig: Rig) -> None:
    """P12: the error for a refused key is `unavailable` and holds no part of it, nor does its chain."""
    client = StripeClient("sk_test_wrongsecret", api_base=rig.base_url, max_network_retries=0)
    with pytest.raises(PaymentProviderError) as raised:
        await client.fetch_invoice("in_1")
    await client.aclose()
    told = f"{raised.value!r} {raised.value.__cause__!r} {raised.value.__context__!r}"
    assert raised.value.kind == "unavailable"
    assert "wrongsecret" not in told


async def test_stripe_away_is_unavailable() -> None:
    """A refused connection is an error to try again, not a crash."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{taken.getsockname()[1]}"
        client = StripeClient(API_KEY, api_base=base, max_network_retries=0, timeout_s=2)
        with pytest.raises(PaymentProviderError) as raised:
            await client.fetch_invoice("in_1")
        await client.aclose()
    assert (raised.value.kind, API_KEY in str(raised.value)) == ("unavailable", False)


async def test_sandbox_is_reached_past_a_proxy(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with a proxy in its environment the sandbox on loopback still answers."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    client = rig.our_client()
    page = await client.list_events(created_from_us=0)
    await client.aclose()
    assert page.events == ()


async def test_unknown_object_is_invalid_with_stripes_code(client: StripeClient) -> None:
    """An object that Stripe does not know is told apart by its code."""
    with pytest.raises(PaymentProviderError) as raised:
        await client.subscriptions.fetch("sub_gone")
    assert (raised.value.kind, raised.value.provider_code) == ("invalid", "resource_missing")


async def test_price_of_a_fraction_of_a_cent_is_refused(client: StripeClient) -> None:
    """Stripe charges whole cents; rounding would change the price."""
    with pytest.raises(ValueError, match="whole cents"):
        await client.checkouts.create_subscription(
            customer_id="cus_1",
            price=PlanPrice("odd", "Odd", 20_000_000_001, "month"),
            account_id="acct_1",
            checkout_id="chk_1",
            success_url="https://shop.example/done",
            cancel_url="https://shop.example/back",
            idempotency_key="key-1",
        )


def test_empty_key_is_refused() -> None:
    """A client without a key does not exist."""
    with pytest.raises(ValueError, match="must not be empty"):
        StripeClient(" ")


def test_sandbox_and_client_speak_the_same_version() -> None:
    """The pinned API version is one and the same on both sides."""
    assert world.API_VERSION == API_VERSION
