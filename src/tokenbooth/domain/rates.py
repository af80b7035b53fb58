"""Request and token rates over a sliding minute, exact in any 60-second span of monotonic time.

A rate is asked first (`wait_us`) and told after (`admit`): a request that is refused for another reason must not
count. Both are called without a pause between them, on one thread.
"""

from collections import deque
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

SPAN_US: Final = 60_000_000


@dataclass(init=False, slots=True)
class TokenEntry:
    """Tokens that one request counts for; corrected in place when the true number is known."""

    at_us: int
    tokens: int

    def __init__(self, at_us: int, tokens: int) -> None:
        self.at_us = at_us
        self.tokens = tokens


class RequestRate:
    """At most `limit` admitted requests in any span of so long; remembers one instant for each of them."""

    __slots__ = ("_admitted", "_span_us", "limit")

    def __init__(self, limit: int, span_us: int = SPAN_US) -> None:
        """Begin with none; `span_us` (microseconds) is a minute by default."""
        self.limit = limit
        self._span_us = span_us
        self._admitted: deque[int] = deque()

    def used(self, now_us: int) -> int:
        """Requests that count at `now_us` (monotonic microseconds)."""
        admitted = self._admitted
        oldest_us = now_us - self._span_us
        while admitted and admitted[0] <= oldest_us:
            admitted.popleft()
        return len(admitted)

    def wait_us(self, now_us: int) -> int:
        """0 if a request may pass now, else the microseconds until one may."""
        used = self.used(now_us)
        if used < self.limit:
            return 0
        if self.limit <= 0:
            return self._span_us
        # With a limit lowered in the meantime more than one has to leave the span first.
        return self._admitted[used - self.limit] + self._span_us - now_us

    def admit(self, now_us: int) -> None:
        """Count one request at `now_us`."""
        self._admitted.append(now_us)

    def reset_us(self, now_us: int) -> int:
        """Microseconds until nothing counts any more."""
        return self._admitted[-1] + self._span_us - now_us if self.used(now_us) else 0


class TokenRate:
    """At most `limit` tokens counted at admission in any 60 seconds."""

    __slots__ = ("_entries", "_total", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._entries: deque[TokenEntry] = deque()
        self._total = 0

    def used(self, now_us: int) -> int:
        """Tokens that count at `now_us` (monotonic microseconds)."""
        oldest_us = now_us - SPAN_US
        while self._entries and self._entries[0].at_us <= oldest_us:
            self._total -= self._entries.popleft().tokens
        return self._total

    def wait_us(self, now_us: int, tokens: int) -> int | None:
        """0 if `tokens` may pass now, else the microseconds until they may; None if they never can."""
        if tokens > self.limit:
            return None
        excess = self.used(now_us) + tokens - self.limit
        if excess <= 0:
            return 0
        leaving = zip(self._entries, accumulate(entry.tokens for entry in self._entries), strict=True)
        return next(entry.at_us for entry, freed in leaving if freed >= excess) + SPAN_US - now_us

    def admit(self, now_us: int, tokens: int) -> TokenEntry:
        """Count `tokens` at `now_us`; the entry is what `correct` takes."""
        entry = TokenEntry(at_us=now_us, tokens=tokens)
        self._entries.append(entry)
        self._total += tokens
        return entry

    def correct(self, entry: TokenEntry, tokens: int, now_us: int) -> None:
        """Set the true number of an admitted entry; too late for one that has left the span."""
        if entry.at_us <= now_us - SPAN_US:
            return
        self.used(now_us)
        self._total += tokens - entry.tokens
        entry.tokens = tokens

    def reset_us(self, now_us: int) -> int:
        """Microseconds until nothing counts any more."""
        return self._entries[-1].at_us + SPAN_US - now_us if self.used(now_us) else 0
