"""Calls about plans: their prices; subscriptions begun, changed, canceled and ended.

A plan that costs more is charged for at once, with Stripe's proration. Any other begins with the next period: a
subscription schedule of two phases says so at Stripe, without proration. Whatever else is done to a subscription, its
schedule is released first, because Stripe refuses it otherwise.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from tokenbooth.domain.money import NANO_PER_CENT
from tokenbooth.domain.windows import SECOND_US
from tokenbooth.payments.stripe.connection import StripeCalls, StripeConnection, stripe_call
from tokenbooth.payments.stripe.object_reader import ObjectReader
from tokenbooth.payments.stripe.parsing import parse_invoice, parse_subscription
from tokenbooth.payments.stripe.snapshots import SubscriptionSnapshot

if TYPE_CHECKING:
    from stripe.params import SubscriptionUpdateParams

PlanInterval = Literal["day", "week", "month", "year"]

_SCHEDULE: Final = "schedule.phases.items.price"


@dataclass(frozen=True, slots=True)
class PlanPrice:
    """A plan's price at Stripe: `price_nano` per interval, a whole number of cents."""

    plan_slug: str
    plan_name: str
    price_nano: int
    interval: PlanInterval

    @property
    def cents(self) -> int:
        """The price in cents. Raises ValueError for a fraction of one."""
        cents, rest = divmod(self.price_nano, NANO_PER_CENT)
        if rest:
            raise ValueError("Stripe charges whole cents only")
        return cents

    @property
    def lookup_key(self) -> str:
        """The name by which the price is found; another price of the same plan has another one."""
        return f"tokenbooth-{self.plan_slug}-{self.cents}-{self.interval}"


