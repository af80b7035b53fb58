"""The processes that take model calls: a row for each run, with a beat, so that no two spend the same money.

Budgets and balances are decided in the memory of one process, so at most one row of mode `whole` is open. A row names
a run (its epoch), never a machine or a directory: a run whose row was closed stays closed, whatever it does later.
Times of beats are the database's own, so that the clocks of two machines are never compared.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    cast,
    delete,
    func,
    insert,
    select,
    update,
)

from tokenbooth.domain.windows import SECOND_US
from tokenbooth.store.accounts import audit_log
from tokenbooth.store.accounts.audit_log import OPERATOR
from tokenbooth.store.bulk import Bulk
from tokenbooth.store.tables import gateway_processes

_WHOLE: Final = "whole"
_columns: Final = gateway_processes.c


class ProcessState(StrEnum):
    """Where a run is in its life."""

    LIVE = "live"
    DRAINING = "draining"
    """It admits nothing more and lets its calls end."""
    CLOSED = "closed"


class ClosedHow(StrEnum):
    """Why a row was closed."""

    STOPPED = "stopped"
    """The run ended regularly, and every charge of it is stored."""
    FAILED = "failed"
    """Its start failed."""
    SAME_DIRECTORY = "same_directory"
    """The next run on its data directory began: it holds the directory's lock, so this one had ended."""
    SILENT = "silent"
    """Another start saw no beat of it for so long that it must be dead."""
    COMMAND = "command"
    """The operator closed it."""
    RESTORED = "restored"
    """A backup that was taken while it ran was put in place."""


@dataclass(frozen=True, slots=True)
class NewProcess:
    """A run that begins.

    Attributes:
        epoch: the id of this run, never used again.
        directory_id: of the data directory, wherever it is mounted.
        directory, host, pid: where it runs, for people.
        version: of the program.
        catalog_hash: of plans and prices, to see whether two runs sell the same.
    """

    epoch: str
    directory_id: str
    directory: str
    host: str
    pid: int
    version: str
    catalog_hash: str


@dataclass(frozen=True, slots=True)
class Process:
    """A row. Times are UTC microseconds.

    Attributes:
        silent_s: seconds since the last beat, by the database's clock.
    """

    epoch: str
    directory: str
    host: str
    pid: int
    version: str
    mode: str
    state: ProcessState
    started_at_us: int
    closed_how: str | None
    closed_at_us: int | None
    beat: int
    silent_s: int


def register(conn: Connection, new: NewProcess, *, now_us: int) -> Process | None:
    """Open the row of a run whose data directory is locked; older runs of the directory are closed.

    Returns:
        Another run that is open, whereupon this one is not registered; None when it is.
    """
    own = _columns.directory_id == new.directory_id
    for epoch in conn.execute(select(_columns.epoch).where(own, _is_open())).scalars().all():
        close(conn, epoch, ClosedHow.SAME_DIRECTORY, now_us=now_us)
    others = _select(conn).where(_is_open(), _columns.mode == _WHOLE).order_by(_columns.started_at_us.desc())
    if (other := conn.execute(others).first()) is not None:
        return _process(other)
    conn.execute(
        insert(gateway_processes).values(
            epoch=new.epoch,
            directory_id=new.directory_id,
            directory=new.directory,
            host=new.host,
            pid=new.pid,
            version=new.version,
            catalog_hash=new.catalog_hash,
            mode=_WHOLE,
            state=ProcessState.LIVE,
            started_at_us=now_us,
            beat=0,
            beat_at_us=_database_now_us(conn),
        )
    )
    return None


def beat(conn: Connection, epoch: str) -> int | None:
    """Say that a run lives. Returns the number of its beats; None when its row is closed, or gone."""
    found: int | None = conn.execute(
        update(gateway_processes)
        .where(_columns.epoch == epoch, _is_open())
        .values(beat=_columns.beat + 1, beat_at_us=_database_now_us(conn))
        .returning(_columns.beat)
    ).scalar()
    return found


def begin_draining(conn: Connection, epoch: str) -> None:
    """Say that a run admits nothing more."""
    conn.execute(
        update(gateway_processes).where(_columns.epoch == epoch, _is_open()).values(state=ProcessState.DRAINING)
    )


