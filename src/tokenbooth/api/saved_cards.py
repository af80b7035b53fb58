"""Buying with the saved card, without a browser: credit and subscriptions; and the portal.

Our record comes first, then Stripe is asked, then both are brought together; what a crash leaves in between is
finished by Stripe's webhook or the reconciler. `management.billing` and the dashboard use it.
"""

from collections.abc import Awaitable
from typing import TypeVar

from sqlalchemy import Connection

from tokenbooth.api import checkout
from tokenbooth.api.idempotency import Outcome, same
from tokenbooth.api.keys import shown_once
from tokenbooth.api.responses import Json, success
from tokenbooth.domain.keys import KeyKind, digest, shown_prefix
from tokenbooth.domain.money import format_usd
from tokenbooth.domain.payment_commands import PaymentCommand
from tokenbooth.domain.plans import Plan
from tokenbooth.domain.subscriptions import SubscriptionStatus, shown_status
from tokenbooth.kit.clock import iso_ms
from tokenbooth.kit.errors import Conflict, PaymentRequired, ProviderFailed
from tokenbooth.kit.ids import IdPrefix, new_id, new_key
from tokenbooth.payments.stripe.client import StripeClient
from tokenbooth.payments.stripe.snapshots import SubscriptionSnapshot
from tokenbooth.payments.stripe.translation import invoice_commands
from tokenbooth.services.cards import CardCharge, ChargeStatus, charge
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.accounts.idempotency import Answer, Attempt, complete
from tokenbooth.store.accounts.keys import NewApiKey, create_api_key
from tokenbooth.store.payments import billing, checkouts, subscriptions
from tokenbooth.store.payments.apply import apply_command
from tokenbooth.store.payments.billing import SubscriptionView
from tokenbooth.store.payments.checkouts import CheckoutKind, Offer

T = TypeVar("T")


async def top_up(context: ServiceContext, account_id: str, amount_nano: int, attempt: Attempt) -> Answer:
    """Charge the saved card for credit of `amount_nano`, whole cents, and complete `attempt` with the answer.

    Raises:
        PaymentRequired: no card is saved, or it was refused.
        Unprocessable, RateLimited: the bounds on top-ups.
        ProviderFailed, ProviderTimeout: what came of the charge is not known; it is found out later.
        Unavailable: Stripe is not configured.
    """
    stripe = checkout.configured_stripe(context)
    customer_id = await checkout.customer(context, stripe, account_id)
    card_id = await saved_card(context, stripe, customer_id, instead='POST /api/billing/topup with method "stripe"')
    offer = Offer(CheckoutKind.DIRECT_TOP_UP, None, amount_nano, card_id)
    checkout_id, noted = await checkout.note(context, account_id, offer, attempt)
    wanted = CardCharge(checkout_id, account_id, customer_id, noted.card_id or card_id, noted.amount_nano)
    outcome = await checkout.asked(context, charge(context.store, stripe, context.clock, wanted))
    match outcome.status:
        case ChargeStatus.FAILED:
            raise checkout.declined(outcome.reason)
        case ChargeStatus.REVIEW:
            raise ProviderFailed("payment_in_review", "The payment differs from what was asked for; we look into it.")
        case ChargeStatus.PENDING:
            answer = success({"status": "pending", "topUpId": checkout_id}, status=202)
        case _:
            shown = {
                "status": "credited",
                "topUpId": checkout_id,
                "credited": format_usd(noted.amount_nano),
                "balance": format_usd(outcome.balance_nano),
            }
            answer = success(shown)
    await context.store.write(complete, attempt, answer)
    return answer


async def saved_card(context: ServiceContext, stripe: StripeClient, customer_id: str, *, instead: str) -> str:
    """The card to charge.

    Raises:
        PaymentRequired: none is saved; the message says what to do `instead`.
    """
    card_id = await checkout.asked(context, stripe.cards.find_saved(customer_id))
    if card_id is None:
        raise PaymentRequired("no_payment_method", f"No card is saved yet. Use {instead}: it saves the card.")
    return card_id


async def subscribe(
    context: ServiceContext,
    account_id: str,
    plan: Plan,
    attempt: Attempt,
    *,
    key_name: str | None,
    actor: str,
) -> Answer:
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
    stripe = checkout.configured_stripe(context)
    customer_id = await checkout.customer(context, stripe, account_id)
    card_id = await saved_card(context, stripe, customer_id, instead="POST /api/billing/checkout")
    offer = Offer(CheckoutKind.SUBSCRIPTION, plan.slug, plan.price_nano, card_id)
    checkout_id, noted = await checkout.note(context, account_id, offer, attempt)
    begun = await or_refused(
        context,
        checkout_id,
        stripe.subscriptions.create(
            customer_id=customer_id,
            card_id=noted.card_id or card_id,
            price=checkout.plan_price(plan, noted.amount_nano),
            account_id=account_id,
            checkout_id=checkout_id,
        ),
    )
    commands = await commands_of(context, stripe, begun)
    return await context.store.write(
        _begin, context, account_id, begun, commands, attempt, key_name, actor, now_us=context.clock.now_us()
    )


