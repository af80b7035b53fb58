"""Prepaid credit: buy it on a page or with the saved card, have it bought automatically, and see it."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from tokenbooth.config.payments import BillingSettings
from tokenbooth.domain.money import NANO_PER_CENT, format_usd
from tokenbooth.kit.errors import InvalidRequest, ProviderFailed
from tokenbooth.payments.stripe.client import CheckoutCreated, StripeClient
from tokenbooth.services.cards import CardCharge, ChargeStatus, charge
from tokenbooth.services.checkouts import PageFields, open_page, record_checkout
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.idempotency import IdempotentAttempt
from tokenbooth.services.stripe import (
    call_stripe,
    card_refused,
    configured_stripe,
    ensure_customer,
    require_saved_card,
)
from tokenbooth.store.accounts.audit_log import Actor, require_room
from tokenbooth.store.accounts.bounds import row_limit
from tokenbooth.store.payments import auto_topups, billing
from tokenbooth.store.payments.auto_topups import Rule, RuleView
from tokenbooth.store.payments.checkouts import CheckoutKind, Offer

CARD_DECIMALS: Final = 2
USDC_DECIMALS: Final = 6
"""How many decimals an amount may have that is paid by card, or in USDC."""
_PAGE_FIRST: Final = 'POST /api/billing/topup with method "stripe"'


@dataclass(frozen=True, slots=True)
class ChargedTopUp:
    """A top-up that the saved card was charged for.

    Attributes:
        id: of the top-up.
        credited_nano: the credit, in nano-USD; None while the payment is pending.
        balance_nano: the account's credit afterwards; None while the payment is pending.
    """

    id: str
    credited_nano: int | None = None
    balance_nano: int | None = None


@dataclass(frozen=True, slots=True)
class RuleChange:
    """What an account wants of its rule of automatic top-ups, in nano-USD; None leaves a value as it is."""

    enabled: bool
    threshold_nano: int | None = None
    amount_nano: int | None = None
    monthly_limit_nano: int | None = None


@dataclass(frozen=True, slots=True)
class Credit:
    """An account's credit, in nano-USD.

    Attributes:
        balance_nano: what is in the books.
        held_nano: what calls in flight hold of it.
        total_topup_nano, total_spent_nano: ever.
    """

    balance_nano: int
    held_nano: int
    total_topup_nano: int
    total_spent_nano: int

    @property
    def available_nano(self) -> int:
        """What is left to spend. A hold that was settled between the two reads is in neither or in both figures."""
        return max(self.balance_nano - self.held_nano, 0)


def check_amount(limits: BillingSettings, amount_nano: int) -> None:
    """Refuse a top-up that is too small or too large.

    Raises:
        InvalidRequest: `amount_nano` is not between `billing.min_top_up_nano` and `billing.max_top_up_nano`.
    """
    if not limits.min_top_up_nano <= amount_nano <= limits.max_top_up_nano:
        least, most = format_usd(limits.min_top_up_nano), format_usd(limits.max_top_up_nano)
        raise InvalidRequest("amount_out_of_range", f"`amount` must be from {least} to {most} USD.", param="amount")


async def open_checkout(
    context: ServiceContext, account_id: str, amount_nano: int, attempt: IdempotentAttempt[CheckoutCreated]
) -> CheckoutCreated:
    """Open a checkout page for credit of `amount_nano`, whole cents; errors as `open_page` raises them."""

    def ask(stripe: StripeClient, recorded_nano: int, page: PageFields) -> Awaitable[CheckoutCreated]:
        return stripe.checkouts.create_topup(amount_cents=recorded_nano // NANO_PER_CENT, **page)

    return await open_page(context, account_id, Offer(CheckoutKind.TOP_UP, None, amount_nano), attempt, ask)


async def charge_saved_card(
    context: ServiceContext, account_id: str, amount_nano: int, attempt: IdempotentAttempt[ChargedTopUp]
) -> ChargedTopUp:
    """Charge the saved card for credit of `amount_nano`, whole cents, and complete `attempt` with what came of it.

    Raises:
        PaymentRequired: no card is saved, or it was refused.
        Unprocessable, RateLimited: the bounds on top-ups.
        ProviderFailed, ProviderTimeout: what came of the charge is not known; it is found out later.
        Unavailable: Stripe is not configured.
    """
    stripe = configured_stripe(context)
    customer_id = await ensure_customer(context, stripe, account_id)
    card_id = await require_saved_card(context, stripe, customer_id, instead=_PAGE_FIRST)
    offer = Offer(CheckoutKind.DIRECT_TOP_UP, None, amount_nano, card_id)
    checkout_id, recorded = await record_checkout(context, account_id, offer, attempt)
    wanted = CardCharge(checkout_id, account_id, customer_id, recorded.card_id or card_id, recorded.amount_nano)
    outcome = await call_stripe(context, charge(context.store, stripe, context.clock, wanted))
    match outcome.status:
        case ChargeStatus.FAILED:
            raise card_refused(outcome.reason)
        case ChargeStatus.REVIEW:
            raise ProviderFailed("payment_in_review", "The payment differs from what was asked for; we look into it.")
        case ChargeStatus.PENDING:
            result = ChargedTopUp(checkout_id)
        case _:
            result = ChargedTopUp(checkout_id, recorded.amount_nano, outcome.balance_nano)
    return await context.store.write(attempt.complete, result)


async def find_auto_top_up(context: ServiceContext, account_id: str) -> RuleView:
    """The account's rule of automatic top-ups, what it charged this month, and why it was switched off."""
    return await context.store.report(account_id, auto_topups.view, account_id, now_us=context.clock.now_us())


