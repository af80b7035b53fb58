"""The request rate of each of many clients, counted per process."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from tokenbooth.domain.rates import RequestRate
from tokenbooth.domain.windows import MINUTE_US, SECOND_US

_MAX_KEYS: Final = 10_000


class KeyedRates:
    """The rates of the keys seen last; with too many, the one quiet the longest gives way."""

    __slots__ = ("_max_keys", "_rates", "_span_us")

    def __init__(self, *, span_us: int = MINUTE_US, max_keys: int = _MAX_KEYS) -> None:
        """Count within any span of `span_us` (microseconds), for at most `max_keys` keys."""
        self._span_us = span_us
        self._max_keys = max_keys
        self._rates: OrderedDict[str, RequestRate] = OrderedDict()

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
        rates = [self._rate(key, limit) for key, limit in limits.items()]
        wait_us = max(rate.wait_us(now_us) for rate in rates)
        if not wait_us:
            for rate in rates:
                rate.admit(now_us)
        return wait_us / SECOND_US

    def _rate(self, key: str, limit: int) -> RequestRate:
        rate = self._rates.get(key)
        if rate is None:
            rate = self._rates[key] = RequestRate(limit, self._span_us)
            if len(self._rates) > self._max_keys:
                self._rates.popitem(last=False)
        self._rates.move_to_end(key)
        rate.limit = limit
        return rate
