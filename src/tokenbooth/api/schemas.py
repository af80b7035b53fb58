"""What all answers share: the base of their models, and how money and times are written."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, PlainSerializer, TypeAdapter, WithJsonSchema
from pydantic.alias_generators import to_camel

from tokenbooth.domain.money import format_usd
from tokenbooth.kit.clock import iso_ms

_UNSIGNED_USD_SCHEMA: Final = {"type": "string", "pattern": r"^[0-9]+\.[0-9]{2,9}$", "examples": ["25.00"]}
_ITEMS_AT_ONCE: Final = 200
_USD_SCHEMA: Final = {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2,9}$", "examples": ["25.00"]}


class Payload(BaseModel):
    """The base of what answers hold; a field's name on the wire is its name here in camel case.

    It renders as it describes itself. A field that was not set is left out.
    """

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True)

    def to_json(self) -> str:
        """The payload as compact JSON, with texts as they are."""
        return self.model_dump_json(exclude_unset=True)


def list_json(items: Sequence[Payload]) -> str:
    """Payloads of one kind as compact JSON without the brackets; in pieces, so that a thread lets others run between
    them."""
    if not items:
        return ""
    adapter = _list_adapter(type(items[0]))
    pieces = (items[at : at + _ITEMS_AT_ONCE] for at in range(0, len(items), _ITEMS_AT_ONCE))
    return ",".join(adapter.dump_json(piece, exclude_unset=True, by_alias=True)[1:-1].decode() for piece in pieces)


@lru_cache
def _list_adapter(kind: type[Payload]) -> TypeAdapter[Sequence[Payload]]:
    return TypeAdapter(Sequence[kind])  # type: ignore[valid-type, type-abstract]  # a type that is known at run time


Usd = Annotated[int, PlainSerializer(format_usd), WithJsonSchema(_USD_SCHEMA)]
"""Nano-USD in the program, a decimal string of USD on the wire."""
UnsignedUsd = Annotated[int, PlainSerializer(format_usd), WithJsonSchema(_UNSIGNED_USD_SCHEMA)]
"""As `Usd`, never below zero."""
Instant = Annotated[
    int,
    PlainSerializer(iso_ms),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-03-05T10:00:00.000Z"]}),
]
"""UTC microseconds in the program, ISO 8601 on the wire."""
