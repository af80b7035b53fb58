"""How long an upstream wants to be left alone, as its headers say."""

import pytest

from tokenbooth.gateway.upstream.retry_after import LONGEST_US, retry_after_us

NOW_US = 1_792_567_680_000_000
"""2026-10-21T07:28:00Z."""


class Head:
    """The head of an answer with these headers."""

    status = 429

    def __init__(self, **headers: str) -> None:
        self._headers = headers

    def header(self, name: str) -> str | None:
        return self._headers.get(name.replace("-", "_"))


@pytest.mark.parametrize(
    ("value", "wait_us"),
    [
        ("7", 7_000_000),
        ("0", 0),
        ("99999999999999999999", LONGEST_US),
        ("-1", None),
        ("1.5", None),
        ("\u0665", None),
        ("", None),
        ("soon", None),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30_000_000),
        ("Wednesday, 21-Oct-26 07:28:30 GMT", 30_000_000),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", LONGEST_US),
        ("Wed, 21 Oct 2026 07:28:30", None),
        ("Wed, 99 Oct 2026 07:28:30 GMT", None),
        ("Wed, 21 Oct 99999999999999 07:28:30 GMT", None),
        ("GMT", None),
        (" " * 10_000 + "GMT", None),
    ],
)
def test_seconds_and_dates(value: str, wait_us: int | None) -> None:
    """Whole seconds or a date, at most an hour; what is neither says nothing."""
    assert retry_after_us(Head(retry_after=value), NOW_US) == wait_us


@pytest.mark.parametrize(
    ("milliseconds", "wait_us"), [("1500", 1_500_000), ("0", 0), ("x", 7_000_000), ("9" * 30, LONGEST_US)]
)
def test_milliseconds_go_first(milliseconds: str, wait_us: int) -> None:
    """They are finer; when they are no number the other header counts."""
    assert retry_after_us(Head(retry_after="7", retry_after_ms=milliseconds), NOW_US) == wait_us


def test_nothing_said() -> None:
    """Most failures say nothing of it."""
    assert retry_after_us(Head(), NOW_US) is None
