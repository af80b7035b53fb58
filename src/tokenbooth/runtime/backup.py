"""Backup of a running SQLite installation, and its restoration.

A backup is one tar file: the charge log as it was, then a consistent copy of the database. In this order every charge
that was finished before the backup began is in at least one of them, and a replay applies each once.
"""

import os
import sqlite3
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenbooth.gateway.settlement.charge_files import (
    DAMAGED_SUFFIX,
    DIRECTORY_NAME,
    REFUSED_SUFFIX,
    SEGMENT_SUFFIX,
    set_aside,
)
from tokenbooth.gateway.settlement.charge_log import DirectoryLock
from tokenbooth.kit.private_files import make_private_directory, open_private

_DATABASE_MEMBER: Final = "tokenbooth.db"
_CHARGES: Final = (SEGMENT_SUFFIX, DAMAGED_SUFFIX, REFUSED_SUFFIX)
_ENDED_TABLES: Final = frozenset({"sessions", "mail_links"})
_PROCESSES: Final = "gateway_processes"


class BackupFailed(Exception):
    """The backup or the restoration was not done; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup holds."""

    database_bytes: int
    charge_segments: int


def back_up(database: Path, data_dir: Path, target: Path) -> Contents:
    """Write a backup while the service may be running; the target appears whole or not at all.

    Args:
        database: the SQLite file.
        data_dir: the directory with the charge log.
        target: the file to write; one that exists is replaced.

    Raises:
        BackupFailed: there is no database, or it cannot be copied, or the target cannot be written.
    """
    # `Path.is_file` fails on a name that no file can have.
    if not os.path.isfile(database):
        raise BackupFailed(f"{database} does not exist; there is nothing to back up")
    try:
        with tempfile.TemporaryDirectory(dir=target.resolve().parent, prefix=".tokenbooth-backup-") as scratch:
            return _write(database, data_dir, target, Path(scratch))
    except OSError as failure:
        raise BackupFailed(f"{target} cannot be written: {failure.strerror}") from failure
    except sqlite3.Error as failure:
        raise BackupFailed(f"{database} cannot be copied: {failure}") from failure


def restore(source: Path, database: Path, data_dir: Path) -> Contents:
    """Put a backup in place of an installation that is stopped and empty; the next start replays its charges.

    Log-ins and mailed links of the backup are ended. Keys that were deleted after it are deleted again by the next
    start, if the data directory is the one of then.

    Raises:
        BackupFailed: the file is no backup, or there is a database already.
        DataDirectoryLocked: the service is running.
    """
    lock = DirectoryLock(data_dir)
    try:
        if database.exists():
            raise BackupFailed(f"{database} exists; move it away first, with its -wal and -shm files")
        charges = data_dir / DIRECTORY_NAME
        if any(charges.glob("*.log")):
            raise BackupFailed(f"{charges} holds charges of another run; start that one once, or move them away")
        return _extract(source, database, charges)
    except (OSError, tarfile.TarError, sqlite3.Error) as failure:
        raise BackupFailed(f"{source} could not be restored: {failure}") from failure
    finally:
        lock.release()


def _write(database: Path, data_dir: Path, target: Path, scratch: Path) -> Contents:
    archive_path = scratch / "backup.tar"
    segments = 0
    with os.fdopen(open_private(archive_path), "wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
        for segment in [*sorted((data_dir / DIRECTORY_NAME).glob(f"*{SEGMENT_SUFFIX}")), *set_aside(data_dir)]:
            # A segment may be dropped at any moment, because its charges are in the database by then.
            copied = scratch / segment.name
            try:
                copied.write_bytes(segment.read_bytes())
            except FileNotFoundError:
                continue
            archive.add(copied, f"{DIRECTORY_NAME}/{segment.name}")
            segments += 1
        copy = scratch / _DATABASE_MEMBER
        _copy_database(database, copy)
        archive.add(copy, _DATABASE_MEMBER)
    os.replace(archive_path, target)
    return Contents(database_bytes=copy.stat().st_size, charge_segments=segments)


def _copy_database(database: Path, copy: Path) -> None:
    source = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    target = sqlite3.connect(copy)
    try:
        # In one step: a writer never waits for a reader in WAL mode, while a copy in several steps begins anew at every
        # commit of the running service.
        source.backup(target, pages=-1)
    finally:
        target.close()
        source.close()


def _extract(source: Path, database: Path, charges: Path) -> Contents:
    segments = 0
    with tarfile.open(source) as archive:
        members = {member.name: member for member in archive.getmembers() if member.isfile()}
        if _DATABASE_MEMBER not in members:
            raise BackupFailed(f"{source} is no backup of Tokenbooth")
        make_private_directory(charges)
        for name, member in members.items():
            # Only the two kinds of names that a backup has; a path of somebody else's is not followed.
            path = Path(name)
            if path.parent == Path(DIRECTORY_NAME) and path.suffix in _CHARGES:
                _extract_member(archive, member, charges / path.name)
                segments += 1
        _extract_member(archive, members[_DATABASE_MEMBER], database)
    _end_what_was_open(database)
    return Contents(database_bytes=database.stat().st_size, charge_segments=segments)


def _end_what_was_open(database: Path) -> None:
    """End log-ins and mailed links, which may have been ended since, and the run that the backup was taken from."""
    conn = sqlite3.connect(database)
    try:
        with conn:
            tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table in _ENDED_TABLES & tables:
                conn.execute(f"DELETE FROM {table}")  # noqa: S608 - one of our own names
            if _PROCESSES in tables:
                conn.execute(
                    f"UPDATE {_PROCESSES} SET state = 'closed', closed_how = 'restored', closed_at_us = beat_at_us "  # noqa: S608
                    "WHERE state <> 'closed'"
                )
    finally:
        conn.close()


def _extract_member(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content = archive.extractfile(member)
    if content is None:
        raise BackupFailed(f"{member.name} in the backup is no file")
    partial = target.with_suffix(".partial")
    with content, os.fdopen(open_private(partial), "wb") as out:
        while block := content.read(1024 * 1024):
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    os.replace(partial, target)