async def set_auto_top_up(context: ServiceContext, account_id: str, change: RuleChange, *, actor: Actor) -> RuleView:
    """Change an account's rule of automatic top-ups.

    Raises:
        InvalidRequest: a value is missing or out of its range.
        PaymentRequired: no card is saved.
        RateLimited: the account did very much today.
        ProviderFailed, ProviderTimeout: Stripe did not say whether one is.
        Unavailable: Stripe is not configured.
    """
    present = (await find_auto_top_up(context, account_id)).rule
    rule = _changed(present, change)
    if rule.enabled:
        check_amount(context.settings.billing, rule.amount_nano)
        if rule.monthly_limit_nano < rule.amount_nano:
            raise InvalidRequest("invalid_value", "`monthlyLimit` must be at least `amount`.", param="monthlyLimit")
        stripe = configured_stripe(context)
        customer_id = await ensure_customer(context, stripe, account_id)
        await require_saved_card(context, stripe, customer_id, instead=_PAGE_FIRST)

    def put(conn: Connection, now_us: int) -> RuleView:
        # Switching it off is never refused.
        if rule.enabled or not present.enabled:
            max_entries = row_limit(conn, account_id, context.settings.management.actions)
            require_room(conn, account_id, max_entries, now_us=now_us)
        return auto_topups.put(conn, account_id, rule, actor=actor, now_us=now_us)

    return await context.store.write(put, context.clock.now_us())


async def find_credit(context: ServiceContext, account_id: str) -> Credit:
    """The account's credit, after every call that has finished."""
    await context.live.flush()
    view = await context.store.report(account_id, billing.credits_view, account_id)
    return Credit(
        balance_nano=view.balance_nano,
        held_nano=context.live.held_nano(account_id),
        total_topup_nano=view.total_topup_nano,
        total_spent_nano=view.total_spent_nano,
    )


def _changed(present: Rule, change: RuleChange) -> Rule:
    def amount_nano(name: str, wanted_nano: int | None, former_nano: int) -> int:
        if wanted_nano is not None:
            return wanted_nano
        if change.enabled and not former_nano:
            raise InvalidRequest("missing_parameter", f"`{name}` is missing.", param=name)
        return former_nano

    return Rule(
        enabled=change.enabled,
        threshold_nano=amount_nano("threshold", change.threshold_nano, present.threshold_nano),
        amount_nano=amount_nano("amount", change.amount_nano, present.amount_nano),
        monthly_limit_nano=amount_nano("monthlyLimit", change.monthly_limit_nano, present.monthly_limit_nano),
    )
