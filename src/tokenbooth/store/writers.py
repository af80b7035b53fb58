"""How a store writes: a thread with group commit on SQLite, serializable transactions in a small pool on PostgreSQL."""

import queue
import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError

from tokenbooth.kit.background import BackgroundThread, Running
from tokenbooth.kit.errors import StoreUnavailable

R = TypeVar("R")

_GROUP_MAX: Final = 256
_CONFLICT_RETRIES: Final = 40
_CONFLICT_STATES: Final = frozenset({"40001", "40P01"})
# A row that two looked for and then inserted at once is reported as a duplicate instead of a conflict; the next try
# finds it. One that stays a duplicate is the caller's to know.
_DUPLICATE_STATE: Final = "23505"
_DUPLICATE_RETRIES: Final = 3
# Classes of SQLSTATE that say something of the statement or its values. All others are about the state of the server:
# a standby that is not promoted yet, a disk that made it read-only, damaged pages.
_STATEMENT_CLASSES: Final = frozenset({"21", "22", "23", "42", "44", "P0"})
# A right that was taken away, and a table that is missing while a backup is being restored.
_SERVER_STATES: Final = frozenset({"42501", "42P01"})
_CONFLICT_PAUSE_S: Final = 0.002


def is_away(failure: DBAPIError) -> bool:
    """Whether the database cannot do anything of the kind now, whatever it is asked.

    Source: PostgreSQL's appendix of error codes; for SQLite its driver, which says `DatabaseError` of a damaged file.
    """
    if isinstance(failure, OperationalError | InterfaceError):
        return True
    state = getattr(failure.orig, "sqlstate", None)
    if state is None:
        return type(failure) is DatabaseError
    return state in _SERVER_STATES or state[:2] not in _STATEMENT_CLASSES


class Writer(Protocol):
    """Runs work in transactions, and tells its outcome when it is committed."""

    @property
    def background(self) -> tuple[Running, ...]:
        """The threads that it cannot do without."""
        ...

    def submit(self, work: Callable[[Connection], R]) -> "Future[R]":
        """Have work done in a transaction; the future tells its outcome."""
        ...

    def close(self) -> None:
        """Finish what is queued."""
        ...


class _Operation:
    """Work with the future that tells its outcome; the outcome is told only after the group's commit."""

    __slots__ = ("_future", "_outcome", "_work")

    def __init__(self, work: Callable[[Connection], R], future: "Future[R]") -> None:
        self._work = work
        self._future = future
        self._outcome: Callable[[], None] = lambda: None

    def run(self, conn: Connection) -> None:
        """Do the work in a savepoint of its own.

        Raises:
            DBAPIError: the database is away; nothing of the group can be committed.
        """
        # The caller may be gone by now; from here on it cannot cancel, and the outcome can always be told.
        if not self._future.set_running_or_notify_cancel():
            return
        # As text: SQLAlchemy's own savepoints are compiled anew each time, which costs more than what is in them.
        conn.exec_driver_sql("SAVEPOINT operation")
        try:
            result = self._work(conn)
            conn.exec_driver_sql("RELEASE operation")
        except BaseException as failure:
            if isinstance(failure, DBAPIError) and is_away(failure):
                raise
            conn.exec_driver_sql("ROLLBACK TO operation")
            self._outcome = partial(self._future.set_exception, failure)
        else:
            self._outcome = lambda: self._future.set_result(result)

    def finish(self) -> None:
        """Tell the outcome; to be called after the commit."""
        self._outcome()

    def fail(self, failure: BaseException) -> None:
        """Tell that nothing was done."""
        if not self._future.done():
            self._future.set_exception(failure)


class SqliteWriter:
    """The one thread that writes to a SQLite file, with group commit.

    Its connection stays open: the pages and statements that it has in memory are good for the next group as well.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(tokenbooth_writer=True)
        self._conn: Connection | None = None
        self._queue: queue.SimpleQueue[_Operation | None] = queue.SimpleQueue()
        self._ends = False
        self._thread = BackgroundThread("store-write", self._run)
        self._thread.start()

    @property
    def background(self) -> tuple[Running, ...]:
        return (self._thread.running,)

    def submit(self, work: Callable[[Connection], R]) -> "Future[R]":
        future: Future[R] = Future()
        self._queue.put(_Operation(work, future))
        return future

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while not self._ends:
            self._commit_group(self._next_group())
        self._disconnect()

    def _next_group(self) -> list[_Operation]:
        """Wait for an operation, then take all that have queued up behind it."""
        group: list[_Operation] = []
        operation = self._queue.get()
        while operation is not None:
            group.append(operation)
            if len(group) == _GROUP_MAX:
                return group
            try:
                operation = self._queue.get_nowait()
            except queue.Empty:
                return group
        self._ends = True
        return group

    def _commit_group(self, group: list[_Operation]) -> None:
        if not group:
            return
        try:
            conn = self._conn = self._conn or self._engine.connect()
            with conn.begin():
                for operation in group:
                    operation.run(conn)
        except BaseException as failure:
            unavailable = StoreUnavailable()
            unavailable.__cause__ = failure
            # Told first: a connection that is lost may not even let itself be closed.
            for operation in group:
                operation.fail(unavailable)
            self._disconnect()
            return
        for operation in group:
            operation.finish()

    def _disconnect(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.close()


def _pause_s(attempt: int) -> float:
    """How long to wait before the next try of a conflicting transaction, in seconds."""
    # Jitter, so that two transactions that collided don't collide again.
    return random.uniform(0, _CONFLICT_PAUSE_S * min(2**attempt, 64))  # noqa: S311


class PostgresWriter:
    """Serializable transactions, repeated on conflict, in a small pool of threads."""

    THREADS: Final = 4

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(self.THREADS, thread_name_prefix="store-write")

    @property
    def background(self) -> tuple[Running, ...]:
        # A pool's threads tell every failure to whoever asked, and go on.
        return ()

    def submit(self, work: Callable[[Connection], R]) -> "Future[R]":
        return self._threads.submit(self._run, work)

    def close(self) -> None:
        self._threads.shutdown(wait=True)

    def _run(self, work: Callable[[Connection], R]) -> R:
        for attempt in range(_CONFLICT_RETRIES):
            try:
                with self._engine.connect() as conn, conn.begin():
                    return work(conn)
            except DBAPIError as failure:
                if _is_worth_another_try(failure, attempt):
                    time.sleep(_pause_s(attempt))
                    continue
                if is_away(failure):
                    raise StoreUnavailable from failure
                raise
        raise StoreUnavailable("The service's database is too busy. Try again in a few seconds.")


def _is_worth_another_try(failure: DBAPIError, attempt: int) -> bool:
    """Whether PostgreSQL rolled the transaction back only because of others, as far as one can tell."""
    state = getattr(failure.orig, "sqlstate", None)
    return state in _CONFLICT_STATES or (state == _DUPLICATE_STATE and attempt < _DUPLICATE_RETRIES)
