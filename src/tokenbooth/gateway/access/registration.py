"""This process's row among those that take model calls: its registration, its beat, and what follows when it is closed.

Two processes would spend the same money, because each decides in its own memory. So a start is refused beside another
process that lives, and a process whose row was closed admits nothing more; what it charged until then is booked as
late. Nothing is decided by comparing the clocks of two machines: a process lives if its beat is seen to move.

Never compiled: the compiler loses an exception that is being handled over an `await`.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog

from tokenbooth.kit.clock import Clock, iso_ms, since_boot_us
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.kit.private_files import write_private
from tokenbooth.store import processes
from tokenbooth.store.engine import Store
from tokenbooth.store.processes import ClosedHow, NewProcess, Process, ProcessState

BEAT_S: Final = 5.0
SILENT_S: Final = 150
"""Seconds without a beat after which a process is taken for dead."""
WATCH_S: Final = 12.0
"""Seconds for which a beat is watched: two of them, and a busy database."""
_LOOK_EVERY_S: Final = 0.25
_ANSWER_WITHIN_S: Final = 2.0
_ADMITS_FOR_US: Final = 10_000_000
_CLOSE_WITHIN_S: Final = 5.0
_NEVER_US: Final = -(2**62)
_ID_NAME: Final = "tokenbooth.id"
_log = structlog.get_logger(__name__)


class AnotherProcess(Exception):
    """Another process takes model calls on the same database; the message names it and says what to do."""

    def __init__(self, other: Process) -> None:
        super().__init__(
            f"another tokenbooth server runs on this database: {describe(other)}. One at a time may take model calls: "
            f"stop that one first. If it only seems to run, `tokenbooth processes close {other.epoch} --force` ends it"
        )


class Registration:
    """The row of one run. `begin` when the data directory is locked, `run` as a task, `end` when nothing is left."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        data_dir: Path,
        catalog_hash: Callable[[], str],
        on_database_went_back: Callable[[], None],
        since_boot_us: Callable[[], int] = since_boot_us,
        watch_s: float = WATCH_S,
    ) -> None:
        """Take what it works with.

        Args:
            store, clock: what it works with.
            data_dir: the directory that is locked.
            catalog_hash: of what is sold now.
            on_database_went_back: called when the database has fewer beats than it confirmed.
            since_boot_us: a clock that also runs while the process or the machine stands still, in microseconds.
            watch_s: how long to watch a beat that does not move, in seconds.
        """
        self._store = store
        self._clock = clock
        self._data_dir = data_dir
        self._catalog_hash = catalog_hash
        self._on_database_went_back = on_database_went_back
        self._since_boot_us = since_boot_us
        self._watch_s = watch_s
        self._beats = 0
        self._asking: asyncio.Task[int | None] | None = None
        self.epoch = new_id(IdPrefix.PROCESS, clock.now_us())
        self.is_open = False
        self.last_beat_failed = False
        """Whether the database refused the last beat that it answered, as when its disk is full."""
        self.admits_until_us = _NEVER_US
        """Until when calls may be admitted, by `since_boot_us`: a moment ahead while the row is asked for regularly,
        whether the database answers or not. A process that stood still for longer may have been replaced meanwhile, and
        needs an answer first."""

    async def begin(self, prepare: Callable[[], Awaitable[None]]) -> None:
        """Register, then prepare to admit.

        Args:
            prepare: what has to be done between the two; when it fails the row is closed again.

        Raises:
            AnotherProcess: another process lives.
            StoreUnavailable: the store does not answer.
        """
        new = NewProcess(
            epoch=self.epoch,
            directory_id=await asyncio.to_thread(directory_id, self._data_dir),
            directory=str(self._data_dir.resolve()),
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version("tokenbooth"),
            catalog_hash=self._catalog_hash(),
        )
        while (other := await self._store.write(processes.register, new, now_us=self._clock.now_us())) is not None:
            await self._outlast(other)
        self.is_open = True
        beating = asyncio.create_task(self.run())
        try:
            await prepare()
        except BaseException:
            await self._close(ClosedHow.FAILED)
            raise
        finally:
            beating.cancel()
        self._confirm()

    async def run(self) -> None:
        """Beat until cancelled; a beat that is not answered is not sent a second time meanwhile."""
        while True:
            await asyncio.sleep(BEAT_S)
            if self.is_open:
                await self.beat()

    async def beat(self) -> None:
        """Beat once, or go on waiting for the answer of the last one."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._store.write(processes.beat, self.epoch))
        await asyncio.wait({self._asking}, timeout=_ANSWER_WITHIN_S)
        if self._asking.done():
            asked, self._asking = self._asking, None
            # The change feed tells when the database is away.
            self.last_beat_failed = True
            with contextlib.suppress(StoreUnavailable):
                self._take(asked.result())
                self.last_beat_failed = False
                return
        # It is slow, or away. Who stood still meanwhile has to wait for the answer.
        if self._since_boot_us() < self.admits_until_us:
            self._confirm()

    def fence(self) -> None:
        """The row is closed: admit nothing more, for good."""
        if not self.is_open:
            return
        self.is_open = False
        self.admits_until_us = _NEVER_US
        _log.error(
            "process_closed",
            epoch=self.epoch,
            note="The row of this process was closed: another server may run on the database, see `tokenbooth "
            "processes`. Nothing more is admitted here. Stop this process; start it again if it is to be the one.",
        )

    async def drain(self) -> None:
        """Say that nothing more is admitted."""
        await self._attempt(processes.begin_draining, self.epoch)

    async def end(self, *, everything_stored: bool) -> None:
        """Close the row; it stays open for the next run on this directory when charges are left in the log."""
        if everything_stored:
            await self._close(ClosedHow.STOPPED)
        if self._asking is not None:
            self._asking.cancel()

    async def _outlast(self, other: Process) -> None:
        """Return when a process is over, or was silent for so long that it is taken for dead.

        Raises:
            AnotherProcess: it lives.
        """
        loop = asyncio.get_running_loop()
        began_s, told = loop.time(), False
        seen: Process | None = other
        while seen is not None and seen.state is not ProcessState.CLOSED:
            if seen.beat != other.beat and seen.state is ProcessState.LIVE:
                raise AnotherProcess(seen)
            if seen.beat != other.beat:
                # It ends regularly, and may take its time to drain.
                other, began_s = seen, loop.time()
            watched = loop.time() - began_s >= self._watch_s
            if watched and seen.silent_s >= SILENT_S:
                await self._take_over(seen)
                return
            if watched and not told:
                told = True
                _tell_waiting(seen)
            await asyncio.sleep(_LOOK_EVERY_S)
            seen = await self._store.read(processes.find, other.epoch)

    async def _take_over(self, other: Process) -> None:
        now_us = self._clock.now_us()
        if await self._store.write(processes.close, other.epoch, ClosedHow.SILENT, now_us=now_us, beat=other.beat):
            _log.warning(
                "process_taken_over",
                epoch=other.epoch,
                host=other.host,
                directory=other.directory,
                pid=other.pid,
                note="It gave no sign of life for so long that it is taken for dead. Charges that it did not store lie "
                "in its directory; a start there books them.",
            )

    def _take(self, beats: int | None) -> None:
        if beats is None:
            self.fence()
            return
        if beats <= self._beats:
            self._on_database_went_back()
        self._beats = beats
        self._confirm()

    def _confirm(self) -> None:
        self.admits_until_us = self._since_boot_us() + _ADMITS_FOR_US

    async def _close(self, how: ClosedHow) -> None:
        if self.is_open:
            self.is_open = False
            self.admits_until_us = _NEVER_US
            await self._attempt(processes.close, self.epoch, how, now_us=self._clock.now_us())

    async def _attempt(self, fn: Callable[..., object], /, *args: object, **kwargs: object) -> None:
        """Write if the database answers soon; what it says of a row is of use, but nothing rests on it."""
        try:
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                await self._store.write(fn, *args, **kwargs)
        except (StoreUnavailable, TimeoutError):
            return


def _tell_waiting(other: Process) -> None:
    _log.warning(
        "waiting_for_process",
        epoch=other.epoch,
        host=other.host,
        directory=other.directory,
        pid=other.pid,
        silent_s=other.silent_s,
        note=f"That process did not end regularly. After {SILENT_S} s without a sign of life it is taken for dead. If "
        "it is dead, `tokenbooth processes close` ends the wait.",
    )


def describe(process: Process) -> str:
    """Which process it is, for people."""
    return (
        f"host {process.host}, directory {process.directory}, pid {process.pid}, since {iso_ms(process.started_at_us)}"
    )


def directory_id(data_dir: Path) -> str:
    """The identity of a locked data directory: it moves with it from machine to machine, and a copy has another one."""
    path = data_dir / _ID_NAME
    if not path.exists():
        write_private(path, secrets.token_hex(16))
    return f"{path.read_text(encoding='ascii').strip()}:{path.stat().st_ino}"
