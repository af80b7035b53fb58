"""Which plan a subscription's row has, and what a word of Stripe, a payment or time makes of it.

The rules are in `domain.plan_changes`; here they meet the rows. A change that was made elsewhere, in Stripe's portal or
dashboard, is noted as one of ours, so that it counts among a day's changes and its price is known.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, Row, insert, select

from tokenbooth.domain.money import format_usd
from tokenbooth.domain.payment_commands import UpsertSubscription
from tokenbooth.domain.plan_changes import (
    PendingPlan,
    PlanAtStripe,
    PlanState,
    SoldPlan,
    followed,
    paid,
    settled,
)
from tokenbooth.domain.plans import Plan
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store.accounts import audit_log
from tokenbooth.store.payments.checkouts import (
    CURRENCY,
    Checkout,
    CheckoutKind,
    CheckoutStatus,
    Offer,
    find,
    raise_status,
    row_of,
)
from tokenbooth.store.tables import audit_log as audit_rows
from tokenbooth.store.tables import checkouts

_ACTOR = "stripe"
_Row = Row[tuple[object, ...]]


def state_of(row: _Row) -> PlanState:
    """The plan of a row of `subscriptions`, and the one that follows it."""
    present = SoldPlan(row.plan_slug, row.price_nano)
    if row.pending_plan_slug is None:
        return PlanState(present)
    pending = SoldPlan(row.pending_plan_slug, row.pending_price_nano)
    return PlanState(present, PendingPlan(pending, row.plan_changes_at_us))


def problem(row: _Row, billed: PlanAtStripe | None, plans: Mapping[str, Plan] | None) -> str | None:
    """Why what Stripe bills is nothing that was sold here, or None; a person has to look at it then, and the plan stays
    what it is."""
    if billed is None:
        return None
    if billed.quantity != 1:
        return f"Stripe bills the subscription {billed.quantity} times; one of it was sold, and its limits stay that."
    if billed.currency != CURRENCY:
        return "Stripe bills the subscription in another currency than ours."
    if billed.plan is None:
        return "Stripe bills the subscription at a price that is no plan's."
    wanted = [billed.plan] if billed.following is None else [billed.plan, billed.following.plan]
    return next((reason for plan in wanted if (reason := _unfit(row, plan, billed, plans)) is not None), None)


def _unfit(row: _Row, wanted: SoldPlan, billed: PlanAtStripe, plans: Mapping[str, Plan] | None) -> str | None:
    if plans is None or wanted.slug == row.plan_slug:
        return None
    plan, present = plans.get(wanted.slug), plans.get(row.plan_slug)
    if plan is None:
        return f"Stripe bills the subscription for the plan {wanted.slug!r}, which is not in the configuration."
    if plan.interval != billed.interval or (present is not None and plan.window_us != present.window_us):
        return f"Stripe bills the subscription for the plan {wanted.slug!r}, of another interval or budget window."
    return None


def follow(conn: Connection, row: _Row, command: UpsertSubscription, now_us: int) -> dict[str, object]:
    """The columns of the plan after a word of Stripe; a change that was made elsewhere is noted."""
    if command.billed is None:
        return settled_values(row, now_us)
    if command.ended_at_us is not None or row.status == SubscriptionStatus.CANCELED:
        return settled_values(row, now_us) | _credited(conn, row, command.billed, now_us)
    before = state_of(row)
    ours = _agreed_change(conn, row, command.checkout_id, command.billed.plan)
    if ours is not None and ours.status != CheckoutStatus.PENDING:
        # Carried out before: it says nothing of what was done since.
        ours = None
    after = followed(before, command.billed, is_agreed=ours is not None, paid_until_us=row.paid_until_us, now_us=now_us)
    if ours is not None:
        raise_status(conn, ours.id, CheckoutStatus.PAID, now_us=now_us)
    values = _values(after)
    before = settled(before, now_us)
    if after == before:
        return values
    wanted = _wanted(after, before)
    scheduled = _agreed_change(conn, row, command.billed.following_checkout_id, wanted)
    if wanted is not None and ours is None and scheduled is None:
        _record_elsewhere(conn, row, wanted, now_us)
    if after.present != before.present:
        values |= _credited(conn, row, command.billed, now_us)
    return values


def _credited(conn: Connection, row: _Row, billed: PlanAtStripe, now_us: int) -> dict[str, object]:
    """The column that says that Stripe gave back the rest of the paid period: until it is over no larger budget begins
    again, by a dearer plan or by another subscription."""
    if billed.credited_nano <= 0:
        return {}
    tell_of_credit(conn, row, "the rest of the period", billed.credited_nano, now_us)
    return {"credited_until_us": row.paid_until_us}


def settled_values(row: _Row, now_us: int) -> dict[str, object]:
    """The columns of the plan as time has made them."""
    return _values(settled(state_of(row), now_us))


def paid_values(row: _Row, price_nano: int, period_start_us: int, now_us: int) -> dict[str, object]:
    """The columns of the plan after a period was paid at `price_nano`."""
    return _values(paid(settled(state_of(row), now_us), price_nano, period_start_us))


def upgraded_values(row: _Row, wanted: SoldPlan, now_us: int) -> dict[str, object]:
    """The columns of the plan once the difference to `wanted` was paid, when that is what is waited for."""
    state = settled(state_of(row), now_us)
    if state.pending is None or state.pending.plan != wanted or now_us < (row.credited_until_us or 0):
        return _values(state)
    return _values(PlanState(wanted))


def kept_values(row: _Row, now_us: int) -> dict[str, object]:
    """The columns of the plan once nothing is to follow it."""
    return _values(PlanState(settled(state_of(row), now_us).present))


def tell_of_credit(conn: Connection, row: _Row, what: str, credited_nano: int, now_us: int) -> None:
    """Write down, once for an invoice or whatever else it is, that Stripe gave something back."""
    if credited_nano <= 0:
        return
    action, detail = "plan.credited", f"{row.id}: {what} gave back {format_usd(credited_nano)} USD"
    known = select(audit_rows.c.id).where(
        audit_rows.c.account_id == row.account_id, audit_rows.c.action == action, audit_rows.c.detail == detail
    )
    if conn.execute(known.limit(1)).first() is None:
        audit_log.record(conn, actor=_ACTOR, action=action, account_id=row.account_id, detail=detail, now_us=now_us)


def _values(state: PlanState) -> dict[str, object]:
    pending = state.pending
    return {
        "plan_slug": state.present.slug,
        "price_nano": state.present.price_nano,
        "pending_plan_slug": None if pending is None else pending.plan.slug,
        "pending_price_nano": None if pending is None else pending.plan.price_nano,
        "plan_changes_at_us": None if pending is None else pending.at_us,
    }


def _wanted(after: PlanState, before: PlanState) -> SoldPlan | None:
    """The plan that a change leads to; None when it only takes back what was pending."""
    if after.present != before.present:
        return after.present
    return None if after.pending is None else after.pending.plan


def _agreed_change(conn: Connection, row: _Row, checkout_id: str | None, plan: SoldPlan | None) -> Checkout | None:
    """The change to `plan` that we noted before Stripe was asked for it, where Stripe names it."""
    if checkout_id is None or plan is None or checkout_id == row.checkout_id:
        return None
    change = find(conn, checkout_id)
    if change is None or change.offer.kind is not CheckoutKind.PLAN_CHANGE or change.offer.subscription_id != row.id:
        return None
    agreed = (change.offer.plan_slug, change.offer.amount_nano)
    return change if agreed == (plan.slug, plan.price_nano) else None


def _record_elsewhere(conn: Connection, row: _Row, wanted: SoldPlan, now_us: int) -> None:
    offer = Offer(CheckoutKind.PLAN_CHANGE, wanted.slug, wanted.price_nano, None, row.id)
    values = row_of(new_id(IdPrefix.CHECKOUT, now_us), row.account_id, offer, now_us)
    conn.execute(insert(checkouts).values(**values | {"status": CheckoutStatus.PAID}))
    audit_log.record(
        conn,
        actor=_ACTOR,
        action="plan.changed_elsewhere",
        account_id=row.account_id,
        detail=f"{row.id}: {wanted.slug}",
        now_us=now_us,
    )
