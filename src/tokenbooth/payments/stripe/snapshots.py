"""Stripe's objects as we read them: each field at its exact place, or an error.

Since Stripe's API of 2025-03-31 a subscription's period stands on its items and an invoice's subscription under
`parent`. A field that is missing or of another type raises `UnexpectedShape`; nothing is guessed. No I/O.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tokenbooth.kit.texts import is_storable

US_PER_S = 1_000_000


class UnexpectedShape(Exception):
    """A Stripe object does not have a field where this API version has it. `path` names the place."""

    code = "stripe_unexpected_shape"

    def __init__(self, path: str, expected: str) -> None:
        super().__init__(f"{path}: expected {expected}")
        self.path = path


class Fields:
    """Typed access to one JSON object; every miss names its path."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, Mapping):
            raise UnexpectedShape(path, "an object")
        self._value = value
        self._path = path

    def _get(self, name: str) -> object:
        if name not in self._value:
            raise UnexpectedShape(self._at(name), "a field")
        field: object = self._value[name]
        return field

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}"

    def has(self, name: str) -> bool:
        """Whether the field is there at all, for objects that lack it by design."""
        return name in self._value

    def text(self, name: str) -> str:
        value = self._get(name)
        if not isinstance(value, str) or not value or not is_storable(value):
            raise UnexpectedShape(self._at(name), "a text")
        return value

    def opt_text(self, name: str) -> str | None:
        return None if self._get(name) is None else self.text(name)

    def number(self, name: str) -> int:
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise UnexpectedShape(self._at(name), "an integer")
        return value

    def opt_number(self, name: str) -> int | None:
        return None if self._get(name) is None else self.number(name)

    def time_us(self, name: str) -> int:
        """A Stripe time (whole UTC seconds) in microseconds."""
        return self.number(name) * US_PER_S

    def opt_time_us(self, name: str) -> int | None:
        return None if self._get(name) is None else self.time_us(name)

    def flag(self, name: str) -> bool:
        value = self._get(name)
        if not isinstance(value, bool):
            raise UnexpectedShape(self._at(name), "true or false")
        return value

    def ref(self, name: str) -> str:
        """The id of another object, whether Stripe wrote the id or, expanded, the whole object."""
        value = self._get(name)
        return Fields(value, self._at(name)).text("id") if isinstance(value, Mapping) else self.text(name)

    def opt_ref(self, name: str) -> str | None:
        return None if self._get(name) is None else self.ref(name)

    def child(self, name: str) -> "Fields":
        return Fields(self._get(name), self._at(name))

    def opt_child(self, name: str) -> "Fields | None":
        return None if self._get(name) is None else self.child(name)

    def expanded(self, name: str) -> "Fields | None":
        """Another object, where Stripe wrote the whole of it; None where it wrote the id."""
        return self.child(name) if isinstance(self._get(name), Mapping) else None

    def whole_list(self, name: str) -> list["Fields"]:
        """The entries of a Stripe list object. A list that was cut off is an error: its rest would be
        guessed."""
        listing = self.child(name)
        if listing.flag("has_more"):
            raise UnexpectedShape(f"{self._at(name)}.has_more", "a complete list")
        data = listing._get("data")
        if not isinstance(data, list):
            raise UnexpectedShape(f"{self._at(name)}.data", "a list")
        return [Fields(entry, f"{self._at(name)}.data[{i}]") for i, entry in enumerate(data)]

    def plain_list(self, name: str) -> list["Fields"]:
        """The entries of a field that is a bare list of objects."""
        entries = self._get(name)
        if not isinstance(entries, list):
            raise UnexpectedShape(self._at(name), "a list")
        return [Fields(entry, f"{self._at(name)}[{i}]") for i, entry in enumerate(entries)]

    def plain_texts(self, name: str) -> list[str]:
        """The entries of a field that is a bare list of texts."""
        entries = self._get(name)
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise UnexpectedShape(self._at(name), "a list of texts")
        return [str(entry) for entry in entries]

    def texts(self, name: str) -> dict[str, str]:
        """A metadata map; absent values count as empty."""
        if self._get(name) is None:
            return {}
        entries = self.child(name)
        return {key: entries.text(key) for key in entries._value if entries._value[key] != ""}


@dataclass(frozen=True, slots=True)
class Ownership:
    """Our own marks in an object's metadata; None where the object does not carry them."""

    account_id: str | None
    checkout_id: str | None
    plan_slug: str | None
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class PriceSnapshot:
    """A price as Stripe has it. `plan_slug` is our mark on it; `unit_cents` is None for a price in other steps."""

    price_id: str
    plan_slug: str | None
    currency: str
    unit_cents: int | None
    interval: str | None


