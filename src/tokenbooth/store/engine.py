"""The store's ways in: `read`, `report` and `write` run a store function as one whole transaction, off the event loop.

A store function is `def name(conn, …) -> result`; it never commits, sleeps or talks to anything but its connection.
On SQLite one thread owns the only writing connection and commits the operations that have queued up meanwhile
together (group commit); a failing one is rolled back to its savepoint, alone. On PostgreSQL every write is a
serializable transaction of a small pool, repeated when the database says that it conflicted.

Reads have threads and connections by what they are for, so that none waits for another kind: look-ups (`read`), the
same of the gateway (`with_own_readers`), and lists and sums (`report`), in which each account has a share.
"""

import asyncio
import copy
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from tokenbooth.kit.background import Running
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.kit.fair_threads import FairThreads
from tokenbooth.kit.texts import UnstorableText
from tokenbooth.store.writers import PostgresWriter, SqliteWriter, Writer, is_away

P = ParamSpec("P")
R = TypeVar("R")

_READ_THREADS: Final = 2
_GATEWAY_THREADS: Final = 2
_REPORT_THREADS: Final = 4
_AUDIT_THREADS: Final = 1
_ALL_READ_THREADS: Final = _READ_THREADS + _GATEWAY_THREADS + _REPORT_THREADS + _AUDIT_THREADS
_WAITING_REPORTS: Final = 16
"""How many reports of one account wait at most; those above are refused."""
_BUSY_TIMEOUT_S: Final = 10
_CLOSED: Final = "The service is shutting down."
# One snapshot, as on SQLite, that never conflicts with anybody.
_POSTGRES_READING: Final = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class Store:
    """A database, reached through store functions only. Close it when done."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._reading = engine if self.is_sqlite else engine.execution_options(**_POSTGRES_READING)
        self._closed = Event()
        self._readers = ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="store-read")
        self._own_readers: list[ThreadPoolExecutor] = []
        self._reporters = FairThreads(_REPORT_THREADS, max_waiting=_WAITING_REPORTS, name="store-report")
        self._auditor = ThreadPoolExecutor(_AUDIT_THREADS, thread_name_prefix="store-audit")
        self._writer: Writer = SqliteWriter(engine) if self.is_sqlite else PostgresWriter(engine)

    @property
    def background(self) -> tuple[Running, ...]:
        """The threads that it cannot do without."""
        return self._writer.background

    def with_own_readers(self) -> "Store":
        """The gateway's way into the same database, which ends with this: what it reads waits for no other reads."""
        own = copy.copy(self)
        own._readers = ThreadPoolExecutor(_GATEWAY_THREADS, thread_name_prefix="store-gateway-read")
        self._own_readers.append(own._readers)
        return own

    async def read(self, fn: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `fn` on one consistent snapshot.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        if self._closed.is_set():
            raise StoreUnavailable(_CLOSED)
        return await asyncio.wrap_future(self._readers.submit(self.read_now, fn, *args, **kwargs))

    async def report(
        self, account_id: str, fn: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """As `read`, for what lists or sums up an account's rows: on threads in which each account has a share.

        Raises:
            StoreUnavailable: the database does not answer.
            RateLimited: too many reports of the account wait already.
        """
        if self._closed.is_set():
            raise StoreUnavailable(_CLOSED)
        return await asyncio.wrap_future(
            self._reporters.submit(account_id, partial(self.read_now, fn, *args, **kwargs))
        )

    async def read_all(self, fn: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """As `read`, for what reads whole tables: one after the other, on a thread of its own.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        if self._closed.is_set():
            raise StoreUnavailable(_CLOSED)
        return await asyncio.wrap_future(self._auditor.submit(self.read_now, fn, *args, **kwargs))

    async def write(self, fn: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `fn` as one transaction; when this returns, it is committed.

        Raises:
            StoreUnavailable: the database does not answer; then the work is not known to be done.
        """
        return await asyncio.wrap_future(self._submit(lambda conn: fn(conn, *args, **kwargs)))

    def read_now(self, fn: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """`read`, for a caller that has a thread to block."""
        try:
            with self._reading.connect() as conn, conn.begin():
                return fn(conn, *args, **kwargs)
        except (DataError, UnicodeEncodeError) as failure:
            _raise_if_unstorable(failure)
            raise
        except DBAPIError as failure:
            if is_away(failure):
                raise StoreUnavailable from failure
            raise

    def write_now(self, fn: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """`write`, for a caller that has a thread to block."""
        return self._submit(lambda conn: fn(conn, *args, **kwargs)).result()

    def close(self) -> None:
        """Finish what is queued, then close every connection; calls after this are refused as unavailable."""
        self._closed.set()
        self._writer.close()
        for readers in (self._readers, *self._own_readers):
            readers.shutdown(wait=True)
        self._reporters.close()
        self._auditor.shutdown(wait=True)
        self.engine.dispose()

    def _submit(self, work: Callable[[Connection], R]) -> "Future[R]":
        if self._closed.is_set():
            raise StoreUnavailable(_CLOSED)

        def checked(conn: Connection) -> R:
            try:
                return work(conn)
            except (DataError, UnicodeEncodeError) as failure:
                _raise_if_unstorable(failure)
                raise

        return self._writer.submit(checked)


def _raise_if_unstorable(failure: DataError | UnicodeEncodeError) -> None:
    """What the driver says of a text that no request should have brought this far; it is still its sender's fault.

    psycopg refuses a NUL before it sends anything, so that such an error has no SQLSTATE.

    Raises:
        UnstorableText: it is the text's fault.
    """
    if isinstance(failure, UnicodeEncodeError):
        raise UnstorableText from failure
    if getattr(failure.orig, "sqlstate", None) is None and "NUL" in str(failure.orig):
        raise UnstorableText from failure


def open_store(url: str) -> Store:
    """Open the database at `url` ("sqlite:////absolute/file.db" or "postgresql://…"); its schema is not touched."""
    return Store(make_engine(url))


def make_engine(url: str) -> Engine:
    """An engine with the settings that the store relies on."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed)
    return create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        isolation_level="SERIALIZABLE",
        # An error's text must not quote parameters: digests and addresses are among them.
        hide_parameters=True,
        pool_size=_ALL_READ_THREADS + PostgresWriter.THREADS,
        pool_pre_ping=True,
        # A machine that is gone is noticed in half a minute; otherwise a connection to it may be waited for for hours.
        connect_args={
            "connect_timeout": 5,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 25_000,
        },
    )


def _sqlite_engine(url: URL) -> Engine:
    engine = create_engine(
        url, pool_size=_ALL_READ_THREADS + 1, hide_parameters=True, connect_args={"timeout": _BUSY_TIMEOUT_S}
    )

    @event.listens_for(engine, "connect")
    def _configure(driver_connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        # The driver's own transaction handling begins too late and commits too early; we say BEGIN ourselves.
        driver_connection.isolation_level = None
        cursor = driver_connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            # The charge log is dropped when its charges are committed, so a commit has to survive a power loss.
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={_BUSY_TIMEOUT_S * 1000}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        # A transaction that reads first and then writes fails with "database is locked" whatever the time-out, so the
        # writer takes the write lock at once.
        immediate = conn.get_execution_options().get("tokenbooth_writer", False)
        conn.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine
