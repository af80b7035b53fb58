"""Budget windows, computed from the clock: nothing has to run for a window to reset.

A window shorter than a day starts at UTC midnight and repeats until the next one, where the last window is cut
short; a day and longer counts from Monday 1970-01-05 UTC.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US
FIRST_MONDAY_US: Final = 4 * DAY_US
MIN_DURATION_US: Final = MINUTE_US
MAX_DURATION_US: Final = 366 * DAY_US

_UNITS_US: Final = {"s": SECOND_US, "m": MINUTE_US, "h": HOUR_US, "d": DAY_US, "w": 7 * DAY_US}
_DURATION: Final = re.compile(r"([1-9]\d{0,5})([smhdw])", re.ASCII)


class InvalidDuration(ValueError):
    """The text is no duration of a budget window."""


@dataclass(frozen=True, slots=True)
class Window:
    """One window: its first microsecond (UTC) is its id; `end_us` is the first that no longer belongs to it."""

    start_us: int
    end_us: int


def parse_duration(text: str) -> int:
    """Read "30m", "5h", "1d", "7d" into microseconds.

    Raises:
        InvalidDuration: another form, under a minute, or over 366 days.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InvalidDuration(f"{text!r} is not a duration such as 30m, 5h or 7d")
    duration_us = int(match.group(1)) * _UNITS_US[match.group(2)]
    if not MIN_DURATION_US <= duration_us <= MAX_DURATION_US:
        raise InvalidDuration(f"{text!r} is not between one minute and 366 days")
    return duration_us


def window_at(now_us: int, duration_us: int) -> Window:
    """The window that the instant `now_us` (UTC microseconds) belongs to."""
    if duration_us >= DAY_US:
        start_us = now_us - (now_us - FIRST_MONDAY_US) % duration_us
        return Window(start_us=start_us, end_us=start_us + duration_us)
    midnight_us = now_us - now_us % DAY_US
    start_us = midnight_us + (now_us - midnight_us) // duration_us * duration_us
    return Window(start_us=start_us, end_us=min(start_us + duration_us, midnight_us + DAY_US))


def month_start_us(at_us: int) -> int:
    """The first microsecond (UTC) of the month that the instant `at_us` (UTC microseconds) belongs to."""
    at = datetime.fromtimestamp(at_us // SECOND_US, UTC)
    return int(datetime(at.year, at.month, 1, tzinfo=UTC).timestamp()) * SECOND_US
