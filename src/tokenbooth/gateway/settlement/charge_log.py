"""The charge log: every finished request on disk before its client sees the end of the answer.

A record is appended with one write(2): it survives `kill -9`; an fsync every 50 ms bounds what a power loss takes.
Records lie in numbered segments, each of which begins with the id of the run that wrote it; a segment is deleted when
all of its charges are committed to the store. At start the segments of earlier runs are read back and replayed. One
process owns the directory, by a lock on it and on a file in it.
"""

import fcntl
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from tokenbooth.domain.charges import Charge
from tokenbooth.gateway.settlement.charge_files import DIRECTORY_NAME, SEGMENT_SUFFIX, keep_refused, sync_directory
from tokenbooth.gateway.settlement.charge_record import encode_record, encode_segment_head
from tokenbooth.kit.background import BackgroundThread
from tokenbooth.kit.private_files import make_private_directory, open_private

SEGMENT_BYTES: Final = 4 * 1024 * 1024
SYNC_INTERVAL_S: Final = 0.05
_LOCK_NAME: Final = "tokenbooth.lock"
_log = structlog.get_logger(__name__)


class DataDirectoryLocked(Exception):
    """Another process runs on the same data directory."""


class ChargeLogFull(Exception):
    """A record could not be written: the disk is full or failing."""


