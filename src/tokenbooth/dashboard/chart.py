"""The chart of spend and requests per day: geometry only, drawn by a template as inline SVG. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tokenbooth.domain.windows import DAY_US
from tokenbooth.store.usage.usage_reports import Span, Sums

WIDTH: Final = 720
HEIGHT: Final = 180
_LEFT: Final = 4
_TOP: Final = 8
_BOTTOM: Final = 22
_GAP: Final = 0.28
_MIN_BAR: Final = 2.0
_LABELS: Final = 6


@dataclass(frozen=True, slots=True)
class Bar:
    """One day: where it is drawn, and its figures. `x`, `y`, `width` and `height` are units of the chart."""

    day_us: int
    x: float
    y: float
    width: float
    height: float
    slot_x: float
    slot_width: float
    label: bool
    requests: int
    charged_nano: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars of equal days; the line of the highest is at `top`."""

    bars: tuple[Bar, ...]
    highest_nano: int
    total: Sums
    width: int = WIDTH
    height: int = HEIGHT
    top: int = _TOP
    base: int = HEIGHT - _BOTTOM


def draw(days: Mapping[str, Sums], span: Span) -> Chart:
    """The chart of a report by day.

    Args:
        days: sums by the first microsecond of a day, as `usage_by` gives them; days without use are missing.
        span: the days to show.
    """
    first_us = span.from_us // DAY_US * DAY_US
    starts = range(first_us, span.to_us, DAY_US)
    sums = [days.get(str(start_us), Sums()) for start_us in starts]
    highest_nano = max((one.charged_nano for one in sums), default=0)
    room = HEIGHT - _BOTTOM - _TOP
    slot = (WIDTH - 2 * _LEFT) / max(len(starts), 1)
    every = -(-len(starts) // _LABELS)
    bars = []
    for index, (start_us, one) in enumerate(zip(starts, sums, strict=True)):
        height = _height(one.charged_nano, highest_nano, room)
        bars.append(
            Bar(
                day_us=start_us,
                x=round(_LEFT + index * slot + slot * _GAP / 2, 2),
                y=round(HEIGHT - _BOTTOM - height, 2),
                width=round(slot * (1 - _GAP), 2),
                height=round(height, 2),
                slot_x=round(_LEFT + index * slot, 2),
                slot_width=round(slot, 2),
                label=(len(starts) - 1 - index) % every == 0,
                requests=one.requests,
                charged_nano=one.charged_nano,
            )
        )
    return Chart(bars=tuple(bars), highest_nano=highest_nano, total=sum(sums, Sums()))


def _height(amount_nano: int, highest_nano: int, room: int) -> float:
    """In proportion, but a day on which anything was spent is seen."""
    if amount_nano == 0:
        return 0.0
    return max(amount_nano * room / highest_nano, _MIN_BAR)
