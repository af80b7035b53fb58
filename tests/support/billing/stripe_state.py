"""Stripe's side of a story, as the commands that its objects lead to. Only tests import it."""

from typing import Final

from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.payment_commands import CreditTopup, GrantPeriod, UpsertSubscription
from tokenbooth.domain.plan_changes import PlanAtStripe
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import checkouts
from tokenbooth.store.payments.checkouts import CheckoutKind, Offer

MONTH_US: Final = 31 * 86_400 * 1_000_000
PRO_NANO: Final = 60 * NANO_PER_USD
TOP_UP_NANO: Final = 25 * NANO_PER_USD
PRO: Final = Offer(CheckoutKind.SUBSCRIPTION, "pro", PRO_NANO)
TOP_UP: Final = Offer(CheckoutKind.TOP_UP, None, TOP_UP_NANO)


def new_checkout(store: Store, account_id: str, offer: Offer, *, now_us: int) -> str:
    """Note a checkout, as the API does before it asks Stripe."""
    checkout_id = new_id(IdPrefix.CHECKOUT, now_us)
    store.write_now(
        checkouts.create_checkout,
        checkout_id=checkout_id,
        account_id=account_id,
        offer=offer,
        max_pending=100,
        now_us=now_us,
    )
    return checkout_id


def upsert(
    account_id: str,
    checkout_id: str | None,
    *,
    status: SubscriptionStatus | None = SubscriptionStatus.ACTIVE,
    stripe_id: str = "sub_at_stripe",
    cancel_at_period_end: bool = False,
    cancel_at_us: int | None = None,
    ended_at_us: int | None = None,
    created_at_us: int = 0,
    billed: PlanAtStripe | None = None,
) -> UpsertSubscription:
    """A subscription at Stripe."""
    return UpsertSubscription(
        stripe_subscription_id=stripe_id,
        account_id=account_id,
        checkout_id=checkout_id,
        plan_slug="pro",
        status=status,
        cancel_at_period_end=cancel_at_period_end,
        cancel_at_us=cancel_at_us,
        ended_at_us=ended_at_us,
        created_at_us=created_at_us,
        billed=billed,
    )


def grant(
    invoice: str,
    start_us: int,
    *,
    stripe_id: str = "sub_at_stripe",
    amount_nano: int = PRO_NANO,
    currency: str = "usd",
) -> GrantPeriod:
    """A paid invoice at Stripe, for a month from `start_us`."""
    return GrantPeriod(
        stripe_subscription_id=stripe_id,
        stripe_invoice_id=invoice,
        period_start_us=start_us,
        period_end_us=start_us + MONTH_US,
        list_nano=amount_nano,
        amount_paid_nano=amount_nano,
        tax_nano=0,
        currency=currency,
        payment_intent_id=f"pi_of_{invoice}",
    )


def paid_topup(
    account_id: str,
    checkout_id: str,
    *,
    session_id: str = "cs_at_stripe",
    amount_nano: int = TOP_UP_NANO,
    currency: str = "usd",
) -> CreditTopup:
    """A paid top-up session at Stripe."""
    return CreditTopup(
        stripe_session_id=session_id,
        checkout_id=checkout_id,
        account_id=account_id,
        payment_intent_id=f"pi_of_{session_id}",
        amount_nano=amount_nano,
        tax_nano=0,
        currency=currency,
    )
