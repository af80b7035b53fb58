"""The reconciler: finds what was never delivered, and holds our books against Stripe's.

It reads Stripe's events from where it stopped, looks at every checkout, charge and subscription that is open, and
explains each entry of Stripe's balance. What a lost webhook left is repaired by the same path that a webhook takes;
what cannot be explained is reported, never guessed.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from tokenbooth.domain.money import format_usd
from tokenbooth.domain.plan_changes import settled
from tokenbooth.domain.stripe_balance import BalanceTransaction, TransactionMeaning
from tokenbooth.domain.windows import DAY_US, MINUTE_US
from tokenbooth.jobs.fair_order import fair_order
from tokenbooth.kit.clock import Clock
from tokenbooth.payments.stripe.client import PaymentProviderError, StripeClient
from tokenbooth.payments.stripe.events import HANDLED_TYPES
from tokenbooth.payments.stripe.inbox import to_payload
from tokenbooth.payments.stripe.snapshots import SubscriptionSnapshot
from tokenbooth.payments.stripe.translation import sold_plan, status_of
from tokenbooth.payments.stripe.webhooks import WebhookEvent
from tokenbooth.services.cards import ChargeStatus, settle_pending
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import checkouts, inbox, stripe_balance, subscriptions
from tokenbooth.store.payments.checkouts import PendingSession
from tokenbooth.store.payments.subscriptions import RecordedStatus

EVENTS_CURSOR: Final = "stripe_events"
BALANCE_CURSOR: Final = "stripe_balance"

_IN_FLIGHT_US: Final = 5 * MINUTE_US
"""Younger things are still under way by the ordinary paths."""
_EVENTS_KEPT_US: Final = 30 * DAY_US
_EVENTS_OVERLAP_US: Final = 60 * MINUTE_US
_BALANCE_OVERLAP_US: Final = 2 * DAY_US
_SESSIONS_SINCE_US: Final = 3 * DAY_US
_PAGES_PER_ACCOUNT: Final = 10
_PAGES_PER_RUN: Final = 300
"""Each is a question to Stripe; what is left over is looked at first in the next run."""

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that Stripe has and we did not, or the other way round.

    Attributes:
        kind: event, checkout, charge, subscription, payment, refund, dispute, currency or clearing.
        subject: the id that it is about.
        here, at_stripe: what each side says.
        repaired: whether both say the same now.
    """

    kind: str
    subject: str
    here: str
    at_stripe: str
    repaired: bool


@dataclass(slots=True)
class Report:
    """What a run found. `here_nano` and `at_stripe_nano` are Stripe's balance by both books, nano-USD."""

    differences: list[Difference] = field(default_factory=list)
    here_nano: int = 0
    at_stripe_nano: int = 0

    @property
    def clean(self) -> bool:
        """Whether everything that differed was repaired."""
        return all(difference.repaired for difference in self.differences)


@dataclass(frozen=True, slots=True)
class ReconcileFigures:
    """How the job goes: when it last came to an end (UTC microseconds; None before), and how many differences stood
    unrepaired both then and the time before."""

    last_run_us: int | None = None
    differences: int = 0


