"""Stripe's calls about its books and its set-up: events, subscriptions, balance, invoices, the webhook endpoint.

The reconciler, the papers and the operator's commands need them. Answered in our own values. Only
`stripe_client` builds on this.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from tokenbooth.domain.money import NANO_PER_CENT
from tokenbooth.domain.stripe_balance import BalanceTransaction
from tokenbooth.payments.stripe.calls import API_VERSION, StripeCalls
from tokenbooth.payments.stripe.events import ENDPOINT_EVENTS
from tokenbooth.payments.stripe.snapshots import US_PER_S, Fields, SubscriptionSnapshot, parse_subscription
from tokenbooth.payments.stripe.webhooks import WebhookEvent, parse_event

if TYPE_CHECKING:
    from stripe.params import WebhookEndpointCreateParams, WebhookEndpointUpdateParams

_PAGE = 100
_MARK = {"tokenbooth": "1"}


_WAITING = {"decreasing_item_amount", "shortening_interval"}
"""Changes of plan in the portal that have to wait for the period's end."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """One page of Stripe's event list, newest first. `last_id` continues it; None when it is empty."""

    events: tuple[WebhookEvent, ...]
    has_more: bool
    last_id: str | None


@dataclass(frozen=True, slots=True)
class InvoicePaper:
    """An invoice as a customer may see it. Amounts in nano-USD, times in UTC microseconds."""

    invoice_id: str
    number: str | None
    status: str
    currency: str
    total_nano: int
    paid_nano: int
    created_at_us: int
    hosted_url: str | None
    pdf_url: str | None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook endpoint. `secret` is told only when it is made."""

    id: str
    url: str
    api_version: str | None
    events: frozenset[str]
    enabled: bool
    secret: str | None = None

    @property
    def missing_events(self) -> tuple[str, ...]:
        """What it should subscribe to and does not."""
        return () if "*" in self.events else tuple(name for name in ENDPOINT_EVENTS if name not in self.events)


