"""Forgets single requests after the configured time. It must never touch the ledger or the hourly roll-ups."""

import structlog

from tokenbooth.domain.windows import DAY_US
from tokenbooth.kit.clock import Clock
from tokenbooth.store.engine import Store
from tokenbooth.store.usage.retention import prune_usage

_log = structlog.get_logger(__name__)


class UsageRetention:
    """Deletes usage events older than `keep_days`; `run` is a periodic job."""

    def __init__(self, store: Store, clock: Clock, keep_days: int) -> None:
        self._store = store
        self._clock = clock
        self._keep_days = keep_days

    async def run(self) -> None:
        """Delete in small transactions until nothing that old is left."""
        before_us = self._clock.now_us() - self._keep_days * DAY_US
        deleted = 0
        while batch := await self._store.write(prune_usage, before_us):
            deleted += batch
        if deleted:
            _log.info("usage_pruned", requests=deleted, keep_days=self._keep_days)
