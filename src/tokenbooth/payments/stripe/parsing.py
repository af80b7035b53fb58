"""Makes snapshots of Stripe's objects.

Since Stripe's API of 2025-03-31 a subscription's period stands on its items and an invoice's subscription under
`parent`. A field that is missing or of another type raises `UnexpectedShape`.
"""

from collections.abc import Mapping, Sequence

from tokenbooth.payments.stripe.object_reader import ObjectReader, UnexpectedShape
from tokenbooth.payments.stripe.snapshots import (
    DisputeSnapshot,
    FollowingPhase,
    InvoiceSnapshot,
    Ownership,
    PaymentSnapshot,
    PriceSnapshot,
    RefundSnapshot,
    ScheduleSnapshot,
    SessionSnapshot,
    SubscriptionSnapshot,
    TaxNote,
)


def _owner(metadata: Mapping[str, str]) -> Ownership:
    return Ownership(
        metadata.get("account_id"), metadata.get("checkout_id"), metadata.get("plan_slug"), metadata.get("purpose")
    )


def parse_subscription(value: object) -> SubscriptionSnapshot:
    """Read a subscription object; its schedule may be expanded. Raises `UnexpectedShape`."""
    fields = ObjectReader(value, "subscription")
    items = fields.whole_list("items")
    if len(items) != 1:
        raise UnexpectedShape("subscription.items.data", "exactly one item")
    period_start_us = items[0].time_us("current_period_start")
    period_end_us = items[0].time_us("current_period_end")
    return SubscriptionSnapshot(
        subscription_id=fields.text("id"),
        customer_id=fields.ref("customer"),
        livemode=fields.flag("livemode"),
        status=fields.text("status"),
        owner=_owner(fields.texts("metadata")),
        cancel_at_period_end=fields.flag("cancel_at_period_end"),
        cancel_at_us=fields.opt_time_us("cancel_at"),
        ended_at_us=fields.opt_time_us("ended_at"),
        created_at_us=fields.time_us("created"),
        period_start_us=period_start_us,
        period_end_us=period_end_us,
        latest_invoice_id=fields.opt_ref("latest_invoice"),
        item_id=items[0].text("id"),
        price=parse_price(items[0].child("price")),
        quantity=items[0].number("quantity"),
        schedule_id=fields.opt_ref("schedule"),
        following=_following_phase(fields, period_end_us),
    )


def parse_schedule(value: object) -> ScheduleSnapshot:
    """Read a subscription schedule object. Raises `UnexpectedShape`."""
    fields = ObjectReader(value, "subscription_schedule")
    subscription_id = fields.opt_ref("subscription") or fields.opt_text("released_subscription")
    return ScheduleSnapshot(fields.text("id"), subscription_id)


def parse_price(price: ObjectReader) -> PriceSnapshot:
    """Read a price object. Raises `UnexpectedShape`."""
    recurring = price.opt_child("recurring")
    return PriceSnapshot(
        price_id=price.text("id"),
        plan_slug=price.texts("metadata").get("plan_slug"),
        currency=price.text("currency"),
        unit_cents=price.opt_number("unit_amount"),
        interval=None if recurring is None else recurring.text("interval"),
    )


def _following_phase(subscription: ObjectReader, period_end_us: int) -> FollowingPhase | None:
    """The first phase that begins with the end of the present period, or later; None where there is none, or the
    schedule was not fetched along."""
    schedule = None if subscription.opt_ref("schedule") is None else subscription.expanded("schedule")
    if schedule is None or schedule.text("status") not in ("not_started", "active"):
        return None
    for phase in schedule.plain_list("phases"):
        if phase.time_us("start_date") >= period_end_us:
            items = phase.plain_list("items")
            if len(items) != 1:
                raise UnexpectedShape("subscription.schedule.phases[].items", "exactly one item")
            price = items[0].expanded("price")
            return FollowingPhase(
                starts_at_us=phase.time_us("start_date"),
                price=None if price is None else parse_price(price),
                checkout_id=phase.texts("metadata").get("checkout_id"),
            )
    return None


def parse_invoice(value: object) -> InvoiceSnapshot:
    """Read an invoice object. Raises `UnexpectedShape`."""
    fields = ObjectReader(value, "invoice")
    subscription_id = _invoice_subscription(fields)
    ordinary, prorated = _subscription_lines(fields) if subscription_id is not None else ([], [])
    period = _one_period(ordinary)
    return InvoiceSnapshot(
        invoice_id=fields.text("id"),
        livemode=fields.flag("livemode"),
        status=fields.text("status"),
        subscription_id=subscription_id,
        amount_paid_cents=fields.number("amount_paid"),
        currency=fields.text("currency"),
        period_start_us=None if period is None else period[0],
        period_end_us=None if period is None else period[1],
        attempt_count=fields.number("attempt_count"),
        next_attempt_at_us=fields.opt_time_us("next_payment_attempt"),
        list_cents=sum(line.number("amount") for line in ordinary),
        tax_cents=_tax_cents(fields),
        payment_intent_id=_paid_by(fields),
        proration_cents=sum(line.number("amount") for line in prorated),
        prorated_price_id=_prorated_price(prorated),
    )


def _invoice_subscription(invoice: ObjectReader) -> str | None:
    parent = invoice.opt_child("parent")
    if parent is None or parent.text("type") != "subscription_details":
        return None
    return parent.child("subscription_details").ref("subscription")


