"""Reading the times that a client sends: ISO 8601, years 1970 to 9998, a zone on every instant."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DAY: Final = timedelta(days=1)
_MAX_YEAR: Final = 9998
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


class InvalidTime(ValueError):
    """The text is no time that we can hold; the message says what belongs there."""


def read_instant(text: str) -> int:
    """An instant such as "2026-03-05T10:00:00Z", in UTC microseconds.

    Raises:
        InvalidTime: another form, no zone, or no such time.
    """
    if _INSTANT.fullmatch(text) is None:
        raise InvalidTime("must be an ISO 8601 instant with a zone, such as 2026-03-05T10:00:00Z")
    return _instant_us(text)


def read_start(text: str) -> int:
    """The first microsecond of a date (UTC), or an instant.

    Raises:
        InvalidTime: neither.
    """
    return _day_us(text) if _DATE.fullmatch(text) else _date_or_instant(text)


def read_end(text: str) -> int:
    """The first microsecond after a date (UTC), which thus is included; or an instant, which is not.

    Raises:
        InvalidTime: neither.
    """
    return _day_us(text) + _DAY // _MICROSECOND if _DATE.fullmatch(text) else _date_or_instant(text)


def _date_or_instant(text: str) -> int:
    if _INSTANT.fullmatch(text) is None:
        raise InvalidTime("must be a date such as 2026-03-05, or an instant such as 2026-03-05T10:00:00Z")
    return _instant_us(text)


def _day_us(text: str) -> int:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InvalidTime("must be a date that exists") from None
    return _bounded_us(datetime(day.year, day.month, day.day, tzinfo=UTC))


def _instant_us(text: str) -> int:
    try:
        instant = datetime.fromisoformat(text.upper())
    except ValueError:
        raise InvalidTime("must be a time that exists") from None
    return _bounded_us(instant)


def _bounded_us(instant: datetime) -> int:
    at_us = (instant - _EPOCH) // _MICROSECOND
    if at_us < 0 or instant.year > _MAX_YEAR:
        raise InvalidTime(f"must be between the years 1970 and {_MAX_YEAR}")
    return at_us
