"""Reading the times that a client sends: ISO 8601, years 1970 to 9998, a zone on every instant."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

from tokenbooth.kit.errors import InvalidRequest

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DAY: Final = timedelta(days=1)
_MAX_YEAR: Final = 9998
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def read_instant(text: str, param: str) -> int:
    """An instant such as "2026-03-05T10:00:00Z", in UTC microseconds.

    Raises:
        InvalidRequest: another form, no zone, or no such time; it names `param`.
    """
    if _INSTANT.fullmatch(text) is None:
        raise _refused(param, "an ISO 8601 instant with a zone, such as 2026-03-05T10:00:00Z")
    return _instant_us(text, param)


def read_start(text: str, param: str) -> int:
    """The first microsecond of a date (UTC), or an instant.

    Raises:
        InvalidRequest: neither.
    """
    return _day_us(text, param) if _DATE.fullmatch(text) else _date_or_instant(text, param)


def read_end(text: str, param: str) -> int:
    """The first microsecond after a date (UTC), which thus is included; or an instant, which is not.

    Raises:
        InvalidRequest: neither.
    """
    if _DATE.fullmatch(text) is None:
        return _date_or_instant(text, param)
    return _day_us(text, param) + _DAY // _MICROSECOND


def _date_or_instant(text: str, param: str) -> int:
    if _INSTANT.fullmatch(text) is None:
        raise _refused(param, "a date such as 2026-03-05, or an instant such as 2026-03-05T10:00:00Z")
    return _instant_us(text, param)


def _day_us(text: str, param: str) -> int:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise _refused(param, "a date that exists") from None
    return _bounded_us(datetime(day.year, day.month, day.day, tzinfo=UTC), param)


def _instant_us(text: str, param: str) -> int:
    try:
        instant = datetime.fromisoformat(text.upper())
    except ValueError:
        raise _refused(param, "a time that exists") from None
    return _bounded_us(instant, param)


def _bounded_us(instant: datetime, param: str) -> int:
    at_us = (instant - _EPOCH) // _MICROSECOND
    if at_us < 0 or instant.year > _MAX_YEAR:
        raise _refused(param, f"between the years 1970 and {_MAX_YEAR}")
    return at_us


def _refused(param: str, expected: str) -> InvalidRequest:
    return InvalidRequest("invalid_value", f"`{param}` must be {expected}.", param=param)
