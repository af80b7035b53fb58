"""The inbox job, with a Stripe whose objects a test makes by hand."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import Connection, select

from tests.support.billing.stripe_state import MONTH_US, PRO, PRO_NANO, new_checkout, upsert
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.fakes import FakeClock
from tests.support.store import Customer, new_customer
from tokenbooth.domain.ledger import SUBSCRIPTION_REVENUE
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.jobs.inbox import InboxHandler
from tokenbooth.payments.stripe.client import PaymentProviderError
from tokenbooth.payments.stripe.events import ObjectRef
from tokenbooth.payments.stripe.inbox import to_payload
from tokenbooth.payments.stripe.snapshots import InvoiceSnapshot, Ownership, Snapshot, SubscriptionSnapshot
from tokenbooth.payments.stripe.webhooks import WebhookEvent
from tokenbooth.store import ledger
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import inbox
from tokenbooth.store.payments.apply import apply_command
from tokenbooth.store.payments.inbox import LEASE_US, MAX_ATTEMPTS
from tokenbooth.store.tables import inbox as inbox_rows
from tokenbooth.store.tables import subscriptions as subscription_rows

STRIPE_ID = "sub_at_stripe"


class HandmadeStripe:
    """Objects that a test puts in; `before` runs before each fetch, and may fail."""

    livemode = False

    def __init__(self) -> None:
        self.objects: dict[ObjectRef, Snapshot] = {}
        self.fetched: list[ObjectRef] = []
        self.before: Callable[[], Awaitable[object]] | None = None

    async def fetch(self, ref: ObjectRef) -> Snapshot:
        """The object as it is when the fetch begins."""
        self.fetched.append(ref)
        found = self.objects[ref]
        if self.before is not None:
            await self.before()
        return found

    def put_subscription(self, customer: Customer, checkout_id: str, status: str = "active") -> None:
        """A subscription of a customer."""
        self.objects[ObjectRef("subscription", STRIPE_ID)] = SubscriptionSnapshot(
            subscription_id=STRIPE_ID,
            customer_id="cus_1",
            livemode=False,
            status=status,
            owner=Ownership(customer.account_id, checkout_id, "pro"),
            cancel_at_period_end=False,
            cancel_at_us=None,
            ended_at_us=None,
            created_at_us=NOW_US,
            period_start_us=NOW_US,
            period_end_us=NOW_US + MONTH_US,
            latest_invoice_id="in_1",
            item_id="si_1",
        )

    def put_invoice(self, status: str = "paid") -> None:
        """The invoice of its first month."""
        self.objects[ObjectRef("invoice", "in_1")] = InvoiceSnapshot(
            invoice_id="in_1",
            livemode=False,
            status=status,
            subscription_id=STRIPE_ID,
            amount_paid_cents=6_000,
            currency="usd",
            period_start_us=NOW_US,
            period_end_us=NOW_US + MONTH_US,
            attempt_count=1,
            next_attempt_at_us=None,
            list_cents=6_000,
            tax_cents=0,
            payment_intent_id="pi_1",
        )


@pytest.fixture
def clock() -> FakeClock:
    """A clock of the test's own."""
    return FakeClock()


@pytest.fixture
def ada(store: Store) -> Customer:
    """A customer."""
    return new_customer(store, now_us=NOW_US)


@pytest.fixture
def checkout_id(store: Store, ada: Customer) -> str:
    """Her checkout of the plan pro."""
    return new_checkout(store, ada.account_id, PRO, now_us=NOW_US)


@pytest.fixture
def stripe(ada: Customer, checkout_id: str) -> HandmadeStripe:
    """A Stripe at which she has paid for the first month."""
    made = HandmadeStripe()
    made.put_subscription(ada, checkout_id)
    made.put_invoice()
    return made


def receive(
    store: Store,
    event_type: str = "invoice.paid",
    subject: tuple[str, str] = ("invoice", "in_1"),
    *,
    event_id: str = "evt_1",
    livemode: bool = False,
) -> str:
    """Store an event."""
    event = WebhookEvent(event_id, event_type, livemode, NOW_US, *subject)
    return store.write_now(
        inbox.insert,
        source=inbox.STRIPE,
        external_id=event_id,
        event_type=event_type,
        payload=to_payload(event),
        now_us=NOW_US,
    )


