"""The commands that move money at Stripe or compare it: refunds, ended subscriptions, disputes, the reconciler.

They take the same paths as the server does and work while it runs. Every call to Stripe has an idempotency key made
from what our books say, so that a command that was cut off can simply be given again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from tokenbooth.cli.failures import CONFIGURATION, FAILURE, CommandFailed
from tokenbooth.cli.output import print_json, print_line, print_table
from tokenbooth.config.catalog import build_catalog
from tokenbooth.config.settings import Settings, load_settings
from tokenbooth.domain.money import NANO_PER_CENT, InvalidAmount, format_usd, parse_usd
from tokenbooth.domain.plans import Plan
from tokenbooth.jobs.inbox import InboxHandler
from tokenbooth.jobs.reconcile import Reconciler, Report
from tokenbooth.kit.clock import SystemClock
from tokenbooth.kit.logs import configure_logging
from tokenbooth.payments.stripe.client import PaymentProviderError, StripeClient
from tokenbooth.payments.stripe.snapshots import RefundSnapshot
from tokenbooth.payments.stripe.webhooks import WebhookEvent
from tokenbooth.runtime.database import ready_database
from tokenbooth.runtime.features import stripe_client
from tokenbooth.store.accounts import audit_log
from tokenbooth.store.accounts.audit_log import OPERATOR
from tokenbooth.store.accounts.credit import find_customer
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import payments, reversals, subscriptions
from tokenbooth.store.payments.payments import Payment

T = TypeVar("T")


class StripeOps:
    """Stripe, the store, and what brings one in line with the other."""

    def __init__(self, store: Store, stripe: StripeClient, plans: Mapping[str, Plan]) -> None:
        self.store = store
        self.stripe = stripe
        self.clock = SystemClock()
        self._inbox = InboxHandler(store, stripe, self.clock, lambda: plans)

    async def follow(self, event_type: str, object_id: str) -> None:
        """Bring our state to what an object at Stripe says.

        Raises:
            CommandFailed: a person has to look at it.
        """
        hint = WebhookEvent(OPERATOR, event_type, self.stripe.livemode, self.clock.now_us(), "", object_id)
        reason = await self._inbox.refresh(hint)
        if reason is not None:
            raise CommandFailed(f"done at Stripe, but not booked here: {reason}")

    async def reconcile(self) -> Report:
        """Hold the books against Stripe's."""
        job = Reconciler(self.store, self.stripe, self.clock, handle=self._inbox.handle, refresh=self._inbox.refresh)
        return await job.reconcile()

    def record(self, action: str, account_id: str | None, detail: str) -> None:
        """Write down who did what."""
        self.store.write_now(
            audit_log.record,
            actor=OPERATOR,
            action=action,
            account_id=account_id,
            detail=detail,
            now_us=self.clock.now_us(),
        )


def refund_payment(config: Path, name: str, *, amount: str | None, reason: str, end: bool, as_json: bool) -> None:
    """Give a payment back, all that is left of it or an amount."""
    _check_reason(reason)
    amount_cents = None if amount is None else _cents(amount)
    settings = load_settings(config)

    async def work(ops: StripeOps) -> tuple[Payment, RefundSnapshot]:
        payment = await ops.store.read(payments.find, name)
        if payment is None:
            raise CommandFailed(f"no payment is known by the name {name}")
        if end and payment.subscription_id is None:
            raise CommandFailed("--end: the payment was not for a subscription", exit_code=CONFIGURATION)
        taken_nano = await ops.store.read(reversals.taken_nano, payment.stripe_payment_intent_id)
        # The same until the refund is in our books, so that a repetition cannot refund twice.
        key = f"refund-{payment.stripe_payment_intent_id}-{amount_cents or 'rest'}-{taken_nano}"
        ops.record("payment.refunding", payment.account_id, f"{payment.stripe_payment_intent_id}: {reason}")
        made = await ops.stripe.cards.refund(payment.stripe_payment_intent_id, amount_cents, idempotency_key=key)
        await ops.follow("refund.created", made.refund_id)
        if end and payment.subscription_id is not None:
            await _end(ops, payment.subscription_id, reason)
        return payment, made

    payment, made = _with_stripe(settings, work)
    given = format_usd(made.amount_cents * NANO_PER_CENT)
    if as_json:
        print_json(
            {
                "refundId": made.refund_id,
                "status": made.status,
                "amount": given,
                "accountId": payment.account_id,
                "subscriptionEnded": end,
            }
        )
    else:
        print_line(f"{made.refund_id}: {given} USD of {payment.stripe_payment_intent_id} given back ({made.status})")


