"""How long a server wants to be left alone, from the headers of its answer. Pure.

`retry-after` is a number of seconds or a date (RFC 9110, "Retry-After"); `retry-after-ms` is a custom of OpenAI's and
Azure's servers, finer, and goes first.
"""

from email.utils import parsedate_to_datetime
from typing import Final

from tokenbooth.gateway.upstream.base import AnswerHead

LONGEST_US: Final = 3_600_000_000


def retry_after_us(head: AnswerHead, now_us: int) -> int | None:
    """What the headers ask for, at most an hour, in microseconds from now; None when they say nothing.

    Args:
        head: the answer's.
        now_us: the time, UTC microseconds.
    """
    milliseconds = _number(head.header("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds * 1_000, LONGEST_US)
    value = head.header("retry-after")
    seconds = _number(value)
    if seconds is not None:
        return min(seconds * 1_000_000, LONGEST_US)
    at_us = None if value is None else _date_us(value)
    return None if at_us is None else min(max(at_us - now_us, 0), LONGEST_US)


def _number(value: str | None) -> int | None:
    if value is None or not value.isascii() or not value.isdigit():
        return None
    return int(value[:12])


def _date_us(value: str) -> int | None:
    # Without a zone that is named it would be a guess.
    if len(value) > 40 or not value.endswith("GMT"):
        return None
    try:
        return round(parsedate_to_datetime(value).timestamp()) * 1_000_000
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
