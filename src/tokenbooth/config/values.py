"""How a table of the configuration and its values are read; what is wrong with one is told in a `ValueError`."""

import os
import re
from collections.abc import Collection
from decimal import Decimal
from functools import partial
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from tokenbooth.config.chains import BRIDGED_TOKEN
from tokenbooth.config.upstream_fields import CEILING_FIELDS
from tokenbooth.config.upstream_kinds import KINDS
from tokenbooth.domain.money import parse_usd
from tokenbooth.domain.windows import parse_duration
from tokenbooth.payments.usdc.addresses import AddressBook, normal_address

# Linux takes 4,096 with its end.
_PATH_MAX_BYTES: Final = 4_000
_NAME_MAX_BYTES: Final = 255


# What parses a value here raises a `ValueError`, which pydantic turns into a mistake that names the key.


def _one_of(names: Collection[str], value: object) -> object:
    if value is not None and value not in names:
        raise ValueError(f"must be one of {', '.join(names)}")
    return value


def _nano(value: object) -> int:
    if isinstance(value, float):
        value = Decimal(str(value))
    if not isinstance(value, int | str | Decimal):
        raise ValueError('must be an amount of USD, such as "0.14"')
    amount_nano = parse_usd(value)
    if amount_nano < 0:
        raise ValueError("must not be negative")
    return amount_nano


def _duration_us(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError('must be a duration such as "5h"')
    return parse_duration(value)


def _duration(value: object) -> object:
    _duration_us(value)
    return value


def _token(address: str) -> str:
    token = normal_address(address)
    if token == BRIDGED_TOKEN:
        raise ValueError("this is USDbC, bridged to Base by others; it is not USDC")
    return token


def _xpub(xpub: str) -> str:
    AddressBook(xpub)
    return xpub


UsdNano = Annotated[int, BeforeValidator(_nano)]
"""USD in the file (a string or a number), nano-USD in the program."""
DurationUs = Annotated[int, BeforeValidator(_duration_us)]
"""A text such as "6h" in the file, microseconds in the program."""
Duration = Annotated[str, BeforeValidator(_duration)]
"""A duration that is shown as it was written."""
CeilingField = Annotated[str | None, BeforeValidator(partial(_one_of, CEILING_FIELDS))]
KindName = Annotated[str | None, BeforeValidator(partial(_one_of, KINDS))]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Token = Annotated[str, AfterValidator(_token)]
ExtendedKey = Annotated[str, AfterValidator(_xpub)]
WireFormat = Literal["openai.chat", "openai.completions", "openai.embeddings", "openai.responses", "anthropic.messages"]


class Section(BaseModel):
    """A table of the file; names that are not known are mistakes. An alias is the name in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def check_path(path: str) -> None:
    """Refuse what no file system takes; the message does not repeat what may be very long.

    Raises:
        ValueError: no file can have this path.
    """
    if "\0" in path:
        raise ValueError("it holds a NUL, which no path can; remove it")
    if len(os.fsencode(path)) > _PATH_MAX_BYTES:
        raise ValueError(f"the path is longer than {_PATH_MAX_BYTES} bytes; name a shorter one")
    if any(len(os.fsencode(name)) > _NAME_MAX_BYTES for name in path.split("/")):
        raise ValueError(f"a name in the path is longer than {_NAME_MAX_BYTES} bytes; name a shorter one")


def names_a_server(url: str) -> bool:
    """Whether a URL has a host, and no port that is none."""
    if re.fullmatch(r"[!-~]+", url) is None:
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