def end_subscription(config: Path, subscription_id: str, *, reason: str, as_json: bool) -> None:
    """End a subscription now."""
    _check_reason(reason)

    async def work(ops: StripeOps) -> None:
        await _end(ops, subscription_id, reason)

    _with_stripe(load_settings(config), work)
    if as_json:
        print_json({"subscriptionId": subscription_id, "ended": True})
    else:
        print_line(f"{subscription_id} has ended; its keys are refused from now on.")


def unpause_account(config: Path, account: str, *, reason: str, as_json: bool) -> None:
    """Let an account's keys go on that a dispute paused."""
    _check_reason(reason)
    with ready_database(load_settings(config)) as store:
        customer = store.read_now(find_customer, account)
        released = store.write_now(
            reversals.release, customer.id, actor=OPERATOR, reason=reason, now_us=SystemClock().now_us()
        )
    if as_json:
        print_json({"accountId": customer.id, "disputesReleased": released})
    else:
        print_line(f"{customer.id}: the keys go on, in spite of {released} disputes.")


def reconcile_books(config: Path, *, as_json: bool) -> int:
    """Print what differs; returns the exit code."""
    report = _with_stripe(load_settings(config), StripeOps.reconcile)
    here, there = format_usd(report.here_nano), format_usd(report.at_stripe_nano)
    if as_json:
        print_json(
            {
                "ok": report.clean,
                "here": here,
                "atStripe": there,
                "differences": [
                    {
                        "kind": found.kind,
                        "subject": found.subject,
                        "here": found.here,
                        "atStripe": found.at_stripe,
                        "repaired": found.repaired,
                    }
                    for found in report.differences
                ],
            }
        )
        return 0 if report.clean else FAILURE
    if report.differences:
        print_table(
            ("what", "which", "here", "at Stripe", ""),
            (
                (found.kind, found.subject, found.here, found.at_stripe, "repaired" if found.repaired else "LOOK")
                for found in report.differences
            ),
        )
    print_line(f"Stripe holds {there} USD; by our books {here} USD.")
    return 0 if report.clean else FAILURE


async def _end(ops: StripeOps, subscription_id: str, reason: str) -> None:
    stripe_id = await ops.store.read(subscriptions.stripe_id_of, subscription_id)
    ops.record("subscription.ending", None, f"{subscription_id}: {reason}")
    await ops.stripe.subscriptions.end(stripe_id, f"end-{subscription_id}")
    await ops.follow("customer.subscription.deleted", stripe_id)


def _with_stripe(settings: Settings, work: Callable[[StripeOps], Awaitable[T]]) -> T:
    if settings.stripe is None:
        raise CommandFailed("stripe: it is not configured", exit_code=CONFIGURATION)
    configured = settings.stripe
    plans = build_catalog(settings).plans
    # To standard error: what a command prints must stay readable for machines.
    configure_logging(settings.server.log_format)

    async def run(store: Store) -> T:
        client = stripe_client(configured)
        try:
            return await work(StripeOps(store, client, plans))
        except PaymentProviderError as failure:
            raise CommandFailed(f"Stripe: {failure.message} ({failure.provider_code or failure.kind})") from None
        finally:
            await client.aclose()

    with ready_database(settings) as store:
        return asyncio.run(run(store))


def _check_reason(reason: str) -> None:
    if not reason.strip() or not reason.isprintable():
        raise CommandFailed("--reason: must be a line of text", exit_code=CONFIGURATION)


def _cents(amount: str) -> int:
    try:
        amount_nano = parse_usd(amount, max_decimals=2)
    except InvalidAmount as mistake:
        raise CommandFailed(f"--amount: {mistake}", exit_code=CONFIGURATION) from None
    if amount_nano <= 0:
        raise CommandFailed("--amount: must be above zero", exit_code=CONFIGURATION)
    return amount_nano // NANO_PER_CENT
