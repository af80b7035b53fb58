"""What the database knows of charges that were set aside in files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from tokenbooth.domain.charges import Charge
from tokenbooth.store.accounts import audit_log
from tokenbooth.store.accounts.audit_log import OPERATOR
from tokenbooth.store.bulk import Lookup
from tokenbooth.store.tables import usage_events
from tokenbooth.store.usage.retention import pruned_until_us

_KNOWN: Final = Lookup(select(usage_events.c.request_id), usage_events.c.request_id)


@dataclass(frozen=True, slots=True)
class BookedBefore:
    """Charges by what the database knows of them, as request ids.

    Attributes:
        booked: it has them.
        forgotten: they are older than the single requests that it keeps, so that nobody can tell.
    """

    booked: frozenset[str]
    forgotten: frozenset[str]


def booked_before(conn: Connection, charges: Sequence[Charge]) -> BookedBefore:
    """Tell which charges are in the database, and of which it cannot be told any more."""
    booked = frozenset(row.request_id for row in _KNOWN.find(conn, [charge.request_id for charge in charges]))
    forgotten_until_us = pruned_until_us(conn)
    old = frozenset(charge.request_id for charge in charges if charge.finished_at_us <= forgotten_until_us)
    return BookedBefore(booked, old - booked)


def note_replay(conn: Connection, *, files: int, booked: int, refused: int, lost_bytes: int, now_us: int) -> None:
    """Note in the audit log that the operator had files with charges booked."""
    detail = f"{files} files: {booked} charges booked, {refused} refused, {lost_bytes} bytes lost"
    audit_log.record(conn, actor=OPERATOR, action="charges.replay", account_id=None, detail=detail, now_us=now_us)
