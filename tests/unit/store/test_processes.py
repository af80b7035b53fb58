"""Rows of processes: one open at a time, closed for good, and never closed below a booking."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, update
from sqlalchemy.exc import IntegrityError

from tests.support.fakes import MARCH_5_2026_US
from tokenbooth.store import processes
from tokenbooth.store.engine import Store, open_store
from tokenbooth.store.processes import ClosedHow, NewProcess, ProcessState
from tokenbooth.store.tables import gateway_processes

NOW_US = MARCH_5_2026_US


def new(epoch: str, directory_id: str = "one") -> NewProcess:
    """A run on a directory."""
    return NewProcess(epoch, directory_id, f"/var/lib/{directory_id}", f"host-{directory_id}", 42, "1.0", "hash")


def register(store: Store, epoch: str, directory_id: str = "one") -> str | None:
    """The epoch of the run that is in the way, None for nobody's."""
    other = store.write_now(processes.register, new(epoch, directory_id), now_us=NOW_US)
    return None if other is None else other.epoch


def state(store: Store, epoch: str) -> tuple[ProcessState, str | None] | None:
    """The state of a row, and why it was closed."""
    found = store.read_now(processes.find, epoch)
    return None if found is None else (found.state, found.closed_how)


def close(store: Store, epoch: str, *, beat: int | None = None) -> bool:
    """Close a row as the operator does."""
    return store.write_now(processes.close_by_operator, epoch, beat=beat, now_us=NOW_US)


def test_a_second_directory_is_not_registered(store: Store) -> None:
    """Beside an open row there is none of another directory; the first one is named."""
    assert register(store, "gw_1") is None
    assert register(store, "gw_2", "two") == "gw_1"
    assert state(store, "gw_2") is None
    found = store.read_now(processes.find, "gw_1")
    assert found is not None
    assert (found.host, found.directory, found.pid, found.beat) == ("host-one", "/var/lib/one", 42, 0)


def test_the_same_directory_takes_its_row_over(store: Store) -> None:
    """The lock on the directory proves that the run before is over."""
    assert register(store, "gw_1") is None
    assert register(store, "gw_2") is None
    assert state(store, "gw_1") == (ProcessState.CLOSED, ClosedHow.SAME_DIRECTORY)
    assert state(store, "gw_2") == (ProcessState.LIVE, None)


def test_a_closed_row_is_in_nobodys_way(store: Store) -> None:
    """After a regular end another directory may begin."""
    register(store, "gw_1")
    assert store.write_now(processes.close, "gw_1", ClosedHow.STOPPED, now_us=NOW_US)
    assert register(store, "gw_2", "two") is None
    assert [process.epoch for process in store.read_now(processes.newest, 5)] == ["gw_2", "gw_1"]


@pytest.mark.parametrize("number", range(5))
def test_of_two_that_register_at_once_one_is_registered(store: Store, number: int) -> None:
    """Whatever the interleaving: one row, and the other run is told of it."""
    second = open_store(store.engine.url.render_as_string(hide_password=False))
    barrier = threading.Barrier(2)

    def at_once(by: Store, epoch: str) -> str | None:
        barrier.wait()
        return register(by, epoch, epoch)

    try:
        with ThreadPoolExecutor(2) as pool:
            told = list(pool.map(at_once, (store, second), ("gw_1", "gw_2")))
    finally:
        second.close()
    assert set(told) in ({"gw_1", None}, {"gw_2", None})
    assert len(store.read_now(processes.newest, 5)) == 1


def test_beats_count_up_until_the_row_is_closed(store: Store) -> None:
    """A beat tells its number; of a closed row, or none, it tells that."""
    register(store, "gw_1")
    assert [store.write_now(processes.beat, "gw_1") for _ in range(2)] == [1, 2]
    store.write_now(processes.begin_draining, "gw_1")
    assert store.write_now(processes.beat, "gw_1") == 3
    assert state(store, "gw_1") == (ProcessState.DRAINING, None)
    close(store, "gw_1")
    assert (store.write_now(processes.beat, "gw_1"), store.write_now(processes.beat, "gw_9")) == (None, None)
    store.write_now(processes.begin_draining, "gw_1")
    assert state(store, "gw_1") == (ProcessState.CLOSED, ClosedHow.COMMAND)


def test_a_row_that_beat_again_is_not_closed(store: Store) -> None:
    """Who watched a beat closes that beat's row only, and a closed one is not closed twice."""
    register(store, "gw_1")
    store.write_now(processes.beat, "gw_1")
    assert not close(store, "gw_1", beat=0)
    assert close(store, "gw_1", beat=1)
    assert not close(store, "gw_1")


def test_silence_is_counted_by_the_databases_clock(store: Store) -> None:
    """Neither the run's clock nor the reader's counts: both were set to another year here."""
    register(store, "gw_1")
    found = store.read_now(processes.find, "gw_1")
    assert found is not None
    assert found.silent_s < 100

    def age(conn: Connection) -> None:
        columns = gateway_processes.c
        conn.execute(update(gateway_processes).values(beat_at_us=columns.beat_at_us - 200_000_000))

    store.write_now(age)
    found = store.read_now(processes.find, "gw_1")
    assert found is not None
    assert 200 <= found.silent_s < 300


def test_a_close_waits_for_a_booking_under_way(store: Store) -> None:
    """What began while the row was open is committed before the row is closed."""
    other = open_store(store.engine.url.render_as_string(hide_password=False))
    register(store, "gw_1")
    holding, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    def booking(conn: Connection) -> bool:
        is_open = processes.hold_open(conn, "gw_1")
        holding.set()
        go_on.wait(20)
        order.append("booked")
        return is_open

    def closing() -> None:
        assert close(other, "gw_1")
        order.append("closed")

    try:
        with ThreadPoolExecutor(2) as pool:
            booked = pool.submit(store.write_now, booking)
            assert holding.wait(20)
            closed = pool.submit(closing)
            # Enough for a close that does not wait; one that does is none the worse for it.
            threading.Event().wait(0.3)
            go_on.set()
            closed.result(20)
            assert booked.result(20)
    finally:
        other.close()
    assert order == ["booked", "closed"]
    assert not store.write_now(processes.hold_open, "gw_1")


def test_old_rows_are_forgotten_but_never_open_ones(store: Store) -> None:
    """Only what was closed long ago goes."""
    for number in range(2):
        register(store, f"gw_{number}")
    assert store.write_now(processes.forget_closed, NOW_US) == 0
    assert store.write_now(processes.forget_closed, NOW_US + 1) == 1
    assert [process.epoch for process in store.read_now(processes.newest, 5)] == ["gw_1"]


def test_two_open_rows_of_a_directory_are_refused_by_the_database(store: Store) -> None:
    """Whatever a program does wrong."""
    register(store, "gw_1")
    register(store, "gw_2")

    def reopen(conn: Connection) -> None:
        conn.execute(update(gateway_processes).values(state=ProcessState.LIVE))

    with pytest.raises(IntegrityError):
        store.write_now(reopen)
