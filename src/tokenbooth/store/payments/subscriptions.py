"""Subscriptions: our row of each, the periods that were paid, and how both follow what Stripe says.

A paid invoice grants a period, nothing else does; canceled is final. A subscription's `updated_at_us` grows with every
change of its row, so it is also the row's version: who fetches from Stripe notes it first, and what was fetched applies
only while it still holds. Nothing here talks to Stripe.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select, update

from tokenbooth.domain.ledger import STRIPE_CLEARING, SUBSCRIPTION_REVENUE, Entry, Transfer, TransferKind
from tokenbooth.domain.payment_commands import BookProration, GrantPeriod, UpsertSubscription
from tokenbooth.domain.plan_changes import PlanState
from tokenbooth.domain.plans import Plan
from tokenbooth.domain.subscriptions import SubscriptionStatus, SubscriptionTerms
from tokenbooth.kit.errors import NotFound
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store import changes, ledger, sales_days
from tokenbooth.store.payments import payments, plan_rows
from tokenbooth.store.payments.checkouts import CURRENCY, CheckoutKind, CheckoutStatus, find, raise_status
from tokenbooth.store.payments.payments import Payment, PaymentKind
from tokenbooth.store.tables import checkouts, subscription_periods, subscriptions

_WITH_FIRST_PERIOD_US: Final = 2**63 - 1
"""`cancel_at_us` of a subscription that is to end with its period before any is known; the grant puts the date."""

_Row = Row[tuple[object, ...]]


class StaleSnapshot(Exception):
    """The row changed after the subscription was fetched from Stripe: fetch it again."""


@dataclass(frozen=True, slots=True)
class OwnSubscription:
    """A subscription of an account, with what is needed to act on it; `plans` as it was stored."""

    id: str
    stripe_subscription_id: str
    plans: PlanState
    paid_until_us: int
    credited_until_us: int
    terms: SubscriptionTerms


@dataclass(frozen=True, slots=True)
class RecordedStatus:
    """Where our row of a subscription stands, for a comparison with Stripe."""

    status: SubscriptionStatus
    cancel_at_us: int | None
    paid_until_us: int | None
    plans: PlanState


def recorded_statuses(conn: Connection) -> dict[str, RecordedStatus]:
    """Where every subscription stands, by Stripe's id."""
    rows = conn.execute(select(subscriptions))
    return {
        row.stripe_subscription_id: RecordedStatus(
            SubscriptionStatus(row.status),
            row.cancel_at_us,
            row.paid_until_us,
            plan_rows.state_of(row),
        )
        for row in rows
    }


def version(conn: Connection, stripe_subscription_id: str) -> int | None:
    """The version of our row of a Stripe subscription; None while there is none."""
    row = _by_stripe_id(conn, stripe_subscription_id)
    return None if row is None else row.updated_at_us


def find_own(conn: Connection, account_id: str, subscription_id: str) -> OwnSubscription | None:
    """A subscription by our id; None when there is none, it is another account's, or it was never paid."""
    row = conn.execute(
        select(subscriptions).where(
            subscriptions.c.id == subscription_id,
            subscriptions.c.account_id == account_id,
            subscriptions.c.paid_until_us.is_not(None),
        )
    ).first()
    if row is None:
        return None
    return OwnSubscription(
        id=row.id,
        stripe_subscription_id=row.stripe_subscription_id,
        plans=plan_rows.state_of(row),
        paid_until_us=row.paid_until_us,
        credited_until_us=row.credited_until_us or 0,
        terms=terms_of(row),
    )


def id_of(conn: Connection, stripe_subscription_id: str) -> str:
    """Our id of a Stripe subscription.

    Raises:
        NotFound: it is not known here.
    """
    row = _by_stripe_id(conn, stripe_subscription_id)
    if row is None:
        raise NotFound("subscription_not_found", "There is no such subscription.")
    return str(row.id)


