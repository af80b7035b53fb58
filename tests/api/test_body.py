"""Reading bodies, without a server."""

from decimal import Decimal

import pytest

from tokenbooth.api.parsing import Body, Fields, parse_object
from tokenbooth.kit.errors import InvalidRequest


def refusal_of(raw: bytes) -> InvalidRequest:
    """How this body is refused."""
    with pytest.raises(InvalidRequest) as refused:
        parse_object(raw)
    return refused.value


def test_numbers_stay_exact() -> None:
    """A number with a point is a decimal, one without is an integer, and none is a float."""
    found = parse_object(b'{"a": 0.1, "b": 12345678901234567, "c": 1e2, "d": [true, null, "x"]}')
    assert found == {"a": Decimal("0.1"), "b": 12345678901234567, "c": Decimal("1e2"), "d": [True, None, "x"]}
    assert [type(found[name]) for name in "abc"] == [Decimal, int, Decimal]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"1",
        b'"x"',
        b"{",
        b'{"a":}',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":1}{"b":2}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1,"a":1}',
        b'{"o":{"a":1,"a":1}}',
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":["\\ud83d"]}',
        b'{"a":"\xff"}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"a":"\x00"}',
        b'{"a":' + b"9" * 21 + b"}",
        b'{"a":1e99999999999999999999}',
        b'{"a":0.' + b"1" * 100 + b"}",
        b'{"a":' + b"[" * 16 + b"]" * 16 + b"}",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'"' + b'\\"' * 30_000,
    ],
)
def test_what_is_not_one_clean_object_is_refused(raw: bytes) -> None:
    """With one code, and in bounded time."""
    assert refusal_of(raw).code == "invalid_json"


def test_brackets_in_strings_are_not_nesting() -> None:
    """Only structure counts towards the depth."""
    text = "[{" * 100 + '\\"' + "]"
    assert parse_object(f'{{"a":"{text}"}}'.encode()) == {"a": "[{" * 100 + '"]'}


def test_a_whole_pair_of_surrogates_is_a_character() -> None:
    """Only a lone half is refused."""
    assert parse_object(b'{"a":"\\ud83e\\udd8a"}') == {"a": "🦊"}


def test_an_unknown_field_is_refused_by_name() -> None:
    """The message says which ones are known."""
    with pytest.raises(InvalidRequest) as refused:
        Body(b"", {"nmae": "x"}).only("name", "rpm")
    assert refused.value.message == "The field `nmae` is not known here. Known: `name`, `rpm`."
    assert refused.value.param == "nmae"


@pytest.mark.parametrize("name", ["mk_" + "9" * 48, "sk_live_x", "x" * 65, "a\nb", "<b>", ""])
def test_an_unknown_field_with_an_odd_name_is_not_repeated(name: str) -> None:
    """It may be anything, also a key."""
    with pytest.raises(InvalidRequest) as refused:
        Body(b"", {name: 1}).only("name")
    assert refused.value.message == "A field is not known here. Known: `name`."
    assert refused.value.param is None


@pytest.mark.parametrize(
    ("value", "expected"), [(1, 1), (2**31 - 1, 2**31 - 1), (Decimal("60.0"), 60), (Decimal("6e1"), 60)]
)
def test_whole_numbers(value: int | Decimal, expected: int) -> None:
    """Also written with zeros behind the point, as JSON Schema counts them."""
    assert Fields({"rpm": value}).integer("rpm", at_least=1) == expected


@pytest.mark.parametrize(
    "value", [0, -1, 2**31, True, False, "1", Decimal("1.5"), Decimal("1e400"), Decimal("1e999999"), [], {}, [1]]
)
def test_what_is_no_whole_number_in_range_is_refused(value: int | Decimal) -> None:
    """Booleans and strings are no numbers."""
    with pytest.raises(InvalidRequest) as refused:
        Fields({"rpm": value}).optional_integer("rpm", at_least=1)
    assert refused.value.param == "rpm"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(25, 25_000_000_000), (Decimal("0.14"), 140_000_000), ("25.00", 25_000_000_000), (Decimal("1e-9"), 1)],
)
def test_amounts(value: int | Decimal | str, expected: int) -> None:
    """A number or a decimal string, exactly, in nano-USD."""
    assert Fields({"maxBudget": value}).amount_nano("maxBudget") == expected


@pytest.mark.parametrize(
    "value", [0, -1, True, "", "x", "1e3", "NaN", " 1", "٣", Decimal("1e400"), Decimal("1e-10"), 10**19, [], {}, "0"]
)
def test_what_is_no_amount_is_refused(value: int | Decimal | str) -> None:
    """Nothing is rounded, and nothing large is computed with."""
    with pytest.raises(InvalidRequest) as refused:
        Fields({"maxBudget": value}).optional_amount_nano("maxBudget")
    assert refused.value.param == "maxBudget"


@pytest.mark.parametrize("value", ["a", "x" * 100, "Zoë 🦊", "prod api", "<script>", "'; --"])
def test_names(value: str) -> None:
    """Anything printable; it is escaped where it is shown."""
    assert Fields({"name": value}).label("name") == value


@pytest.mark.parametrize(
    "value", ["", " ", "x" * 101, "a\nb", "a\x00", "a\\b", "\x7f", "a\u202eb", "\u200b", 1, True, None, ["a"], {}]
)
def test_what_is_no_name_is_refused(value: str | int | None) -> None:
    """Control characters, invisible ones, backslashes, and other types."""
    with pytest.raises(InvalidRequest) as refused:
        Fields({"name": value}).label("name")
    assert refused.value.param == "name"


def test_null_is_as_good_as_missing() -> None:
    """For what is optional; what is needed is called missing."""
    fields = Fields({"a": None})
    assert fields.optional_integer("a", at_least=1) is None
    assert fields.optional_amount_nano("a") is None
    assert fields.optional_text("a") is None
    assert fields.optional_texts("a", max_items=3) is None
    with pytest.raises(InvalidRequest) as refused:
        fields.text("a")
    assert refused.value.code == "missing_parameter"


@pytest.mark.parametrize("value", ["x", [], [1], ["a", None], ["a"] * 4, {}])
def test_what_is_no_short_list_of_strings_is_refused(value: str) -> None:
    """An empty one, too."""
    with pytest.raises(InvalidRequest):
        Fields({"scopes": value}).optional_texts("scopes", max_items=3)


def test_no_body_has_thousands_of_lists() -> None:
    """Each bracket would be looked at on the loop that everybody shares; no request here needs so many."""
    parse_object(b'{"a":[%b]}' % b",".join([b"[]"] * 998))

    with pytest.raises(InvalidRequest, match="more than 1000 objects and lists"):
        parse_object(b'{"a":[%b]}' % b",".join([b"[]"] * 999))
