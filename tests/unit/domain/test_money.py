"""Money: read exactly or refused, written exactly, never rounded by accident."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.domain.money import NANO_PER_USD, InvalidAmount, divide_rounding_up, format_usd, parse_usd

BILLION_NANO = 10**9 * NANO_PER_USD
AMOUNTS = st.integers(min_value=-BILLION_NANO + 1, max_value=BILLION_NANO - 1)


@given(AMOUNTS, st.integers(min_value=0, max_value=9))
def test_what_is_written_is_read_back(amount_nano: int, min_decimals: int) -> None:
    """An amount survives being written and read, as text and as a decimal."""
    text = format_usd(amount_nano, min_decimals=min_decimals)

    assert parse_usd(text) == amount_nano
    assert parse_usd(Decimal(text)) == amount_nano


@given(st.integers(min_value=-(10**9) + 1, max_value=10**9 - 1))
def test_whole_dollars_are_exact(dollars: int) -> None:
    """An integer is that many dollars."""
    assert parse_usd(dollars) == dollars * NANO_PER_USD


@pytest.mark.parametrize(
    ("amount_nano", "text"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (25 * NANO_PER_USD, "25.00"),
        (24_996_600_000, "24.9966"),
        (-1_500_000_000, "-1.50"),
    ],
)
def test_amounts_are_written_with_two_decimals_or_more(amount_nano: int, text: str) -> None:
    """At least two decimals, and no zeros beyond them."""
    assert format_usd(amount_nano) == text


def test_no_decimals_can_be_asked_for() -> None:
    """The USDC amount is written without zeros at its end."""
    assert [format_usd(50 * NANO_PER_USD, min_decimals=0), format_usd(500_000_000, min_decimals=0)] == ["50", "0.5"]


@pytest.mark.parametrize(
    "value",
    [
        "",
        " 5",
        "5 ",
        "5\n",
        "+5",
        ".5",
        "5.",
        "1,000",
        "0x10",
        "1e3",
        "1_000",
        "--5",
        "NaN",
        "Infinity",
        "\ud800",
        "\u0665",
        "\uff15",
        "1.\u0665",
        "9" * 400,
        "0." + "1" * 400,
        "1000000000",
        "0.0000000001",
        True,
        False,
        10**9,
        -(10**9),
        10**400,
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal("-Infinity"),
        Decimal("1e400"),
        Decimal("1e-400"),
        Decimal("1e9"),
        Decimal("0e999999"),
        Decimal("9" * 400),
        Decimal("1e-10"),
    ],
)
def test_what_is_no_amount_is_refused(value: int | str | Decimal) -> None:
    """Neither odd numbers nor odd digits become money."""
    with pytest.raises(InvalidAmount):
        parse_usd(value)


@given(st.text(max_size=60))
def test_any_text_is_an_amount_or_refused(text: str) -> None:
    """No text does anything but parse to its value or raise InvalidAmount."""
    try:
        amount_nano = parse_usd(text)
    except InvalidAmount:
        return
    assert Decimal(amount_nano) / NANO_PER_USD == Decimal(text)


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_any_decimal_is_an_amount_or_refused(value: Decimal) -> None:
    """No decimal does anything but parse to its value or raise InvalidAmount."""
    try:
        amount_nano = parse_usd(value)
    except InvalidAmount:
        return
    assert Decimal(amount_nano) / NANO_PER_USD == value


@pytest.mark.parametrize(
    ("value", "amount_nano"),
    [
        (Decimal("1e3"), 1_000 * NANO_PER_USD),
        (Decimal("2.50"), 2_500_000_000),
        ("-0", 0),
        ("0.10", 100_000_000),
        ("000000007", 7 * NANO_PER_USD),
    ],
)
def test_other_ways_to_write_an_amount(value: str | Decimal, amount_nano: int) -> None:
    """Exponents of a decimal, zeros in front and behind are understood."""
    assert parse_usd(value, max_decimals=2) == amount_nano


def test_decimals_beyond_the_limit_are_refused() -> None:
    """Cents only means cents only."""
    with pytest.raises(InvalidAmount, match="at most 2 decimals"):
        parse_usd("1.001", max_decimals=2)


def test_zeros_beyond_the_decimals_do_not_count() -> None:
    """Zeros at the end are no decimals, however many they are."""
    assert parse_usd("1.5000000000") == 1_500_000_000


@given(st.integers(), st.integers(min_value=1))
def test_division_rounds_up(numerator: int, denominator: int) -> None:
    """The quotient is the smallest integer that is not below the fraction."""
    quotient = divide_rounding_up(numerator, denominator)

    assert (quotient - 1) * denominator < numerator <= quotient * denominator
