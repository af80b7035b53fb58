"""A circuit breaker for each upstream: when it is asked and when it is left alone, without I/O and without a clock.

It is up until several calls in a row have failed. Then it rests. After the rest a single call tries it: when that
succeeds it is up, when it fails the next rest is twice as long, up to a bound. An upstream that says how long it wants
to be left alone rests for that long at once. All times are monotonic microseconds.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from tokenbooth.domain.upstreams import UpstreamState

_MOST_DOUBLINGS: Final = 32


@dataclass(frozen=True, slots=True)
class RestRules:
    """When an upstream rests, and for how long.

    Attributes:
        failures: so many in a row are needed.
        first_rest_us: the first rest, microseconds; each further one is twice as long.
        longest_rest_us: the bound of that.
        longest_asked_us: the bound of what an upstream asks for; 0: nobody listens to it.
    """

    failures: int
    first_rest_us: int
    longest_rest_us: int
    longest_asked_us: int


class Change(Enum):
    """What the operator is told of."""

    RESTS = "rests"
    BACK = "back"


class CircuitBreaker:
    """One upstream. What a call found out counts only if nothing was decided since the call began.

    Attributes:
        is_up: whether the circuit is closed: it neither rests nor is probed.
        open_calls: calls that it works on.
        failures: failed calls since the last success.
        failed_calls: failed calls ever.
        last_error: the last failure in a few words.
        generation: grows with each decision; a call remembers the one that it began in.
    """

    __slots__ = (
        "_asked_until_us",
        "_is_half_open",
        "_rests",
        "_rests_until_us",
        "_rules",
        "failed_calls",
        "failures",
        "generation",
        "is_up",
        "last_error",
        "open_calls",
    )

    def __init__(self, rules: RestRules) -> None:
        self._rules = rules
        self._rests_until_us = 0
        self.is_up = True
        self._asked_until_us = 0
        self._rests = 0
        self._is_half_open = False
        self.open_calls = 0
        self.failures = 0
        self.failed_calls = 0
        self.last_error: str | None = None
        self.generation = 0

    @property
    def state(self) -> UpstreamState:
        """For people. One whose rest is over rests until a call tries it."""
        if self.is_up:
            return "up"
        return "trial" if self._is_half_open else "resting"

    @property
    def due_us(self) -> int:
        """When its rest ends or ended; 0 while it is up."""
        return self._rests_until_us

    def is_ready(self, now_us: int) -> bool:
        """Whether a call may go there as a matter of course: it is up, or due for a probe that nobody makes yet."""
        return self.is_up or (not self._is_half_open and self._rests_until_us <= now_us)

    def asked_wait_us(self, now_us: int) -> int:
        """How much longer it wants to be left alone, by its own word; 0 for not at all."""
        return max(self._asked_until_us - now_us, 0)

    def begin(self, now_us: int) -> bool:
        """Count a call that begins; returns whether it is the probe after a rest."""
        self.open_calls += 1
        if self.is_up or not self.is_ready(now_us):
            return False
        self._is_half_open = True
        return True

    def end(self, generation: int, *, is_probe: bool) -> None:
        """Count a call that ended. If its client abandoned the probe, the next call is one."""
        self.open_calls -= 1
        if is_probe and generation == self.generation:
            self._is_half_open = False

    def succeeded(self, generation: int) -> Change | None:
        """A call that began in `generation` was answered."""
        if generation != self.generation:
            return None
        self.failures = 0
        if self.is_up:
            return None
        self.is_up = True
        self._rests_until_us = 0
        self._rests = 0
        self._is_half_open = False
        self.generation += 1
        return Change.BACK

    def note_failed_call(self, error: str) -> None:
        """Count a failed call; alone it is no reason for a rest."""
        self.failed_calls += 1
        self.last_error = error

    def failed(self, generation: int, now_us: int, error: str, *, is_probe: bool, asked_us: int = 0) -> Change | None:
        """A call that began in `generation` failed.

        Args:
            generation: see there.
            now_us: the time.
            error: what happened, in a few words.
            is_probe: whether the call was the probe.
            asked_us: for how long the upstream wants to be left alone, by its own word.
        """
        self.note_failed_call(error)
        asked_us = min(asked_us, self._rules.longest_asked_us)
        is_current = generation == self.generation
        if not is_current and not asked_us:
            return None
        self.failures += 1
        if asked_us:
            # Its word counts whenever the call began.
            self._asked_until_us = max(self._asked_until_us, now_us + asked_us)
        if not self.is_up:
            self._go_on_resting(now_us, is_probe=is_probe and is_current)
            return None
        until_us = self._asked_until_us if asked_us else 0
        if self.failures >= self._rules.failures:
            until_us = max(until_us, self._doubled(now_us))
        if not until_us:
            return None
        self._rest(until_us)
        return Change.RESTS

    def _go_on_resting(self, now_us: int, *, is_probe: bool) -> None:
        until_us = max(self._rests_until_us, self._asked_until_us)
        if is_probe:
            until_us = max(until_us, self._doubled(now_us))
        if is_probe or until_us > self._rests_until_us:
            self._rest(until_us)

    def _doubled(self, now_us: int) -> int:
        """The end of a rest that is twice as long as the one before."""
        rest_us = self._rules.first_rest_us << min(self._rests, _MOST_DOUBLINGS)
        self._rests += 1
        return now_us + min(rest_us, self._rules.longest_rest_us)

    def _rest(self, until_us: int) -> None:
        self.is_up = False
        self._rests_until_us = until_us
        self._is_half_open = False
        self.generation += 1
