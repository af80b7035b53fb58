"""The inbox job: turns a stored event into its effects, at once when it arrives and again until it succeeds.

The event only names an object; the object is fetched fresh, translated, and applied in one transaction with the row's
mark. It must never take an event's own word for money, and never drop a row.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from tokenbooth.domain.money import format_usd
from tokenbooth.domain.payment_commands import BookProration, GrantPeriod, PaymentCommand, UpsertSubscription
from tokenbooth.domain.plans import Plan
from tokenbooth.kit.clock import Clock
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.kit.logs import where
from tokenbooth.payments.stripe.client import PaymentProviderError
from tokenbooth.payments.stripe.events import ObjectRef, needed
from tokenbooth.payments.stripe.inbox import from_payload
from tokenbooth.payments.stripe.object_reader import UnexpectedShape
from tokenbooth.payments.stripe.snapshots import Snapshot
from tokenbooth.payments.stripe.translation import MissingObject, translate
from tokenbooth.payments.stripe.webhooks import WebhookEvent
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import inbox, reversals, subscriptions
from tokenbooth.store.payments.apply import apply_commands
from tokenbooth.store.payments.inbox import ClaimedRow, InboxStatus, Outcome

_AT_ONCE: Final = 8
_MAX_FETCHES: Final = 5

_HOW_TO_MEND: Final = (
    "A person has to look: compare the object in Stripe's dashboard with the account here, mend the cause, "
    "then resend the event from Stripe's dashboard."
)

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class StripeObjects(Protocol):
    """Where fresh objects come from; `StripeClient` is one."""

    @property
    def livemode(self) -> bool:
        """Whether the configured key moves real money."""
        ...

    async def fetch(self, ref: ObjectRef) -> Snapshot:
        """What `ref` names, as it is now."""
        ...


class KeepsChanging(Exception):
    """A subscription changed here each time after it was fetched; later it will have come to rest."""


class InboxHandler:
    """Handles rows of the inbox, each by one task at a time in this process."""

    def __init__(
        self,
        store: Store,
        stripe: StripeObjects,
        clock: Clock,
        plans: Callable[[], Mapping[str, Plan] | None] = lambda: None,
    ) -> None:
        """`plans`: the catalog's, which a change of plan at Stripe has to stay within; None for any."""
        self._plans = plans
        self._store = store
        self._stripe = stripe
        self._clock = clock
        self._running: dict[str, asyncio.Task[None]] = {}

    async def handle(self, row_id: str) -> None:
        """Handle a row if it is due; who asks while that is under way waits for the same end.

        Failures are written to the row and logged, not raised. A caller that is cancelled does not stop the
        work.
        """
        task = self._running.get(row_id)
        if task is None:
            task = asyncio.create_task(self._handle(row_id), name=f"inbox {row_id}")
            self._running[row_id] = task
            task.add_done_callback(lambda _: self._running.pop(row_id))
        await asyncio.shield(task)

    async def run_due(self) -> None:
        """Handle every row that is due; a periodic job."""
        tried: set[str] = set()
        while True:
            due = await self._store.read(inbox.due, now_us=self._clock.now_us(), limit=_AT_ONCE)
            # A row that is due again at once could not be claimed: the store takes no writes.
            if not due or not tried.isdisjoint(due):
                return
            tried.update(due)
            await asyncio.gather(*(self.handle(row_id) for row_id in due))

    async def drained(self) -> None:
        """Return when nothing is being handled; for a clean stop."""
        while self._running:
            await asyncio.wait(self._running.values())

    async def refresh(self, event: WebhookEvent) -> str | None:
        """Bring our state to what the object of an event says, without a row; returns why a person has to look at
        it, or None.

        Raises:
            PaymentProviderError, UnexpectedShape: Stripe does not answer, or not as it should.
            KeepsChanging: the object's row here does not come to rest.
            StoreUnavailable: the database does not answer.
        """
        for _ in range(_MAX_FETCHES):
            fetched, seen = await self._fetch(event)
            commands = translate(event, fetched, livemode=self._stripe.livemode)
            try:
                reason = await self._store.write(
                    apply_commands, commands, seen=seen, plans=self._plans(), now_us=self._clock.now_us()
                )
            except subscriptions.StaleSnapshot:
                continue
            _log_credit(commands)
            return reason
        raise KeepsChanging

    async def _handle(self, row_id: str) -> None:
        try:
            row = await self._store.write(inbox.claim, row_id, now_us=self._clock.now_us())
            if row is None:
                return
            try:
                outcome = await self._carry_out(row)
            except StoreUnavailable:
                raise
            except Exception as failure:
                outcome = await self._record_failure(row, failure)
        except StoreUnavailable:
            # The row stays due; its claim runs out by itself.
            _log.warning("inbox_store_unavailable", row_id=row_id, action="The row is tried again within minutes.")
            return
        _log_outcome(row, outcome)

    async def _carry_out(self, row: ClaimedRow) -> Outcome:
        event = from_payload(row.payload)
        for _ in range(_MAX_FETCHES):
            fetched, seen = await self._fetch(event)
            commands = translate(event, fetched, livemode=self._stripe.livemode)
            try:
                outcome = await self._store.write(
                    inbox.carry_out, row.id, commands, seen=seen, plans=self._plans(), now_us=self._clock.now_us()
                )
            except subscriptions.StaleSnapshot:
                continue
            _log_credit(commands)
            return outcome
        raise KeepsChanging

    async def _fetch(self, event: WebhookEvent) -> tuple[tuple[Snapshot, ...], dict[str, int | None]]:
        """Everything that the event needs, and the version of each subscription from before it was
        fetched."""
        fetched: tuple[Snapshot, ...] = ()
        seen: dict[str, int | None] = {}
        while refs := needed(event, fetched, livemode=self._stripe.livemode):
            for ref in refs:
                match ref.kind:
                    case "subscription":
                        seen[ref.object_id] = await self._store.read(subscriptions.version, ref.object_id)
                    case "refund" | "dispute":
                        seen[ref.object_id] = await self._store.read(reversals.version, ref.object_id)
                    case _:
                        pass
            fetched += tuple(await asyncio.gather(*(self._stripe.fetch(ref) for ref in refs)))
        return fetched, seen

    async def _record_failure(self, row: ClaimedRow, failure: Exception) -> Outcome:
        error = _safe_text(failure)
        foreseen = isinstance(failure, PaymentProviderError | UnexpectedShape | MissingObject | KeepsChanging)
        _log.warning(
            "inbox_attempt_failed",
            row_id=row.id,
            event_type=row.type,
            external_id=row.external_id,
            attempt=row.attempts + 1,
            error=error,
            where=None if foreseen else where(failure),
        )
        return await self._store.write(inbox.fail, row.id, error, now_us=self._clock.now_us())


