"""Money as 64-bit integers of nano-USD: reading it, writing it, never rounding it by accident.

Floats never enter. Every amount is bounded before any arithmetic, so that no input can make an integer large.
"""

import re
from decimal import Decimal
from typing import Final

NANO_PER_USD: Final = 1_000_000_000
NANO_PER_CENT: Final = 10_000_000
NANO_PER_MICRO_USD: Final = 1_000
MAX_NANO: Final = 2**63 - 1
"""The largest amount that a 64-bit column holds: about 9.2 billion USD."""

# Nine digits before the point stay below MAX_NANO / NANO_PER_USD; zeros may follow the nine decimals of a nano-USD.
_DECIMAL_FORM: Final = re.compile(r"(-?)(\d{1,9})(?:\.(\d{1,30}))?", re.ASCII)
_MAX_TEXT: Final = 40


class InvalidAmount(ValueError):
    """The text or number is no amount of money that we can hold exactly."""


def parse_usd(value: int | str | Decimal, *, max_decimals: int = 9) -> int:
    """Read a USD amount exactly.

    Args:
        value: an integer, a decimal string ("12.5") or a Decimal as a JSON reader gives it (exponents allowed there).
        max_decimals: digits after the point that are accepted; zeros beyond them don't count.

    Returns:
        The amount in nano-USD.

    Raises:
        InvalidAmount: not a plain decimal number, out of range, or with too many decimals.
    """
    text = _plain_text(value)
    match = _DECIMAL_FORM.fullmatch(text)
    if match is None:
        raise InvalidAmount("must be a decimal number of USD below one billion, with at most nine decimals")
    sign, whole, fraction = match.group(1), match.group(2), (match.group(3) or "").rstrip("0")
    if len(fraction) > min(max_decimals, 9):
        raise InvalidAmount(f"must have at most {min(max_decimals, 9)} decimals")
    amount_nano = int(whole) * NANO_PER_USD + int(fraction.ljust(9, "0"))
    return -amount_nano if sign else amount_nano


def _plain_text(value: int | str | Decimal) -> str:
    if isinstance(value, bool):
        raise InvalidAmount("must be a number, not a boolean")
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        if abs(value) >= NANO_PER_USD:
            raise InvalidAmount("must be below one billion USD")
        return str(value)
    if not value.is_finite():
        raise InvalidAmount("must be a finite number")
    _, digits, exponent = value.as_tuple()
    # Bounded before formatting: "1e400" would otherwise become 400 digits.
    if len(digits) > _MAX_TEXT or not isinstance(exponent, int) or not -_MAX_TEXT <= exponent <= 9:
        raise InvalidAmount("has too many digits")
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text


def format_usd(amount_nano: int, *, min_decimals: int = 2) -> str:
    """Write nano-USD as an exact decimal: at least `min_decimals` decimals, zeros beyond them cut ("25.00")."""
    if amount_nano < 0:
        return "-" + format_usd(-amount_nano, min_decimals=min_decimals)
    # With a one before them, so that zeros stay.
    fraction = str(NANO_PER_USD + amount_nano % NANO_PER_USD)[1:].rstrip("0")
    if len(fraction) < min_decimals:
        fraction = fraction.ljust(min_decimals, "0")
    whole = str(amount_nano // NANO_PER_USD)
    return f"{whole}.{fraction}" if fraction else whole


def divide_rounding_up(numerator: int, denominator: int) -> int:
    """Integer division towards plus infinity; `denominator` must be positive."""
    return -(-numerator // denominator)