class BookCalls(StripeCalls):
    """Calls about what Stripe has on record."""

    async def list_events(self, *, created_from_us: int, after_id: str | None = None) -> EventPage:
        """A page of the events since `created_from_us` (UTC microseconds), newest first, older than
        `after_id`."""

        def work() -> EventPage:
            since_s = created_from_us // US_PER_S
            page = self._client.v1.events.list(
                {"limit": _PAGE, "created": {"gte": since_s}, "starting_after": after_id}
                if after_id
                else {"limit": _PAGE, "created": {"gte": since_s}}
            )
            events = tuple(parse_event(entry.to_dict()) for entry in page.data)
            return EventPage(events, page.has_more, events[-1].event_id if events else None)

        return await self._call(work)

    async def list_subscriptions(self) -> tuple[SubscriptionSnapshot, ...]:
        """Every subscription of ours, ended ones included."""

        def work() -> tuple[SubscriptionSnapshot, ...]:
            listing = self._client.v1.subscriptions.list({"status": "all", "limit": _PAGE, "expand": ["data.schedule"]})
            found = []
            for entry in listing.auto_paging_iter():
                plain = entry.to_dict()
                # Others may sell through the same account, in shapes that are not ours to judge.
                if "account_id" in Fields(plain, "subscription").texts("metadata"):
                    found.append(parse_subscription(plain))
            return tuple(found)

        return await self._call(work)

    async def list_balance_transactions(self, *, created_from_us: int) -> tuple[BalanceTransaction, ...]:
        """Every balance transaction since `created_from_us` (UTC microseconds), oldest first."""

        def work() -> tuple[BalanceTransaction, ...]:
            listing = self._client.v1.balance_transactions.list(
                {"limit": _PAGE, "created": {"gte": created_from_us // US_PER_S}, "expand": ["data.source"]}
            )
            return tuple(read_booked(entry.to_dict()) for entry in listing.auto_paging_iter())[::-1]

        return await self._call(work)

    async def balance_nano(self) -> int:
        """What Stripe holds for us in USD, available and pending."""

        def work() -> int:
            balance = Fields(self._client.v1.balance.retrieve().to_dict(), "balance")
            parts = (*balance.plain_list("available"), *balance.plain_list("pending"))
            return sum(part.number("amount") for part in parts if part.text("currency") == "usd") * NANO_PER_CENT

        return await self._call(work)

    async def list_invoices(self, customer_id: str, *, limit: int, after_id: str | None) -> tuple[InvoicePaper, ...]:
        """A customer's invoices, newest first, older than `after_id`; drafts are left out."""

        def work() -> tuple[InvoicePaper, ...]:
            page = self._client.v1.invoices.list(
                {"customer": customer_id, "limit": limit, "starting_after": after_id}
                if after_id
                else {"customer": customer_id, "limit": limit}
            )
            papers = (read_paper(entry.to_dict()) for entry in page.data)
            return tuple(paper for paper in papers if paper.status != "draft")

        return await self._call(work)

    async def list_endpoints(self) -> tuple[Endpoint, ...]:
        """The webhook endpoints of the account."""

        def work() -> tuple[Endpoint, ...]:
            listing = self._client.v1.webhook_endpoints.list({"limit": _PAGE})
            return tuple(read_endpoint(entry.to_dict()) for entry in listing.auto_paging_iter())

        return await self._call(work)

    async def make_endpoint(self, url: str) -> Endpoint:
        """A webhook endpoint for everything that we handle, at our API version; its secret is told this once."""

        # The SDK's types list every event by name; ours come from one table of texts.
        params = cast(
            "WebhookEndpointCreateParams",
            {
                "url": url,
                "enabled_events": list(ENDPOINT_EVENTS),
                "api_version": API_VERSION,
                "description": "Tokenbooth",
                "metadata": _MARK,
            },
        )
        return await self._call(lambda: read_endpoint(self._client.v1.webhook_endpoints.create(params).to_dict()))

    async def subscribe_endpoint(self, endpoint_id: str) -> Endpoint:
        """Let an endpoint that is there get everything that we handle."""

        params = cast("WebhookEndpointUpdateParams", {"enabled_events": list(ENDPOINT_EVENTS), "disabled": False})
        return await self._call(
            lambda: read_endpoint(self._client.v1.webhook_endpoints.update(endpoint_id, params).to_dict())
        )

    async def ensure_portal(self, return_url: str) -> tuple[str, bool]:
        """The id of our portal configuration, and whether it was made or brought up to date now. It lets customers
        change cards, see invoices and cancel at the period's end; plans are changed through us, so that we know of it.
        An operator who lets plans be changed there finds a cheaper one set to wait for the period's end."""

        def work() -> tuple[str, bool]:
            known = self._client.v1.billing_portal.configurations.list({"active": True, "limit": _PAGE})
            for entry in known.data:
                shown = Fields(entry.to_dict(), "configuration")
                if "tokenbooth" not in shown.texts("metadata"):
                    continue
                update = shown.child("features").child("subscription_update")
                conditions = update.child("schedule_at_period_end").plain_list("conditions")
                if {condition.text("type") for condition in conditions} >= _WAITING:
                    return entry.id, False
                self._client.v1.billing_portal.configurations.update(
                    entry.id,
                    {
                        "features": {
                            "subscription_update": {
                                "enabled": update.flag("enabled"),
                                "schedule_at_period_end": {
                                    "conditions": [{"type": "decreasing_item_amount"}, {"type": "shortening_interval"}]
                                },
                            }
                        }
                    },
                )
                return entry.id, True
            made = self._client.v1.billing_portal.configurations.create(
                {
                    "default_return_url": return_url,
                    "features": {
                        "customer_update": {"enabled": False},
                        "invoice_history": {"enabled": True},
                        "payment_method_update": {"enabled": True},
                        "subscription_cancel": {
                            "enabled": True,
                            "mode": "at_period_end",
                            "proration_behavior": "none",
                        },
                        "subscription_update": {
                            "enabled": False,
                            "schedule_at_period_end": {
                                "conditions": [{"type": "decreasing_item_amount"}, {"type": "shortening_interval"}]
                            },
                        },
                    },
                    "metadata": _MARK,
                }
            )
            return made.id, True

        return await self._call(work)


def read_booked(value: object) -> BalanceTransaction:
    """Read a balance transaction whose source is expanded. Raises `UnexpectedShape`."""
    fields = Fields(value, "balance_transaction")
    source = fields.opt_child("source")
    named = source is not None and source.has("payment_intent")
    return BalanceTransaction(
        id=fields.text("id"),
        type=fields.text("type"),
        currency=fields.text("currency"),
        source_id=None if source is None else source.text("id"),
        payment_intent_id=source.opt_ref("payment_intent") if source is not None and named else None,
        amount_nano=fields.number("amount") * NANO_PER_CENT,
        fee_nano=fields.number("fee") * NANO_PER_CENT,
        created_at_us=fields.time_us("created"),
    )


def read_paper(value: object) -> InvoicePaper:
    """Read an invoice for its customer. Raises `UnexpectedShape`."""
    fields = Fields(value, "invoice")
    return InvoicePaper(
        invoice_id=fields.text("id"),
        number=fields.opt_text("number"),
        status=fields.text("status"),
        currency=fields.text("currency"),
        total_nano=fields.number("total") * NANO_PER_CENT,
        paid_nano=fields.number("amount_paid") * NANO_PER_CENT,
        created_at_us=fields.time_us("created"),
        hosted_url=fields.opt_text("hosted_invoice_url") if fields.has("hosted_invoice_url") else None,
        pdf_url=fields.opt_text("invoice_pdf") if fields.has("invoice_pdf") else None,
    )


def read_endpoint(value: object) -> Endpoint:
    """Read a webhook endpoint. Raises `UnexpectedShape`."""
    fields = Fields(value, "webhook_endpoint")
    return Endpoint(
        id=fields.text("id"),
        url=fields.text("url"),
        api_version=fields.opt_text("api_version"),
        events=frozenset(fields.plain_texts("enabled_events")),
        enabled=fields.text("status") == "enabled",
        secret=fields.opt_text("secret") if fields.has("secret") else None,
    )