class Reconciler:
    """Compares and repairs; `run` is a periodic job."""

    def __init__(
        self,
        store: Store,
        stripe: StripeClient,
        clock: Clock,
        *,
        handle: Callable[[str], Awaitable[None]],
        refresh: Callable[[WebhookEvent], Awaitable[str | None]],
    ) -> None:
        """`handle` carries out an inbox row; `refresh` brings our state to what an event's object says, and tells
        why a person has to look at it, if one has to."""
        self._store = store
        self._stripe = stripe
        self._clock = clock
        self._handle = handle
        self._refresh = refresh
        self._known: frozenset[Difference] = frozenset()
        self._looked_at_us: dict[PendingSession, int] = {}
        self.figures = ReconcileFigures()

    async def run(self) -> None:
        """Reconcile, and log what differs; a difference that may only be under way is logged the second time."""
        try:
            report = await self.reconcile()
        except PaymentProviderError as failure:
            _log.warning("reconcile_unanswered", error=failure.message, action="It runs again in a few minutes.")
            return
        for difference in report.differences:
            if difference.repaired:
                _log.warning("reconciled", kind=difference.kind, subject=difference.subject, was=difference.here)
        unrepaired = frozenset(difference for difference in report.differences if not difference.repaired)
        lasting = unrepaired & self._known
        for difference in lasting:
            _log.error(
                "books_differ",
                kind=difference.kind,
                subject=difference.subject,
                here=difference.here,
                at_stripe=difference.at_stripe,
                action="Run `tokenbooth reconcile`, and compare the object in Stripe's dashboard with the account.",
            )
        self._known = unrepaired
        self.figures = ReconcileFigures(self._clock.now_us(), len(lasting))

    async def reconcile(self) -> Report:
        """Do everything once.

        Raises:
            PaymentProviderError, UnexpectedShape: Stripe does not answer, or not as it should.
            StoreUnavailable: the database does not answer.
        """
        report = Report()
        await self._events(report)
        await self._charges(report)
        await self._subscriptions(report)
        await self._balance(report)
        await self._checkouts(report)
        return report

    async def _events(self, report: Report) -> None:
        """Store and handle every event that never arrived."""
        now_us = self._clock.now_us()
        position_us = await self._store.read(stripe_balance.position_us, EVENTS_CURSOR)
        begin_us = now_us - _EVENTS_KEPT_US if position_us is None else position_us - _EVENTS_OVERLAP_US
        newest_us, after_id, missing = position_us or 0, None, []
        while True:
            page = await self._stripe.list_events(created_from_us=begin_us, after_id=after_id)
            wanted = [
                event
                for event in page.events
                if event.type in HANDLED_TYPES and event.livemode == self._stripe.livemode
            ]
            known = await self._store.read(inbox.known, inbox.STRIPE, [event.event_id for event in wanted])
            missing += [event for event in wanted if event.event_id not in known]
            newest_us = max([newest_us, *(event.created_at_us for event in page.events)])
            if not page.has_more or page.last_id is None:
                break
            after_id = page.last_id
        for event in reversed(missing):
            await self._take_in(event, now_us, report)
        if newest_us:
            await self._store.write(stripe_balance.advance, EVENTS_CURSOR, newest_us)

    async def _take_in(self, event: WebhookEvent, now_us: int, report: Report) -> None:
        row_id = await self._store.write(
            inbox.insert,
            source=inbox.STRIPE,
            external_id=event.event_id,
            event_type=event.type,
            payload=to_payload(event),
            now_us=now_us,
        )
        await self._handle(row_id)
        if event.created_at_us < now_us - _IN_FLIGHT_US:
            report.differences.append(Difference("event", event.event_id, "never delivered", event.type, True))

    async def _charges(self, report: Report) -> None:
        """Read back charges whose answer was lost."""
        now_us = self._clock.now_us()
        for pending in await self._store.read(checkouts.pending_charges, before_us=now_us - MINUTE_US):
            outcome = await settle_pending(self._store, self._stripe, self._clock, pending)
            if outcome.status is not ChargeStatus.PENDING:
                repaired = outcome.status is not ChargeStatus.REVIEW
                difference = Difference("charge", pending.checkout_id, "unknown", str(outcome.status), repaired)
                report.differences.append(difference)

    async def _checkouts(self, report: Report) -> None:
        """Look at pages that are unpaid as far as we know: some of each account in turn, however many one opens."""
        now_us = self._clock.now_us()
        open_ones = await self._store.read(
            checkouts.pending_sessions, before_us=now_us - _IN_FLIGHT_US, since_us=now_us - _SESSIONS_SINCE_US
        )
        self._looked_at_us = {page: self._looked_at_us[page] for page in open_ones if page in self._looked_at_us}
        owned = ((page.account_id, page) for page in open_ones)
        chosen = fair_order(owned, self._looked_at_us, each=_PAGES_PER_ACCOUNT, total=_PAGES_PER_RUN)
        for page in chosen:
            checkout_id, session_id = page.checkout_id, page.stripe_session_id
            session = await self._stripe.fetch_session(session_id)
            self._looked_at_us[page] = now_us
            if session.status == "open" or (session.status == "complete" and session.payment_status == "unpaid"):
                continue
            reason = await self._refresh(self._hint("checkout.session.completed", session_id))
            at_stripe = f"{session.status}, {session.payment_status}"
            report.differences.append(Difference("checkout", checkout_id, "pending", at_stripe, reason is None))

    async def _subscriptions(self, report: Report) -> None:
        """Compare every subscription with our row of it."""
        statuses = await self._store.read(subscriptions.recorded_statuses)
        for snapshot in await self._stripe.subscriptions.list_ours():
            if snapshot.livemode != self._stripe.livemode:
                continue
            recorded = statuses.get(snapshot.subscription_id)
            if (
                recorded is not None
                and self._agrees(recorded, snapshot)
                and not await self._unpaid_here(recorded, snapshot)
            ):
                continue
            hints = [self._hint("customer.subscription.updated", snapshot.subscription_id)]
            if snapshot.latest_invoice_id is not None:
                hints.append(self._hint("invoice.paid", snapshot.latest_invoice_id))
            reasons = [await self._refresh(hint) for hint in hints]
            here = "unknown" if recorded is None else str(recorded.status)
            repaired = all(reason is None for reason in reasons)
            report.differences.append(
                Difference("subscription", snapshot.subscription_id, here, snapshot.status, repaired)
            )

    def _agrees(self, recorded: RecordedStatus, snapshot: SubscriptionSnapshot) -> bool:
        status = status_of(snapshot)
        if status is None or recorded.status == status == "canceled":
            return True
        ends_here = recorded.cancel_at_us is not None
        ends_there = snapshot.cancel_at_period_end or snapshot.cancel_at_us is not None
        return recorded.status == status and ends_here == ends_there and self._bills_alike(recorded, snapshot)

    def _bills_alike(self, recorded: RecordedStatus, snapshot: SubscriptionSnapshot) -> bool:
        """Whether Stripe bills the plan that counts here, or the one that is to follow it, and the same follows."""
        plans = settled(recorded.plans, self._clock.now_us())
        pending = None if plans.pending is None else plans.pending.plan
        billed = None if snapshot.price is None else sold_plan(snapshot.price)
        if pending is not None and billed == pending:
            return True
        return billed == plans.present and (pending is not None) == (snapshot.following is not None)

    async def _unpaid_here(self, recorded: RecordedStatus, snapshot: SubscriptionSnapshot) -> bool:
        """Whether Stripe has a paid invoice for a period that we have not granted."""
        if recorded.status == "canceled" or snapshot.latest_invoice_id is None:
            return False
        if recorded.paid_until_us is not None and recorded.paid_until_us >= snapshot.period_end_us:
            return False
        invoice = await self._stripe.fetch_invoice(snapshot.latest_invoice_id)
        ends_us = invoice.period_end_us or 0
        return invoice.status == "paid" and ends_us > (recorded.paid_until_us or 0)

    async def _balance(self, report: Report) -> None:
        """Explain every entry of Stripe's balance, then compare the sums."""
        now_us = self._clock.now_us()
        position_us = await self._store.read(stripe_balance.position_us, BALANCE_CURSOR)
        begin_us = 0 if position_us is None else position_us - _BALANCE_OVERLAP_US
        listed = await self._stripe.balance.list_transactions(created_from_us=begin_us)
        entries = [entry for entry in listed if entry.currency == "usd"]
        report.differences += [
            Difference("currency", entry.id, "not kept", entry.currency, False)
            for entry in listed
            if entry.currency != "usd"
        ]
        await self._store.write(stripe_balance.record, entries, now_us=now_us)
        for entry in await self._store.read(stripe_balance.unexplained, entries):
            await self._explain(entry, report)
        if entries:
            await self._store.write(
                stripe_balance.advance, BALANCE_CURSOR, max(entry.created_at_us for entry in entries)
            )
        report.at_stripe_nano = await self._stripe.balance.total_nano()
        report.here_nano = await self._store.read(stripe_balance.clearing_nano)
        if report.at_stripe_nano != report.here_nano:
            here, there = format_usd(report.here_nano), format_usd(report.at_stripe_nano)
            report.differences.append(Difference("clearing", "stripe", here, there, False))

    async def _explain(self, entry: BalanceTransaction, report: Report) -> None:
        """Have the object behind an entry applied; what turns out not to be ours is set apart."""
        hint = await self._hint_of(entry)
        reason = None if hint is None else await self._refresh(hint)
        if reason is None and await self._still_unexplained(entry):
            await self._store.write(stripe_balance.set_apart, entry, now_us=self._clock.now_us())
            return
        amount = format_usd(entry.amount_nano)
        report.differences.append(
            Difference(str(entry.meaning), entry.source_id or entry.id, reason or "not booked", amount, reason is None)
        )

    async def _still_unexplained(self, entry: BalanceTransaction) -> bool:
        remaining: Sequence[BalanceTransaction] = await self._store.read(stripe_balance.unexplained, [entry])
        return bool(remaining)

    async def _hint_of(self, entry: BalanceTransaction) -> WebhookEvent | None:
        match entry.meaning:
            case TransactionMeaning.PAYMENT if entry.payment_intent_id is not None:
                origin = await self._stripe.fetch_origin(entry.payment_intent_id)
                if origin.invoice_id is not None:
                    return self._hint("invoice.paid", origin.invoice_id)
                if origin.session_id is not None:
                    return self._hint("checkout.session.completed", origin.session_id)
                return self._hint("payment_intent.succeeded", entry.payment_intent_id)
            case TransactionMeaning.REFUND if entry.source_id is not None:
                return self._hint("refund.updated", entry.source_id)
            case TransactionMeaning.DISPUTE if entry.source_id is not None:
                return self._hint("charge.dispute.updated", entry.source_id)
            case _:
                return None

    def _hint(self, event_type: str, object_id: str) -> WebhookEvent:
        """An event of our own making: it only says what to fetch, as every event does."""
        return WebhookEvent(
            event_id="reconciler",
            type=event_type,
            livemode=self._stripe.livemode,
            created_at_us=self._clock.now_us(),
            object_type=HANDLED_TYPES[event_type],
            object_id=object_id,
        )
