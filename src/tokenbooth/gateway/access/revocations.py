"""The list of deleted keys beside the charge log: a database that is restored, or fails over, must not revive them.

A line is the time in UTC microseconds, the kind of key, and its id. Ids are no secrets. A deletion is on disk before
the change feed has passed it, and the management plane waits for that before it answers.

Never compiled: the compiler loses an exception that is being handled over an `await`.
"""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from tokenbooth.kit.clock import Clock
from tokenbooth.kit.private_files import open_private, write_private
from tokenbooth.store.accounts import revocations
from tokenbooth.store.changes import Topic
from tokenbooth.store.engine import Store

FILE_NAME: Final = "deleted-keys"
KEEP_US: Final = 400 * 86_400 * 1_000_000
"""How long a deletion is listed: as long as anybody would keep a backup that is put in place."""
_OVERLAP_US: Final = 86_400 * 1_000_000
_IDS_AT_ONCE: Final = 500
_SHOWN_IDS: Final = 10
_TOPICS: Final = (Topic.API_KEY, Topic.MANAGEMENT_KEY)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Deletion:
    at_us: int
    topic: Topic
    key_id: str

    def __str__(self) -> str:
        """The line."""
        return f"{self.at_us} {self.topic} {self.key_id}\n"


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
        if await self._store.read(revocations.is_deleted, topic, key_id):
            await self._list(topic, [key_id])

    async def _list(self, topic: Topic, key_ids: list[str]) -> None:
        now_us = self._clock.now_us()
        text = "".join(str(_Deletion(now_us, topic, key_id)) for key_id in key_ids)
        try:
            await asyncio.to_thread(self._append, text)
        except OSError as failure:
            # The keys are deleted all the same; changes behind these must not wait for a full disk.
            _log.error(
                "deleted_keys_not_listed",
                key_ids=key_ids[:_SHOWN_IDS],
                error=failure.strerror,
                note="These keys are deleted, but a backup that is put in place would revive them. Free disk space.",
            )

    async def enforce(self) -> None:
        """Delete again what is listed and alive, as the database is an earlier state of itself; list what is not yet.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        listed = await asyncio.to_thread(self._read)
        revived = 0
        for topic in _TOPICS:
            known = {deletion.key_id: deletion.at_us for deletion in listed if deletion.topic == topic}
            for key_ids in _batches([*known]):
                revived += await self._store.write(
                    revocations.delete_again, topic, key_ids, now_us=self._clock.now_us()
                )
            await self._list_others(topic, known)
        if revived:
            _log.warning(
                "keys_deleted_again",
                keys=revived,
                note="The database was at an earlier state, with keys that were deleted since. They are deleted again, "
                "see the audit log. Look through suspended accounts and changed passwords of the time in between.",
            )

    async def _list_others(self, topic: Topic, known: dict[str, int]) -> None:
        """List what was deleted while no server on this directory looked: before there was a list, or elsewhere."""
        oldest_us = self._clock.now_us() - KEEP_US
        since_us = max([oldest_us, *(at_us - _OVERLAP_US for at_us in known.values())])
        deleted = await self._store.read(revocations.deleted_since, topic, since_us)
        if others := [key_id for key_id in deleted if key_id not in known]:
            await self._list(topic, others)

    def _append(self, text: str) -> None:
        with os.fdopen(open_private(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "a", encoding="ascii") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())

    def _read(self) -> list[_Deletion]:
        """The listed deletions; what is listed for too long, or unreadable, is dropped from the file as well."""
        if not self._path.exists():
            return []
        oldest_us = self._clock.now_us() - KEEP_US
        kept = [deletion for deletion in _deletions(self._path) if deletion.at_us >= oldest_us]
        text = "".join(map(str, kept))
        if self._path.stat().st_size != len(text):
            write_private(self._path, text)
        return kept


def _deletions(path: Path) -> Iterator[_Deletion]:
    """Those whose line is whole: a power loss may have cut off the last one."""
    with path.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            match line.split(" "):
                case [at_us, topic, key_id] if at_us.isdecimal() and topic in _TOPICS and key_id.endswith("\n"):
                    yield _Deletion(int(at_us), Topic(topic), key_id.rstrip("\n"))


def _batches(key_ids: list[str]) -> Iterator[list[str]]:
    for begin in range(0, len(key_ids), _IDS_AT_ONCE):
        yield key_ids[begin : begin + _IDS_AT_ONCE]
