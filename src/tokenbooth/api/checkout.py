"""Selling and cancelling: our record first, then Stripe, then both together.

The API and the dashboard use it. Nothing here grants or credits anything; only a paid invoice or session
does, through the inbox. A repeated request makes the same calls with the same idempotency keys, so that
Stripe makes one session of them.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from sqlalchemy import Connection

from tokenbooth.api.responses import Json, success
from tokenbooth.config.payments import BillingSettings
from tokenbooth.domain.money import NANO_PER_CENT, format_usd
from tokenbooth.domain.plans import Interval, Plan
from tokenbooth.domain.subscriptions import SubscriptionStatus, shown_status
from tokenbooth.kit.clock import iso_ms
from tokenbooth.kit.errors import (
    Conflict,
    NotFound,
    PaymentRequired,
    ProviderFailed,
    ProviderTimeout,
    Unauthenticated,
    Unavailable,
    Unprocessable,
)
from tokenbooth.kit.ids import IdPrefix
from tokenbooth.payments.stripe.client import (
    CheckoutCreated,
    PaymentProviderError,
    PlanInterval,
    PlanPrice,
    StripeClient,
)
from tokenbooth.payments.stripe.object_reader import UnexpectedShape
from tokenbooth.services.cards import TAX_UNKNOWN
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.accounts import accounts
from tokenbooth.store.accounts.idempotency import Answer, Attempt, complete
from tokenbooth.store.payments import billing, checkouts, subscriptions
from tokenbooth.store.payments.billing import SubscriptionView
from tokenbooth.store.payments.checkouts import CheckoutKind, CheckoutStatus, Offer, TopUpCaps

T = TypeVar("T")


def configured_stripe(context: ServiceContext) -> StripeClient:
    """Our way to Stripe.

    Raises:
        Unavailable: none is configured.
    """
    if context.stripe is None:
        raise Unavailable("stripe_not_configured", "Card payments are not set up on this server.")
    return context.stripe


def known_plan(context: ServiceContext, slug: str) -> Plan:
    """A plan of the catalog.

    Raises:
        NotFound: there is none with this slug; the message names those there are.
    """
    plans = context.catalog().plans
    plan = plans.get(slug)
    if plan is None:
        names = ", ".join(f"`{name}`" for name in plans) or "none"
        raise NotFound("plan_not_found", f"There is no such plan. Plans: {names}.", param="planSlug")
    return plan


def plan_price(plan: Plan, price_nano: int) -> PlanPrice:
    """A plan's price at Stripe; `price_nano` is the one that was agreed on."""
    interval: PlanInterval = "month" if plan.interval is Interval.MONTH else "year"
    return PlanPrice(plan.slug, plan.name, price_nano, interval)


async def sell_plan(context: ServiceContext, account_id: str, plan: Plan, attempt: Attempt) -> CheckoutCreated:
    """Open a checkout page for a subscription, and complete `attempt` with its answer.

    Raises:
        Conflict: too many unpaid checkouts.
        ProviderFailed, ProviderTimeout: Stripe did not make the page.
        Unavailable: Stripe is not configured.
    """
    stripe = configured_stripe(context)
    offer = Offer(CheckoutKind.SUBSCRIPTION, plan.slug, plan.price_nano)
    checkout_id, noted = await note(context, account_id, offer, attempt)
    customer_id = await customer(context, stripe, account_id)
    created = await _session(
        context,
        checkout_id,
        stripe.checkouts.create_subscription(
            customer_id=customer_id,
            price=plan_price(plan, noted.amount_nano),
            account_id=account_id,
            checkout_id=checkout_id,
            success_url=return_url(context, "success"),
            cancel_url=return_url(context, "cancelled"),
            idempotency_key=attempt.provider_key("session"),
        ),
    )
    await _complete(context, attempt, checkout_id, created)
    return created


