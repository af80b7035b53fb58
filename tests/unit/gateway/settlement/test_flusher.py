"""The flusher, as far as it shows from inside: no charge stops the others."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import pytest
from sqlalchemy import Connection, select

from tests.support.billing.billing_rows import charge
from tests.support.fakes import MARCH_5_2026_US, FakeClock
from tests.support.gateway.registration import unregistered
from tests.support.store import new_customer
from tests.unit.gateway.settlement.test_charge_log import only_growing
from tokenbooth.domain.allowance import Allowance
from tokenbooth.domain.charges import Charge
from tokenbooth.gateway.access.cache import AccountState
from tokenbooth.gateway.settlement.charge_files import read_file, set_aside
from tokenbooth.gateway.settlement.charge_log import ChargeLog
from tokenbooth.gateway.settlement.charge_queue import ChargeQueue, QueuedCharge
from tokenbooth.gateway.settlement.flusher import Flusher
from tokenbooth.kit.background import BackgroundTask
from tokenbooth.store.engine import Store, make_engine
from tokenbooth.store.migrate import migrate
from tokenbooth.store.tables import usage_events

P = ParamSpec("P")
R = TypeVar("R")


class PoisonedStore(Store):
    """A store at which whoever writes a poisoned charge dies, as of a cancellation that nobody asked for."""

    poison = ""

    async def write(self, fn: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Write, unless the poison is in what is written: then the writer is cancelled."""
        if self.poison and self.poison in repr(args):
            raise asyncio.CancelledError
        return await super().write(fn, *args, **kwargs)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PoisonedStore]:
    """A migrated SQLite database."""
    engine = make_engine(f"sqlite:///{tmp_path / 'tokenbooth.db'}")
    migrate(engine)
    with closing(PoisonedStore(engine)) as opened:
        yield opened


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ChargeLog]:
    """A charge log of its own directory."""
    opened = ChargeLog(tmp_path, first_number=1, epoch="gw_test")
    yield opened
    opened.close()


@pytest.fixture
def account(store: PoisonedStore) -> AccountState:
    """A customer, as the gateway knows it."""
    account_id = new_customer(store, now_us=MARCH_5_2026_US).account_id
    return AccountState(account_id, 0, False, Allowance(10**9))


def made(account: AccountState, number: int) -> Charge:
    """A charge of the account that takes nothing from its credit."""
    return charge(account.account_id, finished_at_us=MARCH_5_2026_US + number, cost_nano=0)


def new_flusher(store: Store, log: ChargeLog, queue: ChargeQueue, *, clock: FakeClock | None = None) -> Flusher:
    """A flusher of a process that no row stands for."""
    return Flusher(
        store=store,
        clock=clock or FakeClock(),
        log=log,
        queue=queue,
        process=unregistered(store, Path()),
        budgets_nano=dict,
    )


def add(queue: ChargeQueue, log: ChargeLog, account: AccountState, charged: Charge) -> None:
    """Finish a request, as the settler does."""
    queue.add(QueuedCharge(charged, account.pin(), (account.credit,), log.append(charged)))


def stored(store: Store) -> set[str]:
    """The requests that the store has."""
    return store.read_now(lambda conn: {row.request_id for row in conn.execute(select(usage_events.c.request_id))})


