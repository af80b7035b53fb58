"""Charges of an earlier run into the store: at the start, and by the command `charges replay`.

One charge that the store refuses costs that one: it is set aside, and the others are booked. Applying a charge again
changes nothing. Never compiled: the compiler loses an exception that is being handled over an `await`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from tokenbooth.domain.charges import Charge
from tokenbooth.gateway.settlement.charge_files import Replay, keep_refused, read_back
from tokenbooth.gateway.settlement.charge_recovery import Damage, Recovered
from tokenbooth.kit.clock import Clock
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.store.engine import Store
from tokenbooth.store.usage.settlement import apply_late_charges

_BATCH: Final = 2_000
_PLACES_TOLD: Final = 20
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refused:
    """A charge that the store refuses, and the type of its reason."""

    charge: Charge
    error: str


@dataclass(slots=True)
class Booked:
    """What became of charges.

    Attributes:
        fresh: how many were not in the store yet.
        refused: those that the store does not take.
    """

    fresh: int = 0
    refused: list[Refused] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ReplayFigures:
    """What the start found in the charge log.

    Attributes:
        records_restored: damaged records that were restored.
        records_lost: how many could not be, at least: a stretch of several that cannot be told apart counts by its
            length.
        lost_bytes: what could not be made anything of.
        refused: charges that the store did not take.
    """

    records_restored: int = 0
    records_lost: int = 0
    lost_bytes: int = 0
    refused: int = 0


async def book(store: Store, clock: Clock, charges: Sequence[Charge], *, budgets_nano: Mapping[str, int]) -> Booked:
    """Apply charges in batches, without those that the store refuses for what is in them.

    They are late: the run that made them is over, and another directory's may have spent the same money since.

    Args:
        store, clock: what it works with.
        charges: what was charged.
        budgets_nano: what a window of each plan may spend today, nano-USD.

    Raises:
        StoreUnavailable: the store does not answer; what was applied until then stays.
    """
    booked = Booked()
    at, size = 0, _BATCH
    while at < len(charges):
        batch = charges[at : at + size]
        try:
            applied = await store.write(apply_late_charges, batch, budgets_nano=budgets_nano, now_us=clock.now_us())
            booked.fresh += applied.inserted
        except StoreUnavailable:
            raise
        except Exception as failure:
            if len(batch) > 1:
                size = len(batch) // 2
                continue
            booked.refused.append(Refused(batch[0], type(failure).__name__))
        at += len(batch)
        size = min(size * 2, _BATCH)
    return booked


async def replay(
    store: Store, clock: Clock, data_dir: Path, *, epoch: str, budgets_nano: Mapping[str, int]
) -> ReplayFigures:
    """Book what an earlier run left in a locked data directory, and tell what was damaged.

    Args:
        store, clock: what it works with.
        data_dir: the directory.
        epoch: the run that replays.
        budgets_nano: what a window of each plan may spend today, nano-USD.

    Raises:
        StoreUnavailable: the store does not answer.
        UnknownChargeFormat: a later version wrote the log.
    """
    left = await asyncio.to_thread(read_back, data_dir)
    booked = await book(store, clock, left.charges, budgets_nano=budgets_nano)
    for refused in booked.refused:
        path = keep_refused(data_dir, refused.charge, epoch=epoch)
        tell_refused(refused, path)
    kept = left.discard()
    if left.charges or left.torn_bytes:
        _log.info(
            "charge_log_replayed",
            charges=len(left.charges),
            applied=booked.fresh,
            refused=len(booked.refused),
            torn_bytes=left.torn_bytes,
            note="The last run did not end regularly; its charges are in the store now.",
        )
    figures = _figures(left, booked)
    if kept:
        _tell_damage(left, kept, figures)
    return figures


def tell_refused(refused: Refused, path: Path) -> None:
    """Say that a charge was set aside."""
    _log.error(
        "charge_refused",
        request_id=refused.charge.request_id,
        error=refused.error,
        kept_in=path.name,
        note="The database refuses this charge; it is kept in a file beside the charge log. `tokenbooth charges show` "
        "reads it, `tokenbooth charges replay` tries it again. Report this as a bug.",
    )


def _figures(left: Replay, booked: Booked) -> ReplayFigures:
    damages = [damage for segment in left.segments for damage in segment.content.damages]
    unreadable_bytes = sum(segment.unreadable_bytes for segment in left.segments)
    return ReplayFigures(
        records_restored=sum(damage.restored is not None for damage in damages),
        records_lost=sum(segment.content.records_lost for segment in left.segments),
        lost_bytes=max(sum(segment.content.lost_bytes for segment in left.segments), unreadable_bytes),
        refused=len(booked.refused),
    )


def _tell_damage(left: Replay, kept: Sequence[Path], figures: ReplayFigures) -> None:
    places = [
        f"{segment.path.name}: {_place(segment.content, damage)}"
        for segment in left.damaged
        for damage in segment.content.damages
    ]
    lost = "Nothing is lost. " if not figures.lost_bytes else "Charges of the lost bytes are not booked. "
    _log.error(
        "charge_log_damaged",
        kept_in=[path.name for path in kept],
        charges_read=sum(len(segment.content.charges) for segment in left.damaged),
        records_restored=figures.records_restored,
        records_lost=figures.records_lost,
        lost_bytes=figures.lost_bytes,
        places=places[:_PLACES_TOLD],
        note=f"The charge log was damaged on the disk. What could be read of it is in the database. {lost}The files "
        "are kept: see `tokenbooth charges list`. Check the disk and the memory of this machine.",
    )


def _place(content: Recovered, damage: Damage) -> str:
    what = content.how_lost(damage) if damage.restored is None else f"restored {damage.restored}".rstrip()
    return f"{what}, {damage.size_bytes} bytes from {damage.offset}"
