"""Stripe's calls about plans: their prices, subscriptions begun, changed, canceled and ended.

A plan that costs more is charged for at once, with Stripe's proration. Any other begins with the next period: a
subscription schedule of two phases says so at Stripe, without proration. Whatever else is done to a subscription, its
schedule is released first, because Stripe lets nobody past it. Answered in our own values; only `stripe_client` builds
on this.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from tokenbooth.payments.stripe.calls import StripeCalls, whole_cents
from tokenbooth.payments.stripe.snapshots import (
    US_PER_S,
    Fields,
    SubscriptionSnapshot,
    parse_invoice,
    parse_subscription,
)

if TYPE_CHECKING:
    from stripe.params import SubscriptionUpdateParams

PlanInterval = Literal["day", "week", "month", "year"]


@dataclass(frozen=True, slots=True)
class PlanPrice:
    """A plan's price at Stripe: `price_nano` per interval, a whole number of cents."""

    plan_slug: str
    plan_name: str
    price_nano: int
    interval: PlanInterval

    @property
    def lookup_key(self) -> str:
        """The name by which the price is found; another price of the same plan has another one."""
        return f"tokenbooth-{self.plan_slug}-{whole_cents(self.price_nano)}-{self.interval}"


_SCHEDULE: Final = "schedule.phases.items.price"


