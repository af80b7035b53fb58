"""Every field of Stripe's objects that we read, at its place; and how to find such a place in the SDK's types.

Each path was looked up by hand in the example objects that Stripe publishes with its OpenAPI description, of the API
version 2026-08-26: it stands there at this place, except those in `NOT_IN_EXAMPLES`, whose examples leave the field
out (an optional field, or one that has to be asked for). Only tests import this.
"""

import re

import stripe

FIELDS: dict[str, tuple[type[stripe.StripeObject], tuple[str, ...]]] = {
    "subscription": (
        stripe.Subscription,
        (
            "id",
            "customer",
            "livemode",
            "status",
            "metadata",
            "cancel_at_period_end",
            "cancel_at",
            "ended_at",
            "created",
            "latest_invoice",
            "items.has_more",
            "items.data.id",
            "items.data.current_period_start",
            "items.data.current_period_end",
            "items.data.quantity",
            "items.data.price.id",
            "items.data.price.metadata",
            "items.data.price.currency",
            "items.data.price.unit_amount",
            "items.data.price.recurring.interval",
            "schedule.status",
            "schedule.phases.start_date",
            "schedule.phases.metadata",
            "schedule.phases.items.price.id",
            "schedule.phases.items.price.metadata",
            "schedule.phases.items.price.currency",
            "schedule.phases.items.price.unit_amount",
            "schedule.phases.items.price.recurring.interval",
        ),
    ),
    "invoice": (
        stripe.Invoice,
        (
            "id",
            "livemode",
            "status",
            "parent.type",
            "parent.subscription_details.subscription",
            "amount_paid",
            "currency",
            "attempt_count",
            "next_payment_attempt",
            "total",
            "total_excluding_tax",
            "lines.has_more",
            "lines.data.amount",
            "lines.data.parent.type",
            "lines.data.parent.subscription_item_details.proration",
            "lines.data.parent.invoice_item_details.proration",
            "lines.data.pricing.price_details.price",
            "lines.data.period.start",
            "lines.data.period.end",
            "payments.has_more",
            "payments.data.status",
            "payments.data.payment.type",
            "payments.data.payment.payment_intent",
            "number",
            "created",
            "hosted_invoice_url",
            "invoice_pdf",
        ),
    ),
    "checkout.session": (
        stripe.checkout.Session,
        (
            "id",
            "livemode",
            "mode",
            "status",
            "payment_status",
            "metadata",
            "customer",
            "subscription",
            "invoice",
            "payment_intent",
            "amount_subtotal",
            "amount_total",
            "currency",
            "url",
            "expires_at",
            "total_details.amount_tax",
        ),
    ),
    "subscription_schedule": (stripe.SubscriptionSchedule, ("id", "subscription", "released_subscription")),
    "invoiceitem": (
        stripe.InvoiceItem,
        ("amount", "proration", "parent.subscription_details.subscription"),
    ),
    "tax.calculation": (
        stripe.tax.Calculation,
        ("id", "amount_total", "tax_amount_exclusive", "tax_amount_inclusive"),
    ),
    "tax.settings": (stripe.tax.Settings, ("defaults.tax_behavior",)),
    "payment_intent": (
        stripe.PaymentIntent,
        (
            "id",
            "livemode",
            "status",
            "amount_received",
            "currency",
            "metadata",
            "last_payment_error.code",
        ),
    ),
    "refund": (stripe.Refund, ("id", "status", "amount", "currency", "payment_intent")),
    "dispute": (
        stripe.Dispute,
        ("id", "livemode", "status", "currency", "payment_intent", "balance_transactions.amount"),
    ),
    "balance_transaction": (
        stripe.BalanceTransaction,
        ("id", "type", "currency", "source", "amount", "fee", "created"),
    ),
    "balance": (
        stripe.Balance,
        ("available.amount", "available.currency", "pending.amount", "pending.currency"),
    ),
    "invoice_payment": (stripe.InvoicePayment, ("invoice",)),
    "customer": (stripe.Customer, ("id", "invoice_settings.default_payment_method")),
    "webhook_endpoint": (
        stripe.WebhookEndpoint,
        ("id", "url", "api_version", "enabled_events", "status", "secret"),
    ),
    "billing_portal.configuration": (
        stripe.billing_portal.Configuration,
        (
            "id",
            "metadata",
            "features.subscription_update.enabled",
            "features.subscription_update.schedule_at_period_end.conditions.type",
        ),
    ),
    "event": (stripe.Event, ("object", "id", "type", "livemode", "created", "data.object")),
}

NOT_IN_EXAMPLES = {
    # Included when they are asked for, like the schedule of a subscription.
    "invoice": (
        "payments.has_more",
        "payments.data.status",
        "payments.data.payment.type",
        "payments.data.payment.payment_intent",
    ),
    "payment_intent": ("last_payment_error.code",),  # left out for errors without one
    "dispute": ("balance_transactions.amount",),  # the example's list is empty
    "webhook_endpoint": ("secret",),  # told when the endpoint is made
}

_TYPING = {"typing", "Optional", "Union", "List", "Literal", "ForwardRef", "ListObject", "ExpandableField", "NoneType"}


def find_in_sdk(kind: type[stripe.StripeObject], path: str) -> bool:
    """Whether a path stands in the SDK's types; `data` of a list object is the list's type argument."""
    name, _, rest = path.partition(".")
    if name in ("data", "has_more") and name not in kind.__annotations__:
        return find_in_sdk(kind, rest) if rest else True
    annotation = kind.__annotations__.get(name)
    if annotation is None:
        return False
    if not rest:
        return True
    found = _classes(kind, str(annotation))
    return any(find_in_sdk(inner, rest) for inner in found)


def _classes(kind: type[stripe.StripeObject], annotation: str) -> list[type[stripe.StripeObject]]:
    """The classes that an annotation names: nested ones, or those of the SDK."""
    found = []
    for word in re.findall(r"[A-Za-z_][A-Za-z_.]*", annotation):
        name = word.rpartition(".")[2]
        if name in _TYPING:
            continue
        inner = getattr(kind, name, None) or getattr(stripe, name, None)
        if isinstance(inner, type) and issubclass(inner, stripe.StripeObject):
            found.append(inner)
    return found
