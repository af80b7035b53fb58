"""The top level of a body: what is priced is what is sent on, and nothing malformed or bottomless passes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.gateway.errors import Refusal
from tokenbooth.gateway.formats.json.body import collapse_duplicates, decode_fields, encode_fields, raw

DEPTH = 16

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=6))
def test_values_pass_as_they_are(content: dict[str, object]) -> None:
    """Decoded and encoded again, a body means the same."""
    again = encode_fields(decode_fields(msgspec.json.encode(content), 64))

    assert msgspec.json.decode(again) == content


def test_values_keep_their_writing() -> None:
    """Spaces, exponents and escapes inside a value are the client's and pass verbatim."""
    fields = decode_fields(b'{ "temperature" : 1.50e0 , "messages" : [ "\\u0041" ] }', DEPTH)

    assert encode_fields(fields) == b'{"temperature":1.50e0,"messages":[ "\\u0041" ]}'


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"cheap","model":"dear"}',
        b'{"model":"cheap","\\u006dodel":"dear"}',
        b'{"mod\\u0065l":"cheap","model":"dear"}',
    ],
)
def test_duplicate_names_collapse_to_the_last(body: bytes) -> None:
    """The upstream gets one model, the one that is priced, however the name is written (48b)."""
    fields = decode_fields(body, DEPTH)

    assert fields == {"model": msgspec.Raw(b'"dear"')}
    assert encode_fields(fields) == b'{"model":"dear"}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"{}x",
        b"{'model':1}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":01}',
        b'{"a":tru}',
        b'{"a":1,}',
        b'{"a":"\\x"}',
        b'{"a":"\\ud800"}',
        b'{"\\ud800":1}',
        b'{"a":"\n"}',
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b'{"a":"\xc0\xaf"}',
        b'{"a":"\xed\xa0\x80"}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":[}]',
        b"{1:2}",
    ],
)
def test_malformed_bodies_are_refused(body: bytes) -> None:
    """Not UTF-8 or not a JSON object: 400, and the upstream never sees it (48b)."""
    with pytest.raises(Refusal) as refused:
        decode_fields(body, DEPTH)

    assert (refused.value.status, refused.value.code) == (400, "invalid_json")


@given(st.binary(max_size=200) | st.text('{}[]":,\\u0 a', max_size=60).map(str.encode))
def test_any_bytes_are_fields_or_a_refusal(body: bytes) -> None:
    """No bytes cause anything but an answer or a refusal."""
    try:
        fields = decode_fields(body, 4)
    except Refusal:
        return
    assert decode_fields(encode_fields(fields), 4) == fields


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_is_bounded(opening: bytes, closing: bytes) -> None:
    """As deep as the bound passes, one deeper is refused, and so is a bottomless body."""
    inner = DEPTH - 1
    decode_fields(b'{"a":' + opening * inner + b"1" + closing * inner + b"}", DEPTH)
    for depth in (inner + 1, 90_000):
        with pytest.raises(Refusal, match="deeper than 16"):
            decode_fields(b'{"a":' + opening * depth + b"1" + closing * depth + b"}", DEPTH)


def test_brackets_inside_text_are_no_nesting() -> None:
    """A prompt full of brackets is no deep body; neither are many shallow lists."""
    prompt = msgspec.json.encode({"a": '[{"\\' * 1_000, "b": [[]] * 100})

    assert list(decode_fields(prompt, DEPTH)) == ["a", "b"]


@pytest.mark.timeout(5)
def test_an_unterminated_text_of_quotes_costs_no_more_than_its_length() -> None:
    """The check of the depth is linear: a body of escaped quotes without an end is refused at once.

    The limit of this test is far above what a linear scan needs and far below a quadratic one.
    """
    body = b'{"a":' + b"[" * 200 + b'"' + b'\\"' * 150_000

    with pytest.raises(Refusal):
        decode_fields(body, 128)


def test_huge_numbers_pass_as_text() -> None:
    """A number that no machine can hold stays what the client wrote; nothing here computes with it."""
    body = b'{"seed":' + b"9" * 5_000 + b',"top_p":1e400}'

    assert encode_fields(decode_fields(body, DEPTH)) == body


def test_values_of_ours_are_encoded() -> None:
    """Strings, numbers and booleans among the raw ones."""
    assert encode_fields({"a": raw("x\n"), "b": raw(5), "c": raw(True)}) == b'{"a":"x\\n","b":5,"c":true}'


@pytest.mark.parametrize(
    ("value", "levels", "collapsed"),
    [
        (b'[{"type":"a","type":"b"}]', 2, b'[{"type":"b"}]'),
        (b'[{"type":"a","t\\u0079pe":"b"}]', 2, b'[{"type":"b"}]'),
        (b' [ {"x":{"y":1,"y":2}} ]', 2, b'[{"x":{"y":1,"y":2}}]'),
        (b'{"x":[{"y":1,"y":2}]}', 3, b'{"x":[{"y":2}]}'),
        (b'"text"', 4, b'"text"'),
        (b'{"a":1,"a":2}', 0, b'{"a":1,"a":2}'),
    ],
)
def test_inner_duplicates_collapse_to_a_depth(value: bytes, levels: int, collapsed: bytes) -> None:
    """Names inside a value collapse as deep as asked, and values below stay as they are."""
    assert bytes(collapse_duplicates(msgspec.Raw(value), levels)) == collapsed


def test_an_absent_value_stays_absent() -> None:
    """Nothing collapses to nothing."""
    assert bytes(collapse_duplicates(msgspec.Raw(), 3)) == b""
