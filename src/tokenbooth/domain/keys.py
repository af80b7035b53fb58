"""The form of keys and what management keys may do.

A key is a prefix and 48 characters of 0-9A-Za-z, of which the last six are the CRC-32 of everything before them, in
base 62: a mistyped key is recognised without a look-up. Only a SHA-256 digest of a key is ever stored.
"""

import hashlib
import zlib
from enum import StrEnum
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_LENGTH: Final = 42
_CHECKSUM_LENGTH: Final = 6
_BODY_LENGTH: Final = RANDOM_LENGTH + _CHECKSUM_LENGTH
_ALPHABET_SET: Final = frozenset(ALPHABET)
_SHOWN_BEYOND_PREFIX: Final = 4


class KeyKind(StrEnum):
    """What a key is for; the value is its prefix."""

    MANAGEMENT = "mk_"
    API = "sk_live_"


class Scope(StrEnum):
    """What a management key may do."""

    BILLING_READ = "billing:read"
    BILLING_WRITE = "billing:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    USAGE_READ = "usage:read"
    MANAGEMENT_KEYS = "management-keys"


ALL_SCOPES: Final = tuple(Scope)
DEFAULT_SCOPES: Final = tuple(scope for scope in Scope if scope is not Scope.MANAGEMENT_KEYS)


def assemble(kind: KeyKind, random_part: str) -> str:
    """The key made of 42 random characters of the alphabet.

    Raises:
        ValueError: `random_part` has another length or other characters.
    """
    if len(random_part) != RANDOM_LENGTH or not _ALPHABET_SET.issuperset(random_part):
        raise ValueError(f"a key needs {RANDOM_LENGTH} characters of 0-9A-Za-z")
    checked = kind + random_part
    return checked + _checksum(checked)


def kind_of(key: str) -> KeyKind | None:
    """The kind that the key's prefix claims, whether or not the rest is a key."""
    for kind in KeyKind:
        if key.startswith(kind):
            return kind
    return None


def is_well_formed(key: str, kind: KeyKind) -> bool:
    """Whether length, alphabet and checksum are those of a key of this kind."""
    body = key[len(kind) :]
    return (
        key.startswith(kind)
        and len(body) == _BODY_LENGTH
        and _ALPHABET_SET.issuperset(body)
        and key[-_CHECKSUM_LENGTH:] == _checksum(key[:-_CHECKSUM_LENGTH])
    )


def digest(key: str) -> bytes:
    """What is stored instead of a key; keys are long and random, so a plain SHA-256 is enough."""
    return hashlib.sha256(key.encode()).digest()


def shown_prefix(key: str, kind: KeyKind) -> str:
    """The first characters of a key, by which its owner recognises it in a list."""
    return key[: len(kind) + _SHOWN_BEYOND_PREFIX]


def _checksum(text: str) -> str:
    value = zlib.crc32(text.encode())
    characters = []
    for _ in range(_CHECKSUM_LENGTH):
        value, remainder = divmod(value, len(ALPHABET))
        characters.append(ALPHABET[remainder])
    return "".join(reversed(characters))