def row_of(store: Store, row_id: str) -> tuple[str, int, str | None]:
    """A row's status, failed attempts, and error."""

    def read(conn: Connection) -> tuple[str, int, str | None]:
        row = conn.execute(select(inbox_rows).where(inbox_rows.c.id == row_id)).one()
        return row.status, row.attempts, row.error

    return store.read_now(read)


def subscription_statuses(store: Store) -> list[str]:
    """The status of every subscription."""

    def read(conn: Connection) -> list[str]:
        return list(conn.execute(select(subscription_rows.c.status)).scalars())

    return store.read_now(read)


def revenue_nano(store: Store) -> int:
    """What subscriptions brought in."""
    return store.read_now(ledger.balance_nano, SUBSCRIPTION_REVENUE)


async def test_an_event_is_carried_out_from_fresh_objects(
    store: Store, stripe: HandmadeStripe, clock: FakeClock
) -> None:
    """The event only names the invoice; what is granted is what the fetched invoice says."""
    row_id = receive(store)
    await InboxHandler(store, stripe, clock).handle(row_id)
    assert row_of(store, row_id) == ("handled", 0, None)
    assert subscription_statuses(store) == ["active"]
    assert revenue_nano(store) == PRO_NANO


async def test_twenty_at_once_are_one(store: Store, stripe: HandmadeStripe, clock: FakeClock) -> None:
    """1: an event that is delivered 20 times in parallel is fetched for and applied once."""
    row_id = receive(store)
    gate = asyncio.Event()
    stripe.before = gate.wait
    handler = InboxHandler(store, stripe, clock)
    waiting = [asyncio.create_task(handler.handle(row_id)) for _ in range(20)]
    gate.set()
    await asyncio.gather(*waiting)
    assert stripe.fetched == [ObjectRef("invoice", "in_1"), ObjectRef("subscription", STRIPE_ID)]
    assert revenue_nano(store) == PRO_NANO


async def test_many_events_of_one_subscription_at_once(store: Store, stripe: HandmadeStripe, clock: FakeClock) -> None:
    """12: different events of one subscription, handled side by side, leave one state and one payment."""
    row_ids = [receive(store, event_id=f"evt_paid_{i}") for i in range(10)]
    row_ids += [
        receive(store, "customer.subscription.updated", ("subscription", STRIPE_ID), event_id=f"evt_{i}")
        for i in range(10)
    ]
    handler = InboxHandler(store, stripe, clock)
    await asyncio.gather(*(handler.handle(row_id) for row_id in row_ids))
    assert {row_of(store, row_id) for row_id in row_ids} == {("handled", 0, None)}
    assert subscription_statuses(store) == ["active"]
    assert revenue_nano(store) == PRO_NANO


async def test_what_changed_during_the_fetch_is_fetched_again(
    store: Store, stripe: HandmadeStripe, clock: FakeClock, ada: Customer, checkout_id: str
) -> None:
    """P7: an older snapshot that arrives after a newer one was applied does not overwrite it."""
    store.write_now(apply_command, upsert(ada.account_id, checkout_id), now_us=NOW_US)

    async def overtaken() -> None:
        stripe.before = None
        stripe.put_subscription(ada, checkout_id, "past_due")
        newer = upsert(ada.account_id, checkout_id, status=SubscriptionStatus.PAST_DUE)
        await store.write(apply_command, newer, now_us=NOW_US + 1)

    stripe.before = overtaken
    row_id = receive(store, "customer.subscription.updated", ("subscription", STRIPE_ID))
    await InboxHandler(store, stripe, clock).handle(row_id)
    assert subscription_statuses(store) == ["past_due"]
    assert len(stripe.fetched) == 2


@pytest.mark.parametrize(
    ("event_type", "livemode", "reason"),
    [
        ("customer.created", False, "Events of type customer.created are not used."),
        ("invoice.paid", True, "The event belongs to Stripe's other mode (live or test)."),
    ],
)
async def test_events_that_are_not_for_us_have_no_effect(
    store: Store, stripe: HandmadeStripe, clock: FakeClock, event_type: str, livemode: bool, reason: str
) -> None:
    """8: an unknown type and the other mode are handled without asking Stripe for anything."""
    row_id = receive(store, event_type, livemode=livemode)
    await InboxHandler(store, stripe, clock).handle(row_id)
    assert row_of(store, row_id) == ("handled", 0, reason)
    assert stripe.fetched == []


