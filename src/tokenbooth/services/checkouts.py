"""What every purchase shares: our record comes first, then Stripe is asked, then both are brought together.

Nothing here grants or credits anything; only a paid invoice or session does, through the inbox. A repeated request
makes the same calls with the same idempotency keys, so that Stripe makes one page of them.
"""

from collections.abc import Awaitable, Callable
from typing import TypedDict, TypeVar

from sqlalchemy import Connection

from tokenbooth.config.payments import BillingSettings
from tokenbooth.domain.plans import Interval, Plan
from tokenbooth.kit.errors import NotFound, PaymentRequired, ProviderFailed
from tokenbooth.kit.ids import IdPrefix
from tokenbooth.payments.stripe.client import (
    CheckoutCreated,
    PaymentProviderError,
    PlanInterval,
    PlanPrice,
    StripeClient,
)
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.idempotency import IdempotentAttempt
from tokenbooth.services.stripe import call_stripe, configured_stripe, ensure_customer, return_url
from tokenbooth.store.accounts.bounds import row_limit
from tokenbooth.store.payments import checkouts
from tokenbooth.store.payments.checkouts import CheckoutStatus, Offer, TopUpCaps

T = TypeVar("T")


class PageFields(TypedDict):
    """What every checkout page is made with."""

    customer_id: str
    account_id: str
    checkout_id: str
    success_url: str
    cancel_url: str
    idempotency_key: str


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


def caps_of(settings: BillingSettings) -> TopUpCaps:
    """The bounds on top-ups."""
    return TopUpCaps(
        young_us=settings.young_account_us,
        young_daily_nano=settings.young_account_top_up_nano_per_day,
        max_declined=settings.max_declined_cards_per_day,
    )


async def record_checkout(
    context: ServiceContext, account_id: str, offer: Offer, attempt: IdempotentAttempt[T]
) -> tuple[str, Offer]:
    """Record what is to be sold before Stripe is asked; its id, and what the record says.

    Raises:
        Conflict: too many unpaid checkouts.
        Unprocessable, RateLimited: the bounds on top-ups.
    """
    checkout_id = attempt.derived_id(IdPrefix.CHECKOUT)

    def record(conn: Connection) -> Offer:
        return checkouts.create_checkout(
            conn,
            checkout_id=checkout_id,
            account_id=account_id,
            offer=offer,
            max_pending=row_limit(conn, account_id, context.settings.management.pending_checkouts),
            caps=caps_of(context.settings.billing),
            now_us=context.clock.now_us(),
        )

    recorded = await context.store.write(record)
    attempt.note_effect()
    return checkout_id, recorded


async def open_page(
    context: ServiceContext,
    account_id: str,
    offer: Offer,
    attempt: IdempotentAttempt[CheckoutCreated],
    ask: Callable[[StripeClient, int, PageFields], Awaitable[CheckoutCreated]],
) -> CheckoutCreated:
    """Open a checkout page for an offer, and complete `attempt` with it.

    Args:
        context: the dependencies.
        account_id: who buys.
        offer: what is bought.
        attempt: the request.
        ask: has Stripe make the page for the recorded amount, in nano-USD.

    Raises:
        Conflict: too many unpaid checkouts.
        Unprocessable, RateLimited: the bounds on top-ups.
        ProviderFailed, ProviderTimeout: Stripe did not make the page.
        Unavailable: Stripe is not configured.
    """
    stripe = configured_stripe(context)
    checkout_id, recorded = await record_checkout(context, account_id, offer, attempt)
    page = PageFields(
        customer_id=await ensure_customer(context, stripe, account_id),
        account_id=account_id,
        checkout_id=checkout_id,
        success_url=return_url(context, "success"),
        cancel_url=return_url(context, "cancelled"),
        idempotency_key=attempt.provider_key("session"),
    )
    try:
        created = await call_stripe(context, ask(stripe, recorded.amount_nano, page))
    except ProviderFailed as failure:
        cause = failure.__cause__
        if isinstance(cause, PaymentProviderError) and cause.kind == "invalid":
            # Certain to have made no page; after any other failure there may be one that is still paid.
            await context.store.write(
                checkouts.raise_status, checkout_id, CheckoutStatus.FAILED, now_us=context.clock.now_us()
            )
        raise

    def finish(conn: Connection, now_us: int) -> CheckoutCreated:
        checkouts.set_session(conn, checkout_id, created.session_id, now_us=now_us)
        return attempt.complete(conn, created)

    return await context.store.write(finish, context.clock.now_us())


async def record_refusal(context: ServiceContext, checkout_id: str, call: Awaitable[T]) -> T:
    """What Stripe answers; a card that it refused is recorded with the checkout."""
    try:
        return await call_stripe(context, call)
    except PaymentRequired as refused:
        await context.store.write(checkouts.refuse, checkout_id, refused.code, now_us=context.clock.now_us())
        raise
