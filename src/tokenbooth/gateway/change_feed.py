"""Following the change sequence: what others committed becomes true in this process's memory, within 250 ms."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from tokenbooth.gateway.access.cache import AccountCache
from tokenbooth.gateway.access.keys import KeyCache
from tokenbooth.gateway.access.revocations import Revocations
from tokenbooth.gateway.settlement.charge_queue import ChargeQueue
from tokenbooth.gateway.settlement.flusher import Flusher
from tokenbooth.kit.clock import Clock
from tokenbooth.store import changes
from tokenbooth.store.changes import Change, ChangesForgotten, DatabaseWentBack, Topic
from tokenbooth.store.engine import Store
from tokenbooth.store.usage.admission import load_account, load_key_row, load_subscription, reload

POLL_INTERVAL_S: Final = 0.25
_PAGE: Final = 1_000
_SAME_FAIL_OVER_US: Final = 10_000_000
_log = structlog.get_logger(__name__)


class ChangeFeed:
    """Reads the change sequence and applies it to what is in memory; `sync` does it now, `run` every 250 ms."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        accounts: AccountCache,
        keys: KeyCache,
        revocations: Revocations,
        flusher: Callable[[], Flusher],
        queue: Callable[[], ChargeQueue],
    ) -> None:
        """Take what it works with.

        Args:
            store, clock, accounts, keys, revocations: what it works with.
            flusher, queue: give what brings charges to the store, and those that wait for it.
        """
        self._store = store
        self._clock = clock
        self._accounts = accounts
        self._keys = keys
        self._revocations = revocations
        self._flusher = flusher
        self._queue = queue
        self._lock = asyncio.Lock()
        self._distrusted = False
        self._went_back_at_us = -_SAME_FAIL_OVER_US
        self.synced_at_us = clock.monotonic_us()
        self.times_went_back = 0
        """How often the database was found at an earlier state."""

    async def start(self) -> None:
        """Begin at the last change; what is loaded later knows everything before it."""
        position = await self._store.read(changes.last)
        self._accounts.applied_seq, self._accounts.applied_id = position.seq, position.id
        self.synced_at_us = self._clock.monotonic_us()

    async def run(self) -> None:
        """Poll until cancelled; a store that is away is asked again."""
        away = False
        while True:
            try:
                await self.sync()
                if away:
                    _log.info("change_feed_back", note="The database answers again; caches are up to date.")
                away = False
            except Exception as failure:
                # Whatever it is: a feed that ends would let keys go on for a while and then refuse everybody.
                if not away:
                    _log.warning(
                        "change_feed_away",
                        error=repr(failure.__cause__ or failure),
                        note="The database does not answer. Known keys go on for stale_key_ttl_s; check the database.",
                    )
                away = True
            await asyncio.sleep(POLL_INTERVAL_S)

    async def sync(self) -> None:
        """Apply every change committed so far.

        Raises:
            StoreUnavailable: the store does not answer; nothing was skipped.
        """
        async with self._lock:
            began_us = self._clock.monotonic_us()
            while True:
                try:
                    page = await self._next_page()
                except ChangesForgotten:
                    await self._start_over()
                    _log.warning(
                        "changes_forgotten",
                        note="This process was cut off from the database for so long that changes were swept; it loads "
                        "everything anew. Nothing is to be done.",
                    )
                    continue
                except DatabaseWentBack as failure:
                    await self._revocations.enforce()
                    await self._start_over()
                    self._tell_went_back(failure)
                    continue
                for change in page:
                    await self._apply(change)
                    self._accounts.applied_seq, self._accounts.applied_id = change.seq, change.id
                if len(page) < _PAGE:
                    break
            self.synced_at_us = began_us

    def distrust(self) -> None:
        """What is remembered may be of a history that the database has lost: the next `sync` loads everything anew.

        Unless it did so just now: a fail-over shows in the changes and in the beats.
        """
        since_us = self._clock.monotonic_us() - self._went_back_at_us
        self._distrusted = since_us > _SAME_FAIL_OVER_US

    async def _next_page(self) -> list[Change]:
        if self._distrusted:
            raise DatabaseWentBack("it has fewer beats of this process than it confirmed")
        seq, seen_id = self._accounts.applied_seq, self._accounts.applied_id
        return await self._store.read(changes.since, seq, _PAGE, seen_id=seen_id)

    def _tell_went_back(self, failure: DatabaseWentBack) -> None:
        self.times_went_back += 1
        self._went_back_at_us = self._clock.monotonic_us()
        _log.error(
            "database_went_back",
            reason=str(failure),
            note="The database is at an earlier state than before, as after a fail-over to a replica that lagged. What "
            "was committed in between is lost there: run `tokenbooth audit` and `tokenbooth reconcile`. This process "
            "loads everything anew.",
        )

    async def _start_over(self) -> None:
        """Know everything anew, as of the last change.

        Calls under way go on with what they hold, and others are admitted: an open stream may take an hour.

        Raises:
            StoreUnavailable: the store does not answer; what is remembered stays.
        """
        accounts, queue = self._accounts, self._queue()
        accounts.forget_idle()
        # Nothing is stored meanwhile, so that what waits is just what the store does not know.
        async with self._flusher().storing:
            waiting = [charge.request_id for charge in queue.charges()]
            reloaded = await self._store.read(
                reload, list(accounts.accounts), list(accounts.keys), list(accounts.subscriptions), waiting
            )
            accounts.take_over(reloaded, queue.charges())
        self._keys.forget_unknown()
        self._distrusted = False

    async def _apply(self, change: Change) -> None:
        match change.topic:
            case Topic.CREDIT:
                self._apply_credit(change)
            case Topic.SUBSCRIPTION:
                await self._reload_subscription(change.subject)
            case Topic.API_KEY:
                await self._reload_key(change.subject)
                await self._revocations.note(Topic.API_KEY, change.subject)
            case Topic.MANAGEMENT_KEY:
                await self._revocations.note(Topic.MANAGEMENT_KEY, change.subject)
            case Topic.API_KEY_CREATED:
                self._keys.forget_unknown()
            case Topic.ACCOUNT:
                await self._reload_account(change.subject)
            case _:
                pass  # Topics of a newer version concern nothing that is cached here.

    def _apply_credit(self, change: Change) -> None:
        state = self._accounts.accounts.get(change.subject)
        if state is not None and change.seq > state.seq:
            state.credit.limit_nano += change.delta_nano
            state.waiters.wake()

    async def _reload_subscription(self, subscription_id: str) -> None:
        state = self._accounts.subscriptions.get(subscription_id)
        if state is None:
            return
        row = await self._store.read(load_subscription, subscription_id)
        if row is not None:
            state.refresh(row)
            state.waiters.wake()

    async def _reload_key(self, key_id: str) -> None:
        state = self._accounts.keys.get(key_id)
        if state is None:
            return
        row = await self._store.read(load_key_row, key_id)
        if row is None:
            self._accounts.forget_key(key_id)
            self._keys.refuse(state.digest)
        else:
            state.refresh(row)

    async def _reload_account(self, account_id: str) -> None:
        state = self._accounts.accounts.get(account_id)
        if state is None:
            return
        row = await self._store.read(load_account, account_id)
        if row is not None:
            state.suspended = row.suspended
