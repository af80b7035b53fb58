"""The one source of time. Everything else takes the time as an argument."""

import time
from datetime import date, timedelta
from functools import lru_cache
from typing import Final, Protocol


class Clock(Protocol):
    """Wall time for what is written down, monotonic time for spans."""

    def now_us(self) -> int:
        """UTC microseconds since 1970."""
        ...

    def monotonic_us(self) -> int:
        """Microseconds that only go forward."""
        ...


# Looked up once: every request asks for the time often.
_time_ns: Final = time.time_ns
_monotonic_ns: Final = time.monotonic_ns


class SystemClock:
    """The machine's clocks."""

    def now_us(self) -> int:
        """UTC microseconds since 1970."""
        return _time_ns() // 1_000

    def monotonic_us(self) -> int:
        """Microseconds that only go forward."""
        return _monotonic_ns() // 1_000


# Linux's runs on while the machine is suspended; elsewhere there may be no such clock.
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_clock_gettime_ns: Final = time.clock_gettime_ns


def since_boot_us() -> int:
    """Microseconds that only go forward, also while the machine is suspended."""
    return _clock_gettime_ns(_BOOT_CLOCK) // 1_000


_DAY_MS: Final = 86_400_000
_FIRST_DAY: Final = date(1970, 1, 1)


def iso_ms(at_us: int) -> str:
    """ISO 8601 UTC with milliseconds and `Z`, as every answer shows a time ("2026-03-05T10:00:00.000Z")."""
    day, milliseconds = divmod(at_us // 1_000, _DAY_MS)
    seconds, milliseconds = divmod(milliseconds, 1_000)
    minutes, second = divmod(seconds, 60)
    # A list of thousands of rows has two times in each, most of them of the same few days.
    return f"{_iso_date(day)}T{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}.{milliseconds:03d}Z"


@lru_cache(maxsize=1_024)
def _iso_date(day: int) -> str:
    """The date of a day since 1970."""
    return (_FIRST_DAY + timedelta(days=day)).isoformat()
