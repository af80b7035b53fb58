"""Public list prices for models whose configuration names none, from the `genai-prices` package; no network.

Found by the upstream's address and the model's name there. A price that depends on the hour is taken at its dearest, so
that nothing is sold below what the day may cost.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final

from tokenbooth.domain.money import divide_rounding_up
from tokenbooth.domain.pricing import Price, TokenRates

_HALF_HOURS: Final = tuple(time(hour, minute) for hour in range(24) for minute in (0, 30))
_NANO: Final = Decimal(10**9)


@dataclass(frozen=True, slots=True)
class _Amount:
    """A price per million tokens, in USD: below a threshold, and above it."""

    base: Decimal
    above: Decimal
    threshold_tokens: int


def list_price(upstream_model: str, base_url: str, today: date) -> Price | None:
    """The list price of a model at an upstream; None when the package knows no such model or upstream.

    Args:
        upstream_model: the model's name at the upstream.
        base_url: the upstream's address.
        today: prices change by date.
    """
    # A hundred milliseconds that only those pay who need it.
    from genai_prices import data_snapshot
    from genai_prices.types import ModelPrice, TieredPrices

    def amount(price: ModelPrice, name: str) -> _Amount | None:
        value = getattr(price, name, None)
        if isinstance(value, Decimal):
            return _Amount(value, value, 0)
        if isinstance(value, TieredPrices) and value.tiers:
            dearest = max(value.tiers, key=lambda tier: tier.price)
            return _Amount(value.base, max(value.base, dearest.price), min(tier.start for tier in value.tiers))
        return None

    try:
        _, model = data_snapshot.get_snapshot().find_provider_model(upstream_model, None, None, base_url)
    except LookupError:
        return None
    prices = [model.get_prices(datetime.combine(today, at, UTC)) for at in _HALF_HOURS]

    def dearest(name: str) -> _Amount | None:
        return _dearest(amount(price, name) for price in prices)

    return _price(dearest)


def _price(dearest: Callable[[str], _Amount | None]) -> Price | None:
    input_price, output_price = dearest("input_mtok"), dearest("output_mtok")
    if input_price is None or output_price is None:
        return None
    cached = dearest("cache_read_mtok") or input_price
    cache_write = dearest("cache_write_mtok") or input_price
    thresholds = [a.threshold_tokens for a in (input_price, output_price, cached, cache_write) if a.threshold_tokens]
    rates = TokenRates(
        input=_nano(input_price.base),
        output=_nano(output_price.base),
        cached_input=_nano(cached.base),
        cache_write=_nano(cache_write.base),
    )
    if not thresholds:
        return Price(rates=rates)
    long_context = TokenRates(
        input=_nano(input_price.above),
        output=_nano(output_price.above),
        cached_input=_nano(cached.above),
        cache_write=_nano(cache_write.above),
    )
    return Price(rates=rates, long_context=long_context, long_context_above_tokens=min(thresholds))


def _dearest(amounts: Iterable[_Amount | None]) -> _Amount | None:
    known = [amount for amount in amounts if amount is not None]
    return max(known, key=lambda amount: (amount.above, amount.base), default=None)


def _nano(usd: Decimal) -> int:
    numerator, denominator = (usd * _NANO).as_integer_ratio()
    return divide_rounding_up(numerator, denominator)
