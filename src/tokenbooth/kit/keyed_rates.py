"""The request rate of each of many clients, counted per process."""

from collections import OrderedDict
from typing import Final

from tokenbooth.domain.rates import RequestRate

_MAX_KEYS: Final = 10_000


class KeyedRates:
    """The rates of the keys seen last; with too many, the one quiet the longest gives way."""

    __slots__ = ("_max_keys", "_rates")

    def __init__(self, max_keys: int = _MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._rates: OrderedDict[str, RequestRate] = OrderedDict()

    def admit(self, key: str, *, limit: int, now_us: int) -> float:
        """Count a request; returns 0, or how many seconds to wait when the minute is used up and nothing was counted.

        Args:
            key: whose request it is, such as an account or an address.
            limit: requests per minute.
            now_us: monotonic microseconds.
        """
        rate = self._rates.get(key)
        if rate is None:
            rate = self._rates[key] = RequestRate(limit)
            if len(self._rates) > self._max_keys:
                self._rates.popitem(last=False)
        self._rates.move_to_end(key)
        rate.limit = limit
        wait_us = rate.wait_us(now_us)
        if not wait_us:
            rate.admit(now_us)
        return wait_us / 1_000_000
