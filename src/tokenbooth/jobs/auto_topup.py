"""The job of automatic top-ups: charges the saved card of every account whose available credit fell too low.

One charge of an account at a time, noted before Stripe is asked; a charge that fails switches the rule off, and the
account's owner is told, by whichever way the failure became known. It must never charge beyond the month's limit.
Imported by the composition root only.
"""

from collections.abc import Callable
from typing import Final

import structlog

from tokenbooth.card_charges import CardCharge, ChargeStatus, charge
from tokenbooth.clock import Clock
from tokenbooth.ids import IdPrefix, new_id
from tokenbooth.mail import Mail, Mailer
from tokenbooth.payments.stripe_client import PaymentProviderError, StripeGateway
from tokenbooth.store import auto_topups
from tokenbooth.store.auto_topups import Candidate, Untold
from tokenbooth.store.checkouts import TopUpCaps
from tokenbooth.store.engine import Store

_NO_CARD: Final = "no_payment_method"
_SUBJECT: Final = "Automatic top-ups are switched off"

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class AutoTopUp:
    """Charges what the accounts' rules ask for; `run` is a periodic job."""

    def __init__(
        self,
        store: Store,
        stripe: StripeGateway,
        clock: Clock,
        caps: TopUpCaps,
        held_nano: Callable[[str], int],
        *,
        mailer: Mailer,
        billing_url: str,
    ) -> None:
        """`held_nano`: what calls in flight hold of an account's credit, in nano-USD. `billing_url`: the page that an
        owner is sent to when charging failed."""
        self._store = store
        self._stripe = stripe
        self._clock = clock
        self._caps = caps
        self._held_nano = held_nano
        self._mailer = mailer
        self._billing_url = billing_url

    async def run(self) -> None:
        """Look at every account whose rule is on, once; then tell the owners of those that were switched off."""
        for candidate in await self._store.read(auto_topups.candidates):
            available_nano = candidate.balance_nano - self._held_nano(candidate.account_id)
            if available_nano < candidate.rule.threshold_nano:
                await self._top_up(candidate)
        for failed in await self._store.read(auto_topups.untold):
            await self._tell(failed)

    async def _top_up(self, candidate: Candidate) -> None:
        account_id = candidate.account_id
        try:
            card_id = await self._stripe.saved_card(candidate.customer_id)
            if card_id is None:
                await self._store.write(auto_topups.switch_off, account_id, _NO_CARD, now_us=self._clock.now_us())
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
        if outcome.status is not ChargeStatus.FAILED:
            _log.info("auto_top_up", account_id=candidate.account_id, checkout_id=checkout_id, outcome=outcome.status)

    async def _tell(self, failed: Untold) -> None:
        # Noted first: an owner may miss a mail that a crash cut off, and is never sent one every few seconds.
        if not await self._store.write(auto_topups.note_told, failed, now_us=self._clock.now_us()):
            return
        _log.warning(
            "auto_top_up_switched_off",
            account_id=failed.account_id,
            reason=failed.failure,
            action="Its owner is told, and can switch it on again with another card.",
        )
        await self._mailer.send(Mail(failed.email, _SUBJECT, _text(failed.failure), self._billing_url))


def _text(failure: str) -> str:
    if failure == _NO_CARD:
        why = "No card is saved for your account any more"
    else:
        why = f"Your saved card could not be charged ({failure})"
    return (
        f"{why}, so automatic top-ups of your credit are switched off, and nothing more is charged. Calls go on until "
        "the credit is spent. Add credit with a card that works, then switch automatic top-ups on again:"
    )