async def resume(context: ServiceContext, account_id: str, subscription_id: str, attempt: Attempt) -> Answer:
    """Undo a cancel before it comes about, and complete `attempt`; one that goes on stays as it is.

    Raises:
        NotFound: the account has no such subscription.
        Conflict: it has ended.
        ProviderFailed, ProviderTimeout: Stripe did not note it.
        Unavailable: Stripe is not configured.
    """
    own = await context.store.read(subscriptions.find_own, account_id, subscription_id)
    if own is None:
        raise checkout.no_subscription()
    if shown_status(own.terms, context.clock.now_us()) is SubscriptionStatus.CANCELED:
        raise Conflict("subscription_ended", "The subscription has ended; subscribe anew.", param="subscriptionId")
    cancel_at_us = own.terms.cancel_at_us
    if cancel_at_us is not None:
        stripe = checkout.configured_stripe(context)
        call = stripe.subscriptions.resume(own.stripe_subscription_id, attempt.provider_key("resume"))
        cancel_at_us = (await checkout.asked(context, call)).cancel_at_us
    view = await context.store.write(
        checkout.note_end,
        context,
        account_id,
        subscription_id,
        cancel_at_us,
        attempt,
        now_us=context.clock.now_us(),
    )
    return success(checkout.subscription_json(view))


async def portal(context: ServiceContext, account_id: str, attempt: Attempt) -> Answer:
    """A page at Stripe on which the account changes its cards, and complete `attempt` with its address.

    Raises:
        ProviderFailed, ProviderTimeout: Stripe did not make the page.
        Unavailable: Stripe is not configured.
    """
    stripe = checkout.configured_stripe(context)
    customer_id = await checkout.customer(context, stripe, account_id)
    url = await checkout.asked(
        context, stripe.customers.portal_url(customer_id, checkout.return_url(context, "portal"))
    )
    answer = success({"url": url})
    await context.store.write(complete, attempt, answer)
    return answer


async def or_refused(context: ServiceContext, checkout_id: str, call: Awaitable[T]) -> T:
    """What Stripe answers; a card that it refused is noted with the checkout."""
    try:
        return await checkout.asked(context, call)
    except PaymentRequired as refused:
        await context.store.write(checkouts.refuse, checkout_id, refused.code, now_us=context.clock.now_us())
        raise


async def commands_of(
    context: ServiceContext, stripe: StripeClient, snapshot: SubscriptionSnapshot
) -> tuple[PaymentCommand, ...]:
    """What a subscription that Stripe just answered with leads to, its newest invoice included."""
    if snapshot.latest_invoice_id is None:
        raise ProviderFailed("stripe_error", "The payment provider's answer was not understood.")
    invoice = await checkout.asked(context, stripe.fetch_invoice(snapshot.latest_invoice_id))
    return invoice_commands(invoice, snapshot)


def apply(conn: Connection, context: ServiceContext, commands: tuple[PaymentCommand, ...], now_us: int) -> None:
    """Carry out what Stripe answered with.

    Raises:
        ProviderFailed: a person has to look at it first.
    """
    for command in commands:
        reason = apply_command(conn, command, plans=context.catalog().plans, now_us=now_us)
        if reason is not None:
            raise ProviderFailed("payment_in_review", f"{reason} We look into it.")


def _begin(
    conn: Connection,
    context: ServiceContext,
    account_id: str,
    begun: SubscriptionSnapshot,
    commands: tuple[PaymentCommand, ...],
    attempt: Attempt,
    key_name: str | None,
    actor: str,
    *,
    now_us: int,
) -> Answer:
    apply(conn, context, commands, now_us)
    subscription_id = subscriptions.id_of(conn, begun.subscription_id)
    view = _view(conn, context, account_id, subscription_id, now_us)
    shown: dict[str, Json] = {
        "subscriptionId": view.id,
        "planSlug": view.plan_slug,
        "status": view.status,
        "currentPeriodEnd": iso_ms(view.current_period_end_us),
    }
    if key_name is None:
        outcome = same(success(shown))
    else:
        outcome = _with_key(conn, context, account_id, view.id, key_name, actor, shown, now_us)
    complete(conn, attempt, outcome.kept)
    return outcome.answer


def _with_key(
    conn: Connection,
    context: ServiceContext,
    account_id: str,
    subscription_id: str,
    name: str,
    actor: str,
    shown: dict[str, Json],
    now_us: int,
) -> Outcome:
    key = new_key(KeyKind.API)
    new = NewApiKey(
        id=new_id(IdPrefix.API_KEY, now_us),
        account_id=account_id,
        name=name,
        digest=digest(key),
        prefix=shown_prefix(key, KeyKind.API),
        subscription_id=subscription_id,
    )
    create_api_key(
        conn,
        new,
        max_keys=context.settings.management.max_keys,
        grace_us=context.settings.billing.renewal_grace_us,
        actor=actor,
        now_us=now_us,
    )
    return shown_once(success({**shown, "key": {"id": new.id, "name": name, "apiKey": key}}), new.id)


def answer_with(
    conn: Connection,
    context: ServiceContext,
    account_id: str,
    subscription_id: str,
    attempt: Attempt,
    *,
    now_us: int,
) -> Answer:
    """Complete `attempt` with a subscription as it is now."""
    view = _view(conn, context, account_id, subscription_id, now_us)
    answer = success(checkout.subscription_json(view))
    complete(conn, attempt, answer)
    return answer


def _view(
    conn: Connection, context: ServiceContext, account_id: str, subscription_id: str, now_us: int
) -> SubscriptionView:
    view = billing.subscription_view(conn, account_id, subscription_id, context.catalog().plans, now_us)
    if view is None:
        raise checkout.no_subscription()
    return view
