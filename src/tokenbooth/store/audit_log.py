"""The record of who did what: operator's and management actions, appended and never changed.

It never holds a key, a digest or a secret. Anyone above `store` may write to it.
"""

from sqlalchemy import Connection, insert

from tokenbooth.ids import IdPrefix, new_id
from tokenbooth.store.tables import audit_log


def record(conn: Connection, *, actor: str, action: str, account_id: str | None, detail: str, now_us: int) -> None:
    """Note an action in the transaction that does it.

    Args:
        conn: the transaction.
        actor: the id of the key that asked, or "operator".
        action: what was done, such as "api_key.created".
        account_id: whose; None when it is nobody's.
        detail: for people; usually an id.
        now_us: UTC microseconds.
    """
    conn.execute(
        insert(audit_log).values(
            id=new_id(IdPrefix.AUDIT, now_us),
            at_us=now_us,
            actor=actor,
            action=action,
            account_id=account_id,
            detail=detail,
        )
    )
