"""Keys that were deleted once stay deleted, whatever earlier state of the database is put in place."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, select, update

from tokenbooth.store import changes
from tokenbooth.store.accounts import audit_log
from tokenbooth.store.accounts.audit_log import OPERATOR
from tokenbooth.store.changes import Topic
from tokenbooth.store.tables import api_keys, management_keys

_TABLES: Final = {Topic.API_KEY: api_keys, Topic.MANAGEMENT_KEY: management_keys}


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
    alive = select(table.c.id, table.c.account_id).where(table.c.id.in_(key_ids), table.c.deleted_at_us.is_(None))
    revived = conn.execute(alive).all()
    for row in revived:
        conn.execute(update(table).where(table.c.id == row.id).values(deleted_at_us=now_us))
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
