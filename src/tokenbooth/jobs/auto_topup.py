"""The job of automatic top-ups: charges the saved card of every account whose available credit fell too low.

One charge of an account at a time, noted before Stripe is asked; a charge that fails switches the rule off, and the
account reads why. It must never charge beyond the month's limit. Imported by the composition root only.
"""

from collections.abc import Callable
from typing import Final

import structlog

from tokenbooth.card_charges import CardCharge, ChargeStatus, charge
from tokenbooth.clock import Clock
from tokenbooth.ids import IdPrefix, new_id
from tokenbooth.payments.stripe_client import PaymentProviderError, StripeGateway
from tokenbooth.store import auto_topups
from tokenbooth.store.auto_topups import Candidate
from tokenbooth.store.checkouts import TopUpCaps
from tokenbooth.store.engine import Store

_NO_CARD: Final = "no_payment_method"

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class AutoTopUp:
    """Charges what the accounts' rules ask for; `run` is a periodic job."""

    def __init__(
        self, store: Store, stripe: StripeGateway, clock: Clock, caps: TopUpCaps, held_nano: Callable[[str], int]
    ) -> None:
        """`held_nano`: what calls in flight hold of an account's credit, in nano-USD."""
        self._store = store
        self._stripe = stripe
        self._clock = clock
        self._caps = caps
        self._held_nano = held_nano

    async def run(self) -> None:
        """Look at every account whose rule is on, once."""
        for candidate in await self._store.read(auto_topups.candidates):
            available_nano = candidate.balance_nano - self._held_nano(candidate.account_id)
            if available_nano < candidate.rule.threshold_nano:
                await self._top_up(candidate)

    async def _top_up(self, candidate: Candidate) -> None:
        account_id = candidate.account_id
        try:
            card_id = await self._stripe.saved_card(candidate.customer_id)
            if card_id is None:
                await self._store.write(auto_topups.switch_off, account_id, _NO_CARD, now_us=self._clock.now_us())
                _tell_off(account_id, _NO_CARD)
                return
            await self._charge(candidate, card_id)
        except PaymentProviderError as failure:
            # What came of it is not known; no other charge begins before the reconciler found out.
            _log.warning(
                "auto_top_up_unanswered",
                account_id=account_id,
                error=failure.message,
                action="The reconciler reads it back within minutes.",
            )

    async def _charge(self, candidate: Candidate, card_id: str) -> None:
        now_us = self._clock.now_us()
        checkout_id = new_id(IdPrefix.CHECKOUT, now_us)
        begun = await self._store.write(
            auto_topups.begin,
            candidate,
            checkout_id=checkout_id,
            card_id=card_id,
            held_nano=self._held_nano(candidate.account_id),
            caps=self._caps,
            now_us=now_us,
        )
        if not begun:
            return
        wanted = CardCharge(
            checkout_id, candidate.account_id, candidate.customer_id, card_id, candidate.rule.amount_nano
        )
        outcome = await charge(self._store, self._stripe, self._clock, wanted)
        if outcome.status is ChargeStatus.FAILED:
            _tell_off(candidate.account_id, outcome.reason)
        else:
            _log.info("auto_top_up", account_id=candidate.account_id, checkout_id=checkout_id, outcome=outcome.status)


def _tell_off(account_id: str, reason: str | None) -> None:
    _log.warning(
        "auto_top_up_switched_off",
        account_id=account_id,
        reason=reason,
        action="The account reads it with its rule, and can switch it on again with another card.",
    )
