"""The sweep: deletes what nobody needs any more. It must never touch money, keys or anything unhandled."""

from typing import Final

from tokenbooth.domain.windows import DAY_US, HOUR_US
from tokenbooth.kit.clock import Clock
from tokenbooth.store import changes, processes
from tokenbooth.store.accounts import audit_log, idempotency, sessions
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import inbox
from tokenbooth.store.usdc import deposits

KEEP_CHANGES_US: Final = HOUR_US
KEEP_HINTS_US: Final = DAY_US
KEEP_INBOX_US: Final = 90 * DAY_US
KEEP_PROCESSES_US: Final = 90 * DAY_US
KEEP_FAILED_LOG_INS_US: Final = 90 * DAY_US


class Sweep:
    """Deletes old rows; `run` is a periodic job."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Delete what has had its time.

        Idempotency records after a day, changes after an hour, handled inbox rows, rows of ended processes and failed
        log-ins after 90 days, questions about unknown transactions after a day, log-ins and mailed links when they ran
        out.
        """
        now_us = self._clock.now_us()
        await self._store.write(idempotency.forget_before, now_us - idempotency.RETENTION_US)
        await self._store.write(changes.forget_before, now_us - KEEP_CHANGES_US)
        await self._store.write(inbox.forget_handled_before, now_us - KEEP_INBOX_US)
        await self._store.write(sessions.forget_expired, now_us=now_us)
        await self._store.write(deposits.forget_hints_before, now_us - KEEP_HINTS_US)
        await self._store.write(processes.forget_closed, now_us - KEEP_PROCESSES_US)
        await self._store.write(audit_log.forget_failed_log_ins, now_us - KEEP_FAILED_LOG_INS_US)
