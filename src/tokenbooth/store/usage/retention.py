"""Forgetting single requests after a while; the hourly roll-ups and the ledger stay for ever.

The usage events of a transfer are deleted together, so that the audit can match every transfer from the mark on with
its events, and everything before it with the roll-ups.
"""

from typing import Final

from sqlalchemy import Connection, delete, select, update

from tokenbooth.domain.ledger import TransferKind
from tokenbooth.store.dialect import insert_unless_there
from tokenbooth.store.tables import ledger_transfers, retention, usage_events

_ROW: Final = 1
_TRANSFERS_AT_ONCE: Final = 200


def pruned_until_us(conn: Connection) -> int:
    """Usage events of transfers booked up to this instant (UTC microseconds, inclusive) may be gone."""
    return conn.execute(select(retention.c.usage_pruned_until_us).where(retention.c.id == _ROW)).scalar() or 0


def prune_usage(conn: Connection, before_us: int) -> int:
    """Delete the usage events of some of the transfers booked before `before_us`; call it until it returns 0.

    Returns:
        How many events were deleted; a bounded number, so that no transaction is long.
    """
    mark_us = pruned_until_us(conn)
    transfers = conn.execute(
        select(ledger_transfers.c.id, ledger_transfers.c.created_at_us)
        .where(
            ledger_transfers.c.kind == TransferKind.USAGE,
            ledger_transfers.c.created_at_us >= mark_us,
            ledger_transfers.c.created_at_us < before_us,
            ledger_transfers.c.id.in_(select(usage_events.c.transfer_id)),
        )
        .order_by(ledger_transfers.c.created_at_us)
        .limit(_TRANSFERS_AT_ONCE)
    ).all()
    if not transfers:
        _move_mark(conn, max(mark_us, before_us - 1))
        return 0
    # The mark goes behind the last one first: the audit never expects events that are half gone.
    _move_mark(conn, max(mark_us, transfers[-1].created_at_us))
    return conn.execute(
        delete(usage_events).where(usage_events.c.transfer_id.in_([transfer.id for transfer in transfers]))
    ).rowcount


def _move_mark(conn: Connection, mark_us: int) -> None:
    if not insert_unless_there(conn, retention, {"id": _ROW, "usage_pruned_until_us": mark_us}):
        conn.execute(update(retention).where(retention.c.id == _ROW).values(usage_pruned_until_us=mark_us))