async def test_five_failures_park_the_row(store: Store, stripe: HandmadeStripe, clock: FakeClock) -> None:
    """10: a handler that keeps failing backs off, then leaves the row to a person; nothing is lost."""

    async def away() -> None:
        raise PaymentProviderError("unavailable", "The payment provider cannot be reached.")

    stripe.before = away
    row_id = receive(store)
    handler = InboxHandler(store, stripe, clock)
    error = "Stripe: The payment provider cannot be reached. (unavailable, None)"
    for attempt in range(1, MAX_ATTEMPTS):
        await handler.run_due()
        assert row_of(store, row_id) == ("due", attempt, error)
        clock.advance(3_600)
    await handler.run_due()
    assert row_of(store, row_id) == ("parked", MAX_ATTEMPTS, error)
    stripe.before = None
    assert receive(store) == row_id
    await handler.run_due()
    assert row_of(store, row_id)[0] == "handled"
    assert revenue_nano(store) == PRO_NANO


async def test_an_unforeseen_failure_stores_its_kind_only(
    store: Store, stripe: HandmadeStripe, clock: FakeClock
) -> None:
    """P12: the text of an error that is not ours may quote anything, so it is not stored."""

    async def broken() -> None:
        raise RuntimeError("card 4242")

    stripe.before = broken
    row_id = receive(store)
    await InboxHandler(store, stripe, clock).handle(row_id)
    assert row_of(store, row_id) == ("due", 1, "RuntimeError")


async def test_a_crash_after_the_insert_is_made_good(store: Store, stripe: HandmadeStripe, clock: FakeClock) -> None:
    """9: a stored event that nobody handled is found by the job of the next process."""
    row_id = receive(store)
    await InboxHandler(store, stripe, clock).run_due()
    assert row_of(store, row_id)[0] == "handled"
    assert revenue_nano(store) == PRO_NANO


async def test_a_crash_inside_the_handling_is_made_good(store: Store, stripe: HandmadeStripe, clock: FakeClock) -> None:
    """9: a row that its handler claimed and left is taken up when the claim has run out."""
    row_id = receive(store)
    await store.write(inbox.claim, row_id, now_us=NOW_US)
    handler = InboxHandler(store, stripe, clock)
    await handler.run_due()
    assert row_of(store, row_id)[0] == "due"
    clock.advance(LEASE_US / 1_000_000)
    await handler.run_due()
    assert row_of(store, row_id)[0] == "handled"
    assert revenue_nano(store) == PRO_NANO


async def test_a_crash_after_the_commit_changes_nothing(store: Store, stripe: HandmadeStripe, clock: FakeClock) -> None:
    """9: an event that is delivered again after its effect was committed has no second one."""
    row_id = receive(store)
    await InboxHandler(store, stripe, clock).handle(row_id)
    clock.advance(3_600)
    again = InboxHandler(store, stripe, clock)
    await again.handle(receive(store))
    await again.run_due()
    assert revenue_nano(store) == PRO_NANO


async def test_a_caller_that_gives_up_does_not_stop_the_work(
    store: Store, stripe: HandmadeStripe, clock: FakeClock
) -> None:
    """The webhook's bounded wait ends without cutting off the handling."""
    row_id = receive(store)
    begun, gate = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await gate.wait()

    stripe.before = slow
    handler = InboxHandler(store, stripe, clock)
    caller = asyncio.create_task(handler.handle(row_id))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gate.set()
    await handler.drained()
    assert row_of(store, row_id)[0] == "handled"


async def test_a_store_that_is_away_costs_no_attempt(store: Store, stripe: HandmadeStripe, clock: FakeClock) -> None:
    """A handler whose store does not answer raises nothing; the row stays due as it was."""
    row_id = receive(store)
    store.close()
    await InboxHandler(store, stripe, clock).handle(row_id)
    assert stripe.fetched == []