async def until(holds: Callable[[], bool]) -> None:
    """Return when something has happened on this loop."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


async def test_a_charge_at_which_the_flusher_dies_is_set_aside_the_third_time(
    store: PoisonedStore, log: ChargeLog, account: AccountState, tmp_path: Path
) -> None:
    """Of many in one batch that one alone; all others are stored, and the flusher goes on with what comes."""
    queue = ChargeQueue(1_000)
    flusher = new_flusher(store, log, queue)
    charges = [made(account, number) for number in range(20)]
    poisoned = charges[7]
    store.poison = poisoned.request_id
    for charged in charges:
        add(queue, log, account, charged)
    task = BackgroundTask("flusher", flusher.run, after_death=flusher.note_death)
    task.start()
    await until(lambda: len(queue) == 0)

    assert task.running.deaths == 3
    assert task.running.is_down
    assert stored(store) == {charged.request_id for charged in charges if charged is not poisoned}
    assert [read_file(path).content.charges for path in set_aside(tmp_path)] == [[poisoned]]
    assert (flusher.refused, account.pins) == (1, 0)
    late = made(account, 99)
    add(queue, log, account, late)
    await flusher.flush()
    assert late.request_id in stored(store)
    await task.stop()


async def test_deaths_that_are_no_charges_fault_set_nothing_aside(
    store: PoisonedStore, log: ChargeLog, account: AccountState, tmp_path: Path
) -> None:
    """A flusher that died without a charge in hand, however often, refuses none of them."""
    queue = ChargeQueue(1_000)
    flusher = new_flusher(store, log, queue)
    for _ in range(5):
        flusher.note_death()
    charged = made(account, 1)
    add(queue, log, account, charged)
    task = BackgroundTask("flusher", flusher.run, after_death=flusher.note_death)
    task.start()
    await flusher.flush()
    await task.stop()

    assert (stored(store), set_aside(tmp_path)) == ({charged.request_id}, [])


async def test_deaths_far_apart_set_nothing_aside(
    store: PoisonedStore, log: ChargeLog, account: AccountState, tmp_path: Path
) -> None:
    """Three deaths within more than a minute are bad luck, not a bad charge."""
    clock = FakeClock()
    queue = ChargeQueue(1_000)
    flusher = new_flusher(store, log, queue, clock=clock)
    charged = made(account, 1)
    store.poison = charged.request_id
    add(queue, log, account, charged)
    deaths = []

    def after_death() -> None:
        flusher.note_death()
        deaths.append(1)
        clock.advance(61)
        if len(deaths) == 4:
            store.poison = ""

    task = BackgroundTask("flusher", flusher.run, after_death=after_death)
    task.start()
    await until(lambda: len(queue) == 0)
    await task.stop()

    assert (stored(store), set_aside(tmp_path)) == ({charged.request_id}, [])


async def test_a_charge_that_can_neither_be_stored_nor_set_aside_waits(
    store: PoisonedStore, log: ChargeLog, account: AccountState, tmp_path: Path
) -> None:
    """The flusher dies of it, so that the server is not ready; with the directory back it goes on."""
    queue = ChargeQueue(1_000)
    flusher = new_flusher(store, log, queue)
    refused = made(account, 1)._replace(upstream_cost_nano=2**63)
    good = made(account, 2)
    add(queue, log, account, refused)
    add(queue, log, account, good)
    (tmp_path / "charges").rename(tmp_path / "elsewhere")
    task = BackgroundTask("flusher", flusher.run, after_death=flusher.note_death)
    task.start()
    await until(lambda: task.running.deaths >= 2)
    assert len(queue) >= 1
    (tmp_path / "elsewhere").rename(tmp_path / "charges")
    await until(lambda: len(queue) == 0)
    await task.stop()

    assert stored(store) == {good.request_id}
    assert [path.name for path in set_aside(tmp_path)] == [f"{refused.request_id}.refused"]


async def test_a_disk_that_lets_go_of_nothing_does_not_stop_the_flusher(
    store: PoisonedStore, log: ChargeLog, account: AccountState
) -> None:
    """While the committed part of the log cannot be emptied, charges still reach the store."""
    queue = ChargeQueue(1_000)
    flusher = new_flusher(store, log, queue)
    task = BackgroundTask("flusher", flusher.run, after_death=flusher.note_death)
    task.start()
    first = made(account, 1)
    segment = log.append(first)
    with only_growing(segment):
        queue.add(QueuedCharge(first, account.pin(), (account.credit,), segment))
        await flusher.flush()
        add(queue, log, account, made(account, 2))
        await flusher.flush()
        assert len(stored(store)) == 2
    add(queue, log, account, made(account, 3))
    await flusher.flush()
    await task.stop()

    assert (len(stored(store)), task.running.deaths, segment.size_bytes) == (3, 0, 0)


async def test_a_drain_that_dies_leaves_the_rest_to_the_log(
    store: PoisonedStore, log: ChargeLog, account: AccountState, tmp_path: Path
) -> None:
    """The stop goes on, whatever the last charges do to it."""
    queue = ChargeQueue(1_000)
    flusher = new_flusher(store, log, queue)
    add(queue, log, account, made(account, 1)._replace(upstream_cost_nano=2**63))
    (tmp_path / "charges").rename(tmp_path / "elsewhere")
    assert await flusher.drain(5) is False
    (tmp_path / "elsewhere").rename(tmp_path / "charges")
    assert await flusher.drain(5) is True
