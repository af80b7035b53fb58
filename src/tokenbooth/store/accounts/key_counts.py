"""How many keys an account has, and has made: a count beside the rows, because there may be very many of them.

API keys of a subscription are counted for the subscription as well. Who writes a key counts it in the same transaction;
the audit compares the counts with the rows.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, select

from tokenbooth.kit.errors import Conflict
from tokenbooth.store.bulk import adding
from tokenbooth.store.tables import key_counts

ROWS_PER_LIVE_KEY: Final = 10
"""Deleted keys stay as rows; so many times the bound on keys is the bound on rows."""

_ADD: Final = adding(key_counts)


class KeysOf(StrEnum):
    """Which keys are counted."""

    API = "api_key"
    MANAGEMENT = "management_key"


@dataclass(frozen=True, slots=True)
class KeyCount:
    """How many keys there are, and how many were ever created."""

    live: int = 0
    created: int = 0


def count(conn: Connection, kind: KeysOf, owner_id: str) -> KeyCount:
    """The keys of an account, or the API keys of a subscription."""
    return counts(conn, kind, [owner_id]).get(owner_id, KeyCount())


def counts(conn: Connection, kind: KeysOf, owner_ids: Collection[str]) -> dict[str, KeyCount]:
    """The keys of several accounts or subscriptions; one that never had any is not named."""
    columns = key_counts.c
    rows = conn.execute(
        select(columns.owner_id, columns.live, columns.created).where(
            columns.kind == kind, columns.owner_id.in_(owner_ids)
        )
    )
    return {row.owner_id: KeyCount(row.live, row.created) for row in rows}


def note_created(conn: Connection, kind: KeysOf, account_id: str, subscription_id: str | None = None) -> None:
    """Count a key that was just stored."""
    _add(conn, kind, account_id, subscription_id, live=1, created=1)


def note_deleted(conn: Connection, kind: KeysOf, account_id: str, subscription_id: str | None = None) -> None:
    """Count a key that was just deleted."""
    _add(conn, kind, account_id, subscription_id, live=-1, created=0)


def check_room(conn: Connection, kind: KeysOf, account_id: str, *, max_keys: int, name: str) -> None:
    """Refuse another key of an account that has `max_keys`, or made ten times as many.

    Raises:
        Conflict: `too_many_keys`.
    """
    has = count(conn, kind, account_id)
    if has.live >= max_keys:
        raise Conflict("too_many_keys", f"An account may have {max_keys} {name} keys. Delete one first.")
    if has.created >= max_keys * ROWS_PER_LIVE_KEY:
        raise Conflict(
            "too_many_keys", f"An account may create {max_keys * ROWS_PER_LIVE_KEY} {name} keys in its lifetime."
        )


def _add(
    conn: Connection, kind: KeysOf, account_id: str, subscription_id: str | None, *, live: int, created: int
) -> None:
    owners = sorted({account_id} if subscription_id is None else {account_id, subscription_id})
    _ADD.run(conn, [(owner_id, str(kind), live, created) for owner_id in owners])
