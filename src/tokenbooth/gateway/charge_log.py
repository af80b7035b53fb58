"""The charge log: every finished request on disk before its client sees the end of the answer.

A record is its length and CRC-32 (little endian, 32 bits each) and a MessagePack array of a charge's fields, appended
with one write(2): it survives `kill -9`; an fsync every 50 ms bounds what a power loss takes. Records lie in numbered
segments; a segment is deleted when all of its charges are committed to the store. At start the segments are read back
up to the first torn record and replayed. One process owns the directory, by a lock on a file in it.
"""

import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from tokenbooth.domain.charges import Charge
from tokenbooth.private_files import make_private_directory, open_private, write_private

SEGMENT_BYTES: Final = 4 * 1024 * 1024
SYNC_INTERVAL_S: Final = 0.05
_LOCK_NAME: Final = "tokenbooth.lock"
DIRECTORY_NAME: Final = "charges"
_HEADER: Final = struct.Struct("<II")
_MAX_RECORD_BYTES: Final = 64 * 1024
# To be raised with every change of the fields of a charge.
_FORMAT: Final = 1
_LEADING: Final = (_FORMAT,)
_encode = msgspec.msgpack.Encoder().encode


class DataDirectoryLocked(Exception):
    """Another process runs on the same data directory."""


class ChargeLogFull(Exception):
    """A record could not be written: the disk is full or failing."""


class UnknownChargeFormat(Exception):
    """The log holds charges that this version cannot read; the message says what to do."""


class DirectoryLock:
    """An exclusive lock on a data directory, held until `release` or the end of the process."""

    def __init__(self, directory: Path) -> None:
        make_private_directory(directory)
        self._fd = os.open(directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise DataDirectoryLocked(
                f"{directory} is in use by another tokenbooth process; stop that one first"
            ) from None

    def release(self) -> None:
        """Let others have the directory."""
        os.close(self._fd)


@dataclass(frozen=True, slots=True)
class Replay:
    """What the segments of an earlier run hold.

    Attributes:
        charges: those that could be read.
        torn_bytes: what could not: a record that was being written, as a rule.
        segments: the files.
        damaged: those of them in which more than the last record is unreadable.
    """

    charges: tuple[Charge, ...]
    torn_bytes: int
    segments: tuple[Path, ...]
    damaged: tuple[Path, ...]

    def discard(self) -> None:
        """Delete the segments once their charges are committed; a damaged one is kept aside for a person."""
        for segment in self.segments:
            if segment in self.damaged:
                segment.rename(segment.with_suffix(".damaged"))
            else:
                segment.unlink(missing_ok=True)


def read_back(data_dir: Path) -> Replay:
    """Read what an earlier run left in the data directory; call it with the directory locked."""
    charges: list[Charge] = []
    damaged: list[Path] = []
    torn_bytes = 0
    segments = _segments(data_dir)
    for segment in segments:
        content = segment.read_bytes()
        read = 0
        for charge, end in _records(content):
            charges.append(charge)
            read = end
        torn_bytes += len(content) - read
        if not _is_cut_off(content[read:]):
            damaged.append(segment)
    return Replay(tuple(charges), torn_bytes, segments, tuple(damaged))


def _segments(data_dir: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for path in (data_dir / DIRECTORY_NAME).glob("*.log") if path.stem.isdigit()))


def _is_cut_off(rest: bytes) -> bool:
    """Whether unreadable bytes are what a crash leaves: nothing, the beginning of one record, or zeros."""
    if len(rest) < _HEADER.size or not rest.strip(b"\0"):
        return True
    length: int = _HEADER.unpack_from(rest)[0]
    return 0 < length <= _MAX_RECORD_BYTES and len(rest) < _HEADER.size + length


def _records(content: bytes) -> Iterator[tuple[Charge, int]]:
    """Charges with the offset behind each, up to the end or the first torn record."""
    at = 0
    while at + _HEADER.size <= len(content):
        length, crc = _HEADER.unpack_from(content, at)
        payload = content[at + _HEADER.size : at + _HEADER.size + length]
        # A length of nothing is what a file system leaves behind a crash: zeros.
        if not 0 < length <= _MAX_RECORD_BYTES or len(payload) < length or zlib.crc32(payload) != crc:
            return
        at += _HEADER.size + length
        yield _charge(payload), at