class PlanCalls(StripeCalls):
    """Calls about plans and subscriptions."""

    async def ensure_price(self, price: PlanPrice) -> str:
        """The id of a plan's price, made with its product when there is none."""
        known = self._price_ids.get(price.lookup_key)
        if known is not None:
            return known

        def work() -> str:
            found = self._client.v1.prices.list({"lookup_keys": [price.lookup_key], "active": True, "limit": 1})
            for entry in found.data:
                return entry.id
            made = self._client.v1.prices.create(
                {
                    "currency": "usd",
                    "unit_amount": whole_cents(price.price_nano),
                    "recurring": {"interval": price.interval},
                    "product_data": {"name": price.plan_name, "metadata": {"plan_slug": price.plan_slug}},
                    "lookup_key": price.lookup_key,
                    "metadata": {"plan_slug": price.plan_slug},
                },
                {"idempotency_key": f"price-{price.lookup_key}"},
            )
            return made.id

        price_id = self._price_ids[price.lookup_key] = await self._call(work)
        return price_id

    async def subscribe(
        self, *, customer_id: str, card_id: str, price: PlanPrice, account_id: str, checkout_id: str
    ) -> SubscriptionSnapshot:
        """Begin a subscription with a saved card; a card that is refused leaves nothing behind."""
        price_id = await self.ensure_price(price)
        marks = {"account_id": account_id, "plan_slug": price.plan_slug, "checkout_id": checkout_id}

        def work() -> SubscriptionSnapshot:
            made = self._client.v1.subscriptions.create(
                {
                    "customer": customer_id,
                    "items": [{"price": price_id, "quantity": 1}],
                    "default_payment_method": card_id,
                    "payment_behavior": "error_if_incomplete",
                    "off_session": True,
                    "automatic_tax": {"enabled": self.collects_tax},
                    "metadata": marks,
                },
                {"idempotency_key": f"subscribe-{checkout_id}"},
            )
            return parse_subscription(made.to_dict())

        return await self._call(work)

    async def fetch_subscription(self, subscription_id: str) -> SubscriptionSnapshot:
        """The subscription as it is now, with what its schedule makes of it next; and where its price was changed
        elsewhere, with what Stripe gave back for that."""
        return await self._call(lambda: self._subscription(subscription_id))

    async def change_plan(
        self, subscription_id: str, present: PlanPrice, wanted: PlanPrice, checkout_id: str, *, charged_from_us: int
    ) -> SubscriptionSnapshot:
        """Move a subscription to a dearer price now. The difference from `charged_from_us` (UTC microseconds) to the
        period's end is invoiced and charged at once; a card that is refused leaves plan and price as they are, and a
        scheduled change given up."""
        present_id, wanted_id = await self.ensure_price(present), await self.ensure_price(wanted)

        def work() -> SubscriptionSnapshot:
            before = self._subscription(subscription_id)
            if before.owner.checkout_id == checkout_id and before.owner.plan_slug == wanted.plan_slug:
                return before
            item_id = self._free(before, present, present_id).item_id
            self._client.v1.subscriptions.update(
                subscription_id,
                {
                    "items": [{"id": item_id, "price": wanted_id}],
                    "proration_behavior": "always_invoice",
                    "proration_date": charged_from_us // US_PER_S,
                    "payment_behavior": "error_if_incomplete",
                    "metadata": {"plan_slug": wanted.plan_slug, "checkout_id": checkout_id},
                },
                {"idempotency_key": f"change-{checkout_id}"},
            )
            return self._subscription(subscription_id)

        return await self._call(work)

    async def schedule_plan(
        self, subscription_id: str, present: PlanPrice, wanted: PlanPrice, checkout_id: str
    ) -> SubscriptionSnapshot:
        """Let a subscription go on at another price from its next period on; nothing is charged or given back."""
        present_id, wanted_id = await self.ensure_price(present), await self.ensure_price(wanted)

        def work() -> SubscriptionSnapshot:
            before = self._subscription(subscription_id)
            released = self._free(before, present, present_id)
            # After another schedule it is another call, which must not be answered with the first one's schedule.
            key = f"schedule-{checkout_id}-{before.schedule_id or 'first'}"
            schedule = self._client.v1.subscription_schedules.create(
                {"from_subscription": subscription_id}, {"idempotency_key": key}
            )
            begun_s = Fields(schedule.to_dict(), "subscription_schedule").plain_list("phases")[0].number("start_date")
            marks = {"plan_slug": wanted.plan_slug, "checkout_id": checkout_id}
            self._client.v1.subscription_schedules.update(
                schedule.id,
                {
                    "end_behavior": "release",
                    "proration_behavior": "none",
                    "metadata": marks,
                    "phases": [
                        {
                            "items": [{"price": present_id, "quantity": 1}],
                            "start_date": begun_s,
                            "end_date": released.period_end_us // US_PER_S,
                            "proration_behavior": "none",
                        },
                        {
                            "items": [{"price": wanted_id, "quantity": 1}],
                            "duration": {"interval": wanted.interval, "interval_count": 1},
                            "proration_behavior": "none",
                            # Stripe puts these on the subscription when the phase begins.
                            "metadata": marks,
                        },
                    ],
                },
            )
            return self._subscription(subscription_id)

        return await self._call(work)

    async def keep_plan(self, subscription_id: str, present: PlanPrice) -> SubscriptionSnapshot:
        """Give up a change that has not come about; asked again, the same."""
        present_id = await self.ensure_price(present)

        def work() -> SubscriptionSnapshot:
            return self._free(self._subscription(subscription_id), present, present_id)

        return await self._call(work)

    async def cancel_at_period_end(self, subscription_id: str, idempotency_key: str) -> SubscriptionSnapshot:
        """Let the subscription end with its period; asked again, the same. A scheduled change is given up."""

        def work() -> SubscriptionSnapshot:
            self._release(self._subscription(subscription_id))
            return self._updated(subscription_id, {"cancel_at_period_end": True}, idempotency_key)

        return await self._call(work)

    async def resume(self, subscription_id: str, idempotency_key: str) -> SubscriptionSnapshot:
        """Undo a cancel that has not come about, however it was made; asked again, the same."""

        def work() -> SubscriptionSnapshot:
            present = self._subscription(subscription_id)
            if present.cancel_at_period_end:
                return self._updated(subscription_id, {"cancel_at_period_end": False}, idempotency_key)
            if present.cancel_at_us is not None:
                # As the portal cancels in flexible billing mode: a date alone.
                return self._updated(subscription_id, {"cancel_at": ""}, f"{idempotency_key}-date")
            return present

        return await self._call(work)

    async def end_subscription(self, subscription_id: str, idempotency_key: str) -> SubscriptionSnapshot:
        """End a subscription at once, without giving anything back."""

        def work() -> SubscriptionSnapshot:
            ended = self._client.v1.subscriptions.cancel(
                subscription_id, {"prorate": False, "invoice_now": False}, {"idempotency_key": idempotency_key}
            )
            return parse_subscription(ended.to_dict())

        return await self._call(work)

    def _subscription(self, subscription_id: str) -> SubscriptionSnapshot:
        found = self._client.v1.subscriptions.retrieve(subscription_id, {"expand": [_SCHEDULE]})
        snapshot = parse_subscription(found.to_dict())
        if not snapshot.is_changed_elsewhere and not snapshot.is_ended_early:
            return snapshot
        return replace(snapshot, credited_cents=self._given_back(snapshot))

    def _given_back(self, snapshot: SubscriptionSnapshot) -> int:
        """What Stripe gave back for the rest of the present period, in cents: by the invoice of the change, or by
        items that wait for the next one."""
        waiting = self._client.v1.invoice_items.list({"customer": snapshot.customer_id, "pending": True, "limit": 100})
        cents = sum(
            item.number("amount")
            for item in (Fields(entry.to_dict(), "invoiceitem") for entry in waiting.auto_paging_iter())
            if item.flag("proration") and _belongs(item, snapshot.subscription_id)
        )
        if snapshot.latest_invoice_id is not None:
            invoice = parse_invoice(
                self._client.v1.invoices.retrieve(snapshot.latest_invoice_id, {"expand": ["payments"]}).to_dict()
            )
            if invoice.period_end_us is None:
                cents += min(invoice.proration_cents, 0)
        return max(-cents, 0)

    def _free(self, before: SubscriptionSnapshot, present: PlanPrice, present_id: str) -> SubscriptionSnapshot:
        """The subscription at the price that counts here, without a schedule: after a change that was made elsewhere
        Stripe may bill another one already."""
        snapshot = self._release(before)
        if snapshot.price is None or snapshot.price.price_id == present_id:
            return snapshot
        self._client.v1.subscriptions.update(
            snapshot.subscription_id,
            {
                "items": [{"id": snapshot.item_id, "price": present_id}],
                "proration_behavior": "none",
                "metadata": {"plan_slug": present.plan_slug},
            },
        )
        return self._subscription(snapshot.subscription_id)

    def _release(self, snapshot: SubscriptionSnapshot) -> SubscriptionSnapshot:
        if snapshot.schedule_id is None:
            return snapshot
        self._client.v1.subscription_schedules.release(snapshot.schedule_id)
        return self._subscription(snapshot.subscription_id)

    def _updated(
        self, subscription_id: str, params: "SubscriptionUpdateParams", idempotency_key: str
    ) -> SubscriptionSnapshot:
        updated = self._client.v1.subscriptions.update(subscription_id, params, {"idempotency_key": idempotency_key})
        return parse_subscription(updated.to_dict())


def _belongs(item: Fields, subscription_id: str) -> bool:
    parent = item.opt_child("parent")
    details = None if parent is None else parent.opt_child("subscription_details")
    return details is not None and details.ref("subscription") == subscription_id