class SubscriptionCalls(StripeCalls):
    """Calls about plans and subscriptions."""

    def __init__(self, connection: StripeConnection) -> None:
        super().__init__(connection)
        self._price_ids: dict[str, str] = {}

    @stripe_call
    async def ensure_price(self, price: PlanPrice) -> str:
        """The id of a plan's price, made with its product when there is none."""
        if price.lookup_key not in self._price_ids:
            self._price_ids[price.lookup_key] = await self._find_price(price) or await self._create_price(price)
        return self._price_ids[price.lookup_key]

    @stripe_call
    async def create(
        self, *, customer_id: str, card_id: str, price: PlanPrice, account_id: str, checkout_id: str
    ) -> SubscriptionSnapshot:
        """Begin a subscription with a saved card; a card that is refused leaves nothing behind."""
        price_id = await self.ensure_price(price)
        made = await self._v1.subscriptions.create_async(
            {
                "customer": customer_id,
                "items": [{"price": price_id, "quantity": 1}],
                "default_payment_method": card_id,
                "payment_behavior": "error_if_incomplete",
                "off_session": True,
                "automatic_tax": {"enabled": self.connection.collects_tax},
                "metadata": {"account_id": account_id, "plan_slug": price.plan_slug, "checkout_id": checkout_id},
            },
            {"idempotency_key": f"subscribe-{checkout_id}"},
        )
        return parse_subscription(made.to_dict())

    @stripe_call
    async def list_ours(self) -> tuple[SubscriptionSnapshot, ...]:
        """Every subscription of ours, ended ones included."""
        listing = await self._v1.subscriptions.list_async({"status": "all", "limit": 100, "expand": ["data.schedule"]})
        found = []
        async for entry in listing.auto_paging_iter():
            plain = entry.to_dict()
            # Others may sell through the same account, in shapes that are not ours to judge.
            if "account_id" in ObjectReader(plain, "subscription").texts("metadata"):
                found.append(parse_subscription(plain))
        return tuple(found)

    @stripe_call
    async def fetch(self, subscription_id: str) -> SubscriptionSnapshot:
        """The subscription as it is now, with what its schedule makes of it next; and where its price was changed
        elsewhere, with what Stripe gave back for that."""
        found = await self._v1.subscriptions.retrieve_async(subscription_id, {"expand": [_SCHEDULE]})
        snapshot = parse_subscription(found.to_dict())
        if not snapshot.is_changed_elsewhere and not snapshot.is_ended_early:
            return snapshot
        return replace(snapshot, credited_cents=await self._credited_cents(snapshot))

    @stripe_call
    async def change_plan(
        self, subscription_id: str, present: PlanPrice, wanted: PlanPrice, checkout_id: str, *, charged_from_us: int
    ) -> SubscriptionSnapshot:
        """Move a subscription to a dearer price now. The difference from `charged_from_us` (UTC microseconds) to the
        period's end is invoiced and charged at once; a card that is refused leaves plan and price as they are, and a
        scheduled change given up."""
        wanted_id = await self.ensure_price(wanted)
        before = await self.fetch(subscription_id)
        if before.owner.checkout_id == checkout_id and before.owner.plan_slug == wanted.plan_slug:
            return before
        released = await self._release_at(before, present)
        await self._v1.subscriptions.update_async(
            subscription_id,
            {
                "items": [{"id": released.item_id, "price": wanted_id}],
                "proration_behavior": "always_invoice",
                "proration_date": charged_from_us // SECOND_US,
                "payment_behavior": "error_if_incomplete",
                "metadata": {"plan_slug": wanted.plan_slug, "checkout_id": checkout_id},
            },
            {"idempotency_key": f"change-{checkout_id}"},
        )
        return await self.fetch(subscription_id)

    @stripe_call
    async def schedule_plan(
        self, subscription_id: str, present: PlanPrice, wanted: PlanPrice, checkout_id: str
    ) -> SubscriptionSnapshot:
        """Let a subscription go on at another price from its next period on; nothing is charged or given back."""
        present_id, wanted_id = await self.ensure_price(present), await self.ensure_price(wanted)
        before = await self.fetch(subscription_id)
        released = await self._release_at(before, present)
        # After another schedule it is another call, which must not be answered with the first one's schedule.
        key = f"schedule-{checkout_id}-{before.schedule_id or 'first'}"
        schedule = await self._v1.subscription_schedules.create_async(
            {"from_subscription": subscription_id}, {"idempotency_key": key}
        )
        begun_s = ObjectReader(schedule.to_dict(), "subscription_schedule").plain_list("phases")[0].number("start_date")
        marks = {"plan_slug": wanted.plan_slug, "checkout_id": checkout_id}
        await self._v1.subscription_schedules.update_async(
            schedule.id,
            {
                "end_behavior": "release",
                "proration_behavior": "none",
                "metadata": marks,
                "phases": [
                    {
                        "items": [{"price": present_id, "quantity": 1}],
                        "start_date": begun_s,
                        "end_date": released.period_end_us // SECOND_US,
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
        return await self.fetch(subscription_id)

    @stripe_call
    async def keep_plan(self, subscription_id: str, present: PlanPrice) -> SubscriptionSnapshot:
        """Give up a change that has not come about; asked again, the same."""
        return await self._release_at(await self.fetch(subscription_id), present)

    @stripe_call
    async def cancel_at_period_end(self, subscription_id: str, idempotency_key: str) -> SubscriptionSnapshot:
        """Let the subscription end with its period; asked again, the same. A scheduled change is given up."""
        await self._release(await self.fetch(subscription_id))
        return await self._update(subscription_id, {"cancel_at_period_end": True}, idempotency_key)

    @stripe_call
    async def resume(self, subscription_id: str, idempotency_key: str) -> SubscriptionSnapshot:
        """Undo a cancel that has not come about, however it was made; asked again, the same."""
        present = await self.fetch(subscription_id)
        if present.cancel_at_period_end:
            return await self._update(subscription_id, {"cancel_at_period_end": False}, idempotency_key)
        if present.cancel_at_us is not None:
            # As the portal cancels in flexible billing mode: a date alone.
            return await self._update(subscription_id, {"cancel_at": ""}, f"{idempotency_key}-date")
        return present

    @stripe_call
    async def end(self, subscription_id: str, idempotency_key: str) -> SubscriptionSnapshot:
        """End a subscription at once, without giving anything back."""
        ended = await self._v1.subscriptions.cancel_async(
            subscription_id, {"prorate": False, "invoice_now": False}, {"idempotency_key": idempotency_key}
        )
        return parse_subscription(ended.to_dict())

    async def _find_price(self, price: PlanPrice) -> str | None:
        found = await self._v1.prices.list_async({"lookup_keys": [price.lookup_key], "active": True, "limit": 1})
        return next((entry.id for entry in found.data), None)

    async def _create_price(self, price: PlanPrice) -> str:
        made = await self._v1.prices.create_async(
            {
                "currency": "usd",
                "unit_amount": price.cents,
                "recurring": {"interval": price.interval},
                "product_data": {"name": price.plan_name, "metadata": {"plan_slug": price.plan_slug}},
                "lookup_key": price.lookup_key,
                "metadata": {"plan_slug": price.plan_slug},
            },
            {"idempotency_key": f"price-{price.lookup_key}"},
        )
        return made.id

    async def _credited_cents(self, snapshot: SubscriptionSnapshot) -> int:
        """What Stripe gave back for the rest of the present period, in cents: by the invoice of the change, or by
        items that wait for the next one."""
        pending = await self._v1.invoice_items.list_async(
            {"customer": snapshot.customer_id, "pending": True, "limit": 100}
        )
        cents = 0
        async for entry in pending.auto_paging_iter():
            item = ObjectReader(entry.to_dict(), "invoiceitem")
            if item.flag("proration") and _belongs(item, snapshot.subscription_id):
                cents += item.number("amount")
        if snapshot.latest_invoice_id is not None:
            found = await self._v1.invoices.retrieve_async(snapshot.latest_invoice_id, {"expand": ["payments"]})
            invoice = parse_invoice(found.to_dict())
            if invoice.period_end_us is None:
                cents += min(invoice.proration_cents, 0)
        return max(-cents, 0)

    async def _release_at(self, before: SubscriptionSnapshot, present: PlanPrice) -> SubscriptionSnapshot:
        """The subscription at the price that counts here, without a schedule: after a change that was made elsewhere
        Stripe may bill another one already."""
        present_id = await self.ensure_price(present)
        snapshot = await self._release(before)
        if snapshot.price is None or snapshot.price.price_id == present_id:
            return snapshot
        await self._v1.subscriptions.update_async(
            snapshot.subscription_id,
            {
                "items": [{"id": snapshot.item_id, "price": present_id}],
                "proration_behavior": "none",
                "metadata": {"plan_slug": present.plan_slug},
            },
        )
        return await self.fetch(snapshot.subscription_id)

    async def _release(self, snapshot: SubscriptionSnapshot) -> SubscriptionSnapshot:
        if snapshot.schedule_id is None:
            return snapshot
        await self._v1.subscription_schedules.release_async(snapshot.schedule_id)
        return await self.fetch(snapshot.subscription_id)

    async def _update(
        self, subscription_id: str, params: "SubscriptionUpdateParams", idempotency_key: str
    ) -> SubscriptionSnapshot:
        updated = await self._v1.subscriptions.update_async(
            subscription_id, params, {"idempotency_key": idempotency_key}
        )
        return parse_subscription(updated.to_dict())


def _belongs(item: ObjectReader, subscription_id: str) -> bool:
    parent = item.opt_child("parent")
    details = None if parent is None else parent.opt_child("subscription_details")
    return details is not None and details.ref("subscription") == subscription_id