class DirectoryLock:
    """An exclusive lock on a data directory, held until `release` or the end of the process.

    The directory itself is locked: a file in it can be deleted and made anew, and then two processes would each hold a
    lock on theirs. The file is locked too, because earlier versions know nothing else.
    """

    def __init__(self, directory: Path) -> None:
        """`directory` is made if it is not there.

        Raises:
            DataDirectoryLocked: another process holds it.
            OSError: it cannot be made or opened.
        """
        make_private_directory(directory)
        self._fds: list[int] = []
        try:
            self._lock(directory, os.O_RDONLY | os.O_DIRECTORY)
            self._lock(directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT)
        except BlockingIOError:
            self.release()
            raise DataDirectoryLocked(
                f"{directory} is in use by another tokenbooth process; stop that one first"
            ) from None
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Let others have the directory."""
        while self._fds:
            os.close(self._fds.pop())

    def _lock(self, path: Path, flags: int) -> None:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        self._fds.append(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            # A file system over the network may lock what is open for writing only, which no directory is.
            if not flags & os.O_DIRECTORY:
                raise


@dataclass(slots=True, eq=False)
class Segment:
    """A file of records.

    Attributes:
        ends_torn: whether a part of a record could not be removed again; nothing may be appended behind it.
    """

    path: Path
    fd: int
    size_bytes: int = 0
    uncommitted: int = 0
    ends_torn: bool = False


class ChargeLog:
    """Appends charges and forgets them when they are committed. Used on the event loop; only fsync runs in a thread.

    Attributes:
        epoch: the id of this run, which stands at the head of every segment.
        syncer: the thread that forces records to disk.
    """

    def __init__(self, data_dir: Path, *, first_number: int, epoch: str) -> None:
        """Take what it works with.

        Args:
            data_dir: the locked data directory.
            first_number: the number of the first segment; larger than any that still lies there.
            epoch: the id of this run.
        """
        self.epoch = epoch
        self._is_full = False
        self._data_dir = data_dir
        self._directory = data_dir / DIRECTORY_NAME
        make_private_directory(self._directory)
        self._number = first_number
        self._head = encode_segment_head(epoch)
        self._current = self._new_segment()
        self._left_behind: list[Path] = []
        self._cannot_tidy = False
        self._dirty = threading.Event()
        self._closing = False
        self._sync_failed = False
        self._io_lock = threading.Lock()
        self.syncer = BackgroundThread("charge-log-sync", self._sync_loop)
        self.syncer.start()

    def can_append(self) -> bool:
        """Whether the last record could be written."""
        return not self._is_full

    def try_again(self) -> None:
        """Space may have been made: the next charge shows whether records can be written again."""
        self._is_full = False

    def append(self, charge: Charge) -> "Segment":
        """Write a charge; returns the segment to name when it is committed.

        Raises:
            ChargeLogFull: the record is not on disk, and no part of it either.
        """
        record = encode_record(charge)
        self._is_full = True
        if self._sync_failed:
            raise ChargeLogFull("the disk does not take what was written")
        try:
            if self._current.ends_torn or self._current.size_bytes + len(record) > SEGMENT_BYTES:
                self._rotate()
            segment = self._current
            if not segment.size_bytes:
                record = self._head + record
            written = os.write(segment.fd, record)
            if written != len(record):
                self._take_back(segment)
        except OSError as failure:
            raise ChargeLogFull(str(failure)) from failure
        self._is_full = False
        segment.size_bytes += written
        segment.uncommitted += 1
        # Setting it takes a lock. The syncer clears it before it syncs, so while it is set this record is still ahead.
        if not self._dirty.is_set():
            self._dirty.set()
        return segment

    def committed(self, segment: "Segment", count: int) -> None:
        """Tell that `count` charges of a segment are durable in the store; an emptied old segment is deleted.

        A disk that does not let go of them is told in the log and asked again: replaying them would change nothing.
        """
        segment.uncommitted -= count
        if segment.uncommitted:
            return
        try:
            self._tidy(segment)
        except OSError as failure:
            if not self._cannot_tidy:
                _log.error(
                    "charge_log_not_tidied",
                    error=str(failure),
                    note="Charges that are in the database cannot be removed from the charge log. It grows until the "
                    "disk works again; nothing is lost or charged twice. Check the disk of the data directory.",
                )
            self._cannot_tidy = True
        else:
            self._cannot_tidy = False

    def set_aside(self, charge: Charge) -> Path:
        """Keep a charge that the store refuses in a file of its own, for a person; returns the file.

        Raises:
            OSError: it could not be written.
        """
        return keep_refused(self._data_dir, charge, epoch=self.epoch)

    def close(self) -> None:
        """Stop syncing; a segment without uncommitted charges is deleted.

        Raises:
            OSError: the disk does not take the last records, or does not let go of those that are committed.
        """
        self._closing = True
        self._dirty.set()
        self.syncer.join()
        with self._io_lock:
            os.fsync(self._current.fd)
        if self._current.uncommitted:
            os.close(self._current.fd)
        else:
            self._drop(self._current)

    def _take_back(self, segment: Segment) -> None:
        """Remove the part of a record that was written where the whole did not fit."""
        # Until it is gone nothing may follow it: a later record would be cut when a part of one is taken back again.
        segment.ends_torn = True
        os.ftruncate(segment.fd, segment.size_bytes)
        segment.ends_torn = False
        raise ChargeLogFull("only a part of the record could be written")

    def _tidy(self, segment: Segment) -> None:
        if segment is not self._current:
            self._drop(segment)
        elif segment.size_bytes:
            # Everything is committed: starting over keeps the file small and a replay short.
            os.ftruncate(segment.fd, 0)
            segment.size_bytes = 0
            segment.ends_torn = False
        while self._left_behind:
            self._left_behind[-1].unlink(missing_ok=True)
            self._left_behind.pop()

    def _rotate(self) -> None:
        old = self._current
        self._current = self._new_segment()
        with self._io_lock:
            os.fsync(old.fd)
        self.committed(old, 0)

    def _new_segment(self) -> Segment:
        path = self._directory / f"{self._number:012d}{SEGMENT_SUFFIX}"
        self._number += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        segment = Segment(path=path, fd=open_private(path, flags))
        sync_directory(self._directory)
        return segment

    def _drop(self, segment: Segment) -> None:
        self._left_behind.append(segment.path)
        # The syncing thread may be using the descriptor right now.
        with self._io_lock:
            os.close(segment.fd)
        segment.path.unlink(missing_ok=True)
        self._left_behind.remove(segment.path)

    def _sync_loop(self) -> None:
        pause = threading.Event()
        while not self._closing:
            self._dirty.wait()
            self._dirty.clear()
            try:
                with self._io_lock:
                    os.fsync(self._current.fd)
                self._sync_failed = False
            except OSError:
                # Told by the next append, on the loop, where admission is stopped; tried again meanwhile.
                self._sync_failed = True
                self._dirty.set()
            pause.wait(SYNC_INTERVAL_S)
