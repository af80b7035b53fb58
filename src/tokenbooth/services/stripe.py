"""Stripe as the use cases ask it: with a deadline, and with its failures as ours."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from tokenbooth.kit.errors import (
    PaymentRequired,
    ProviderFailed,
    ProviderTimeout,
    Unauthenticated,
    Unavailable,
    Unprocessable,
)
from tokenbooth.payments.stripe.client import PaymentProviderError, StripeClient
from tokenbooth.payments.stripe.object_reader import UnexpectedShape
from tokenbooth.services.cards import TAX_UNKNOWN
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.accounts import accounts

T = TypeVar("T")


def configured_stripe(context: ServiceContext) -> StripeClient:
    """Our way to Stripe.

    Raises:
        Unavailable: none is configured.
    """
    if context.stripe is None:
        raise Unavailable("stripe_not_configured", "Card payments are not set up on this server.")
    return context.stripe


async def call_stripe(context: ServiceContext, call: Awaitable[T]) -> T:
    """What Stripe answers.

    Raises:
        PaymentRequired: a saved card was refused.
        Unprocessable: the tax cannot be calculated.
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
            raise card_refused(failure.provider_code) from failure
        raise ProviderFailed("stripe_error", failure.message) from failure
    except UnexpectedShape as failure:
        raise ProviderFailed("stripe_error", "The payment provider's answer was not understood.") from failure


async def ensure_customer(context: ServiceContext, stripe: StripeClient, account_id: str) -> str:
    """The id of the account's customer at Stripe, made at the first checkout."""
    account = await context.store.read(accounts.find_account, account_id)
    if account is None:
        raise Unauthenticated("invalid_management_key", "The account of this management key is gone.")
    known_id = account.stripe_customer_id
    # By account, not by request: two first checkouts at once make one customer.
    key = f"customer-{account_id}-{known_id or 'first'}"
    customer_id = await call_stripe(context, stripe.customers.ensure(account_id, account.email, known_id, key))
    if customer_id != known_id:
        await context.store.write(accounts.set_stripe_customer, account_id, customer_id)
    return customer_id


async def require_saved_card(context: ServiceContext, stripe: StripeClient, customer_id: str, *, instead: str) -> str:
    """The id of the card to charge.

    Raises:
        PaymentRequired: none is saved; the message says what to do `instead`.
    """
    card_id = await call_stripe(context, stripe.cards.find_saved(customer_id))
    if card_id is None:
        raise PaymentRequired("no_payment_method", f"No card is saved yet. Use {instead}: it saves the card.")
    return card_id


def card_refused(reason: str | None) -> PaymentRequired | Unprocessable:
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


def return_url(context: ServiceContext, outcome: str) -> str:
    """Where Stripe's pages send the customer back to."""
    return f"{context.settings.server.base_url()}/?checkout={outcome}"
