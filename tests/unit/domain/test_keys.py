"""Keys: their form, their checksum, what is stored and shown of them."""

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.domain.keys import (
    ALL_SCOPES,
    ALPHABET,
    DEFAULT_SCOPES,
    KeyKind,
    Scope,
    assemble,
    digest,
    is_well_formed,
    kind_of,
    shown_prefix,
)

kinds = st.sampled_from(tuple(KeyKind))
randoms = st.text(ALPHABET, min_size=42, max_size=42)


@given(kinds, randoms)
def test_a_key_is_well_formed_as_its_own_kind_only(kind: KeyKind, random_part: str) -> None:
    """Prefix and 48 characters; the other kind does not take it."""
    key = assemble(kind, random_part)

    assert len(key) == len(kind) + 48
    assert kind_of(key) is kind
    assert [other for other in KeyKind if is_well_formed(key, other)] == [kind]


@given(kinds, randoms)
def test_the_checksum_is_the_documented_one(kind: KeyKind, random_part: str) -> None:
    """The last six characters are the CRC-32 of all before them in base 62, most significant digit first."""
    key = assemble(kind, random_part)
    value = 0
    for character in key[-6:]:
        value = value * 62 + ALPHABET.index(character)

    assert value == zlib.crc32(key[:-6].encode())


@given(kinds, randoms, st.data())
def test_any_single_wrong_character_is_noticed(kind: KeyKind, random_part: str, data: st.DataObject) -> None:
    """One character replaced anywhere, by a character of the alphabet or another one: no key any more."""
    key = assemble(kind, random_part)
    at = data.draw(st.integers(0, len(key) - 1))
    wrong = data.draw(st.sampled_from(ALPHABET) | st.characters()).replace(key[at], "")

    if wrong:
        assert not is_well_formed(key[:at] + wrong + key[at + 1 :], kind)


@given(kinds, randoms, st.data())
def test_a_character_more_or_less_is_noticed(kind: KeyKind, random_part: str, data: st.DataObject) -> None:
    """A key that was cut or stretched is none."""
    key = assemble(kind, random_part)
    at = data.draw(st.integers(0, len(key) - 1))

    assert not is_well_formed(key[:at] + key[at + 1 :], kind)
    assert not is_well_formed(key[:at] + "0" + key[at:], kind)


@given(st.text(max_size=80))
def test_no_text_makes_the_check_fail(text: str) -> None:
    """Whatever a client sends as a key is checked without an error."""
    assert not any(is_well_formed(text, kind) for kind in KeyKind)


@pytest.mark.parametrize("random_part", ["", "a" * 41, "a" * 43, "a" * 41 + "-", "a" * 41 + "é"])
def test_other_random_parts_are_refused(random_part: str) -> None:
    """A key is made of 42 characters of the alphabet."""
    with pytest.raises(ValueError, match="42 characters"):
        assemble(KeyKind.API, random_part)


@pytest.mark.parametrize(
    ("key", "kind"),
    [("mk_x", KeyKind.MANAGEMENT), ("sk_live_x", KeyKind.API), ("sk_test_x", None), ("", None), ("MK_x", None)],
)
def test_the_prefix_tells_the_kind(key: str, kind: KeyKind | None) -> None:
    """The kind is what the prefix claims."""
    assert kind_of(key) is kind


def test_what_is_stored_and_shown() -> None:
    """A SHA-256 is stored, and the prefix with four characters shown."""
    key = assemble(KeyKind.API, "0123" + "z" * 38)

    assert digest(key) == hashlib.sha256(key.encode()).digest()
    assert shown_prefix(key, KeyKind.API) == "sk_live_0123"


def test_minting_is_not_a_default_scope() -> None:
    """A key may do everything by default except make further management keys."""
    assert set(ALL_SCOPES) - set(DEFAULT_SCOPES) == {Scope.MANAGEMENT_KEYS}
    assert [str(scope) for scope in DEFAULT_SCOPES] == [
        "billing:read",
        "billing:write",
        "keys:read",
        "keys:write",
        "usage:read",
    ]
