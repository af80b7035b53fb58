"""The change sequence: what other processes (and this one's caches) must know of, in the order of commits.

Writers take the counter's row in the transaction that makes the change, so a number that is visible is never followed
by a smaller one. A change carries what a cache needs to follow: its topic, its subject, and for money the difference.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from tokenbooth.store.tables import change_counter, changes

_COUNTER_ROW: Final = 1


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
    """One change; `seq` only grows. A topic that is none of `Topic` is a newer version's."""

    seq: int
    topic: str
    subject: str
    delta_nano: int


def record(conn: Connection, topic: Topic, subject: str, *, now_us: int, delta_nano: int = 0) -> None:
    """Announce a change in the transaction that makes it."""
    seq = conn.execute(
        update(change_counter)
        .where(change_counter.c.id == _COUNTER_ROW)
        .values(seq=change_counter.c.seq + 1)
        .returning(change_counter.c.seq)
    ).scalar_one()
    conn.execute(insert(changes).values(seq=seq, topic=topic, subject=subject, delta_nano=delta_nano, at_us=now_us))


def last_seq(conn: Connection) -> int:
    """The number of the last change."""
    seq: int = conn.execute(select(change_counter.c.seq).where(change_counter.c.id == _COUNTER_ROW)).scalar_one()
    return seq


class ChangesForgotten(Exception):
    """Changes that this reader has not seen are deleted by now; nothing that it remembers can be trusted."""


def since(conn: Connection, seq: int, limit: int = 1_000) -> list[Change]:
    """The changes after `seq`, oldest first.

    Raises:
        ChangesForgotten: some of them are gone already.
    """
    rows = conn.execute(
        select(changes.c.seq, changes.c.topic, changes.c.subject, changes.c.delta_nano)
        .where(changes.c.seq > seq)
        .order_by(changes.c.seq)
        .limit(limit)
    )
    found = [Change(seq=row.seq, topic=row.topic, subject=row.subject, delta_nano=row.delta_nano) for row in rows]
    # The sequence has no holes: a number that is rolled back is given out again.
    next_seq = found[0].seq if found else last_seq(conn) + 1
    if next_seq != seq + 1:
        raise ChangesForgotten(f"change {seq + 1} is gone")
    return found


def forget_before(conn: Connection, at_us: int) -> int:
    """Delete changes older than any reader's patience; returns how many."""
    return conn.execute(delete(changes).where(changes.c.at_us < at_us)).rowcount
