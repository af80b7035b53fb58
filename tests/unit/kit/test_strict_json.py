"""Reading JSON strictly."""

from decimal import Decimal

import pytest

from tokenbooth.kit.errors import InvalidRequest
from tokenbooth.kit.strict_json import parse_object


def refusal_of(raw: bytes) -> InvalidRequest:
    """How this body is refused."""
    with pytest.raises(InvalidRequest) as refused:
        parse_object(raw)
    return refused.value


def test_numbers_stay_exact() -> None:
    """A number with a point is a decimal, one without is an integer, and none is a float."""
    found = parse_object(b'{"a": 0.1, "b": 12345678901234567, "c": 1e2, "d": [true, null, "x"]}')
    assert found == {"a": Decimal("0.1"), "b": 12345678901234567, "c": Decimal("1e2"), "d": [True, None, "x"]}
    assert [type(found[name]) for name in "abc"] == [Decimal, int, Decimal]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"1",
        b'"x"',
        b"{",
        b'{"a":}',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":1}{"b":2}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1,"a":1}',
        b'{"o":{"a":1,"a":1}}',
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":["\\ud83d"]}',
        b'{"a":"\xff"}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"a":"\x00"}',
        b'{"a":' + b"9" * 21 + b"}",
        b'{"a":1e99999999999999999999}',
        b'{"a":0.' + b"1" * 100 + b"}",
        b'{"a":' + b"[" * 16 + b"]" * 16 + b"}",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'"' + b'\\"' * 30_000,
    ],
)
def test_what_is_not_one_clean_object_is_refused(raw: bytes) -> None:
    """With one code, and in bounded time."""
    assert refusal_of(raw).code == "invalid_json"


def test_brackets_in_strings_are_not_nesting() -> None:
    """Only structure counts towards the depth."""
    text = "[{" * 100 + '\\"' + "]"
    assert parse_object(f'{{"a":"{text}"}}'.encode()) == {"a": "[{" * 100 + '"]'}


def test_a_whole_pair_of_surrogates_is_a_character() -> None:
    """Only a lone half is refused."""
    assert parse_object(b'{"a":"\\ud83e\\udd8a"}') == {"a": "🦊"}


def test_no_body_has_thousands_of_lists() -> None:
    """Each bracket would be looked at on the loop that everybody shares; no request here needs so many."""
    parse_object(b'{"a":[%b]}' % b",".join([b"[]"] * 998))

    with pytest.raises(InvalidRequest, match="more than 1000 objects and lists"):
        parse_object(b'{"a":[%b]}' % b",".join([b"[]"] * 999))
