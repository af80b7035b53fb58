"""Counting what a body holds before anything is made of it, wherever it is cut into parts."""

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.gateway.errors import Refusal
from tokenbooth.gateway.formats.json.scan import JsonBounds, JsonScan

texts = st.text(st.sampled_from('ab"\\{}[],:\n é😀'), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
cuts = st.integers(1, 7)


def parts_of(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


def refusal_of(body: bytes, bounds: JsonBounds, size: int = 5) -> Refusal | None:
    """What is said of a body that comes in parts of this size."""
    scan = JsonScan(bounds)
    try:
        for part in parts_of(body, size):
            scan.take(part)
        scan.end()
    except Refusal as refusal:
        return refusal
    return None


def count(value: object) -> tuple[int, int, int, int]:
    """Depth, values, names, and lists and objects, counted from the decoded value."""
    if not isinstance(value, list | dict):
        return 0, 0, 0, 0
    inner = list(value.values()) if isinstance(value, dict) else value
    counted = [count(one) for one in inner]
    depth, more, names, containers = (
        max((one[0] for one in counted), default=0),
        *(sum(one[index] for one in counted) for index in (1, 2, 3)),
    )
    # One for the brackets, and one for each comma.
    more += 1 + max(len(inner) - 1, 0)
    return depth + 1, more, names + len(value) * isinstance(value, dict), containers + 1


@given(values, cuts, st.booleans())
def test_it_counts_what_a_decoder_would_make(value: object, size: int, is_spaced: bool) -> None:
    """At its own figures a body passes, one below any of them it does not, however it is cut and written."""
    body = msgspec.json.encode(value)
    if is_spaced:
        body = msgspec.json.format(body)
    depth, more, names, containers = count(value)

    assert refusal_of(body, JsonBounds(depth, more + 1, names, containers), size) is None
    for bounds in (
        JsonBounds(depth - 1, more + 1, names, containers),
        JsonBounds(depth, more, names, containers),
        JsonBounds(depth, more + 1, names - 1, containers),
        JsonBounds(depth, more + 1, names, containers - 1),
    ):
        if depth:
            refused = refusal_of(body, bounds, size)
            # Only a bound on names that there are none of can be below nothing.
            assert refused is not None
            assert refused.code in ("invalid_json", "too_many_values")


def bytes_of_names(value: object) -> int:
    """As they are written."""
    if isinstance(value, list):
        return sum(map(bytes_of_names, value))
    if not isinstance(value, dict):
        return 0
    return sum(len(msgspec.json.encode(name)) - 2 + bytes_of_names(inner) for name, inner in value.items())


@given(values, cuts, st.booleans())
def test_it_counts_the_bytes_of_names(value: object, size: int, is_spaced: bool) -> None:
    """As many as the bound pass and twice as many don't, however the body is cut and written; texts count for none."""
    body = msgspec.json.encode({"": value})
    if is_spaced:
        body = msgspec.json.format(body)
    names = bytes_of_names(value)

    assert refusal_of(body, JsonBounds(128, name_bytes=names), size) is None
    if names:
        refused = refusal_of(body, JsonBounds(128, name_bytes=0), size)
        assert refused is not None
        assert (refused.status, refused.code) == (400, "too_many_values")
        if 2 * (names // 3) < names:
            assert refusal_of(body, JsonBounds(128, name_bytes=names // 3), size) is not None


@given(st.text(max_size=40), cuts)
def test_texts_are_checked_wherever_they_are_cut(text: str, size: int) -> None:
    """A character whose bytes come in two parts is a character; half of one at the end is none."""
    body = msgspec.json.encode(text)

    assert refusal_of(body, JsonBounds(4), size) is None
    if not text.isascii():
        cut_off = text.encode()[: len(text.encode()) - 1] if not text[-1].isascii() else text.encode() + b"\xc3"
        refused = refusal_of(cut_off, JsonBounds(4), size)
        assert refused is not None
        assert refused.message == "The body is not valid UTF-8."


@given(st.binary(max_size=60), cuts)
def test_any_bytes_are_utf_8_or_refused(body: bytes, size: int) -> None:
    """As Python decodes them whole."""
    refused = refusal_of(body, JsonBounds(10_000), size)
    try:
        body.decode()
    except UnicodeDecodeError:
        assert refused is not None
    else:
        assert refused is None


@pytest.mark.parametrize("text", ["[1,2],", '{"a":', '\\"[', "\\", '"'])
def test_texts_do_not_count(text: str) -> None:
    """A prompt may hold a file of any number of brackets, quotes and backslashes."""
    body = msgspec.json.encode({"a": text * 50_000})

    assert refusal_of(body, JsonBounds(1, 2, 1, 1), 64 * 1024) is None


def test_what_is_too_much_is_named() -> None:
    """The message says what there is too much of, and that texts are free."""
    refused = refusal_of(b"[1,2,3]", JsonBounds(4, values=3))

    assert refused is not None
    assert (refused.status, refused.code) == (400, "too_many_values")
    assert refused.message.startswith("The body has more than 3 values outside its texts.")


def test_a_body_is_refused_as_soon_as_it_has_too_much() -> None:
    """The rest of it need not come."""
    scan = JsonScan(JsonBounds(8, containers=1_000))

    with pytest.raises(Refusal, match="1000 objects and lists"):
        scan.take(b'{"messages":[' + b"{}," * 2_000)