@dataclass(frozen=True, slots=True)
class FollowingPhase:
    """What a schedule makes of a subscription next. `price` is None where only its id was told."""

    starts_at_us: int
    price: PriceSnapshot | None
    checkout_id: str | None


@dataclass(frozen=True, slots=True)
class SubscriptionSnapshot:
    """A subscription as Stripe has it now. `period_*_us` and the price are those of its one item.

    `schedule_id` is that of a schedule that manages it, `following` the phase to come, where the schedule was fetched
    along. `credited_cents` is what Stripe gave back for the rest of the period, for a change that we did not make or
    for an early end.
    """

    subscription_id: str
    customer_id: str
    livemode: bool
    status: str
    owner: Ownership
    cancel_at_period_end: bool
    cancel_at_us: int | None
    ended_at_us: int | None
    created_at_us: int
    period_start_us: int
    period_end_us: int
    latest_invoice_id: str | None
    item_id: str
    price: PriceSnapshot | None = None
    quantity: int = 1
    schedule_id: str | None = None
    following: FollowingPhase | None = None
    credited_cents: int = 0

    @property
    def is_changed_elsewhere(self) -> bool:
        """Whether its price is not that of the plan that we noted on it last."""
        return self.price is not None and self.price.plan_slug != self.owner.plan_slug

    @property
    def is_ended_early(self) -> bool:
        """Whether it ended before its period did."""
        return self.ended_at_us is not None and self.ended_at_us < self.period_end_us


@dataclass(frozen=True, slots=True)
class InvoiceSnapshot:
    """An invoice as Stripe has it now.

    `subscription_id` is None for an invoice that no subscription made. The period is that of its one kind
    of ordinary (not prorated) line, None when it has prorations only; `list_cents` is what those lines come
    to, `proration_cents` what the others do; `prorated_price_id` is the price that those charge for. Amounts are in
    the currency's smallest unit. `payment_intent_id` is of the payment that paid it, None
    when nothing had to be paid.
    """

    invoice_id: str
    livemode: bool
    status: str
    subscription_id: str | None
    amount_paid_cents: int
    currency: str
    period_start_us: int | None
    period_end_us: int | None
    attempt_count: int
    next_attempt_at_us: int | None
    list_cents: int
    tax_cents: int
    payment_intent_id: str | None
    proration_cents: int = 0
    prorated_price_id: str | None = None


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """A checkout session as Stripe has it now. `amount_total_cents` is in the currency's smallest unit."""

    session_id: str
    livemode: bool
    mode: str
    status: str
    payment_status: str
    owner: Ownership
    customer_id: str | None
    subscription_id: str | None
    invoice_id: str | None
    payment_intent_id: str | None
    amount_subtotal_cents: int | None
    amount_total_cents: int | None
    currency: str | None
    url: str | None
    expires_at_us: int
    tax_cents: int = 0


@dataclass(frozen=True, slots=True)
class TaxNote:
    """The tax in a payment, in cents: what was added to the credit's price, and what was part of it."""

    added_cents: int = 0
    included_cents: int = 0


NO_TAX = TaxNote()


@dataclass(frozen=True, slots=True)
class PaymentSnapshot:
    """A payment intent as Stripe has it now. `failure_code` is why the last attempt failed, if it did; `tax` what we
    noted of the tax in it."""

    payment_intent_id: str
    livemode: bool
    status: str
    amount_received_cents: int
    currency: str
    owner: Ownership
    failure_code: str | None
    tax: TaxNote = NO_TAX


@dataclass(frozen=True, slots=True)
class ScheduleSnapshot:
    """A subscription schedule as Stripe has it now; it only leads to its subscription, which is told with it."""

    schedule_id: str
    subscription_id: str | None


@dataclass(frozen=True, slots=True)
class OriginSnapshot:
    """What a payment paid for: an invoice, a checkout session, or neither of them."""

    payment_intent_id: str
    invoice_id: str | None
    session_id: str | None


@dataclass(frozen=True, slots=True)
class RefundSnapshot:
    """A refund as Stripe has it now. `payment_intent_id` is None for payments that are older than intents."""

    refund_id: str
    status: str
    amount_cents: int
    currency: str
    payment_intent_id: str | None


