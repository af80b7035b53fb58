"""The one source of time. Everything else takes the time as an argument."""

import time
from datetime import UTC, datetime
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


def iso_ms(at_us: int) -> str:
    """ISO 8601 UTC with milliseconds and `Z`, as every answer shows a time ("2026-03-05T10:00:00.000Z")."""
    seconds, microseconds = divmod(at_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{microseconds // 1_000:03d}Z"
