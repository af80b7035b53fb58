"""Models of what a client sends."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from tokenbooth.api.management_keys import NewKeyBody
from tokenbooth.kit.errors import InvalidRequest
from tokenbooth.kit.request_models import (
    EndUs,
    InstantUs,
    Label,
    PerMinute,
    RequestModel,
    StartUs,
    Text,
    UsdNano,
    validate,
)


class Key(RequestModel):
    """A body with one field of each kind."""

    name: Label | None = None
    max_budget: UsdNano | None = None
    rpm: PerMinute | None = None
    note: Text | None = None
    is_paid: bool | None = None


class Named(RequestModel):
    """A body whose one field has to be there."""

    name: Label


class Noted(RequestModel):
    """Another one."""

    note: Text


def refusal_of(model: type[RequestModel], values: Mapping[str, Any]) -> InvalidRequest:
    """How these values are refused."""
    with pytest.raises(InvalidRequest) as refused:
        validate(model, values)
    return refused.value


def test_an_unknown_field_is_refused_by_name() -> None:
    """The message says which ones are known."""

    class Known(RequestModel):
        name: Label | None = None
        rpm: PerMinute | None = None

    refused = refusal_of(Known, {"nmae": "x"})
    assert refused.message == "The field `nmae` is not known here. Known: `name`, `rpm`."
    assert refused.param == "nmae"


@pytest.mark.parametrize("name", ["mk_" + "9" * 48, "sk_live_x", "x" * 65, "a\nb", "<b>", ""])
def test_an_unknown_field_with_an_odd_name_is_not_repeated(name: str) -> None:
    """It may be anything, also a key."""
    refused = refusal_of(Named, {name: 1})
    assert refused.message == "A field is not known here. Known: `name`."
    assert refused.param is None


@pytest.mark.parametrize("name", ["isPaid", "maxBudget"])
def test_a_field_is_known_by_its_name_on_the_wire_only(name: str) -> None:
    """Camel case, not the name that the program has for it."""
    assert refusal_of(Key, {"is_paid" if name == "isPaid" else "max_budget": True}).code == "unknown_parameter"
    assert refusal_of(Key, {name: []}).param == name


@pytest.mark.parametrize(
    ("value", "expected"), [(1, 1), (2**31 - 1, 2**31 - 1), (Decimal("60.0"), 60), (Decimal("6e1"), 60)]
)
def test_whole_numbers(value: int | Decimal, expected: int) -> None:
    """Also written with zeros behind the point, as JSON Schema counts them."""
    assert validate(Key, {"rpm": value}).rpm == expected


@pytest.mark.parametrize(
    "value", [0, -1, 2**31, True, False, "1", Decimal("1.5"), Decimal("1e400"), Decimal("1e999999"), [], {}, [1]]
)
def test_what_is_no_whole_number_in_range_is_refused(value: int | Decimal) -> None:
    """Booleans and strings are no numbers."""
    assert refusal_of(Key, {"rpm": value}).param == "rpm"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(25, 25_000_000_000), (Decimal("0.14"), 140_000_000), ("25.00", 25_000_000_000), (Decimal("1e-9"), 1)],
)
def test_amounts(value: int | Decimal | str, expected: int) -> None:
    """A number or a decimal string, exactly, in nano-USD."""
    assert validate(Key, {"maxBudget": value}).max_budget == expected


@pytest.mark.parametrize(
    "value", [0, -1, True, "", "x", "1e3", "NaN", " 1", "٣", Decimal("1e400"), Decimal("1e-10"), 10**19, [], {}, "0"]
)
def test_what_is_no_amount_is_refused(value: int | Decimal | str) -> None:
    """Nothing is rounded, and nothing large is computed with."""
    assert refusal_of(Key, {"maxBudget": value}).param == "maxBudget"


@pytest.mark.parametrize("value", ["a", "x" * 100, "Zoë 🦊", "prod api", "<script>", "'; --"])
def test_names(value: str) -> None:
    """Anything printable; it is escaped where it is shown."""
    assert validate(Named, {"name": value}).name == value


@pytest.mark.parametrize(
    "value", ["", " ", "x" * 101, "a\nb", "a\x00", "a\\b", "\x7f", "a\u202eb", "\u200b", 1, True, None, ["a"], {}]
)
def test_what_is_no_name_is_refused(value: str | int | None) -> None:
    """Control characters, invisible ones, backslashes, and other types."""
    assert refusal_of(Named, {"name": value}).param == "name"


def test_null_is_as_good_as_missing() -> None:
    """For what is optional; what is needed is called missing."""
    assert validate(Key, {"name": None, "maxBudget": None, "rpm": None, "note": None, "isPaid": None}) == Key()
    for values in ({"note": None}, {}):
        assert refusal_of(Noted, values).code == "missing_parameter"


@pytest.mark.parametrize("value", [0, 1, "true", [], {}])
def test_a_flag_is_true_or_false(value: object) -> None:
    """Nothing else is taken for one of them."""
    refused = refusal_of(Key, {"isPaid": value})
    assert (refused.code, refused.message) == ("invalid_type", "`isPaid` must be true or false.")


@pytest.mark.parametrize("value", ["x", [], [1], ["a", None], ["a"] * 7, {}])
def test_what_is_no_short_list_of_scopes_is_refused(value: object) -> None:
    """An empty one, too."""
    assert refusal_of(NewKeyBody, {"name": "a", "scopes": value}).param == "scopes"


def test_a_refusal_never_repeats_a_value() -> None:
    """It may be a key that was put into the wrong field."""
    key = "mk_" + "9" * 48
    for values in ({"rpm": key}, {"maxBudget": key}, {"isPaid": key}, {"name": [key]}, {"name": key * 9}):
        assert "999" not in str(refusal_of(Key, values))


class Times(RequestModel):
    """Three ways to read a time."""

    instant: InstantUs | None = None
    start_date: StartUs | None = None
    end_date: EndUs | None = None


def test_a_time_is_refused_by_name() -> None:
    """Whatever is wrong with it."""
    for name in ("instant", "startDate", "endDate"):
        for value in ("today", "2026-02-30", "9999-12-31", 1, True):
            assert refusal_of(Times, {name: value}).param == name
