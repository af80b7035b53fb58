"""The registration of a process: beside others, while the database is away, and after the process stood still."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from tests.support.gateway.gateway_rig import MoodyStore
from tests.support.gateway.registration import no_replay, unregistered
from tokenbooth.gateway.access import registration as registration_module
from tokenbooth.gateway.access.registration import AnotherProcess, Registration, directory_id
from tokenbooth.kit.clock import since_boot_us
from tokenbooth.store import processes
from tokenbooth.store.engine import Store
from tokenbooth.store.processes import ClosedHow, Process, ProcessState
from tokenbooth.store.tables import gateway_processes


@pytest.fixture
def first_dir(tmp_path: Path) -> Path:
    """The data directory of the first process."""
    return made(tmp_path / "first")


@pytest.fixture
def second_dir(tmp_path: Path) -> Path:
    """The data directory of the second process."""
    return made(tmp_path / "second")


def made(directory: Path) -> Path:
    """A directory that exists."""
    directory.mkdir()
    return directory


def row(store: Store, registration: Registration) -> Process:
    """What the store says of a run."""
    return store.read_now(row_of, registration.epoch)


def row_of(conn: Connection, epoch: str) -> Process:
    """The row of a run, which is there."""
    found = processes.find(conn, epoch)
    assert found is not None
    return found


def how(store: Store, registration: Registration) -> tuple[ProcessState, str | None]:
    """The state of a run's row, and why it was closed."""
    found = row(store, registration)
    return found.state, found.closed_how


async def begun(store: Store, directory: Path) -> Registration:
    """A registered run."""
    registration = unregistered(store, directory)
    await registration.begin(no_replay)
    return registration


def age(store: Store, seconds: int) -> None:
    """Let the last beat of every row be so much longer ago, by the database's clock."""

    def work(conn: Connection) -> None:
        columns = gateway_processes.c
        conn.execute(update(gateway_processes).values(beat_at_us=columns.beat_at_us - seconds * 1_000_000))

    store.write_now(work)


async def beside(other: Registration, work: Coroutine[object, object, None]) -> None:
    """Do something while another process beats."""
    task = asyncio.create_task(work)
    while not task.done():
        await other.beat()
        await asyncio.wait({task}, timeout=0.01)
    await task


async def test_a_start_beside_a_living_process_is_refused(moody: MoodyStore, first_dir: Path, second_dir: Path) -> None:
    """The message names host, directory and pid of the one that lives; nothing is registered, nothing is prepared."""
    first = await begun(moody, first_dir)
    second = unregistered(moody, second_dir, watch_s=60)
    prepared: list[bool] = []

    async def prepare() -> None:
        prepared.append(True)

    with pytest.raises(AnotherProcess) as refused:
        await beside(first, second.begin(prepare))
    found = row(moody, first)
    for named in (found.host, str(first_dir), str(found.pid), first.epoch):
        assert named in str(refused.value)
    assert (prepared, moody.read_now(processes.find, second.epoch)) == ([], None)
    assert how(moody, first) == (ProcessState.LIVE, None)


async def test_the_same_directory_is_taken_over_at_once(moody: MoodyStore, first_dir: Path) -> None:
    """After a kill the next run on the directory closes the old row; a run that lives after all admits nothing more."""
    first = await begun(moody, first_dir)
    second = await begun(moody, first_dir)
    assert how(moody, first) == (ProcessState.CLOSED, ClosedHow.SAME_DIRECTORY)
    await first.beat()
    assert (first.is_open, second.is_open) == (False, True)
    await first.end(everything_stored=True)
    await second.beat()
    assert second.is_open


async def test_a_silent_process_is_taken_over(moody: MoodyStore, first_dir: Path, second_dir: Path) -> None:
    """Without a beat for 150 s, and none while it is watched, a process is taken for dead."""
    first = await begun(moody, first_dir)
    age(moody, 151)
    await begun(moody, second_dir)
    assert how(moody, first) == (ProcessState.CLOSED, ClosedHow.SILENT)


async def test_a_process_that_beats_after_a_long_silence_lives(
    moody: MoodyStore, first_dir: Path, second_dir: Path
) -> None:
    """The silence may have been the database's: it was away for everybody, and its clock went on."""
    first = await begun(moody, first_dir)
    age(moody, 1_000)
    with pytest.raises(AnotherProcess):
        await beside(first, unregistered(moody, second_dir, watch_s=60).begin(no_replay))


@pytest.mark.parametrize("closed", [True, False])
async def test_a_process_that_was_silent_for_a_moment_is_waited_for(
    moody: MoodyStore, first_dir: Path, second_dir: Path, closed: bool
) -> None:
    """Until 150 s are over, or somebody who knows closes its row."""
    first = await begun(moody, first_dir)
    second = unregistered(moody, second_dir)
    starting = asyncio.create_task(second.begin(no_replay))
    done, _ = await asyncio.wait({starting}, timeout=0.6)
    assert not done
    if closed:
        moody.write_now(processes.close_by_operator, first.epoch, beat=None, now_us=1)
    else:
        age(moody, 151)
    await starting
    assert second.is_open
    assert how(moody, first)[1] == (ClosedHow.COMMAND if closed else ClosedHow.SILENT)


