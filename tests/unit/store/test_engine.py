"""The store's two ways in: group commit, cancelled callers, databases that are away or closed."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, insert, select, text
from sqlalchemy.exc import DatabaseError, DBAPIError, IntegrityError, OperationalError

from tests.support.store import open_empty_sqlite
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.store.engine import Store, open_store
from tokenbooth.store.tables import retention


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty SQLite database: what is tested here is the same on both engines."""
    opened = open_empty_sqlite(tmp_path / "tokenbooth.db")
    yield opened
    opened.close()


def put(conn: Connection, number: int) -> int:
    """Insert a row."""
    conn.execute(insert(retention).values(id=number, usage_pruned_until_us=number))
    return number


def numbers(conn: Connection) -> list[int]:
    """The rows."""
    return list(conn.scalars(select(retention.c.id).order_by(retention.c.id)))


def fail_after(conn: Connection, number: int) -> None:
    """Insert a row, then fail."""
    put(conn, number)
    raise ValueError(number)


def wait_for(_conn: Connection, gate: threading.Event) -> bool:
    """Whether the gate was opened while this waited."""
    return gate.wait(10)


async def test_a_failing_operation_is_rolled_back_alone(store: Store) -> None:
    """Of operations committed together one that fails leaves nothing, and takes nothing with it."""
    gate = threading.Event()
    first = asyncio.create_task(store.write(lambda conn: gate.wait(10) and put(conn, 1)))
    await asyncio.sleep(0)
    rest = [asyncio.create_task(store.write(fail_after, 2)), asyncio.create_task(store.write(put, 3))]
    await asyncio.sleep(0)
    gate.set()
    outcomes = await asyncio.gather(first, *rest, return_exceptions=True)

    assert [outcomes[0], outcomes[2]] == [1, 3]
    assert isinstance(outcomes[1], ValueError)
    assert await store.read(numbers) == [1, 3]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_nothing_runs_on_the_callers_loop(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A report that takes long, or a write, holds nobody up: the loop goes on and can even end the wait for it."""
    url = f"sqlite:///{tmp_path / 'x.db'}" if engine == "sqlite" else request.getfixturevalue("postgres_url")
    opened = open_store(url)
    for call in (opened.read, opened.write):
        gate = threading.Event()
        slow = asyncio.create_task(call(wait_for, gate))
        await asyncio.sleep(0)
        gate.set()
        assert await slow
    opened.close()


async def test_a_cancelled_caller_does_not_end_the_writer(store: Store) -> None:
    """An operation whose caller went away while it ran is done; one that had not begun is not; others go on."""
    running, gate = threading.Event(), threading.Event()

    def slow(conn: Connection) -> int:
        running.set()
        gate.wait(10)
        return put(conn, 1)

    begun = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(running.wait, 10)
    waiting = asyncio.create_task(store.write(put, 2))
    await asyncio.sleep(0)
    begun.cancel()
    waiting.cancel()
    await asyncio.gather(begun, waiting, return_exceptions=True)
    gate.set()

    assert await store.write(put, 3) == 3
    assert await store.read(numbers) == [1, 3]


async def test_a_database_that_breaks_is_unavailable_and_comes_back(store: Store) -> None:
    """A statement that the database cannot run refuses the whole group; the next group is served."""
    with pytest.raises(StoreUnavailable):
        await store.write(lambda conn: conn.execute(text("SELECT * FROM no_such_table")))
    with pytest.raises(StoreUnavailable):
        await store.read(lambda conn: conn.execute(text("SELECT * FROM no_such_table")))

    assert await store.write(put, 1) == 1


async def test_a_group_that_breaks_tells_everybody_who_still_waits(store: Store) -> None:
    """Who went away is not told; who waits is told that nothing was done, and nothing was."""
    running, gate = threading.Event(), threading.Event()

    def slow(conn: Connection) -> None:
        running.set()
        gate.wait(10)

    first = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(running.wait, 10)
    gone, waits, breaks = (
        asyncio.create_task(store.write(work))
        for work in (
            lambda conn: put(conn, 1),
            lambda conn: put(conn, 2),
            lambda conn: conn.execute(text("SELECT * FROM no_such_table")),
        )
    )
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    gate.set()
    outcomes = await asyncio.gather(first, gone, waits, breaks, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes[1:]] == [asyncio.CancelledError, StoreUnavailable, StoreUnavailable]
    assert await store.read(numbers) == []


async def test_more_operations_than_a_group_takes_are_all_done(store: Store) -> None:
    """What queued up behind a slow commit is committed in several groups."""
    running, gate = threading.Event(), threading.Event()

    def slow(conn: Connection) -> None:
        running.set()
        gate.wait(10)

    first = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(running.wait, 10)
    others = [asyncio.create_task(store.write(put, number)) for number in range(600)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *others)

    assert await store.read(numbers) == list(range(600))


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_a_closed_store_refuses(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """After its end every call says that the service is shutting down."""
    url = f"sqlite:///{tmp_path / 'x.db'}" if engine == "sqlite" else request.getfixturevalue("postgres_url")
    opened = open_store(url)
    opened.close()

    for call in (opened.read(numbers), opened.write(put, 1)):
        with pytest.raises(StoreUnavailable, match="shutting down"):
            await call
    with pytest.raises(StoreUnavailable, match="shutting down"):
        opened.write_now(put, 1)


async def test_an_unreachable_server_is_unavailable() -> None:
    """Nobody listens there: both ways in say so instead of hanging."""
    opened = open_store("postgresql://nobody@127.0.0.1:1/none")
    for call in (opened.read(numbers), opened.write(put, 1)):
        with pytest.raises(StoreUnavailable):
            await call
    opened.close()


async def test_conflicting_transactions_are_repeated(postgres_url: str) -> None:
    """Scenario 51: two serializable transactions that read what the other writes both end, one after the other."""
    opened = open_store(postgres_url)
    opened.write_now(lambda conn: retention.create(conn))
    both_read = threading.Barrier(2, timeout=10)
    tries = []

    def count_and_put(conn: Connection, number: int) -> int:
        seen = len(numbers(conn))
        tries.append(number)
        if len(tries) <= 2:
            both_read.wait()
        put(conn, number)
        return seen

    seen = await asyncio.gather(opened.write(count_and_put, 1), opened.write(count_and_put, 2))
    rows = await opened.read(numbers)
    opened.close()

    assert sorted(seen) == [0, 1]
    assert rows == [1, 2]
    assert len(tries) >= 3


async def test_a_conflict_that_never_ends_is_unavailable(postgres_url: str) -> None:
    """After so many tries the caller is told to come back."""
    opened = open_store(postgres_url)
    raising = text("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$")
    with pytest.raises(StoreUnavailable, match="too busy"):
        await opened.write(lambda conn: conn.execute(raising))
    opened.close()


async def test_a_connection_that_cannot_even_be_closed_does_not_end_the_writer(store: Store) -> None:
    """Who waits is told, the writing thread starts again, and the next write is done."""
    broken = [True]

    @event.listens_for(store.engine, "checkin")
    def _refuse(_connection: object, _record: object) -> None:
        if broken:
            broken.clear()
            raise RuntimeError("no way to close it")

    def lose_the_connection(_conn: Connection) -> None:
        raise OperationalError("SELECT 1", {}, Exception("gone"))

    with pytest.raises(StoreUnavailable):
        await store.write(lose_the_connection)
    async with asyncio.timeout(20):
        assert await store.write(put, 1) == 1
    (writer,) = store.background
    assert (writer.name, writer.deaths) == ("store-write", 1)


async def test_other_failures_reach_the_caller_on_postgresql(postgres_url: str) -> None:
    """Only conflicts are repeated: a broken rule is the caller's to know."""
    opened = open_store(postgres_url)
    with pytest.raises(ZeroDivisionError):
        await opened.write(lambda _conn: 1 // 0)
    opened.close()


def raise_state(conn: Connection, state: str) -> None:
    """Let the server fail with a SQLSTATE."""
    conn.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$")


def write_where_nobody_may(conn: Connection) -> None:
    """What a standby says that is not promoted yet, and a server whose disk is full."""
    conn.exec_driver_sql("SET TRANSACTION READ ONLY")
    put(conn, 1)


@pytest.mark.parametrize("state", ["0A000", "25006", "25P03", "42501", "42P01", "53100", "55000", "58030", "XX001"])
async def test_a_server_that_cannot_is_away(postgres_url: str, state: str) -> None:
    """What it says of itself is no fault of what it was asked, which is tried again when it is well."""
    opened = open_store(postgres_url)
    for work in (opened.write, opened.read):
        with pytest.raises(StoreUnavailable):
            await work(raise_state, state)
    opened.close()


@pytest.mark.parametrize("state", ["21000", "22003", "23514", "42703", "P0001"])
async def test_a_statement_that_is_wrong_is_no_outage(postgres_url: str, state: str) -> None:
    """It would be tried again for ever."""
    opened = open_store(postgres_url)
    for work in (opened.write, opened.read):
        with pytest.raises(DBAPIError):
            await work(raise_state, state)
    opened.close()


async def test_a_server_that_only_reads_is_away(postgres_url: str) -> None:
    """It is one for some seconds at every fail-over."""
    opened = open_store(postgres_url)
    opened.write_now(lambda conn: retention.create(conn))
    with pytest.raises(StoreUnavailable):
        await opened.write(write_where_nobody_may)
    assert await opened.write(put, 1) == 1
    opened.close()


async def test_a_damaged_file_is_away(store: Store) -> None:
    """Nothing that was asked of it is at fault, and the group with it is told so."""

    def damage(conn: Connection) -> None:
        conn.exec_driver_sql("PRAGMA writable_schema = ON")
        conn.exec_driver_sql("UPDATE sqlite_schema SET rootpage = 999 WHERE name = 'retention'")
        conn.exec_driver_sql("PRAGMA writable_schema = RESET")

    await store.write(damage)
    for work in (store.write, store.read):
        with pytest.raises(StoreUnavailable) as refused:
            await work(numbers)
        assert type(refused.value.__cause__) is DatabaseError


async def test_a_row_inserted_by_two_at_once_is_found_by_the_second(postgres_url: str) -> None:
    """Look, then insert: the one that comes second is repeated and sees the first one's row, instead of failing."""
    opened = open_store(postgres_url)
    opened.write_now(lambda conn: retention.create(conn))
    both_looked = threading.Barrier(2, timeout=10)
    tries = []

    def insert_once(conn: Connection) -> bool:
        found = 1 in numbers(conn)
        tries.append(found)
        if len(tries) <= 2:
            both_looked.wait()
        if not found:
            put(conn, 1)
        return not found

    outcomes = await asyncio.gather(opened.write(insert_once), opened.write(insert_once))
    opened.close()

    assert sorted(outcomes) == [False, True]


async def test_a_duplicate_that_stays_one_reaches_the_caller(postgres_url: str) -> None:
    """It is no conflict: the caller tried to insert what is there."""
    opened = open_store(postgres_url)
    opened.write_now(lambda conn: retention.create(conn))
    await opened.write(put, 1)
    with pytest.raises(IntegrityError):
        await opened.write(put, 1)
    opened.close()
