"""Keys that were deleted once stay deleted, whatever earlier state of the database is put in place."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, null, select, update

from tokenbooth.store import changes
from tokenbooth.store.accounts import audit_log, key_counts
from tokenbooth.store.accounts.audit_log import OPERATOR
from tokenbooth.store.accounts.key_counts import KeysOf
from tokenbooth.store.changes import Topic
from tokenbooth.store.tables import api_keys, management_keys

_TABLES: Final = {Topic.API_KEY: api_keys, Topic.MANAGEMENT_KEY: management_keys}
# What their keys are counted as, and the subscription that they are counted for as well.
_COUNTED: Final[dict[Topic, tuple[KeysOf, ColumnElement[Any]]]] = {
    Topic.API_KEY: (KeysOf.API, api_keys.c.subscription_id),
    Topic.MANAGEMENT_KEY: (KeysOf.MANAGEMENT, null()),
}


def is_deleted(conn: Connection, topic: Topic, key_id: str) -> bool:
    """Whether a key is there, and deleted.

    Args:
        conn: the transaction.
        topic: `API_KEY` or `MANAGEMENT_KEY`.
        key_id: its id.
    """
    columns = _TABLES[topic].c
    found = select(columns.id).where(columns.id == key_id, columns.deleted_at_us.is_not(None))
    return conn.execute(found).first() is not None


def deleted_since(conn: Connection, topic: Topic, since_us: int) -> list[str]:
    """The ids of keys that were deleted at or after a time in UTC microseconds."""
    columns = _TABLES[topic].c
    return list(conn.execute(select(columns.id).where(columns.deleted_at_us >= since_us)).scalars())


def delete_again(conn: Connection, topic: Topic, key_ids: Sequence[str], *, now_us: int) -> int:
    """Delete those of these keys that are alive, each on the record; returns how many."""
    table = _TABLES[topic]
    kind, subscription_id = _COUNTED[topic]
    alive = select(table.c.id, table.c.account_id, subscription_id.label("subscription_id")).where(
        table.c.id.in_(key_ids), table.c.deleted_at_us.is_(None)
    )
    revived = conn.execute(alive).all()
    for row in revived:
        conn.execute(update(table).where(table.c.id == row.id).values(deleted_at_us=now_us))
        key_counts.note_deleted(conn, kind, row.account_id, row.subscription_id)
        changes.record(conn, topic, row.id, now_us=now_us)
        audit_log.record(
            conn,
            actor=OPERATOR,
            action=f"{topic}.deleted_again",
            account_id=row.account_id,
            detail=row.id,
            now_us=now_us,
        )
    return len(revived)
