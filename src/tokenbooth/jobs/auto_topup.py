"""The job of automatic top-ups: charges the saved card of every account whose available credit fell too low.

One charge of an account at a time, noted before Stripe is asked; a charge that fails switches the rule off, and the
account's owner is told, by whichever way the failure became known. It must never charge beyond the month's limit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from tokenbooth.kit.clock import Clock
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.payments.stripe.client import PaymentProviderError, StripeClient
from tokenbooth.services.cards import TAX_UNKNOWN, CardCharge, ChargeStatus, charge
from tokenbooth.services.mail import Mail, Mailer
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import auto_topups
from tokenbooth.store.payments.auto_topups import Candidate, UnnotifiedFailure
from tokenbooth.store.payments.checkouts import TopUpCaps

_NO_CARD: Final = "no_payment_method"
_REFUSED: Final = "refused"
_FIRST_WAIT_US: Final = 30 * 1_000_000
_LONGEST_WAIT_US: Final = 3_600 * 1_000_000
_SUBJECT: Final = "Automatic top-ups are switched off"

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Unanswered:
    """An account for which Stripe did not answer: how long it waits, and until when, UTC microseconds."""

    wait_us: int
    again_at_us: int


class AutoTopUp:
    """Charges what the accounts' rules ask for; `run` is a periodic job."""

    def __init__(
        self,
        store: Store,
        stripe: StripeClient,
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
        self._unanswered: dict[str, _Unanswered] = {}

    async def run(self) -> None:
        """Look at every account whose rule is on, once; then tell the owners of those that were switched off."""
        candidates = await self._store.read(auto_topups.candidates)
        waiting = {candidate.account_id for candidate in candidates}
        self._unanswered = {name: note for name, note in self._unanswered.items() if name in waiting}
        for candidate in candidates:
            note = self._unanswered.get(candidate.account_id)
            if note is not None and self._clock.now_us() < note.again_at_us:
                continue
            available_nano = candidate.balance_nano - self._held_nano(candidate.account_id)
            if available_nano < candidate.rule.threshold_nano:
                await self._top_up(candidate)
        for failed in await self._store.read(auto_topups.unnotified):
            await self._notify(failed)

    async def _top_up(self, candidate: Candidate) -> None:
        account_id = candidate.account_id
        try:
            card_id = await self._stripe.cards.find_saved(candidate.customer_id)
            if card_id is None:
                await self._store.write(auto_topups.switch_off, account_id, _NO_CARD, now_us=self._clock.now_us())
                return
            await self._charge(candidate, card_id)
            self._unanswered.pop(account_id, None)
        except PaymentProviderError as failure:
            if failure.is_lasting:
                # Such as a customer who was deleted at Stripe: to ask again every few seconds would help nobody.
                reason = failure.provider_code or _REFUSED
                await self._store.write(auto_topups.switch_off, account_id, reason, now_us=self._clock.now_us())
                return
            self._wait(account_id, failure)

    def _wait(self, account_id: str, failure: PaymentProviderError) -> None:
        """Try again later, each time twice as late. A charge that may be under way is read back by the reconciler, and
        no other begins before."""
        former = self._unanswered.get(account_id)
        wait_us = _FIRST_WAIT_US if former is None else min(2 * former.wait_us, _LONGEST_WAIT_US)
        self._unanswered[account_id] = _Unanswered(wait_us, self._clock.now_us() + wait_us)
        _log.warning(
            "auto_top_up_unanswered",
            account_id=account_id,
            error=failure.message,
            code=failure.provider_code,
            action=f"It is tried again in {wait_us // 1_000_000} s; check the connection to Stripe if this goes on.",
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

    async def _notify(self, failed: UnnotifiedFailure) -> None:
        # Noted first: an owner may miss a mail that a crash cut off, and is never sent one every few seconds.
        if not await self._store.write(auto_topups.mark_notified, failed, now_us=self._clock.now_us()):
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
    elif failure in TAX_UNKNOWN:
        why = "The tax on your top-ups cannot be calculated, because no valid address is known for you"
    else:
        why = f"Your saved card could not be charged ({failure})"
    return (
        f"{why}, so automatic top-ups of your credit are switched off, and nothing more is charged. Calls go on until "
        "the credit is spent. Add credit with a card that works, then switch automatic top-ups on again:"
    )