def _safe_text(failure: Exception) -> str:
    """A failure's text for a stored row: only of kinds whose texts are ours, else the kind alone."""
    match failure:
        case PaymentProviderError():
            return f"Stripe: {failure.message} ({failure.kind}, {failure.provider_code})"
        case UnexpectedShape():
            return f"Stripe's object has another shape: {failure}"
        case _:
            return type(failure).__name__


def _log_credit(commands: Sequence[PaymentCommand]) -> None:
    for command in commands:
        match command:
            case BookProration() | GrantPeriod():
                credited_nano = command.credited_nano
            case UpsertSubscription():
                credited_nano = 0 if command.billed is None else command.billed.credited_nano
            case _:
                continue
        if credited_nano > 0:
            _log.error(
                "plan_credited",
                subscription=command.stripe_subscription_id,
                usd=format_usd(credited_nano),
                action="A change outside Tokenbooth gave money back for budget windows that may be spent. Compare it "
                "with the usage, and let Stripe's portal schedule cheaper plans and cancels for the period's end.",
            )


def _log_outcome(row: ClaimedRow, outcome: Outcome) -> None:
    if outcome.status is InboxStatus.PARKED:
        _log.error(
            "inbox_event_parked",
            row_id=row.id,
            event_type=row.type,
            external_id=row.external_id,
            reason=outcome.reason,
            action=_HOW_TO_MEND,
        )
    elif outcome.status is InboxStatus.HANDLED:
        _log.info("inbox_event_handled", row_id=row.id, event_type=row.type, ignored=outcome.reason)