def stripe_id_of(conn: Connection, subscription_id: str) -> str:
    """Stripe's id of a subscription.

    Raises:
        NotFound: there is none with this id.
    """
    found: str | None = conn.execute(
        select(subscriptions.c.stripe_subscription_id).where(subscriptions.c.id == subscription_id)
    ).scalar()
    if found is None:
        raise NotFound("subscription_not_found", f"there is no subscription {subscription_id!r}")
    return found


def terms_of(row: Row[*tuple[Any, ...]]) -> SubscriptionTerms:
    """What decides about access, from a row with the columns of `subscriptions`."""
    return SubscriptionTerms(
        status=SubscriptionStatus(row.status),
        paid_until_us=row.paid_until_us,
        cancel_at_us=row.cancel_at_us,
        ended_at_us=row.ended_at_us,
    )


def set_to_cancel(conn: Connection, subscription_id: str, cancel_at_us: int | None, *, now_us: int) -> None:
    """Note that a subscription was set to end at `cancel_at_us`, which gives up a scheduled change; None: to go on."""
    row = conn.execute(select(subscriptions).where(subscriptions.c.id == subscription_id)).one()
    plan = {} if cancel_at_us is None else plan_rows.kept_values(row, now_us)
    _change(conn, row, {"cancel_at_us": cancel_at_us} | plan, now_us)


def upsert(
    conn: Connection,
    command: UpsertSubscription,
    *,
    seen: Mapping[str, int | None],
    plans: Mapping[str, Plan] | None = None,
    now_us: int,
) -> str | None:
    """Bring our row to what Stripe says, making it from our own checkout if there is none.

    Args:
        command: what Stripe says.
        seen: versions of rows, noted before the fetch; a subscription that is missing here is not compared.
        plans: the catalog's, which a change has to stay within; None for any.
        now_us: UTC microseconds.

    Returns:
        Why a person has to look at it, or None.

    Raises:
        StaleSnapshot: the row has another version than in `seen`.
    """
    stripe_id = command.stripe_subscription_id
    row = _by_stripe_id(conn, stripe_id)
    if stripe_id in seen and seen[stripe_id] != (None if row is None else row.updated_at_us):
        raise StaleSnapshot(stripe_id)
    if row is None:
        return _create(conn, command, now_us)
    if row.account_id != command.account_id:
        return "The subscription belongs to another account than Stripe says."
    problem = plan_rows.problem(row, command.billed, plans)
    plan = plan_rows.settled_values(row, now_us) if problem else plan_rows.follow(conn, row, command, now_us)
    _change(conn, row, _followed(row, command, now_us) | plan, now_us)
    return problem


def grant_period(conn: Connection, command: GrantPeriod, *, now_us: int) -> str | None:
    """Grant the period of a paid invoice and book its payment, once per invoice; returns as `upsert`."""
    row = _by_stripe_id(conn, command.stripe_subscription_id)
    if row is None:
        return "The paid invoice is of a subscription that is not known here."
    if _is_granted(conn, command.stripe_invoice_id):
        return None
    if command.currency != CURRENCY or command.list_nano not in _agreed_prices_nano(conn, row):
        raise_status(conn, row.checkout_id, CheckoutStatus.REVIEW, now_us=now_us)
        return "The amount or the currency of the paid invoice differs from the subscription's price."
    conn.execute(
        insert(subscription_periods).values(
            stripe_invoice_id=command.stripe_invoice_id,
            subscription_id=row.id,
            start_us=command.period_start_us,
            end_us=command.period_end_us,
            amount_nano=command.amount_paid_nano - command.tax_nano,
            granted_at_us=now_us,
        )
    )
    _book_payment(conn, row, command, TransferKind.SUBSCRIPTION_PAYMENT, now_us)
    sales_days.add_subscription_payment(conn, command.amount_paid_nano - command.tax_nano, now_us=now_us)
    raise_status(conn, row.checkout_id, CheckoutStatus.PAID, now_us=now_us)
    plan_rows.tell_of_credit(conn, row, command.stripe_invoice_id, command.credited_nano, now_us)
    paid = plan_rows.paid_values(row, command.list_nano, command.period_start_us, now_us)
    _change(conn, row, _paid_until(row, command.period_end_us) | paid, now_us)
    return None


