"""Budget windows: computed from the clock, without gap or overlap, aligned as documented."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.domain.windows import DAY_US, InvalidDuration, Window, parse_duration, window_at

HOUR_US = 3_600_000_000
instants = st.integers(min_value=0, max_value=4_102_444_800_000_000)
durations = st.integers(min_value=60_000_000, max_value=366 * DAY_US)


def at(text: str) -> int:
    """UTC microseconds of an ISO time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@given(instants, durations)
def test_every_instant_is_in_exactly_one_window(now_us: int, duration_us: int) -> None:
    """A window holds its instant, its neighbours touch it, and all of its instants have the same window."""
    window = window_at(now_us, duration_us)

    assert window.start_us <= now_us < window.end_us
    assert 0 < window.end_us - window.start_us <= duration_us
    assert window_at(window.start_us, duration_us) == window
    assert window_at(window.end_us - 1, duration_us) == window
    assert window_at(window.end_us, duration_us).start_us == window.end_us
    assert window_at(window.start_us - 1, duration_us).end_us == window.start_us


@given(instants, st.integers(min_value=60_000_000, max_value=DAY_US - 1))
def test_short_windows_begin_at_midnight(now_us: int, duration_us: int) -> None:
    """A window shorter than a day never crosses midnight UTC, and one begins there."""
    midnight_us = now_us - now_us % DAY_US

    assert window_at(midnight_us, duration_us).start_us == midnight_us
    assert window_at(now_us, duration_us).end_us <= midnight_us + DAY_US


@pytest.mark.parametrize("day", ["2026-03-05", "2028-02-29", "2026-12-31", "2026-03-29", "2026-10-25"])
def test_five_hours_begin_at_fixed_hours(day: str) -> None:
    """00, 05, 10, 15, 20, the last one four hours; on a leap day and on days of daylight saving too (47)."""
    midnight_us = at(day)
    starts = sorted({window_at(midnight_us + minute * 60_000_000, 5 * HOUR_US).start_us for minute in range(24 * 60)})

    assert [(start - midnight_us) // HOUR_US for start in starts] == [0, 5, 10, 15, 20]
    assert window_at(midnight_us + 23 * HOUR_US, 5 * HOUR_US) == Window(
        midnight_us + 20 * HOUR_US, midnight_us + 24 * HOUR_US
    )


@pytest.mark.parametrize(
    ("now", "start"),
    [
        ("2026-03-05T10:00:00", "2026-03-02"),
        ("2026-03-02T00:00:00", "2026-03-02"),
        ("2026-03-01T23:59:59", "2026-02-23"),
        ("2028-02-29T12:00:00", "2028-02-28"),
        ("2027-01-01T00:00:00", "2026-12-28"),
        ("1970-01-05T00:00:00", "1970-01-05"),
    ],
)
def test_weeks_begin_on_monday(now: str, start: str) -> None:
    """Seven days begin on Monday, across month ends, leap days and years."""
    assert window_at(at(now), 7 * DAY_US) == Window(at(start), at(start) + 7 * DAY_US)


def test_a_day_is_the_utc_day() -> None:
    """One day runs from midnight to midnight UTC."""
    assert window_at(at("2026-02-28T23:59:59"), DAY_US) == Window(at("2026-02-28"), at("2026-03-01"))


@pytest.mark.parametrize(
    ("text", "duration_us"),
    [
        ("60s", 60_000_000),
        ("1m", 60_000_000),
        ("30m", 30 * 60_000_000),
        ("5h", 5 * HOUR_US),
        ("1d", DAY_US),
        ("2w", 14 * DAY_US),
        ("366d", 366 * DAY_US),
    ],
)
def test_durations_are_read(text: str, duration_us: int) -> None:
    """A number and a unit."""
    assert parse_duration(text) == duration_us


@pytest.mark.parametrize(
    "text", ["", "5", "h", "0h", "05h", "-5h", "5 h", "5H", "1.5h", "59s", "367d", "53w", "9999999h", "\u0665h", "5h\n"]
)
def test_other_durations_are_refused(text: str) -> None:
    """Another form, under a minute, over 366 days."""
    with pytest.raises(InvalidDuration):
        parse_duration(text)
