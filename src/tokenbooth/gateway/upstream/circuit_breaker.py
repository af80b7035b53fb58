"""A circuit breaker for each model of each upstream: when it is asked and when it is left alone. No I/O, no clock.

It is up until several calls in a row have failed. Then it rests. After the rest a single call tries it: when that
succeeds it is up, when it fails the next rest is twice as long, up to a bound. An upstream that says how long it wants
to be left alone rests for that long at once, but for one call every ten seconds, which finds out whether it still does.

Whose calls a rest concerns follows from who met the reason. What one account's calls met concerns that account alone;
it concerns everybody as soon as another account's call met it as well. What a large call was told concerns calls of at
least about its size: a limit for single calls looks like one for all of them. All times are monotonic microseconds.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from tokenbooth.domain.upstreams import UpstreamState

EVERYBODY: Final = "*"
"""In the place of an account: what was met concerns all of them."""
LET_THROUGH_EVERY_US: Final = 10 * 1_000_000
"""While an upstream wants to be left alone, one call in so many microseconds is let through."""
_MOST_DOUBLINGS: Final = 32
# No limit of an upstream is so low that calls below this differ by their size.
_SMALL_TOKENS: Final = 1_000
_ALIKE_PERCENT: Final = 90


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


class Call(NamedTuple):
    """Whose call it is, and how large.

    Attributes:
        account_id: the account; `EVERYBODY` for a failure that no customer can bring about.
        tokens: about what the upstream counts the call for before it answers.
    """

    account_id: str
    tokens: int


class Change(Enum):
    """What the operator is told of."""

    RESTS = "rests"
    BACK = "back"


class CircuitBreaker:
    """One model of one upstream. What a call found out counts only if nothing was decided since the call began.

    Attributes:
        is_up: whether the circuit is closed: it neither rests nor is probed, for nobody.
        open_calls: calls that it works on.
        failures: failed calls since the last success.
        failed_calls: failed calls ever.
        last_error: the last failure in a few words.
        generation: grows with each decision; a call remembers the one that it began in.
        told_us: when the operator was last told of a rest; None for never.
        is_told: whether they were told of this one.
    """

    __slots__ = (
        "_asked_for",
        "_asked_tokens",
        "_asked_until_us",
        "_failed_for",
        "_is_half_open",
        "_let_through_us",
        "_rested_for",
        "_rests",
        "_rests_until_us",
        "_rules",
        "failed_calls",
        "failures",
        "generation",
        "is_told",
        "is_up",
        "last_error",
        "open_calls",
        "told_us",
    )

    def __init__(self, rules: RestRules) -> None:
        self._rules = rules
        self._failed_for: str | None = None
        self._rested_for: str | None = None
        self._rests_until_us = 0
        self._rests = 0
        self._asked_for: str | None = None
        self._asked_tokens = 0
        self._asked_until_us = 0
        self._let_through_us = 0
        self._is_half_open = False
        self.is_up = True
        self.open_calls = 0
        self.failures = 0
        self.failed_calls = 0
        self.last_error: str | None = None
        self.generation = 0
        self.told_us: int | None = None
        self.is_told = False

    @property
    def state(self) -> UpstreamState:
        """For people. One whose rest is over rests until a call tries it."""
        if self.is_up:
            return "up"
        return "trial" if self._is_half_open else "resting"

    @property
    def rests_for(self) -> str | None:
        """Whose calls its rest concerns: an account, or `EVERYBODY`; None while it is up."""
        return _both(self._rested_for, self._asked_for)

    @property
    def due_us(self) -> int:
        """When its rest ends or ended; 0 while it is up."""
        return max(self._rests_until_us, self._asked_until_us)

    def concerns(self, call: Call) -> bool:
        """Whether its rest, if there is one, concerns a call."""
        return _is_one_of(call, self._rested_for) or self._was_asked(call)

    def is_ready(self, call: Call, now_us: int) -> bool:
        """Whether a call may go there as a matter of course: it need not rest for it, or is due for a probe."""
        if not self.concerns(call):
            return True
        due_us = self._rests_until_us if _is_one_of(call, self._rested_for) else 0
        if self._was_asked(call):
            due_us = max(due_us, min(self._asked_until_us, self._let_through_us))
        return not self._is_half_open and due_us <= now_us

    def asked_wait_us(self, call: Call, now_us: int) -> int:
        """How much longer it wants to be left alone by such calls, by its own word; 0 for not at all."""
        return max(self._asked_until_us - now_us, 0) if self._was_asked(call) else 0

    def begin(self) -> None:
        """Count a call that begins."""
        self.open_calls += 1

    def probe(self, call: Call, now_us: int) -> bool:
        """Whether a call that begins is the one that finds out whether the rest is over."""
        if not self.concerns(call) or not self.is_ready(call, now_us):
            return False
        self._is_half_open = True
        self._let_through_us = now_us + LET_THROUGH_EVERY_US
        return True

    def end(self, generation: int, *, is_probe: bool) -> None:
        """Count a call that ended. If its client abandoned the probe, the next call is one."""
        self.open_calls -= 1
        if is_probe and generation == self.generation:
            self._is_half_open = False

    def succeeded(self, generation: int, call: Call | None) -> Change | None:
        """A call that began in `generation` was answered; `call` may be None while it is up."""
        if generation != self.generation:
            return None
        if self.failures:
            self.failures = 0
            self._failed_for = None
        if self.is_up:
            return None
        self._rested_for = None
        self._rests_until_us = 0
        self._rests = 0
        if call is not None and self._asked_for is not None and self._is_smaller(call):
            # It says nothing of those that are as large as the one that was told to wait.
            return None
        self._asked_for = None
        self._asked_until_us = 0
        self._is_half_open = False
        self.is_up = True
        self.generation += 1
        return Change.BACK

    def note_failed_call(self, error: str) -> None:
        """Count a failed call; alone it is no reason for a rest."""
        self.failed_calls += 1
        self.last_error = error

    def failed(
        self, generation: int, now_us: int, error: str, call: Call, *, is_probe: bool, asked_us: int = 0
    ) -> Change | None:
        """A call that began in `generation` failed.

        Args:
            generation: see there.
            now_us: the time.
            error: what happened, in a few words.
            call: whose call it was.
            is_probe: whether the call was the probe.
            asked_us: for how long the upstream wants to be left alone, by its own word.

        Returns:
            That it rests, where it now rests for calls for which it did not before.
        """
        self.note_failed_call(error)
        asked_us = min(asked_us, self._rules.longest_asked_us)
        is_current = generation == self.generation
        if not is_current and not asked_us:
            return None
        is_probe = is_probe and is_current
        self.failures += 1
        self._failed_for = _both(self._failed_for, call.account_id)
        concerned = self.rests_for
        # A probe that was let through while the upstream asks to be left alone came before the end of a rest.
        ended_rest = is_probe and self._asked_until_us <= now_us
        due_us = self.due_us
        if asked_us:
            # Its word counts whenever the call began.
            self._ask(call, now_us, asked_us)
        if ended_rest or self._must_rest():
            self._rested_for = _both(self._rested_for, self._failed_for)
            self._rests_until_us = self._doubled(now_us)
        if is_probe or self.due_us > due_us or self.rests_for != concerned:
            self._decide()
        return Change.RESTS if self.rests_for != concerned else None

    def rest_with(self, other: "CircuitBreaker") -> None:
        """Rest as another model of the same upstream does, which found out something that concerns all of them."""
        if self._rested_for == EVERYBODY:
            return
        self._rested_for = EVERYBODY
        self._rests_until_us = max(self._rests_until_us, other._rests_until_us)
        self._rests = max(self._rests, other._rests)
        self.last_error = other.last_error
        self._decide()

    def _must_rest(self) -> bool:
        """Whether as many calls in a row have failed as it takes, and it does not rest for that already."""
        if self.failures < self._rules.failures:
            return False
        return self._rested_for is None or (self._failed_for == EVERYBODY and self._rested_for != EVERYBODY)

    def _ask(self, call: Call, now_us: int, asked_us: int) -> None:
        smallest = call.tokens if self._asked_for is None else min(self._asked_tokens, call.tokens)
        self._asked_tokens = smallest
        self._asked_for = _both(self._asked_for, call.account_id)
        self._asked_until_us = max(self._asked_until_us, now_us + asked_us)
        if self._let_through_us <= now_us:
            self._let_through_us = now_us + LET_THROUGH_EVERY_US

    def _was_asked(self, call: Call) -> bool:
        return _is_one_of(call, self._asked_for) and not self._is_smaller(call)

    def _is_smaller(self, call: Call) -> bool:
        """Whether a call is smaller than all that were told to wait, so that they may have been too large."""
        return self._asked_tokens > _SMALL_TOKENS and call.tokens * 100 < self._asked_tokens * _ALIKE_PERCENT

    def _doubled(self, now_us: int) -> int:
        """The end of a rest that is twice as long as the one before."""
        rest_us = self._rules.first_rest_us << min(self._rests, _MOST_DOUBLINGS)
        self._rests += 1
        return max(now_us + min(rest_us, self._rules.longest_rest_us), self._rests_until_us)

    def _decide(self) -> None:
        """What calls find out that began before does not count any more."""
        self.is_up = False
        self._is_half_open = False
        self.generation += 1


def _both(one: str | None, other: str | None) -> str | None:
    """Whom two failures concern together; None is nobody."""
    if one is None or one == other:
        return other
    return one if other is None else EVERYBODY


def _is_one_of(call: Call, concerned: str | None) -> bool:
    return concerned is not None and concerned in (EVERYBODY, call.account_id)
