"""Why a request cost what it cost: each kind of token times its price, and their sum. Pure."""

from dataclasses import dataclass
from fractions import Fraction

from tokenbooth.domain.money import divide_rounding_up
from tokenbooth.domain.pricing import TOKENS_PER_PRICE_UNIT
from tokenbooth.store.usage.request_pages import RequestView


@dataclass(frozen=True, slots=True)
class Part:
    """One line: so many of something, at so much for a million (or each, when `per_million` is False)."""

    what: str
    count: int
    price_nano: int
    per_million: bool
    cost: Fraction

    @property
    def cost_text(self) -> str:
        """The cost in USD, exact: a price per million times tokens has at most 15 decimals."""
        digits = f"{int(self.cost * 10**6):016d}"
        whole, fraction = digits[:-15], digits[-15:].rstrip("0")
        return f"${int(whole):,}.{fraction.ljust(2, '0')}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """The lines of a request's price; `computed_nano` is their sum, rounded up once.

    `note` says why the charge differs from it, where it does.
    """

    parts: tuple[Part, ...]
    computed_nano: int
    note: str | None


def explain(request: RequestView) -> Explanation:
    """The lines of what a request cost."""
    fresh = request.prompt_tokens - request.cached_tokens - request.cache_write_tokens
    tokens = (
        ("Input", fresh, request.input_price),
        ("Cached input", request.cached_tokens, request.cached_price),
        ("Cache write", request.cache_write_tokens, request.cache_write_price),
        ("Output", request.completion_tokens, request.output_price),
    )
    parts = [
        Part(what, count, price, True, Fraction(count * price, TOKENS_PER_PRICE_UNIT))
        for what, count, price in tokens
        if count
    ]
    if request.per_request_nano:
        parts.append(Part("Request", 1, request.per_request_nano, False, Fraction(request.per_request_nano)))
    total = sum((part.cost for part in parts), Fraction(0))
    computed_nano = divide_rounding_up(total.numerator, total.denominator)
    return Explanation(tuple(parts), computed_nano, _note(request, computed_nano))


def _note(request: RequestView, computed_nano: int) -> str | None:
    if request.charged_nano < computed_nano:
        return "No more than this was free, so no more was charged."
    if request.charged_nano > computed_nano:
        return "Reasoning has a price of its own for this model."
    return None