def book_proration(conn: Connection, command: BookProration, *, now_us: int) -> str | None:
    """Book what the change to another plan cost, once per invoice, and let a dearer plan count that it pays for;
    returns as `upsert`."""
    row = _by_stripe_id(conn, command.stripe_subscription_id)
    if row is None:
        return "The paid invoice is of a subscription that is not known here."
    if command.currency != CURRENCY:
        return "The invoice was paid in another currency than ours."
    if not ledger.is_posted(conn, _reference(command)):
        _book_payment(conn, row, command, TransferKind.PRORATION, now_us)
        if command.pays_for is not None and command.amount_paid_nano > 0:
            _change(conn, row, plan_rows.upgraded_values(row, command.pays_for, now_us), now_us)
    plan_rows.tell_of_credit(conn, row, command.stripe_invoice_id, command.credited_nano, now_us)
    return None


def settle_plans(conn: Connection, *, now_us: int) -> int:
    """Write down every change of plan whose moment has come; it counts from that moment on without this."""
    due = conn.execute(select(subscriptions).where(subscriptions.c.plan_changes_at_us <= now_us)).all()
    for row in due:
        _change(conn, row, plan_rows.settled_values(row, now_us), now_us)
    return len(due)


def _by_stripe_id(conn: Connection, stripe_subscription_id: str) -> _Row | None:
    return conn.execute(
        select(subscriptions).where(subscriptions.c.stripe_subscription_id == stripe_subscription_id)
    ).first()


def _create(conn: Connection, command: UpsertSubscription, now_us: int) -> str | None:
    """Plan and price come from the checkout that we noted, never from what Stripe's object carries."""
    checkout = None if command.checkout_id is None else find(conn, command.checkout_id)
    if checkout is None or checkout.offer.kind is not CheckoutKind.SUBSCRIPTION:
        return "The subscription names no checkout of a plan that is known here."
    if checkout.account_id != command.account_id:
        return "The subscription's checkout belongs to another account than Stripe says."
    taken = select(subscriptions.c.id).where(subscriptions.c.checkout_id == checkout.id)
    if conn.execute(taken).first() is not None:
        return "The subscription's checkout has led to another subscription already."
    subscription_id = new_id(IdPrefix.SUBSCRIPTION, now_us)
    conn.execute(
        insert(subscriptions).values(
            id=subscription_id,
            account_id=checkout.account_id,
            plan_slug=checkout.offer.plan_slug,
            price_nano=checkout.offer.amount_nano,
            stripe_subscription_id=command.stripe_subscription_id,
            checkout_id=checkout.id,
            status=command.status or SubscriptionStatus.INCOMPLETE,
            cancel_at_us=_cancel_at_us(command, None),
            ended_at_us=command.ended_at_us,
            created_at_us=command.created_at_us,
            updated_at_us=now_us,
        )
    )
    changes.record(conn, changes.Topic.SUBSCRIPTION, subscription_id, now_us=now_us)
    return None


def _followed(row: _Row, command: UpsertSubscription, now_us: int) -> dict[str, object]:
    """The columns of a row that follow Stripe."""
    if row.status == SubscriptionStatus.CANCELED:
        # Final; a date of the end that came late is still taken.
        return {"ended_at_us": row.ended_at_us or command.ended_at_us}
    return {
        "status": command.status or row.status,
        "cancel_at_us": _stopped_at_us(row, command, now_us) or _cancel_at_us(command, row.paid_until_us),
        "ended_at_us": command.ended_at_us,
    }