async def test_a_process_that_ends_is_waited_for(moody: MoodyStore, first_dir: Path, second_dir: Path) -> None:
    """One that drains beats on until its calls have ended; then the next one begins."""
    first, second = await begun(moody, first_dir), unregistered(moody, second_dir, watch_s=60)
    await first.drain()
    starting = asyncio.create_task(second.begin(no_replay))
    for _ in range(3):
        await first.beat()
        await asyncio.wait({starting}, timeout=0.3)
    assert not starting.done()
    await first.end(everything_stored=True)
    await starting
    assert how(moody, first) == (ProcessState.CLOSED, ClosedHow.STOPPED)


async def test_charges_that_are_left_keep_the_row_open(moody: MoodyStore, first_dir: Path) -> None:
    """Nobody else may spend what the charges in the log are to be paid from, before they are booked."""
    first = await begun(moody, first_dir)
    await first.end(everything_stored=False)
    assert how(moody, first)[0] is ProcessState.LIVE


async def test_a_start_that_fails_leaves_no_open_row(moody: MoodyStore, first_dir: Path, second_dir: Path) -> None:
    """Another directory need not wait for it."""
    first = unregistered(moody, first_dir)

    async def fail() -> None:
        raise RuntimeError("the log is unreadable")

    with pytest.raises(RuntimeError, match="unreadable"):
        await first.begin(fail)
    assert how(moody, first) == (ProcessState.CLOSED, ClosedHow.FAILED)
    assert (await begun(moody, second_dir)).is_open


class BootClock:
    """Time since the machine was started, moved by hand."""

    def __init__(self) -> None:
        self.now_us = 10**9

    def __call__(self) -> int:
        return self.now_us


async def test_a_process_that_stood_still_admits_only_when_its_row_is_still_open(
    moody: MoodyStore, first_dir: Path
) -> None:
    """Stopped or suspended for longer than two beats it asks first: it may have been replaced."""
    boot = BootClock()
    first = unregistered(moody, first_dir, since_boot_us=boot)
    await first.begin(no_replay)

    def admits() -> bool:
        return boot() < first.admits_until_us

    assert admits()
    boot.now_us += 11_000_000
    assert not admits()
    await first.beat()
    assert admits()
    boot.now_us += 11_000_000
    moody.write_now(processes.close_by_operator, first.epoch, beat=None, now_us=1)
    await first.beat()
    assert (admits(), first.is_open) == (False, False)
    boot.now_us = 0
    await first.beat()
    assert not admits()


async def test_a_database_that_does_not_answer_stops_nothing(moody: MoodyStore, first_dir: Path) -> None:
    """While it is away known keys go on; the row is asked for all the same, and again when it is back."""
    boot = BootClock()
    first = unregistered(moody, first_dir, since_boot_us=boot)
    await first.begin(no_replay)
    moody.away = True
    for _ in range(3):
        boot.now_us += 8_000_000
        await first.beat()
        assert boot() < first.admits_until_us
    boot.now_us += 11_000_000
    await first.beat()
    assert boot() >= first.admits_until_us, "it stood still, and does not know whether it was replaced"
    moody.away = False
    await first.beat()
    assert boot() < first.admits_until_us
    moody.write_now(processes.close_by_operator, first.epoch, beat=None, now_us=1)
    await first.beat()
    assert not first.is_open


async def test_a_long_replay_is_no_silence(moody: MoodyStore, first_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the log of an earlier run is replayed the row beats already."""
    monkeypatch.setattr(registration_module, "BEAT_S", 0.01)
    first = unregistered(moody, first_dir)
    beats: list[int] = []

    async def replay() -> None:
        seen = row(moody, first)
        while seen.beat < 3:
            seen = await moody.read(row_of, first.epoch)
        beats.append(seen.beat)

    await first.begin(replay)
    assert beats[0] >= 3
    assert first.admits_until_us > since_boot_us()


async def test_a_database_with_fewer_beats_than_it_confirmed_went_back(moody: MoodyStore, first_dir: Path) -> None:
    """A replica that lagged has not seen the last beats; an answer that was lost is no such thing."""
    told: list[bool] = []
    first = unregistered(moody, first_dir, on_database_went_back=lambda: told.append(True))
    await first.begin(no_replay)
    await first.beat()
    moody.lost_answers = 1
    await first.beat()
    await first.beat()
    assert (told, row(moody, first).beat) == ([], 3)
    moody.write_now(lambda conn: conn.execute(update(gateway_processes).values(beat=1)))
    await first.beat()
    await first.beat()
    assert (told, row(moody, first).beat, first.is_open) == ([True], 3, True)


def test_a_directory_keeps_its_identity_and_a_copy_has_another(first_dir: Path, tmp_path: Path) -> None:
    """It is the same wherever it is mounted or moved to; a copy is another directory, with another lock."""
    identity = directory_id(first_dir)
    assert directory_id(first_dir) == identity
    copy = made(tmp_path / "copy")
    (copy / "tokenbooth.id").write_text((first_dir / "tokenbooth.id").read_text())
    assert directory_id(copy) != identity
    moved = first_dir.rename(tmp_path / "moved")
    assert directory_id(moved) == identity
    assert (moved / "tokenbooth.id").stat().st_mode & 0o777 == 0o600


async def test_a_beat_that_the_database_does_not_take_is_remembered(moody: MoodyStore, first_dir: Path) -> None:
    """Until the next one is taken."""
    registration = await begun(moody, first_dir)
    moody.away = True
    await registration.beat()
    assert registration.last_beat_failed
    moody.away = False
    await registration.beat()
    assert not registration.last_beat_failed
