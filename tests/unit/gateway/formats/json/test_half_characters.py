"""Halves of characters in JSON are found wherever they stand, and nothing else is."""

import json
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.gateway.formats.json.body import UNREADABLE
from tokenbooth.gateway.formats.json.half_characters import (
    decode_with_halves,
    marked_halves,
    may_have_halves,
    restored_halves,
    without_halves,
)

texts: Final = st.text(st.characters() | st.sampled_from('\ud83d\ude00\\u"dD8\n'), max_size=20)
decode: Final = msgspec.json.Decoder(str).decode


@given(texts)
def test_each_half_becomes_the_sign_for_what_is_unreadable(text: str) -> None:
    """Two that belong together are one character, and an escaped backslash begins no escape."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert decode(without_halves(json.dumps(text).encode())) == whole
    assert decode_with_halves(decode, json.dumps(text).encode()) == whole


@given(texts)
def test_marks_are_undone(text: str) -> None:
    """What comes out is what went in, and what is in between can be decoded."""
    written = json.dumps(text).encode()
    assert restored_halves(marked_halves(written)) == written
    decode(marked_halves(written))


@pytest.mark.parametrize("written", [rb'"\uD83D"', rb'"a\ud83db"', rb'"\ude00\ud83d"'])
def test_they_are_seen_in_either_case(written: bytes) -> None:
    """Hexadecimal digits have two."""
    assert may_have_halves(written)
    assert b"ud83d" not in without_halves(written).lower()


def test_what_is_no_json_stays_unreadable() -> None:
    """Also beside a half."""
    for broken in (b'"a', rb'"\ud83d'):
        with pytest.raises(UNREADABLE):
            decode_with_halves(decode, broken)
