"""Subscriptions: buy one on a page or with the saved card, let it end, resume it, see them all; and Stripe's portal.

What a crash leaves between our record and Stripe's is finished by Stripe's webhook or the reconciler.
"""

from collections.abc import Awaitable
from dataclasses import dataclass

from sqlalchemy import Connection

from tokenbooth.domain.payment_commands import PaymentCommand
from tokenbooth.domain.plans import Plan
from tokenbooth.domain.subscriptions import SubscriptionStatus, shown_status
from tokenbooth.kit.errors import Conflict, NotFound, ProviderFailed
from tokenbooth.payments.stripe.client import CheckoutCreated, StripeClient
from tokenbooth.payments.stripe.snapshots import SubscriptionSnapshot
from tokenbooth.payments.stripe.translation import invoice_commands
from tokenbooth.services.checkouts import PageFields, open_page, plan_price, record_checkout, record_refusal
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.idempotency import IdempotentAttempt
from tokenbooth.services.keys import CreatedKey, WantedKey, insert_key
from tokenbooth.services.stripe import (
    call_stripe,
    configured_stripe,
    ensure_customer,
    require_saved_card,
    return_url,
)
from tokenbooth.store.payments import billing, subscriptions
from tokenbooth.store.payments.apply import apply_command
from tokenbooth.store.payments.billing import BillingStatus, SubscriptionView
from tokenbooth.store.payments.checkouts import CheckoutKind, Offer
from tokenbooth.store.payments.subscriptions import OwnSubscription


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription just begun with the saved card, and the key that was created for it, if one was wanted."""

    subscription: SubscriptionView
    key: CreatedKey | None


async def open_checkout(
    context: ServiceContext, account_id: str, plan: Plan, attempt: IdempotentAttempt[CheckoutCreated]
) -> CheckoutCreated:
    """Open a checkout page for a subscription; errors as `open_page` raises them."""

    def ask(stripe: StripeClient, price_nano: int, page: PageFields) -> Awaitable[CheckoutCreated]:
        return stripe.checkouts.create_subscription(price=plan_price(plan, price_nano), **page)

    return await open_page(
        context, account_id, Offer(CheckoutKind.SUBSCRIPTION, plan.slug, plan.price_nano), attempt, ask
    )


async def subscribe(
    context: ServiceContext,
    account_id: str,
    plan: Plan,
    attempt: IdempotentAttempt[Subscribed],
    *,
    key_name: str | None,
    actor: str,
) -> Subscribed:
    """Begin a subscription with the saved card, and complete `attempt` with it.

    Args:
        context: the dependencies.
        account_id: whose.
        plan: what is bought.
        attempt: the request.
        key_name: the name of a key to create for it; None for no key.
        actor: the id of the management key that asks.

    Raises:
        PaymentRequired: no card is saved, or it was refused; then nothing was begun.
        ProviderFailed, ProviderTimeout: Stripe failed; a repetition with the same key finds what was begun.
        Unavailable: Stripe is not configured.
    """
    stripe = configured_stripe(context)
    customer_id = await ensure_customer(context, stripe, account_id)
    card_id = await require_saved_card(context, stripe, customer_id, instead="POST /api/billing/checkout")
    offer = Offer(CheckoutKind.SUBSCRIPTION, plan.slug, plan.price_nano, card_id)
    checkout_id, recorded = await record_checkout(context, account_id, offer, attempt)
    begun = await record_refusal(
        context,
        checkout_id,
        stripe.subscriptions.create(
            customer_id=customer_id,
            card_id=recorded.card_id or card_id,
            price=plan_price(plan, recorded.amount_nano),
            account_id=account_id,
            checkout_id=checkout_id,
        ),
    )
    commands = await commands_of(context, stripe, begun)

    def finish(conn: Connection, now_us: int) -> Subscribed:
        apply_commands(conn, context, commands, now_us)
        view = subscription_view(conn, context, account_id, subscriptions.id_of(conn, begun.subscription_id), now_us)
        key = None
        if key_name is not None:
            key = insert_key(conn, context, account_id, WantedKey(key_name, view.id), actor=actor)
        return attempt.complete(conn, Subscribed(view, key))

    return await context.store.write(finish, context.clock.now_us())


async def cancel(
    context: ServiceContext, account_id: str, subscription_id: str, attempt: IdempotentAttempt[SubscriptionView]
) -> SubscriptionView:
    """Let a subscription end with its period, and complete `attempt` with it; one that will end stays as it is.

    Raises:
        NotFound: the account has no such subscription.
        Conflict: it has ended.
        ProviderFailed, ProviderTimeout: Stripe did not take it.
        Unavailable: Stripe is not configured.
    """
    own = await find_own(context, account_id, subscription_id, if_ended="The subscription has ended already.")
    cancel_at_us = own.terms.cancel_at_us
    if cancel_at_us is None:
        call = configured_stripe(context).subscriptions.cancel_at_period_end(
            own.stripe_subscription_id, attempt.provider_key("cancel")
        )
        cancel_at_us = (await call_stripe(context, call)).cancel_at_us or own.paid_until_us
    return await _record_end(context, account_id, subscription_id, cancel_at_us, attempt)


async def resume(
    context: ServiceContext, account_id: str, subscription_id: str, attempt: IdempotentAttempt[SubscriptionView]
) -> SubscriptionView:
    """Undo a cancel before it comes about, and complete `attempt`; one that goes on stays as it is.

    Raises:
        NotFound: the account has no such subscription.
        Conflict: it has ended.
        ProviderFailed, ProviderTimeout: Stripe did not take it.
        Unavailable: Stripe is not configured.
    """
    own = await find_own(context, account_id, subscription_id)
    cancel_at_us = own.terms.cancel_at_us
    if cancel_at_us is not None:
        call = configured_stripe(context).subscriptions.resume(
            own.stripe_subscription_id, attempt.provider_key("resume")
        )
        cancel_at_us = (await call_stripe(context, call)).cancel_at_us
    return await _record_end(context, account_id, subscription_id, cancel_at_us, attempt)


async def open_portal(context: ServiceContext, account_id: str, attempt: IdempotentAttempt[str]) -> str:
    """The address of a page at Stripe on which the account changes its cards; completes `attempt` with it.

    Raises:
        ProviderFailed, ProviderTimeout: Stripe did not make the page.
        Unavailable: Stripe is not configured.
    """
    stripe = configured_stripe(context)
    customer_id = await ensure_customer(context, stripe, account_id)
    url = await call_stripe(context, stripe.customers.portal_url(customer_id, return_url(context, "portal")))
    return await context.store.write(attempt.complete, url)


async def billing_status(context: ServiceContext, account_id: str, *, with_keys: bool = True) -> BillingStatus:
    """The account's subscriptions, active ones first, and its credit, after every call that has finished."""
    await context.live.flush()
    plans, now_us = context.catalog().plans, context.clock.now_us()
    return await context.store.report(
        account_id, billing.billing_status, account_id, plans, now_us, with_keys=with_keys
    )