def _charge(payload: bytes) -> Charge:
    version, *values = msgspec.msgpack.decode(payload, type=tuple[str | int | bool, ...])
    if version != _FORMAT:
        raise UnknownChargeFormat(
            f"the charge log was written by another version (format {version}); start that version once, then this one"
        )
    return msgspec.convert(values, Charge, strict=True)


def encode_record(charge: Charge) -> bytes:
    """A charge as it stands in a segment."""
    payload = _encode(_LEADING + charge)
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


@dataclass(slots=True, eq=False)
class Segment:
    path: Path
    fd: int
    size_bytes: int = 0
    uncommitted: int = 0


class ChargeLog:
    """Appends charges and forgets them when they are committed. Used on the event loop; only fsync runs in a thread.

    Attributes:
        is_full: whether the last record could not be written; reset it to try again.
    """

    def __init__(self, data_dir: Path, *, first_number: int) -> None:
        """Args:
        data_dir: the locked data directory.
        first_number: the number of the first segment; larger than any that still lies there.
        """
        self.is_full = False
        self._directory = data_dir / DIRECTORY_NAME
        make_private_directory(self._directory)
        self._number = first_number
        self._current = self._new_segment()
        self._dirty = threading.Event()
        self._closing = False
        self._sync_failed = False
        self._io_lock = threading.Lock()
        self._syncer = threading.Thread(target=self._sync_loop, name="charge-log-sync", daemon=True)
        self._syncer.start()

    def append(self, charge: Charge) -> "Segment":
        """Write a charge; returns the segment to name when it is committed.

        Raises:
            ChargeLogFull: the record is not on disk, and no part of it either.
        """
        record = encode_record(charge)
        self.is_full = True
        if self._sync_failed:
            raise ChargeLogFull("the disk does not take what was written")
        try:
            if self._current.size_bytes + len(record) > SEGMENT_BYTES:
                self._rotate()
            segment = self._current
            written = os.write(segment.fd, record)
            if written != len(record):
                # A part of a record would hide all that follow it, so it has to go.
                os.ftruncate(segment.fd, segment.size_bytes)
                raise ChargeLogFull("only a part of the record could be written")
        except OSError as failure:
            raise ChargeLogFull(str(failure)) from failure
        self.is_full = False
        segment.size_bytes += written
        segment.uncommitted += 1
        # Setting it takes a lock. The syncer clears it before it syncs, so while it is set this record is still ahead.
        if not self._dirty.is_set():
            self._dirty.set()
        return segment

    def committed(self, segment: "Segment", count: int) -> None:
        """Tell that `count` charges of a segment are durable in the store; an emptied old segment is deleted."""
        segment.uncommitted -= count
        if segment.uncommitted:
            return
        if segment is not self._current:
            self._drop(segment)
        elif segment.size_bytes:
            # Everything is committed: starting over keeps the file small and a replay short.
            os.ftruncate(segment.fd, 0)
            segment.size_bytes = 0

    def set_aside(self, charge: Charge) -> Path:
        """Keep a charge that the store refuses in a file of its own, for a person; returns the file."""
        path = self._directory / f"{charge.request_id}.refused"
        write_private(path, encode_record(charge))
        return path

    def close(self) -> None:
        """Stop syncing; a segment without uncommitted charges is deleted."""
        self._closing = True
        self._dirty.set()
        self._syncer.join()
        with self._io_lock:
            os.fsync(self._current.fd)
        if self._current.uncommitted:
            os.close(self._current.fd)
        else:
            self._drop(self._current)

    def _rotate(self) -> None:
        old = self._current
        self._current = self._new_segment()
        with self._io_lock:
            os.fsync(old.fd)
        if not old.uncommitted:
            self._drop(old)

    def _new_segment(self) -> Segment:
        path = self._directory / f"{self._number:012d}.log"
        self._number += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        segment = Segment(path=path, fd=open_private(path, flags))
        # The name of a file is durable only when its directory is.
        directory = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return segment

    def _drop(self, segment: Segment) -> None:
        # The syncing thread may be using the descriptor right now.
        with self._io_lock:
            os.close(segment.fd)
        segment.path.unlink(missing_ok=True)

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


def next_number(data_dir: Path) -> int:
    """A segment number above all that lie in the data directory."""
    return max((int(path.stem) for path in _segments(data_dir)), default=0) + 1
