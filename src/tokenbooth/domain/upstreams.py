"""How upstreams do, as a process sees them."""

from dataclasses import dataclass
from typing import Literal

UpstreamState = Literal["up", "resting", "trial"]


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """How one model of an upstream does, as this process sees it.

    Attributes:
        name: the upstream's name in the configuration.
        model: the model's name there.
        state: `up`; `resting` after failures; `trial` while a single call finds out whether it is back.
        open_calls: calls for the model that it works on now.
        recent_failures: failed calls since the last one that succeeded.
        rests_until_s: when a rest ends or ended, UTC seconds since 1970; None while it is up.
        last_error: the last failure, in a few words that may be shown to the operator; None when there was none.
        failed_calls: failed calls since the process began.
        rests_for: the account whose calls alone a rest concerns; None for those of everybody, and while it is up.
    """

    name: str
    model: str
    state: UpstreamState
    open_calls: int
    recent_failures: int
    rests_until_s: float | None
    last_error: str | None
    failed_calls: int = 0
    rests_for: str | None = None


@dataclass(frozen=True, slots=True)
class CeilingHealth:
    """How an upstream keeps the output ceilings of one of its models.

    Attributes:
        upstream: its name in the configuration.
        model: the model's name there.
        times_exceeded: answers since the process began that went beyond their ceiling.
        is_distrusted: whether its calls hold the model's maximum for that.
    """

    upstream: str
    model: str
    times_exceeded: int
    is_distrusted: bool
