"""The change sequence: what other processes (and this one's caches) must know of, in the order of commits.

Writers take the counter's row in the transaction that makes the change, so a number that is visible is never followed
by a smaller one. A change carries what a cache needs to follow: its topic, its subject, and for money the difference.
A database that failed over to an earlier state gives numbers out again, so each change also has a random id, which
tells whether the change that a reader saw last is still part of the history.
"""

import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from tokenbooth.store.tables import change_counter, changes

_COUNTER_ROW: Final = 1
_ID_BYTES: Final = 8


class Topic(StrEnum):
    """What changed; the subject is the id named here."""

    CREDIT = "credit"
    """An account's credit, by `delta_nano`, from outside the gateway."""
    SUBSCRIPTION = "subscription"
    API_KEY = "api_key"
    API_KEY_CREATED = "api_key_created"
    ACCOUNT = "account"
    MANAGEMENT_KEY = "management_key"


@dataclass(frozen=True, slots=True)
class Change:
    """One change; `seq` only grows. A topic that is none of `Topic` is a newer version's, no id an older one's."""

    seq: int
    topic: str
    subject: str
    delta_nano: int
    id: str | None


@dataclass(frozen=True, slots=True)
class Position:
    """How far a reader is: the number and the id of the last change; the id is None when that row is gone, or old."""

    seq: int
    id: str | None


def record(conn: Connection, topic: Topic, subject: str, *, now_us: int, delta_nano: int = 0) -> None:
    """Announce a change in the transaction that makes it."""
    seq = conn.execute(
        update(change_counter)
        .where(change_counter.c.id == _COUNTER_ROW)
        .values(seq=change_counter.c.seq + 1)
        .returning(change_counter.c.seq)
    ).scalar_one()
    conn.execute(
        insert(changes).values(
            seq=seq,
            topic=topic,
            subject=subject,
            delta_nano=delta_nano,
            at_us=now_us,
            id=secrets.token_hex(_ID_BYTES),
        )
    )


def last_seq(conn: Connection) -> int:
    """The number of the last change."""
    seq: int = conn.execute(select(change_counter.c.seq).where(change_counter.c.id == _COUNTER_ROW)).scalar_one()
    return seq


def last(conn: Connection) -> Position:
    """Where a reader begins that knows everything that is committed."""
    seq = last_seq(conn)
    return Position(seq, conn.execute(select(changes.c.id).where(changes.c.seq == seq)).scalar())


class ChangesForgotten(Exception):
    """Changes that this reader has not seen are deleted by now; nothing that it remembers can be trusted."""


class DatabaseWentBack(Exception):
    """The last change that this reader saw never happened here: the database was replaced by an earlier state of it."""


def since(conn: Connection, seq: int, limit: int = 1_000, *, seen_id: str | None = None) -> list[Change]:
    """The changes after `seq`, oldest first.

    Args:
        conn: the transaction.
        seq: the number of the last change that is known.
        limit: the most changes to return.
        seen_id: the id of that change; None: not to be compared.

    Raises:
        ChangesForgotten: some of them are gone already.
        DatabaseWentBack: change `seq` is not there yet, or is another one.
    """
    rows = conn.execute(
        select(changes.c.seq, changes.c.topic, changes.c.subject, changes.c.delta_nano, changes.c.id)
        .where(changes.c.seq >= seq)
        .order_by(changes.c.seq)
        .limit(limit + 1)
    )
    found = [Change(row.seq, row.topic, row.subject, row.delta_nano, row.id) for row in rows]
    seen = found.pop(0) if found and found[0].seq == seq else None
    if seen is not None and seen_id not in (None, seen.id):
        raise DatabaseWentBack(f"change {seq} is another one")
    # The sequence has no holes: a number that is rolled back is given out again.
    next_seq = found[0].seq if found else last_seq(conn) + 1
    if next_seq <= seq:
        raise DatabaseWentBack(f"change {seq} is still to come")
    if next_seq != seq + 1 or (seen is None and seen_id is not None):
        raise ChangesForgotten(f"changes from {seq} on are gone")
    return found[:limit]


def forget_before(conn: Connection, at_us: int) -> int:
    """Delete changes older than any reader's patience, but for the last one; returns how many."""
    newest = select(change_counter.c.seq).where(change_counter.c.id == _COUNTER_ROW).scalar_subquery()
    return conn.execute(delete(changes).where(changes.c.at_us < at_us, changes.c.seq < newest)).rowcount
