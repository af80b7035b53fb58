"""Reading times."""

import pytest

from tests.support.fakes import MARCH_5_2026_US
from tokenbooth.kit.timestamps import InvalidTime, read_end, read_instant, read_start

HOUR_US = 3_600_000_000


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-05T10:00:00Z",
        "2026-03-05T10:00Z",
        "2026-03-05t10:00:00.000z",
        "2026-03-05T12:30:00+02:30",
        "2026-03-04T23:00:00.000000-11:00",
    ],
)
def test_one_instant_in_many_spellings(text: str) -> None:
    """The zone counts."""
    assert read_instant(text) == MARCH_5_2026_US
    assert read_start(text) == MARCH_5_2026_US
    assert read_end(text) == MARCH_5_2026_US


def test_a_date_is_a_whole_day() -> None:
    """Its start is midnight, its end the next midnight; the last day of February is found."""
    assert read_start("2026-03-05") == MARCH_5_2026_US - 10 * HOUR_US
    assert read_end("2026-03-05") == MARCH_5_2026_US + 14 * HOUR_US
    assert read_end("2028-02-28") == read_start("2028-02-29")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "today",
        "1772704800",
        "2026-02-30",
        "2026-2-3",
        "20260305",
        "2026-W10-4",
        "2026-03-05T10:00:00",
        "2026-03-05 10:00:00Z",
        "2026-03-05T10:00:60Z",
        "2026-03-05T25:00:00Z",
        "2026-03-05T10:00:00+99:00",
        "1969-12-31",
        "9999-12-31",
        "0000-01-01",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-03-05T10:00:00.0000001Z",
        "２０２６-03-05",
        "2026-03-05\n",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """Also times that do not exist, and those too far to be written down."""
    for read in (read_instant, read_start, read_end):
        with pytest.raises(InvalidTime):
            read(text)
