"""The request rate of each of many clients, counted per process."""

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Final

from tokenbooth.domain.windows import MINUTE_US, SECOND_US

_MAX_KEYS: Final = 10_000


class KeyedRates:
    """The rates of the keys seen last; with too many, the one quiet the longest gives way."""

    __slots__ = ("_counted", "_max_keys", "_span_us")

    def __init__(self, *, span_us: int = MINUTE_US, max_keys: int = _MAX_KEYS) -> None:
        """Count within any span of `span_us` (microseconds), for at most `max_keys` keys."""
        self._span_us = span_us
        self._max_keys = max_keys
        self._counted: OrderedDict[str, deque[int]] = OrderedDict()

    def admit(self, key: str, *, limit: int, now_us: int) -> float:
        """Count a request; returns 0, or how many seconds to wait when the span is used up and nothing was counted.

        Args:
            key: whose request it is, such as an account or an address.
            limit: requests in a span.
            now_us: monotonic microseconds.
        """
        return self.admit_all({key: limit}, now_us=now_us)

    def admit_all(self, limits: Mapping[str, int], *, now_us: int) -> float:
        """Count a request for each of several keys, or for none of them; returns as `admit` does.

        Args:
            limits: requests in a span, by key.
            now_us: monotonic microseconds.
        """
        wait_us = max(self._wait_us(key, limit, now_us) for key, limit in limits.items())
        if not wait_us:
            for key in limits:
                self._counted[key].append(now_us)
        return wait_us / SECOND_US

    def _wait_us(self, key: str, limit: int, now_us: int) -> int:
        counted = self._recent(key, now_us)
        if len(counted) < limit:
            return 0
        # With a limit lowered in the meantime more than one has to leave the span first.
        return counted[len(counted) - limit] + self._span_us - now_us

    def _recent(self, key: str, now_us: int) -> deque[int]:
        """When the requests were that count now."""
        counted = self._counted.setdefault(key, deque())
        self._counted.move_to_end(key)
        if len(self._counted) > self._max_keys:
            self._counted.popitem(last=False)
        while counted and counted[0] <= now_us - self._span_us:
            counted.popleft()
        return counted
