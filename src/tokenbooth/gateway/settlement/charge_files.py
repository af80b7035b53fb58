"""The files beside the charge log's segments: what an earlier run left, and what was set aside for a person.

`NUMBER.log` is a segment. `NUMBER.damaged` is one in which something was damaged; what could be read of it is in the
store. `REQUEST.refused` holds one charge that the store refused. `….booked` is either of them once the command
`charges replay` has dealt with it.
"""

import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenbooth.domain.charges import Charge
from tokenbooth.gateway.settlement.charge_record import encode_record, encode_segment_head
from tokenbooth.gateway.settlement.charge_recovery import Recovered, recover

DIRECTORY_NAME: Final = "charges"
SEGMENT_SUFFIX: Final = ".log"
DAMAGED_SUFFIX: Final = ".damaged"
REFUSED_SUFFIX: Final = ".refused"
BOOKED_SUFFIX: Final = ".booked"
_BLOCK_BYTES: Final = 4096
_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file with what was read of it.

    Attributes:
        path: where it lies.
        content: what stands in it.
        unreadable_bytes: what the disk itself did not give back.
    """

    path: Path
    content: Recovered
    unreadable_bytes: int = 0

    @property
    def is_damaged(self) -> bool:
        """Whether anything in it is not as it was written; an unfinished last record is no damage."""
        return bool(self.content.damages or self.unreadable_bytes)


@dataclass(frozen=True, slots=True)
class Replay:
    """What the segments of an earlier run hold."""

    segments: tuple[ReadFile, ...]

    @property
    def charges(self) -> tuple[Charge, ...]:
        """Every charge that could be read or restored."""
        return tuple(charge for segment in self.segments for charge in segment.content.charges)

    @property
    def torn_bytes(self) -> int:
        """Records that were being written when the run ended."""
        return sum(segment.content.torn_bytes for segment in self.segments)

    @property
    def damaged(self) -> tuple[ReadFile, ...]:
        """Those segments in which something is damaged."""
        return tuple(segment for segment in self.segments if segment.is_damaged)

    def discard(self) -> list[Path]:
        """Delete the segments once their charges are committed; damaged ones are kept aside, and returned."""
        kept = []
        for segment in self.segments:
            if not segment.path.exists():
                continue
            if segment.is_damaged:
                kept.append(segment.path.rename(_unused(segment.path.with_suffix(DAMAGED_SUFFIX))))
            else:
                segment.path.unlink()
        return kept


def read_back(data_dir: Path) -> Replay:
    """Read what an earlier run left in the data directory; call it with the directory locked.

    Raises:
        UnknownChargeFormat: a later version wrote it.
    """
    return Replay(tuple(read_file(path) for path in _segments(data_dir)))


def read_file(path: Path) -> ReadFile:
    """Read a segment or what was set aside.

    Raises:
        FileNotFoundError: it is not there.
        UnknownChargeFormat: a later version wrote it.
    """
    content, unreadable_bytes = _read(path)
    return ReadFile(path, recover(content), unreadable_bytes)


def next_number(data_dir: Path) -> int:
    """A segment number above all that lie in the data directory."""
    return max((int(path.stem) for path in _segments(data_dir)), default=0) + 1


def set_aside(data_dir: Path) -> list[Path]:
    """The files that wait for a person."""
    return _files(data_dir / DIRECTORY_NAME, (DAMAGED_SUFFIX, REFUSED_SUFFIX))


def count_set_aside(data_dir: Path) -> dict[str, int]:
    """How many files wait for a person, by kind."""
    suffixes = [path.suffix for path in set_aside(data_dir)]
    return {suffix.removeprefix("."): suffixes.count(suffix) for suffix in (DAMAGED_SUFFIX, REFUSED_SUFFIX)}


def charge_files(directory: Path) -> list[Path]:
    """Every file with charges in a directory, which may be a data directory."""
    inner = directory / DIRECTORY_NAME
    return _files(
        inner if inner.is_dir() else directory, (SEGMENT_SUFFIX, DAMAGED_SUFFIX, REFUSED_SUFFIX, BOOKED_SUFFIX)
    )


def keep_refused(data_dir: Path, charge: Charge, *, epoch: str) -> Path:
    """Keep a charge that the store refuses in a file of its own, for a person; it is on disk when this returns.

    Args:
        data_dir: the data directory.
        charge: what is refused.
        epoch: the run that keeps it.

    Raises:
        OSError: it could not be written.
    """
    record = encode_record(charge)
    # A charge that was read from a disk may have any id.
    safe = _SAFE_NAME.fullmatch(charge.request_id) is not None
    name = charge.request_id if safe else f"unnamed_{zlib.crc32(record):08x}"
    path = data_dir / DIRECTORY_NAME / f"{name}{REFUSED_SUFFIX}"
    partial = path.with_suffix(".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
        out.write(encode_segment_head(epoch) + record)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)
    sync_directory(path.parent)
    return path


def mark_booked(path: Path) -> Path:
    """A person has dealt with a file that was set aside; it is kept, and no longer told of."""
    return path.rename(_unused(path.with_name(path.name + BOOKED_SUFFIX)))


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable: a file's name is so only when its directory is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _segments(data_dir: Path) -> list[Path]:
    found = _files(data_dir / DIRECTORY_NAME, (SEGMENT_SUFFIX,))
    return [path for path in found if path.stem.isdigit()]


def _files(directory: Path, suffixes: Sequence[str]) -> list[Path]:
    return sorted(path for path in directory.glob("*") if path.suffix in suffixes)


def _unused(path: Path) -> Path:
    """The path, or one like it that is free: segments' numbers begin anew, and nothing may be overwritten."""
    return next(candidate for candidate in _numbered(path) if not candidate.exists())


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1


def _read(path: Path) -> tuple[bytes, int]:
    """The content of a file, and how much of it the disk did not give back; zeros stand for that."""
    try:
        return path.read_bytes(), 0
    except FileNotFoundError:
        raise
    except OSError:
        return _read_by_blocks(path)


def _read_by_blocks(path: Path) -> tuple[bytes, int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    read, unreadable_bytes = bytearray(), 0
    try:
        size_bytes = max(os.fstat(descriptor).st_size, 1)
        while len(read) < size_bytes:
            wanted = min(_BLOCK_BYTES, size_bytes - len(read))
            try:
                block = os.pread(descriptor, wanted, len(read))
            except OSError:
                block = bytes(wanted)
                unreadable_bytes += wanted
            if not block:
                break
            read += block
    finally:
        os.close(descriptor)
    return bytes(read), unreadable_bytes
