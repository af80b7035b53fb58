"""The fields of a body or a form, read one by one where no model does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pydantic_core import PydanticCustomError

from tokenbooth.kit.errors import InvalidRequest
from tokenbooth.kit.request_models import INT32_MAX, read_amount_nano, read_integer, read_label, read_text
from tokenbooth.kit.strict_json import JsonValue

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fields:
    """Values by name; an error says which one is wrong and what belongs there."""

    values: Mapping[str, JsonValue]

    def text(self, name: str, *, max_length: int = 1_000) -> str:
        """A string that must be there."""
        return self._read(name, partial(read_text, max_length=max_length))

    def optional_text(self, name: str, *, max_length: int = 1_000) -> str | None:
        """A string, or None when it is missing or null."""
        return None if self.values.get(name) is None else self.text(name, max_length=max_length)

    def label(self, name: str) -> str:
        """A name that people give to a thing."""
        return self._read(name, read_label)

    def optional_integer(self, name: str, *, at_least: int, at_most: int = INT32_MAX) -> int | None:
        """A whole number, or None when it is missing or null."""
        if self.values.get(name) is None:
            return None
        return self._read(name, partial(read_integer, at_least=at_least, at_most=at_most))

    def amount_nano(self, name: str, *, max_decimals: int = 9) -> int:
        """An amount of USD above zero that must be there; in nano-USD."""
        return self._read(name, partial(read_amount_nano, max_decimals=max_decimals))

    def optional_flag(self, name: str) -> bool | None:
        """True or false, or None when it is missing or null."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise InvalidRequest("invalid_type", f"`{name}` must be true or false.", param=name)
        return value

    def _read(self, name: str, read: Callable[[object], T]) -> T:
        value = self.values.get(name)
        if value is None:
            raise InvalidRequest("missing_parameter", f"`{name}` is missing.", param=name)
        try:
            return read(value)
        except PydanticCustomError as refused:
            raise InvalidRequest(refused.type, f"`{name}` {refused.message()}.", param=name) from None
