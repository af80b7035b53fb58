"""The inbox: every event that came from outside, once, and what became of it. Its rows are the queue.

A row is due, handled, or parked for a person. The effects of an event and its row's mark are one transaction. A claim
pushes the row's due time ahead, so that a row whose handler died comes up again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, Connection, Row, delete, func, or_, select, update

from tokenbooth.domain.payment_commands import Ignore, PaymentCommand
from tokenbooth.domain.plans import Plan
from tokenbooth.kit.errors import Conflict, NotFound
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store.accounts import audit_log
from tokenbooth.store.dialect import insert_unless_there
from tokenbooth.store.payments.apply import apply_commands
from tokenbooth.store.tables import inbox

STRIPE: Final = "stripe"

LEASE_US: Final = 60 * 1_000_000
"""How long a claimed row is left to who claimed it."""

_RETRY_AFTER_US: Final = (10_000_000, 60_000_000, 600_000_000, 3_600_000_000)
MAX_ATTEMPTS: Final = len(_RETRY_AFTER_US) + 1
_MAX_ERROR_CHARS: Final = 500


class InboxStatus(StrEnum):
    """Where a row stands."""

    DUE = "due"
    HANDLED = "handled"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class ClaimedRow:
    """A row to be handled. `attempts` are those that failed before."""

    id: str
    type: str
    external_id: str
    payload: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a row stands after an attempt, and why, when that is not plain."""

    status: InboxStatus
    reason: str | None


