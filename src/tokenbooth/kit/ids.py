"""Ids and keys: the only place that needs randomness.

Ids are prefixed and sort by their time of creation; they are no secrets. Keys come from the system's entropy.
"""

import random
import re
import secrets
from enum import StrEnum
from typing import Final

from tokenbooth.domain.keys import ALPHABET, RANDOM_LENGTH, KeyKind, assemble

# Seeded from the system's entropy at import; ids need to be unlike each other, not unguessable.
_random = random.Random(secrets.randbits(128))  # noqa: S311

_RANDOM_BITS: Final = 48
# Seven for the time, which lasts for a thousand years, and six random ones.
_ID_BYTES: Final = 13
_ID: Final = re.compile(r"[a-z]{2,8}_[0-9a-f]{26}", re.ASCII)


class IdPrefix(StrEnum):
    """The kinds of ids."""

    ACCOUNT = "acct"
    SUBSCRIPTION = "sub"
    API_KEY = "key"
    MANAGEMENT_KEY = "mkey"
    TOP_UP = "top"
    CHECKOUT = "chk"
    REQUEST = "req"
    EVENT = "evt"
    TRANSFER = "tr"
    AUDIT = "aud"
    SESSION = "ses"
    PROCESS = "gw"


def new_id(prefix: IdPrefix, now_us: int) -> str:
    """A new id; `now_us` (UTC microseconds) makes it sort by time."""
    number = now_us << _RANDOM_BITS | _random.getrandbits(_RANDOM_BITS)
    # The member is the text; its `value` is looked up at a tenth of what a request's start costs.
    return prefix + "_" + number.to_bytes(_ID_BYTES).hex()


def is_id(text: str) -> bool:
    """Whether this has the form of our ids; nothing else needs a look-up."""
    return _ID.fullmatch(text) is not None


def new_key(kind: KeyKind) -> str:
    """A new key in the clear, to be shown once."""
    return assemble(kind, "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH)))
