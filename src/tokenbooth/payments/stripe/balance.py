"""Calls about what Stripe has of ours: its balance, and the transactions that made it."""

from tokenbooth.domain.money import NANO_PER_CENT
from tokenbooth.domain.stripe_balance import BalanceTransaction
from tokenbooth.domain.windows import SECOND_US
from tokenbooth.payments.stripe.connection import StripeCalls, stripe_call
from tokenbooth.payments.stripe.object_reader import ObjectReader


class BalanceCalls(StripeCalls):
    """Calls about Stripe's balance."""

    @stripe_call
    async def list_transactions(self, *, created_from_us: int) -> tuple[BalanceTransaction, ...]:
        """Every balance transaction since `created_from_us` (UTC microseconds), oldest first."""
        listing = await self._v1.balance_transactions.list_async(
            {"limit": 100, "created": {"gte": created_from_us // SECOND_US}, "expand": ["data.source"]}
        )
        found = [parse_balance_transaction(entry.to_dict()) async for entry in listing.auto_paging_iter()]
        return tuple(reversed(found))

    @stripe_call
    async def total_nano(self) -> int:
        """What Stripe holds for us in USD, available and pending."""
        balance = ObjectReader((await self._v1.balance.retrieve_async()).to_dict(), "balance")
        parts = (*balance.plain_list("available"), *balance.plain_list("pending"))
        return sum(part.number("amount") for part in parts if part.text("currency") == "usd") * NANO_PER_CENT


def parse_balance_transaction(value: object) -> BalanceTransaction:
    """Read a balance transaction whose source is expanded. Raises `UnexpectedShape`."""
    fields = ObjectReader(value, "balance_transaction")
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
