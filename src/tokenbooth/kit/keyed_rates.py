"""A request rate for each key, such as an account or a client's network; counted per process."""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

from tokenbooth.domain.rates import RequestRate

_MAX_KEYS: Final = 10_000
_HOST_BITS: Final = 64


class KeyedRates:
    """The rates of the keys seen last; with too many, the one quiet the longest gives way."""

    __slots__ = ("_max_keys", "_rates")

    def __init__(self, max_keys: int = _MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._rates: OrderedDict[str, RequestRate] = OrderedDict()

    def admit(self, key: str, *, limit: int, now_us: int) -> int:
        """Count a request, unless the key has used its minute up.

        Args:
            key: whose request it is.
            limit: requests per minute.
            now_us: monotonic microseconds.

        Returns:
            0 when it was counted, else the microseconds until one may pass.
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
        return wait_us


def network_of(address: str) -> str:
    """What a client's address counts as: itself, or the /64 network of an IPv6 address, of which one customer has a
    whole one; anything else is one name."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> _HOST_BITS << _HOST_BITS)}/64"