async def sell_credit(context: ServiceContext, account_id: str, amount_nano: int, attempt: Attempt) -> CheckoutCreated:
    """Open a checkout page for prepaid credit of `amount_nano`, whole cents; else as `sell_plan`."""
    stripe = configured_stripe(context)
    offer = Offer(CheckoutKind.TOP_UP, None, amount_nano)
    checkout_id, noted = await note(context, account_id, offer, attempt)
    customer_id = await customer(context, stripe, account_id)
    created = await _session(
        context,
        checkout_id,
        stripe.checkouts.create_topup(
            customer_id=customer_id,
            amount_cents=noted.amount_nano // NANO_PER_CENT,
            account_id=account_id,
            checkout_id=checkout_id,
            success_url=return_url(context, "success"),
            cancel_url=return_url(context, "cancelled"),
            idempotency_key=attempt.provider_key("session"),
        ),
    )
    await _complete(context, attempt, checkout_id, created)
    return created


async def cancel(context: ServiceContext, account_id: str, subscription_id: str, attempt: Attempt) -> SubscriptionView:
    """Let a subscription end with its period, and complete `attempt` with it; one that will end stays as it
    is.

    Raises:
        NotFound: the account has no such subscription.
        Conflict: it has ended.
        ProviderFailed, ProviderTimeout: Stripe did not note the end.
        Unavailable: Stripe is not configured.
    """
    own = await context.store.read(subscriptions.find_own, account_id, subscription_id)
    if own is None:
        raise no_subscription()
    if shown_status(own.terms, context.clock.now_us()) is SubscriptionStatus.CANCELED:
        raise Conflict("subscription_ended", "The subscription has ended already.", param="subscriptionId")
    cancel_at_us = own.terms.cancel_at_us
    if cancel_at_us is None:
        stripe = configured_stripe(context)
        call = stripe.subscriptions.cancel_at_period_end(own.stripe_subscription_id, attempt.provider_key("cancel"))
        cancel_at_us = (await asked(context, call)).cancel_at_us or own.paid_until_us
    return await context.store.write(
        note_end,
        context,
        account_id,
        subscription_id,
        cancel_at_us,
        attempt,
        now_us=context.clock.now_us(),
    )


def declined(reason: str | None) -> PaymentRequired | Unprocessable:
    """The refusal of a saved card, which says what to do instead."""
    if reason in TAX_UNKNOWN:
        return Unprocessable(
            "tax_not_calculable",
            "The tax on this cannot be calculated: no valid address is known for you. Pay on a page, which asks for "
            'it: POST /api/billing/topup with the method "stripe".',
        )
    if reason is not None and "requires_action" in reason:
        reason = "authentication_required"
    if reason == "authentication_required":
        return PaymentRequired(
            "authentication_required",
            "The card's bank wants to ask its owner first. Pay on a page instead: POST /api/billing/checkout for a "
            'plan, POST /api/billing/topup with the method "stripe" for credit.',
        )
    return PaymentRequired(
        "card_declined",
        "The saved card was declined. Save another in the portal (POST /api/billing/portal), or pay on a page.",
    )


def checkout_answer(created: CheckoutCreated) -> Answer:
    """What a request for a checkout page is answered."""
    return success({"sessionUrl": created.url, "sessionId": created.session_id})


def subscription_json(view: SubscriptionView) -> dict[str, Json]:
    """A subscription as the API shows it."""
    budget = view.budget
    return {
        "id": view.id,
        "planSlug": view.plan_slug,
        "status": view.status,
        "currentPeriodEnd": iso_ms(view.current_period_end_us),
        "cancelAtPeriodEnd": view.cancel_at_period_end,
        "pendingPlan": None if view.pending is None else view.pending.plan.slug,
        "changesAt": None if view.pending is None else iso_ms(view.pending.at_us),
        "keyCount": len(view.keys),
        "keys": [{"id": key.id, "name": key.name} for key in view.keys],
        "budget": None
        if budget is None
        else {
            "limit": format_usd(budget.limit_nano),
            "spent": format_usd(budget.spent_nano),
            "resetsAt": iso_ms(budget.resets_at_us),
        },
    }


def caps_of(settings: BillingSettings) -> TopUpCaps:
    """The bounds on top-ups."""
    return TopUpCaps(
        young_us=settings.young_account_us,
        young_daily_nano=settings.young_account_top_up_nano_per_day,
        max_declined=settings.max_declined_cards_per_day,
    )


