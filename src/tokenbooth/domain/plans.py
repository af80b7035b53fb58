"""Plans: what a subscription costs and what it allows."""

from dataclasses import dataclass
from enum import StrEnum


class Interval(StrEnum):
    """How often a plan is paid."""

    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan of the operator's catalog.

    Attributes:
        slug: its name in the API.
        name: its name for people.
        price_nano: the price per interval, in nano-USD; existing subscriptions keep the one they began with.
        rpm: requests per minute of all keys of a subscription together.
        tpm: tokens per minute of all keys of a subscription together; None for no limit.
        budget_nano: what may be spent per window, in nano-USD.
        window: the window as it was written ("5h").
        window_us: the same in microseconds.
    """

    slug: str
    name: str
    price_nano: int
    interval: Interval
    rpm: int
    tpm: int | None
    budget_nano: int
    window: str
    window_us: int
    markup_basis_points: int = 0
