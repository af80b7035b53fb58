"""Stripe's parameters: form-encoded, nested by brackets, every name known or refused.

`Params` notes which names a handler reads; `finish` refuses the rest. So a handler's reads are its schema,
and a typo in the product's call fails here as it would at Stripe.
"""

import re
from typing import TypeAlias
from urllib.parse import parse_qsl

from tokenbooth_sandbox.stripe.http import StripeFailure

FormNode: TypeAlias = str | dict[str, "FormNode"]

_MAX_FIELDS = 1000
_MAX_DEPTH = 8
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


def parse_form(encoded: str) -> dict[str, FormNode]:
    """The tree of a query string or form body; list entries are keyed by their index. Raises
    `StripeFailure`."""
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise StripeFailure("Invalid request: the parameters could not be decoded.") from error
    root: dict[str, FormNode] = {}
    for key, value in pairs:
        match = _KEY.fullmatch(key)
        if match is None:
            raise StripeFailure(f"Invalid parameter name: {key}", param=key)
        names = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        if len(names) > _MAX_DEPTH:
            raise StripeFailure(f"Too deeply nested: {match[1]}", param=match[1])
        _put(root, names, value, key)
    return root


def _put(node: dict[str, FormNode], names: list[str], value: str, key: str) -> None:
    for name in names[:-1]:
        child = node.setdefault(name or str(len(node)), {})
        if isinstance(child, str):
            raise StripeFailure(f"Invalid object: {key}", param=names[0])
        node = child
    last = names[-1] or str(len(node))
    if isinstance(node.get(last), dict):
        raise StripeFailure(f"Invalid string: {key}", param=names[0])
    node[last] = value


class Params:
    """Typed reads of one level of parameters. Every refusal names the parameter as Stripe writes it."""

    def __init__(self, values: dict[str, FormNode], path: str = "") -> None:
        self._values = values
        self._path = path
        self._read: set[str] = set()
        self._children: list[Params] = []

    def name_of(self, name: str) -> str:
        """The parameter's full name, `line_items[0][price]`."""
        return f"{self._path}[{name}]" if self._path else name

    def has(self, name: str) -> bool:
        """Whether it was sent at all."""
        return name in self._values

    def _node(self, name: str) -> FormNode | None:
        self._read.add(name)
        return self._values.get(name)

    def text(self, name: str) -> str:
        """A text that must be there."""
        value = self.opt_text(name)
        if value is None:
            path = self.name_of(name)
            raise StripeFailure(f"Missing required param: {path}.", code="parameter_missing", param=path)
        return value

    def opt_text(self, name: str) -> str | None:
        """A text, None when absent or empty (Stripe's way to clear a field)."""
        value = self._node(name)
        if isinstance(value, dict):
            raise StripeFailure("Invalid string", param=self.name_of(name))
        return value or None

    def opt_int(self, name: str, *, low: int = 0, high: int = 99_999_999_999) -> int | None:
        """An integer within bounds."""
        value = self.opt_text(name)
        if value is None:
            return None
        path = self.name_of(name)
        if not re.fullmatch(r"-?\d{1,15}", value, re.ASCII):
            message = f"Invalid integer: {value[:40]}"
            raise StripeFailure(message, code="parameter_invalid_integer", param=path)
        number = int(value)
        if not low <= number <= high:
            message = f"Invalid value: {path} must be between {low} and {high}."
            raise StripeFailure(message, code="parameter_invalid_integer", param=path)
        return number

    def opt_flag(self, name: str) -> bool | None:
        """`true` or `false`."""
        value = self.opt_text(name)
        if value not in (None, "true", "false"):
            raise StripeFailure(f"Invalid boolean: {value[:40]}", param=self.name_of(name))
        return None if value is None else value == "true"

    def opt_choice(self, name: str, options: tuple[str, ...]) -> str | None:
        """One of a few words."""
        value = self.opt_text(name)
        if value is not None and value not in options:
            path = self.name_of(name)
            allowed = ", ".join(options)
            raise StripeFailure(f"Invalid {path}: must be one of {allowed}", param=path)
        return value

    def choice(self, name: str, options: tuple[str, ...]) -> str:
        """One of a few words, which must be there."""
        self.text(name)
        return self.opt_choice(name, options) or options[0]

    def child(self, name: str) -> "Params":
        """The nested parameters; empty when absent."""
        value = self._node(name)
        if isinstance(value, str) and value:
            raise StripeFailure("Invalid object", param=self.name_of(name))
        nested = Params(value if isinstance(value, dict) else {}, self.name_of(name))
        self._children.append(nested)
        return nested

    def children(self, name: str) -> "list[Params]":
        """The entries of a list of objects."""
        value = self._node(name)
        if value is None:
            return []
        if isinstance(value, str):
            raise StripeFailure("Invalid array", param=self.name_of(name))
        listing = Params(value, self.name_of(name))
        self._children.append(listing)
        return [listing.child(key) for key in value]

    def texts(self, name: str) -> list[str]:
        """The entries of a list of texts."""
        value = self._node(name)
        if value is None:
            return []
        if isinstance(value, str) or any(isinstance(entry, dict) for entry in value.values()):
            raise StripeFailure("Invalid array", param=self.name_of(name))
        return [entry for entry in value.values() if isinstance(entry, str)]

    def metadata(self, name: str = "metadata") -> dict[str, str]:
        """A metadata map: free names, at most 50 of them."""
        value = self._node(name)
        if value is None or value == "":
            return {}
        if isinstance(value, str) or len(value) > 50:
            raise StripeFailure("Invalid metadata", param=self.name_of(name))
        for key, entry in value.items():
            if len(key) > 40 or isinstance(entry, dict) or len(entry) > 500:
                raise StripeFailure("Invalid metadata", param=f"{self.name_of(name)}[{key[:40]}]")
        return {key: entry for key, entry in value.items() if isinstance(entry, str) and entry}

    def finish(self) -> None:
        """Refuse what nobody read. Raises `StripeFailure`."""
        for name in self._values:
            if name not in self._read:
                path = self.name_of(name)
                message = f"Received unknown parameter: {path}"
                raise StripeFailure(message, code="parameter_unknown", param=path)
        for nested in self._children:
            nested.finish()
