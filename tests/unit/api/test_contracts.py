"""The models of all bodies, query strings and forms."""

from decimal import Decimal
from typing import Any

import pytest

import tokenbooth.api.app
import tokenbooth.dashboard.app
from tokenbooth.kit.errors import InvalidRequest
from tokenbooth.kit.request_models import RequestModel, names_of, validate

MODELS = sorted(
    (model for model in RequestModel.__subclasses__() if model.__module__.startswith("tokenbooth.")),
    key=lambda model: f"{model.__module__}.{model.__name__}",
)
# Their import defines the models.
ROOMS = (tokenbooth.api.app, tokenbooth.dashboard.app)
CODES = {"missing_parameter", "invalid_type", "invalid_value", "unsupported_method"}
ODD: tuple[Any, ...] = (
    0,
    -1,
    True,
    Decimal("1.5"),
    Decimal("1e400"),
    10**19,
    "",
    "x" * 2_000,
    "a\nb",
    "\u200b",
    [],
    [1],
    ["a"],
    {},
)


def refusal_of(model: type[RequestModel], name: str, value: Any) -> InvalidRequest | None:
    """How a model refuses this value of a field; None when it takes it, and nothing else is missing."""
    try:
        validate(model, {name: value})
    except InvalidRequest as refused:
        return refused
    return None


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_each_field_refuses_in_our_words(model: type[RequestModel]) -> None:
    """Whatever stands in it: with a code of ours, its own name and a whole sentence, and never the library's words."""
    refusals = [refused for name in names_of(model) for value in ODD if (refused := refusal_of(model, name, value))]
    assert {refused.code for refused in refusals} <= CODES
    assert {refused.param for refused in refusals} <= set(names_of(model))
    assert all(refused.message.startswith(f"`{refused.param}` ") for refused in refusals)
    assert all(refused.message.endswith(".") for refused in refusals)


def test_there_are_models() -> None:
    """The test above would hold for none as well."""
    assert len(MODELS) >= 12
