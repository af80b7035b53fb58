"""The highest limit that was ever in force for a window or a key's cap, kept beside its spending.

A limit may be lowered below what is spent already; that is no mistake. So the audit, and charges that come late, are
held to the highest one. It is written with the charges that were admitted under it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, Insert, case, select
from sqlalchemy.dialects import postgresql, sqlite

from tokenbooth.store.bulk import Bulk, Lookup
from tokenbooth.store.tables import spend_limits


def _raising(dialect: str) -> Insert:
    upsert = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(spend_limits)
    stored, given = spend_limits.c.highest_nano, upsert.excluded.highest_nano
    return upsert.on_conflict_do_update(
        index_elements=["account_id"], set_={"highest_nano": case((given > stored, given), else_=stored)}
    )


_RAISE: Final = Bulk(_raising)
_HIGHEST: Final = Lookup(select(spend_limits.c.account_id, spend_limits.c.highest_nano), spend_limits.c.account_id)


def raise_to(conn: Connection, limits_nano: Mapping[str, int]) -> None:
    """Note limits, by the ledger account that they bound; one that was higher before stays."""
    if limits_nano:
        _RAISE.run(conn, sorted(limits_nano.items()))


def highest_nano(conn: Connection, account_ids: Sequence[str]) -> dict[str, int]:
    """The highest limits of those of these ledger accounts that have one."""
    return {row.account_id: row.highest_nano for row in _HIGHEST.find(conn, account_ids)}