def _stopped_at_us(row: _Row, command: UpsertSubscription, now_us: int) -> int | None:
    """Since when nothing is bought: a quantity of zero gives back what was paid, and is no end for Stripe."""
    if command.billed is None or command.billed.quantity > 0:
        return None
    stopped_us: int | None = row.cancel_at_us
    return now_us if stopped_us is None else min(stopped_us, now_us)


def _cancel_at_us(command: UpsertSubscription, paid_until_us: int | None) -> int | None:
    if command.cancel_at_us is None and command.cancel_at_period_end:
        return paid_until_us or _WITH_FIRST_PERIOD_US
    return command.cancel_at_us


def _paid_until(row: _Row, period_end_us: int) -> dict[str, object]:
    """The columns that a granted period moves: an end set to that of the paid period moves with it, so that it does
    not matter whether the payment or the cancellation is heard of first."""
    paid_until_us = max(row.paid_until_us or 0, period_end_us)
    if row.cancel_at_us is not None and row.cancel_at_us in (_WITH_FIRST_PERIOD_US, row.paid_until_us):
        return {"paid_until_us": paid_until_us, "cancel_at_us": paid_until_us}
    return {"paid_until_us": paid_until_us}


def _change(conn: Connection, row: _Row, values: Mapping[str, object], now_us: int) -> None:
    """Write what differs; a row that stays as it is keeps its version and is announced to nobody."""
    held = row._mapping
    if all(held[name] == value for name, value in values.items()):
        return
    conn.execute(
        update(subscriptions)
        .where(subscriptions.c.id == row.id)
        .values(**values, updated_at_us=max(now_us, row.updated_at_us + 1))
    )
    changes.record(conn, changes.Topic.SUBSCRIPTION, row.id, now_us=now_us)


def _is_granted(conn: Connection, stripe_invoice_id: str) -> bool:
    found = select(subscription_periods.c.subscription_id).where(
        subscription_periods.c.stripe_invoice_id == stripe_invoice_id
    )
    return conn.execute(found).first() is not None


def _reference(command: GrantPeriod | BookProration) -> str:
    return f"stripe:invoice:{command.stripe_invoice_id}"


def _book_payment(
    conn: Connection, row: _Row, command: GrantPeriod | BookProration, kind: TransferKind, now_us: int
) -> None:
    reference, earned_nano = _reference(command), command.amount_paid_nano - command.tax_nano
    if earned_nano:
        ledger.post(
            conn,
            Transfer(
                id=new_id(IdPrefix.TRANSFER, now_us),
                kind=kind,
                reference=reference,
                entries=(Entry(STRIPE_CLEARING, -earned_nano), Entry(SUBSCRIPTION_REVENUE, earned_nano)),
                note=f"Payment of {row.id}",
            ),
            now_us=now_us,
        )
    ledger.add_tax(conn, reference=reference, tax_nano=command.tax_nano, now_us=now_us)
    if command.payment_intent_id is not None:
        payments.record(
            conn,
            Payment(
                stripe_payment_intent_id=command.payment_intent_id,
                account_id=row.account_id,
                kind=PaymentKind.SUBSCRIPTION,
                reference=reference,
                paid_nano=command.amount_paid_nano,
                credited_nano=earned_nano,
                checkout_id=None,
                subscription_id=row.id,
                stripe_invoice_id=command.stripe_invoice_id,
                created_at_us=now_us,
            ),
        )


def _agreed_prices_nano(conn: Connection, row: _Row) -> set[int]:
    """Every price that this subscription was sold at: a renewal's draft may be older than a change."""
    changed = conn.execute(
        select(checkouts.c.amount_nano).where(
            checkouts.c.subscription_id == row.id,
            checkouts.c.kind == CheckoutKind.PLAN_CHANGE,
            checkouts.c.status != CheckoutStatus.FAILED,
        )
    ).scalars()
    first = None if row.checkout_id is None else find(conn, row.checkout_id)
    return {row.price_nano, *changed, *(() if first is None else (first.offer.amount_nano,))}