def insert(
    conn: Connection,
    *,
    source: str,
    external_id: str,
    event_type: str,
    payload: bytes,
    now_us: int,
) -> str:
    """Store an event unless it is stored already; returns its row's id.

    An event that is delivered again after it was parked becomes due again: that is how an operator repeats
    it.
    """
    insert_unless_there(
        conn,
        inbox,
        {
            "id": new_id(IdPrefix.EVENT, now_us),
            "source": source,
            "external_id": external_id,
            "type": event_type,
            "payload": payload,
            "status": InboxStatus.DUE,
            "attempts": 0,
            "due_at_us": now_us,
            "received_at_us": now_us,
        },
    )
    same = (inbox.c.source == source) & (inbox.c.external_id == external_id)
    row = conn.execute(select(inbox.c.id, inbox.c.status).where(same)).one()
    if row.status == InboxStatus.PARKED:
        _make_due(conn, inbox.c.id == row.id, now_us)
    return str(row.id)


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A row as the operator sees it. Times are UTC microseconds; `payload` names the object, nothing more."""

    id: str
    source: str
    external_id: str
    type: str
    status: InboxStatus
    attempts: int
    error: str | None
    payload: bytes
    received_at_us: int
    due_at_us: int
    handled_at_us: int | None


def list_rows(conn: Connection, statuses: Sequence[InboxStatus], *, limit: int) -> list[InboxRow]:
    """The newest rows of these statuses."""
    rows = conn.execute(
        select(inbox)
        .where(inbox.c.status.in_(statuses))
        .order_by(inbox.c.received_at_us.desc(), inbox.c.id.desc())
        .limit(limit)
    )
    return [_row(row) for row in rows]


def count_up_to(conn: Connection, status: InboxStatus, limit: int) -> int:
    """How many rows have a status; no more than `limit` are counted."""
    first = select(inbox.c.id).where(inbox.c.status == status).limit(limit).subquery()
    return conn.execute(select(func.count()).select_from(first)).scalar_one()


def find_row(conn: Connection, name: str) -> InboxRow:
    """The row with this id, or of the event with this id at its source.

    Raises:
        NotFound: there is none.
    """
    row = conn.execute(select(inbox).where(or_(inbox.c.id == name, inbox.c.external_id == name))).first()
    if row is None:
        raise NotFound("event_not_found", f"there is no event {name!r}")
    return _row(row)


def retry(conn: Connection, name: str, *, actor: str, now_us: int) -> InboxRow:
    """Make a parked row due again. `actor` is who asks, for the audit log.

    Raises:
        NotFound: there is no such row.
        Conflict: it is handled already.
    """
    row = find_row(conn, name)
    if row.status is InboxStatus.HANDLED:
        raise Conflict("event_handled", f"{row.id} was handled; there is nothing to retry")
    _retry(conn, row.id, inbox.c.status != InboxStatus.HANDLED, actor=actor, now_us=now_us)
    return find_row(conn, row.id)


def retry_parked(conn: Connection, row_id: str, *, actor: str, now_us: int) -> None:
    """Have a parked event handled again.

    Raises:
        NotFound: there is none with this id that is parked.
    """
    if not _retry(conn, row_id, inbox.c.status == InboxStatus.PARKED, actor=actor, now_us=now_us):
        raise NotFound("event_not_found", "This event is not parked any more.")


def _retry(conn: Connection, row_id: str, condition: ColumnElement[bool], *, actor: str, now_us: int) -> bool:
    """Make a row due if it meets a condition, and write down who asked; False when it does not."""
    if not _make_due(conn, (inbox.c.id == row_id) & condition, now_us):
        return False
    audit_log.record(conn, actor=actor, action="inbox.retried", account_id=None, detail=row_id, now_us=now_us)
    return True


def _make_due(conn: Connection, condition: ColumnElement[bool], now_us: int) -> bool:
    values = {"status": InboxStatus.DUE, "attempts": 0, "due_at_us": now_us}
    return conn.execute(update(inbox).where(condition).values(**values)).rowcount > 0


def due(conn: Connection, *, now_us: int, limit: int) -> list[str]:
    """Ids of rows that are due at `now_us` (UTC microseconds), the longest waiting first."""
    rows = conn.execute(
        select(inbox.c.id)
        .where(inbox.c.status == InboxStatus.DUE, inbox.c.due_at_us <= now_us)
        .order_by(inbox.c.due_at_us, inbox.c.id)
        .limit(limit)
    )
    return [row.id for row in rows]


def claim(conn: Connection, row_id: str, *, now_us: int) -> ClaimedRow | None:
    """Take a due row for `LEASE_US`; None when it is not due, or somebody else has it."""
    claimed = conn.execute(
        update(inbox)
        .where(inbox.c.id == row_id, inbox.c.status == InboxStatus.DUE, inbox.c.due_at_us <= now_us)
        .values(due_at_us=now_us + LEASE_US)
        .returning(inbox.c.id, inbox.c.type, inbox.c.external_id, inbox.c.payload, inbox.c.attempts)
    ).first()
    if claimed is None:
        return None
    return ClaimedRow(
        id=claimed.id,
        type=claimed.type,
        external_id=claimed.external_id,
        payload=bytes(claimed.payload),
        attempts=claimed.attempts,
    )


def carry_out(
    conn: Connection,
    row_id: str,
    commands: Sequence[PaymentCommand],
    *,
    seen: Mapping[str, int | None],
    plans: Mapping[str, Plan] | None = None,
    now_us: int,
) -> Outcome:
    """Apply an event's commands and mark its row, in one transaction; a row that is settled already is left
    alone.

    Args:
        row_id: a claimed row.
        commands: what the event's objects say.
        seen, plans: as in `apply_command`.
        now_us: UTC microseconds.

    Raises:
        StaleSnapshot: as in `apply_command`; nothing was done.
    """
    before = _outcome_of(conn, row_id)
    if before.status is not InboxStatus.DUE:
        return before
    reason = apply_commands(conn, commands, seen=seen, plans=plans, now_us=now_us)
    if reason is not None:
        return _mark(conn, row_id, Outcome(InboxStatus.PARKED, reason), now_us)
    ignored = [command.reason for command in commands if isinstance(command, Ignore)]
    return _mark(conn, row_id, Outcome(InboxStatus.HANDLED, " ".join(ignored) or None), now_us)


def known(conn: Connection, source: str, external_ids: Sequence[str]) -> set[str]:
    """Those of `external_ids` that are stored."""
    found = select(inbox.c.external_id).where(inbox.c.source == source, inbox.c.external_id.in_(external_ids))
    return set(conn.execute(found).scalars())


def fail(conn: Connection, row_id: str, error: str, *, now_us: int) -> Outcome:
    """Note a failed attempt: tried again later, parked after the last one. `error` must be safe to show."""
    attempts = conn.execute(
        update(inbox)
        .where(inbox.c.id == row_id, inbox.c.status == InboxStatus.DUE)
        .values(attempts=inbox.c.attempts + 1)
        .returning(inbox.c.attempts)
    ).scalar()
    if attempts is None:
        return _outcome_of(conn, row_id)
    if attempts >= MAX_ATTEMPTS:
        return _mark(conn, row_id, Outcome(InboxStatus.PARKED, error), now_us)
    conn.execute(
        update(inbox)
        .where(inbox.c.id == row_id)
        .values(due_at_us=now_us + _RETRY_AFTER_US[attempts - 1], error=error[:_MAX_ERROR_CHARS])
    )
    return Outcome(InboxStatus.DUE, error)


def forget_handled_before(conn: Connection, at_us: int) -> int:
    """Delete rows handled before `at_us` (UTC microseconds); returns how many.

    By then Stripe repeats an event no more, and what it did has its own business reference.
    """
    return conn.execute(
        delete(inbox).where(inbox.c.status == InboxStatus.HANDLED, inbox.c.handled_at_us < at_us)
    ).rowcount


def _row(row: Row[tuple[object, ...]]) -> InboxRow:
    return InboxRow(
        id=row.id,
        source=row.source,
        external_id=row.external_id,
        type=row.type,
        status=InboxStatus(row.status),
        attempts=row.attempts,
        error=row.error,
        payload=bytes(row.payload),
        received_at_us=row.received_at_us,
        due_at_us=row.due_at_us,
        handled_at_us=row.handled_at_us,
    )


def _outcome_of(conn: Connection, row_id: str) -> Outcome:
    row = conn.execute(select(inbox.c.status, inbox.c.error).where(inbox.c.id == row_id)).one()
    return Outcome(InboxStatus(row.status), row.error)


def _mark(conn: Connection, row_id: str, outcome: Outcome, now_us: int) -> Outcome:
    conn.execute(
        update(inbox)
        .where(inbox.c.id == row_id, inbox.c.status == InboxStatus.DUE)
        .values(
            status=outcome.status,
            error=None if outcome.reason is None else outcome.reason[:_MAX_ERROR_CHARS],
            handled_at_us=now_us,
        )
    )
    return outcome
