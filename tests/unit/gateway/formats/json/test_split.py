"""Large JSON is split and put together in steps with the same result as in one call."""

import json

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tokenbooth.gateway.errors import Refusal
from tokenbooth.gateway.formats.json import split
from tokenbooth.gateway.formats.json.body import decode_object, encode, encode_fields, objects_of
from tokenbooth.gateway.formats.json.split import (
    LARGE_BYTES,
    encode_large,
    encoded_in_steps,
    items_in_steps,
    objects_in_steps,
    top_in_steps,
)
from tokenbooth.gateway.formats.json.steps import at_once

WINDOW = 200
LARGE = 500
PIECES = ["x", "é", "😀", "\\n", '\\"', "\\\\", "\\u00e9", "\\ud83d\\ude00", "[1,2],", "{}:", ",", " "]
scalars = st.sampled_from(["1", "null", "true", "-1.5e3", '""', '"a"'])
texts = st.builds(
    lambda unit, before, bytes_: f'"{"z" * before}{unit * (bytes_ // len(unit))}"',
    *[
        st.sampled_from(PIECES),
        st.integers(0, 14),
        st.integers(0, 3 * WINDOW),
    ],
)
white = st.sampled_from(["", " ", "\r\n\t", " " * (WINDOW + 3)])


def _list(items: list[str], space: str) -> str:
    return f"[{space}{f'{space},'.join(items)}{space}]"


def _object(members: list[tuple[str, str]], space: str) -> str:
    return f"{{{space}{f',{space}'.join(f'{name}{space}:{space}{value}' for name, value in members)}{space}}}"


names = st.sampled_from(['"a"', '"content"', '"image_url"', '"source"', '"\\u0061"', '"é"', '"\\""', '"b,[{"'])
values = st.recursive(
    st.one_of(scalars, texts),
    lambda inner: st.one_of(
        st.builds(_list, st.lists(inner, max_size=5), white),
        st.builds(_object, st.lists(st.tuples(names, inner), max_size=4), white),
    ),
    max_leaves=12,
)


def is_text(body: bytes) -> bool:
    """Whether it is UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def plain(value: object) -> object:
    """What a decoded value with raw ones in it says."""
    return json.loads(encode(value))


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what is small takes the way of what is large, and many windows."""
    monkeypatch.setattr(split, "LARGE_BYTES", LARGE)
    monkeypatch.setattr(split, "STEP_BYTES", LARGE)
    monkeypatch.setattr(split, "_WINDOW_BYTES", WINDOW)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(names, values), max_size=6), white)
def test_an_object_is_split_as_it_is_decoded(members: list[tuple[str, str]], space: str) -> None:
    """Its names with their values, of a name that comes twice the last; wherever windows cut its texts."""
    body = f"{space}{_object(members, space)}{space}".encode()
    fields = at_once(top_in_steps(bytearray(body)))

    assert list(fields) == list(decode_object(body))
    assert json.loads(encode_large(fields)) == json.loads(encode_fields(fields))
    assert plain(fields) == json.loads(body)


@settings(max_examples=300, deadline=None)
@given(st.lists(values, max_size=30), white)
def test_a_list_is_split_and_put_together(items: list[str], space: str) -> None:
    """Every item in its place; what is put together again says the same."""
    value = msgspec.Raw(_list(items, space).encode())
    decoded = at_once(items_in_steps(value))
    whole = at_once(encoded_in_steps(decoded, len(value)))

    assert [plain(item) for item in decoded] == [json.loads(item) for item in items]
    assert json.loads(bytes(whole)) == json.loads(bytes(value))
    objects = at_once(objects_in_steps(value))
    expected = objects_of(value)
    assert plain(objects) == plain(expected)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_is_no_json_is_refused(data: st.DataObject) -> None:
    """A byte more, less or other anywhere: it is refused if the decoder refuses it as one piece, and only then."""
    members = data.draw(st.lists(st.tuples(names, values), min_size=1, max_size=3))
    body = _object(members, "").encode()
    at = data.draw(st.integers(0, len(body) - 1))
    put = data.draw(st.sampled_from([b"", b'"', b"\\", b"]", b"}", b"{", b",", b"\n", b"\x00", b"u", b"\\ud83d"]))
    spoilt = body[:at] + put + body[at + data.draw(st.integers(0, 1)) :]
    # That it is UTF-8 was seen before.
    assume(len(spoilt) > LARGE and is_text(spoilt))
    try:
        expected: object = plain(decode_object(spoilt))
    except msgspec.DecodeError:
        with pytest.raises(Refusal, match="not a JSON object"):
            at_once(top_in_steps(spoilt))
        return
    assert plain(at_once(top_in_steps(spoilt))) == expected


@pytest.mark.parametrize("unit", PIECES)
def test_a_text_of_megabytes_is_never_gone_over_at_once(unit: str) -> None:
    """It stays a view of the body, and is put together from it, byte by byte as it was."""
    text = f'"{unit * (3 * LARGE_BYTES // len(unit.encode()))}"'.encode()
    body = bytearray(b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":%b}]}]}' % text)
    fields = at_once(top_in_steps(body))
    messages = at_once(objects_in_steps(fields["messages"]))
    assert messages is not None
    parts = at_once(items_in_steps(messages[0]["content"]))
    assert bytes(parts[0]["text"]) == text
    messages[0]["content"] = parts
    assert bytes(at_once(encoded_in_steps(messages, len(body)))) == bytes(fields["messages"])


@pytest.mark.parametrize("name", ["image_url", "source"])
def test_an_image_is_opened_in_steps(name: str) -> None:
    """Its object is decoded to its names already, so that nobody does it in one call."""
    value = msgspec.Raw(b'[{"type":"x","%b":{"url":"%b"}}]' % (name.encode(), b"A" * LARGE_BYTES))
    (part,) = at_once(items_in_steps(value))
    assert part[name].keys() == {"url"}


def test_a_name_of_kilobytes_before_a_large_value_is_refused() -> None:
    """No format has one, and to look for its end would take its time."""
    body = b'{"%b":"%b"}' % (b"n" * 8_192, b"x" * LARGE_BYTES)
    with pytest.raises(Refusal, match="has a name, or white space"):
        at_once(top_in_steps(body))