@dataclass(frozen=True, slots=True)
class DisputeSnapshot:
    """A dispute as Stripe has it now. `withdrawn_cents` is what it holds of our balance at present, without
    its fee."""

    dispute_id: str
    livemode: bool
    status: str
    withdrawn_cents: int
    currency: str
    payment_intent_id: str | None


Snapshot = (
    SubscriptionSnapshot
    | ScheduleSnapshot
    | InvoiceSnapshot
    | SessionSnapshot
    | PaymentSnapshot
    | OriginSnapshot
    | RefundSnapshot
    | DisputeSnapshot
)
SnapshotKind = Literal["subscription", "schedule", "invoice", "session", "payment", "origin", "refund", "dispute"]


def _owner(metadata: Mapping[str, str]) -> Ownership:
    return Ownership(
        metadata.get("account_id"), metadata.get("checkout_id"), metadata.get("plan_slug"), metadata.get("purpose")
    )


def parse_subscription(value: object) -> SubscriptionSnapshot:
    """Read a subscription object; its schedule may be expanded. Raises `UnexpectedShape`."""
    fields = Fields(value, "subscription")
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
    fields = Fields(value, "subscription_schedule")
    subscription_id = fields.opt_ref("subscription") or fields.opt_text("released_subscription")
    return ScheduleSnapshot(fields.text("id"), subscription_id)


def parse_price(price: Fields) -> PriceSnapshot:
    """Read a price object. Raises `UnexpectedShape`."""
    recurring = price.opt_child("recurring")
    return PriceSnapshot(
        price_id=price.text("id"),
        plan_slug=price.texts("metadata").get("plan_slug"),
        currency=price.text("currency"),
        unit_cents=price.opt_number("unit_amount"),
        interval=None if recurring is None else recurring.text("interval"),
    )


def _following_phase(subscription: Fields, period_end_us: int) -> FollowingPhase | None:
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
    fields = Fields(value, "invoice")
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


def _invoice_subscription(invoice: Fields) -> str | None:
    parent = invoice.opt_child("parent")
    if parent is None or parent.text("type") != "subscription_details":
        return None
    return parent.child("subscription_details").ref("subscription")


def _subscription_lines(invoice: Fields) -> tuple[list[Fields], list[Fields]]:
    """The ordinary subscription lines, and the prorations, which cover the past and grant nothing."""
    ordinary: list[Fields] = []
    prorated: list[Fields] = []
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


def _prorated_price(lines: Sequence[Fields]) -> str | None:
    """The price that prorations charge for; None where they give back only, or charge for several."""
    prices = set()
    for line in lines:
        if line.number("amount") > 0:
            pricing = line.opt_child("pricing")
            details = None if pricing is None else pricing.opt_child("price_details")
            prices.add(None if details is None else details.ref("price"))
    return next(iter(prices)) if len(prices) == 1 else None


def _one_period(lines: Sequence[Fields]) -> tuple[int, int] | None:
    periods = {(line.child("period").time_us("start"), line.child("period").time_us("end")) for line in lines}
    if len(periods) > 1:
        raise UnexpectedShape("invoice.lines.data[].period", "one period")
    return next(iter(periods), None)


def _tax_cents(invoice: Fields) -> int:
    without_tax = invoice.opt_number("total_excluding_tax")
    return 0 if without_tax is None else invoice.number("total") - without_tax


def _paid_by(invoice: Fields) -> str | None:
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
    fields = Fields(value, "session")
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


def _session_tax_cents(session: Fields) -> int:
    totals = session.opt_child("total_details")
    return 0 if totals is None else totals.number("amount_tax")


def parse_payment(value: object) -> PaymentSnapshot:
    """Read a payment intent object. Raises `UnexpectedShape`."""
    fields = Fields(value, "payment_intent")
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
    fields = Fields(value, "refund")
    return RefundSnapshot(
        refund_id=fields.text("id"),
        status=fields.text("status"),
        amount_cents=fields.number("amount"),
        currency=fields.text("currency"),
        payment_intent_id=fields.opt_ref("payment_intent"),
    )


def parse_dispute(value: object) -> DisputeSnapshot:
    """Read a dispute object. Raises `UnexpectedShape`."""
    fields = Fields(value, "dispute")
    booked = fields.plain_list("balance_transactions")
    return DisputeSnapshot(
        dispute_id=fields.text("id"),
        livemode=fields.flag("livemode"),
        status=fields.text("status"),
        withdrawn_cents=-sum(entry.number("amount") for entry in booked),
        currency=fields.text("currency"),
        payment_intent_id=fields.opt_ref("payment_intent"),
    )