async def note(context: ServiceContext, account_id: str, offer: Offer, attempt: Attempt) -> tuple[str, Offer]:
    """Note what is to be sold before Stripe is asked; its id, and what the record says.

    Raises:
        Conflict: too many unpaid checkouts.
        Unprocessable, RateLimited: the bounds on top-ups.
    """
    checkout_id = attempt.derived_id(IdPrefix.CHECKOUT)
    noted = await context.store.write(
        checkouts.create_checkout,
        checkout_id=checkout_id,
        account_id=account_id,
        offer=offer,
        max_pending=context.settings.management.max_pending_checkouts,
        caps=caps_of(context.settings.billing),
        now_us=context.clock.now_us(),
    )
    return checkout_id, noted


async def customer(context: ServiceContext, stripe: StripeClient, account_id: str) -> str:
    """The account's customer at Stripe, made at the first checkout."""
    account = await context.store.read(accounts.find_account, account_id)
    if account is None:
        raise Unauthenticated("invalid_management_key", "The account of this management key is gone.")
    known_id = account.stripe_customer_id
    # By account, not by request: two first checkouts at once make one customer.
    key = f"customer-{account_id}-{known_id or 'first'}"
    customer_id = await asked(context, stripe.customers.ensure(account_id, account.email, known_id, key))
    if customer_id != known_id:
        await context.store.write(accounts.set_stripe_customer, account_id, customer_id)
    return customer_id


async def _session(context: ServiceContext, checkout_id: str, call: Awaitable[CheckoutCreated]) -> CheckoutCreated:
    try:
        return await asked(context, call)
    except ProviderFailed as failure:
        cause = failure.__cause__
        if isinstance(cause, PaymentProviderError) and cause.kind == "invalid":
            # Certain to have made no page; after any other failure there may be one that is still paid.
            await context.store.write(
                checkouts.raise_status, checkout_id, CheckoutStatus.FAILED, now_us=context.clock.now_us()
            )
        raise


async def asked(context: ServiceContext, call: Awaitable[T]) -> T:
    """What Stripe answers, with its failures as ours.

    Raises:
        PaymentRequired: a saved card was refused.
        ProviderFailed, ProviderTimeout: Stripe failed, or did not answer in time.
    """
    settings = context.settings.stripe
    try:
        # The client tries again by itself, longer than a caller waits.
        async with asyncio.timeout(None if settings is None else settings.timeout_s):
            return await call
    except TimeoutError:
        raise ProviderTimeout(
            "stripe_timeout", "The payment provider did not answer in time. Please try again."
        ) from None
    except PaymentProviderError as failure:
        if failure.kind == "declined":
            raise declined(failure.provider_code) from failure
        raise ProviderFailed("stripe_error", failure.message) from failure
    except UnexpectedShape as failure:
        raise ProviderFailed("stripe_error", "The payment provider's answer was not understood.") from failure


async def _complete(context: ServiceContext, attempt: Attempt, checkout_id: str, created: CheckoutCreated) -> None:
    def finish(conn: Connection, now_us: int) -> None:
        checkouts.set_session(conn, checkout_id, created.session_id, now_us=now_us)
        complete(conn, attempt, checkout_answer(created))

    await context.store.write(finish, context.clock.now_us())


def note_end(
    conn: Connection,
    context: ServiceContext,
    account_id: str,
    subscription_id: str,
    cancel_at_us: int | None,
    attempt: Attempt,
    *,
    now_us: int,
) -> SubscriptionView:
    """Note when a subscription is to end (None: it goes on), and complete `attempt` with it."""
    subscriptions.set_to_cancel(conn, subscription_id, cancel_at_us, now_us=now_us)
    plans = context.catalog().plans
    view = billing.subscription_view(conn, account_id, subscription_id, plans, now_us)
    if view is None:
        raise no_subscription()
    complete(conn, attempt, success(subscription_json(view)))
    return view


def no_subscription() -> NotFound:
    """The refusal of an id that is no subscription of the account."""
    return NotFound("subscription_not_found", "There is no such subscription.", param="subscriptionId")


def return_url(context: ServiceContext, outcome: str) -> str:
    """Where Stripe's pages send the customer back to."""
    return f"{context.settings.server.base_url()}/?checkout={outcome}"