async def find_subscription(context: ServiceContext, account_id: str, subscription_id: str) -> SubscriptionView:
    """A subscription of the account, without its keys.

    Raises:
        NotFound: there is no such subscription.
    """
    return await context.store.report(
        account_id,
        subscription_view,
        context,
        account_id,
        subscription_id,
        context.clock.now_us(),
        with_keys=False,
    )


async def find_own(
    context: ServiceContext,
    account_id: str,
    subscription_id: str,
    *,
    if_ended: str = "The subscription has ended; subscribe anew.",
) -> OwnSubscription:
    """A subscription that somebody wants to change. Waits for charges that are under way, so that what is decided and
    shown counts every call that has finished.

    Raises:
        NotFound: the account has no such subscription.
        Conflict: it has ended.
    """
    await context.live.flush()
    own = await context.store.read(subscriptions.find_own, account_id, subscription_id)
    if own is None:
        raise _no_subscription()
    if shown_status(own.terms, context.clock.now_us()) is SubscriptionStatus.CANCELED:
        raise Conflict("subscription_ended", if_ended, param="subscriptionId")
    return own


def subscription_view(
    conn: Connection,
    context: ServiceContext,
    account_id: str,
    subscription_id: str,
    now_us: int,
    *,
    with_keys: bool = True,
) -> SubscriptionView:
    """A subscription as it is now; its keys may be left out.

    Raises:
        NotFound: the account has no such subscription.
    """
    plans = context.catalog().plans
    view = billing.subscription_view(conn, account_id, subscription_id, plans, now_us, with_keys=with_keys)
    if view is None:
        raise _no_subscription()
    return view


async def commands_of(
    context: ServiceContext, stripe: StripeClient, snapshot: SubscriptionSnapshot
) -> tuple[PaymentCommand, ...]:
    """What a subscription that Stripe just answered with leads to, its newest invoice included."""
    if snapshot.latest_invoice_id is None:
        raise ProviderFailed("stripe_error", "The payment provider's answer was not understood.")
    invoice = await call_stripe(context, stripe.fetch_invoice(snapshot.latest_invoice_id))
    return invoice_commands(invoice, snapshot)


def apply_commands(
    conn: Connection, context: ServiceContext, commands: tuple[PaymentCommand, ...], now_us: int
) -> None:
    """Carry out what Stripe answered with.

    Raises:
        ProviderFailed: a person has to look at it first.
    """
    for command in commands:
        reason = apply_command(conn, command, plans=context.catalog().plans, now_us=now_us)
        if reason is not None:
            raise ProviderFailed("payment_in_review", f"{reason} We look into it.")


async def _record_end(
    context: ServiceContext,
    account_id: str,
    subscription_id: str,
    cancel_at_us: int | None,
    attempt: IdempotentAttempt[SubscriptionView],
) -> SubscriptionView:
    """Record when a subscription is to end (None: it goes on), and complete `attempt` with it."""

    def finish(conn: Connection, now_us: int) -> SubscriptionView:
        subscriptions.set_to_cancel(conn, subscription_id, cancel_at_us, now_us=now_us)
        return attempt.complete(conn, subscription_view(conn, context, account_id, subscription_id, now_us))

    return await context.store.write(finish, context.clock.now_us())


def _no_subscription() -> NotFound:
    return NotFound("subscription_not_found", "There is no such subscription.", param="subscriptionId")