def _subscription_lines(invoice: ObjectReader) -> tuple[list[ObjectReader], list[ObjectReader]]:
    """The ordinary subscription lines, and the prorations, which cover the past and grant nothing."""
    ordinary: list[ObjectReader] = []
    prorated: list[ObjectReader] = []
    for line in invoice.whole_list("lines"):
        parent = line.opt_child("parent")
        if parent is None:
            continue
        match parent.text("type"):
            case "subscription_item_details":
                is_prorated = parent.child("subscription_item_details").flag("proration")
            case "invoice_item_details":
                # How a proration is written that waited for an invoice.
                is_prorated = parent.child("invoice_item_details").flag("proration")
                if not is_prorated:
                    continue
            case _:
                continue
        (prorated if is_prorated else ordinary).append(line)
    return ordinary, prorated


def _prorated_price(lines: Sequence[ObjectReader]) -> str | None:
    """The price that prorations charge for; None where they give back only, or charge for several."""
    prices = set()
    for line in lines:
        if line.number("amount") > 0:
            pricing = line.opt_child("pricing")
            details = None if pricing is None else pricing.opt_child("price_details")
            prices.add(None if details is None else details.ref("price"))
    return next(iter(prices)) if len(prices) == 1 else None


def _one_period(lines: Sequence[ObjectReader]) -> tuple[int, int] | None:
    periods = {(line.child("period").time_us("start"), line.child("period").time_us("end")) for line in lines}
    if len(periods) > 1:
        raise UnexpectedShape("invoice.lines.data[].period", "one period")
    return next(iter(periods), None)


def _tax_cents(invoice: ObjectReader) -> int:
    without_tax = invoice.opt_number("total_excluding_tax")
    return 0 if without_tax is None else invoice.number("total") - without_tax


def _paid_by(invoice: ObjectReader) -> str | None:
    """The payment intent of the payment that succeeded; an invoice has no such field of its own any more."""
    paid = [entry for entry in invoice.whole_list("payments") if entry.text("status") == "paid"]
    if len(paid) > 1:
        raise UnexpectedShape("invoice.payments.data", "one payment that succeeded")
    for entry in paid:
        payment = entry.child("payment")
        if payment.text("type") == "payment_intent":
            return payment.ref("payment_intent")
    return None


def parse_session(value: object) -> SessionSnapshot:
    """Read a checkout session object. Raises `UnexpectedShape`."""
    fields = ObjectReader(value, "session")
    return SessionSnapshot(
        session_id=fields.text("id"),
        livemode=fields.flag("livemode"),
        mode=fields.text("mode"),
        status=fields.text("status"),
        payment_status=fields.text("payment_status"),
        owner=_owner(fields.texts("metadata")),
        customer_id=fields.opt_ref("customer"),
        subscription_id=fields.opt_ref("subscription"),
        invoice_id=fields.opt_ref("invoice"),
        payment_intent_id=fields.opt_ref("payment_intent"),
        amount_subtotal_cents=fields.opt_number("amount_subtotal"),
        amount_total_cents=fields.opt_number("amount_total"),
        currency=fields.opt_text("currency"),
        url=fields.opt_text("url"),
        expires_at_us=fields.time_us("expires_at"),
        tax_cents=_session_tax_cents(fields),
    )


def _session_tax_cents(session: ObjectReader) -> int:
    totals = session.opt_child("total_details")
    return 0 if totals is None else totals.number("amount_tax")


def parse_payment(value: object) -> PaymentSnapshot:
    """Read a payment intent object. Raises `UnexpectedShape`."""
    fields = ObjectReader(value, "payment_intent")
    failure = fields.opt_child("last_payment_error")
    metadata = fields.texts("metadata")
    return PaymentSnapshot(
        payment_intent_id=fields.text("id"),
        livemode=fields.flag("livemode"),
        status=fields.text("status"),
        amount_received_cents=fields.number("amount_received"),
        currency=fields.text("currency"),
        owner=_owner(metadata),
        tax=TaxNote(_noted_cents(metadata, "tax_added"), _noted_cents(metadata, "tax_included")),
        failure_code=None if failure is None or not failure.has("code") else failure.opt_text("code"),
    )


def _noted_cents(metadata: Mapping[str, str], name: str) -> int:
    noted = metadata.get(name, "0")
    if not noted.isascii() or not noted.isdigit():
        raise UnexpectedShape(f"payment_intent.metadata.{name}", "cents")
    return int(noted)


def parse_refund(value: object) -> RefundSnapshot:
    """Read a refund object. Raises `UnexpectedShape`."""
    fields = ObjectReader(value, "refund")
    return RefundSnapshot(
        refund_id=fields.text("id"),
        status=fields.text("status"),
        amount_cents=fields.number("amount"),
        currency=fields.text("currency"),
        payment_intent_id=fields.opt_ref("payment_intent"),
    )


def parse_dispute(value: object) -> DisputeSnapshot:
    """Read a dispute object. Raises `UnexpectedShape`."""
    fields = ObjectReader(value, "dispute")
    booked = fields.plain_list("balance_transactions")
    return DisputeSnapshot(
        dispute_id=fields.text("id"),
        livemode=fields.flag("livemode"),
        status=fields.text("status"),
        withdrawn_cents=-sum(entry.number("amount") for entry in booked),
        currency=fields.text("currency"),
        payment_intent_id=fields.opt_ref("payment_intent"),
    )
