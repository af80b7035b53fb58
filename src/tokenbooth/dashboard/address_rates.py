"""How often one address may try to log in, sign up or have a password reset; counted per process.

Addresses of IPv6 count by their network, of which one customer has a whole one.
"""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

from tokenbooth.domain.rates import RequestRate
from tokenbooth.kit.errors import RateLimited

_MAX_ADDRESSES: Final = 10_000
_HOST_BITS: Final = 64


class AddressRates:
    """The rates of the addresses seen last; with too many, the one quiet the longest gives way."""

    __slots__ = ("_max_addresses", "_rates")

    def __init__(self, max_addresses: int = _MAX_ADDRESSES) -> None:
        self._max_addresses = max_addresses
        self._rates: OrderedDict[str, RequestRate] = OrderedDict()

    def admit(self, name: str, *, limit: int, now_us: int) -> None:
        """Count an attempt.

        Args:
            name: who tries: `network_of` a client's address, or an account.
            limit: attempts per minute.
            now_us: monotonic microseconds.

        Raises:
            RateLimited: the minute is used up; nothing was counted.
        """
        rate = self._rates.get(name)
        if rate is None:
            rate = self._rates[name] = RequestRate(limit)
            if len(self._rates) > self._max_addresses:
                self._rates.popitem(last=False)
        self._rates.move_to_end(name)
        wait_us = rate.wait_us(now_us)
        if wait_us:
            raise RateLimited(
                "too_many_attempts",
                "Too many attempts. Wait a minute and try again.",
                retry_after_s=wait_us / 1_000_000,
            )
        rate.admit(now_us)


def network_of(address: str) -> str:
    """What an address counts as: itself, or the /64 network of an IPv6 address; anything else is one name."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> _HOST_BITS << _HOST_BITS)}/64"
