"""Reads Stripe's objects: each field at its exact place, or an error. Nothing is guessed."""

from collections.abc import Mapping

from tokenbooth.domain.windows import SECOND_US
from tokenbooth.kit.texts import is_storable


class UnexpectedShape(Exception):
    """A Stripe object does not have a field where this API version has it. `path` names the place."""

    code = "stripe_unexpected_shape"

    def __init__(self, path: str, expected: str) -> None:
        super().__init__(f"{path}: expected {expected}")
        self.path = path


class ObjectReader:
    """Typed access to one JSON object; every miss names its path."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, Mapping):
            raise UnexpectedShape(path, "an object")
        self._value = value
        self._path = path

    def _get(self, name: str) -> object:
        if name not in self._value:
            raise UnexpectedShape(self._at(name), "a field")
        field: object = self._value[name]
        return field

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}"

    def has(self, name: str) -> bool:
        """Whether the field is there at all, for objects that lack it by design."""
        return name in self._value

    def text(self, name: str) -> str:
        value = self._get(name)
        if not isinstance(value, str) or not value or not is_storable(value):
            raise UnexpectedShape(self._at(name), "a text")
        return value

    def opt_text(self, name: str) -> str | None:
        return None if self._get(name) is None else self.text(name)

    def number(self, name: str) -> int:
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise UnexpectedShape(self._at(name), "an integer")
        return value

    def opt_number(self, name: str) -> int | None:
        return None if self._get(name) is None else self.number(name)

    def time_us(self, name: str) -> int:
        """A Stripe time (whole UTC seconds) in microseconds."""
        return self.number(name) * SECOND_US

    def opt_time_us(self, name: str) -> int | None:
        return None if self._get(name) is None else self.time_us(name)

    def flag(self, name: str) -> bool:
        value = self._get(name)
        if not isinstance(value, bool):
            raise UnexpectedShape(self._at(name), "true or false")
        return value

    def ref(self, name: str) -> str:
        """The id of another object, whether Stripe wrote the id or, expanded, the whole object."""
        value = self._get(name)
        return ObjectReader(value, self._at(name)).text("id") if isinstance(value, Mapping) else self.text(name)

    def opt_ref(self, name: str) -> str | None:
        return None if self._get(name) is None else self.ref(name)

    def child(self, name: str) -> "ObjectReader":
        return ObjectReader(self._get(name), self._at(name))

    def opt_child(self, name: str) -> "ObjectReader | None":
        return None if self._get(name) is None else self.child(name)

    def expanded(self, name: str) -> "ObjectReader | None":
        """Another object, where Stripe wrote the whole of it; None where it wrote the id."""
        return self.child(name) if isinstance(self._get(name), Mapping) else None

    def whole_list(self, name: str) -> list["ObjectReader"]:
        """The entries of a Stripe list object. A list that was cut off is an error: its rest would be
        guessed."""
        listing = self.child(name)
        if listing.flag("has_more"):
            raise UnexpectedShape(f"{self._at(name)}.has_more", "a complete list")
        data = listing._get("data")
        if not isinstance(data, list):
            raise UnexpectedShape(f"{self._at(name)}.data", "a list")
        return [ObjectReader(entry, f"{self._at(name)}.data[{i}]") for i, entry in enumerate(data)]

    def plain_list(self, name: str) -> list["ObjectReader"]:
        """The entries of a field that is a bare list of objects."""
        entries = self._get(name)
        if not isinstance(entries, list):
            raise UnexpectedShape(self._at(name), "a list")
        return [ObjectReader(entry, f"{self._at(name)}[{i}]") for i, entry in enumerate(entries)]

    def plain_texts(self, name: str) -> list[str]:
        """The entries of a field that is a bare list of texts."""
        entries = self._get(name)
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise UnexpectedShape(self._at(name), "a list of texts")
        return [str(entry) for entry in entries]

    def texts(self, name: str) -> dict[str, str]:
        """A metadata map; absent values count as empty."""
        if self._get(name) is None:
            return {}
        entries = self.child(name)
        return {key: entries.text(key) for key in entries._value if entries._value[key] != ""}