def close(conn: Connection, epoch: str, how: ClosedHow, *, now_us: int, beat: int | None = None) -> bool:
    """Close a row, once every booking under way of that run has ended; later ones find it closed.

    Args:
        conn: the transaction.
        epoch: the run.
        how: why.
        now_us: UTC microseconds.
        beat: close it only if this is still the number of its beats.

    Returns:
        Whether it was open, and as many beats old.
    """
    # An update alone would not wait for a booking, which holds the row FOR KEY SHARE.
    found = select(_columns.beat).where(_columns.epoch == epoch, _is_open()).with_for_update()
    stored = conn.execute(found).scalar()
    if stored is None or beat not in (None, stored):
        return False
    conn.execute(
        update(gateway_processes)
        .where(_columns.epoch == epoch)
        .values(state=ProcessState.CLOSED, closed_how=how, closed_at_us=now_us)
    )
    return True


def close_by_operator(conn: Connection, epoch: str, *, beat: int | None, now_us: int) -> bool:
    """`close`, on the record."""
    closed = close(conn, epoch, ClosedHow.COMMAND, now_us=now_us, beat=beat)
    if closed:
        audit_log.record(conn, actor=OPERATOR, action="process.closed", account_id=None, detail=epoch, now_us=now_us)
    return closed


def find(conn: Connection, epoch: str) -> Process | None:
    """A run by its epoch."""
    row = conn.execute(_select(conn).where(_columns.epoch == epoch)).one_or_none()
    return None if row is None else _process(row)


def newest(conn: Connection, limit: int) -> list[Process]:
    """Runs, the open ones first, then the newest."""
    order = (_columns.closed_at_us.is_not(None), _columns.started_at_us.desc())
    return _processes(conn.execute(_select(conn).order_by(*order).limit(limit)))


def forget_closed(conn: Connection, before_us: int) -> int:
    """Delete rows that were closed before `before_us`; returns how many."""
    return conn.execute(delete(gateway_processes).where(_columns.closed_at_us < before_us)).rowcount


# Every batch of charges begins with it.
_HOLD_OPEN: Final = Bulk(
    lambda _dialect: (
        select(_columns.epoch)
        .where(_columns.epoch == bindparam("epoch"), _columns.state != bindparam("state"))
        .with_for_update(read=True, key_share=True)
    )
)


def hold_open(conn: Connection, epoch: str) -> bool:
    """Whether a run's row is open; it stays so until the transaction ends."""
    values = (epoch, str(ProcessState.CLOSED))
    return conn.exec_driver_sql(_HOLD_OPEN.text(conn), values).first() is not None


def _is_open() -> ColumnElement[bool]:
    return _columns.state != ProcessState.CLOSED


def _database_now_us(conn: Connection) -> ColumnElement[int]:
    """The database's clock; on SQLite that of the one machine, in whole seconds."""
    if conn.dialect.name == "sqlite":
        return cast(func.strftime("%s", "now"), BigInteger) * SECOND_US
    return cast(func.extract("epoch", func.clock_timestamp()) * SECOND_US, BigInteger)


_Columns = tuple[str, str, str, int, str, str, str, int, str | None, int | None, int, int]


def _select(conn: Connection) -> Select[*_Columns]:
    return select(
        _columns.epoch,
        _columns.directory,
        _columns.host,
        _columns.pid,
        _columns.version,
        _columns.mode,
        _columns.state,
        _columns.started_at_us,
        _columns.closed_how,
        _columns.closed_at_us,
        _columns.beat,
        (_database_now_us(conn) - _columns.beat_at_us).label("silent_us"),
    )


def _processes(rows: Iterable[Row[*_Columns]]) -> list[Process]:
    return [_process(row) for row in rows]


def _process(row: Row[*_Columns]) -> Process:
    return Process(
        epoch=row.epoch,
        directory=row.directory,
        host=row.host,
        pid=row.pid,
        version=row.version,
        mode=row.mode,
        state=ProcessState(row.state),
        started_at_us=row.started_at_us,
        closed_how=row.closed_how,
        closed_at_us=row.closed_at_us,
        beat=row.beat,
        silent_s=max(row.silent_us, 0) // SECOND_US,
    )
