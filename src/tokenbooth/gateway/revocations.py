"""The list of deleted keys beside the charge log: a database that is restored, or fails over, must not revive them.

A line is the time in UTC microseconds, the kind of key, and its id. Ids are no secrets. A deletion is on disk before
the change feed has passed it, and the management plane waits for that before it answers.

Never compiled: the compiler loses an exception that is being handled over an `await`.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from tokenbooth.clock import Clock
from tokenbooth.store import revocations
from tokenbooth.store.changes import Topic
from tokenbooth.store.engine import Store

FILE_NAME: Final = "deleted-keys"
KEEP_US: Final = 400 * 86_400 * 1_000_000
"""How long a deletion is listed: as long as anybody would keep a backup that is put in place."""
_IDS_AT_ONCE: Final = 500
_TOPICS: Final = (Topic.API_KEY, Topic.MANAGEMENT_KEY)
_log = structlog.get_logger(__name__)


class Revocations:
    """The deleted keys of one data directory, which is locked."""

    def __init__(self, store: Store, clock: Clock, data_dir: Path) -> None:
        self._store = store
        self._clock = clock
        self._path = data_dir / FILE_NAME

    async def note(self, topic: Topic, key_id: str) -> None:
        """List a key of which a change tells, if it is deleted.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        if not await self._store.read(revocations.is_deleted, topic, key_id):
            return
        try:
            await asyncio.to_thread(self._append, f"{self._clock.now_us()} {topic} {key_id}\n")
        except OSError as failure:
            # The key is deleted all the same; changes behind this one must not wait for a full disk.
            _log.error(
                "deleted_key_not_listed",
                key_id=key_id,
                error=failure.strerror,
                note="The key is deleted, but a backup that is put in place would revive it. Free disk space.",
            )

    async def enforce(self) -> None:
        """Delete again what is listed and alive: the database is an earlier state of itself.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        listed = await asyncio.to_thread(self._read)
        revived = 0
        for topic in _TOPICS:
            for key_ids in _batches(listed.get(topic, [])):
                revived += await self._store.write(
                    revocations.delete_again, topic, key_ids, now_us=self._clock.now_us()
                )
        if revived:
            _log.warning(
                "keys_deleted_again",
                keys=revived,
                note="The database was at an earlier state, with keys that were deleted since. They are deleted again, "
                "see the audit log. Look through suspended accounts and changed passwords of the time in between.",
            )

    def _append(self, line: str) -> None:
        with open(self._path, "a", encoding="ascii", opener=_private) as out:
            out.write(line)
            out.flush()
            os.fsync(out.fileno())

    def _read(self) -> dict[str, list[str]]:
        """The listed ids by kind; what is listed for too long, or unreadable, is dropped from the file as well."""
        if not self._path.exists():
            return {}
        oldest_us = self._clock.now_us() - KEEP_US
        kept = [line for line in _lines(self._path) if line[0] >= oldest_us]
        text = "".join(f"{at_us} {topic} {key_id}\n" for at_us, topic, key_id in kept)
        if self._path.stat().st_size != len(text):
            self._replace(text)
        listed: dict[str, list[str]] = {}
        for _, topic, key_id in kept:
            listed.setdefault(topic, []).append(key_id)
        return listed

    def _replace(self, text: str) -> None:
        partial = self._path.with_suffix(".partial")
        with open(partial, "w", encoding="ascii", opener=_private) as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, self._path)


def _lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """The lines that are whole: a power loss may have cut off the last one."""
    with path.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            match line.split(" "):
                case [at_us, topic, key_id] if at_us.isdecimal() and topic in _TOPICS and key_id.endswith("\n"):
                    yield int(at_us), topic, key_id.rstrip("\n")


def _batches(key_ids: list[str]) -> Iterator[list[str]]:
    for begin in range(0, len(key_ids), _IDS_AT_ONCE):
        yield key_ids[begin : begin + _IDS_AT_ONCE]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
