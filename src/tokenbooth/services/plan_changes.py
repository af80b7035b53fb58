"""Another plan for a subscription: at once where it costs more, with the next period where it does not.

Our record comes first, then Stripe is asked, then both are brought together; what a crash leaves in between is
finished by Stripe's webhook or the reconciler.
"""

from sqlalchemy import Connection

from tokenbooth.domain.plan_changes import PlanState, SoldPlan, charged_from_us, settled
from tokenbooth.domain.plans import Plan
from tokenbooth.domain.subscriptions import SubscriptionStatus, shown_status
from tokenbooth.kit.errors import Conflict, Unprocessable
from tokenbooth.payments.stripe.client import StripeClient
from tokenbooth.payments.stripe.snapshots import SubscriptionSnapshot
from tokenbooth.services.checkouts import plan_price, record_checkout, record_refusal
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.idempotency import IdempotentAttempt
from tokenbooth.services.stripe import call_stripe, configured_stripe
from tokenbooth.services.subscriptions import apply_commands, commands_of, find_own, subscription_view
from tokenbooth.store.payments import checkouts
from tokenbooth.store.payments.billing import SubscriptionView
from tokenbooth.store.payments.checkouts import CheckoutKind, CheckoutStatus, Offer
from tokenbooth.store.payments.subscriptions import OwnSubscription


async def change_plan(
    context: ServiceContext,
    account_id: str,
    subscription_id: str,
    plan: Plan,
    attempt: IdempotentAttempt[SubscriptionView],
) -> SubscriptionView:
    """Move a subscription to another plan, and complete `attempt` with it. One that costs more is charged for now, and
    its limits hold from now on; any other waits for the end of the paid period. The plan that it has takes back what
    waits.

    Raises:
        NotFound: the account has no such subscription.
        Conflict: it has ended, is set to end, or is not paid.
        Unprocessable: the plans differ in interval or window; `too_many_plan_changes`; `plan_change_credited`.
        PaymentRequired: the card was refused; plan and price are as before.
        ProviderFailed, ProviderTimeout: Stripe failed; a repetition with the same key finds what was done.
        Unavailable: Stripe is not configured.
    """
    own = await find_own(context, account_id, subscription_id)
    _require_running(context, own)

    def finish_as_is(conn: Connection, now_us: int) -> SubscriptionView:
        return attempt.complete(conn, subscription_view(conn, context, account_id, subscription_id, now_us))

    state = settled(own.plans, context.clock.now_us())
    if _is_so(state, plan.slug):
        return await context.store.write(finish_as_is, context.clock.now_us())
    _refuse_other_rhythm(context, state.present.slug, plan)
    wanted = state.present if plan.slug == state.present.slug else SoldPlan(plan.slug, plan.price_nano)
    if wanted.is_upgrade_of(state.present) and context.clock.now_us() < own.credited_until_us:
        raise Unprocessable(
            "plan_change_credited",
            "A cheaper plan was paid back for the rest of this period. A dearer one can be had again from its end on, "
            "or as a subscription of its own.",
            param="planSlug",
        )
    stripe = configured_stripe(context)
    offer = Offer(CheckoutKind.PLAN_CHANGE, wanted.slug, wanted.price_nano, None, own.id)
    checkout_id, recorded = await record_checkout(context, account_id, offer, attempt)
    wanted = SoldPlan(plan.slug, recorded.amount_nano)
    changed = await _change_at_stripe(context, stripe, own, state.present, wanted, checkout_id)
    commands = await commands_of(context, stripe, changed)

    def finish(conn: Connection, now_us: int) -> SubscriptionView:
        apply_commands(conn, context, commands, now_us)
        checkouts.raise_status(conn, checkout_id, CheckoutStatus.PAID, now_us=now_us)
        return finish_as_is(conn, now_us)

    return await context.store.write(finish, context.clock.now_us())


def _require_running(context: ServiceContext, own: OwnSubscription) -> None:
    if own.terms.cancel_at_us is not None:
        raise Conflict(
            "subscription_canceling",
            "The subscription is set to end. Resume it first (POST /api/billing/resume).",
            param="subscriptionId",
        )
    if shown_status(own.terms, context.clock.now_us()) is not SubscriptionStatus.ACTIVE:
        raise Conflict("subscription_unpaid", "The subscription's last invoice is not paid.", param="subscriptionId")


def _is_so(state: PlanState, slug: str) -> bool:
    """Whether nothing is to be done: the plan is there and stays, or waits for its day."""
    pending = state.pending
    if pending is None:
        return slug == state.present.slug
    return slug == pending.plan.slug and not pending.plan.is_upgrade_of(state.present)


def _refuse_other_rhythm(context: ServiceContext, present_slug: str, plan: Plan) -> None:
    """Spend is kept per window and periods per interval: across different ones neither could carry over."""
    present = context.catalog().plans.get(present_slug)
    if present is None or (present.interval, present.window_us) == (plan.interval, plan.window_us):
        return
    raise Unprocessable(
        "plan_not_comparable",
        f"`{present_slug}` and `{plan.slug}` differ in interval or budget window. Subscribe to the new plan, then "
        "cancel the old one.",
        param="planSlug",
    )


async def _change_at_stripe(
    context: ServiceContext,
    stripe: StripeClient,
    own: OwnSubscription,
    present: SoldPlan,
    wanted: SoldPlan,
    checkout_id: str,
) -> SubscriptionSnapshot:
    plans = context.catalog().plans
    plan = plans[wanted.slug]
    # A plan that is gone from the file has another one's rhythm in nothing that Stripe knows of.
    present_price = plan_price(plans.get(present.slug, plan), present.price_nano)
    wanted_price = plan_price(plan, wanted.price_nano)
    stripe_id = own.stripe_subscription_id
    if wanted == present:
        return await call_stripe(context, stripe.subscriptions.keep_plan(stripe_id, present_price))
    if not wanted.is_upgrade_of(present):
        call = stripe.subscriptions.schedule_plan(stripe_id, present_price, wanted_price, checkout_id)
        return await call_stripe(context, call)
    billed = await call_stripe(context, stripe.subscriptions.fetch(stripe_id))
    charged_us = charged_from_us(
        context.clock.now_us(),
        period_start_us=billed.period_start_us,
        period_end_us=billed.period_end_us,
        window_us=plan.window_us,
    )
    call = stripe.subscriptions.change_plan(
        stripe_id, present_price, wanted_price, checkout_id, charged_from_us=charged_us
    )
    return await record_refusal(context, checkout_id, call)
