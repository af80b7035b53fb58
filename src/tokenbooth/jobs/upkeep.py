"""Upkeep of the store, as periodic jobs: what nobody needs any more goes, and what is due is written down.

It must never touch the ledger, the hourly roll-ups, keys or anything unhandled.
"""

from typing import Final

import structlog

from tokenbooth.domain.windows import DAY_US, HOUR_US
from tokenbooth.kit.clock import Clock
from tokenbooth.store import changes, processes
from tokenbooth.store.accounts import audit_log, idempotency, sessions
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import inbox, subscriptions
from tokenbooth.store.usage.retention import prune_usage
from tokenbooth.store.usdc import deposits

KEEP_CHANGES_US: Final = HOUR_US
KEEP_HINTS_US: Final = DAY_US
KEEP_INBOX_US: Final = 90 * DAY_US
KEEP_PROCESSES_US: Final = 90 * DAY_US
KEEP_FAILED_LOG_INS_US: Final = 90 * DAY_US

_log = structlog.get_logger(__name__)


async def sweep(store: Store, clock: Clock) -> None:
    """Delete what has had its time.

    Idempotency records after a day, changes after an hour, handled inbox rows, rows of ended processes and failed
    log-ins after 90 days, questions about unknown transactions after a day, log-ins and mailed links when they ran out.
    """
    now_us = clock.now_us()
    await store.write(idempotency.forget_before, now_us - idempotency.RETENTION_US)
    await store.write(changes.forget_before, now_us - KEEP_CHANGES_US)
    await store.write(inbox.forget_handled_before, now_us - KEEP_INBOX_US)
    await store.write(sessions.forget_expired, now_us=now_us)
    await store.write(deposits.forget_hints_before, now_us - KEEP_HINTS_US)
    await store.write(processes.forget_closed, now_us - KEEP_PROCESSES_US)
    await store.write(audit_log.forget_failed_log_ins, now_us - KEEP_FAILED_LOG_INS_US)


async def forget_usage(store: Store, clock: Clock, keep_days: int) -> None:
    """Delete single requests older than `keep_days`, in small transactions until none is left."""
    before_us = clock.now_us() - keep_days * DAY_US
    deleted = 0
    while batch := await store.write(prune_usage, before_us):
        deleted += batch
    if deleted:
        _log.info("usage_pruned", requests=deleted, keep_days=keep_days)


async def settle_plan_changes(store: Store, clock: Clock) -> None:
    """Write down changes of plan whose moment has come.

    They count from that moment on without it, by the clock; what reads rows alone, such as reports, sees them by this.
    """
    await store.write(subscriptions.settle_plans, now_us=clock.now_us())
