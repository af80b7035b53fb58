"""What a client's address counts as where strangers are counted: networks of which one customer has a whole one.

An IPv6 customer has a /64 at least, and often a /56 or a /48, in which it has as many /64 as it likes. But a host or a
mobile network also gives out /64s of one /48 to people who have nothing to do with each other. So both count: a /64
against a small limit, its /48 against a larger one. An IPv4 address counts alone: they are scarce, and those of one /24
are different customers'.
"""

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

SITE_FACTOR: Final = 10
"""How many times the limit of a /64 is the limit of its /48."""
_CUSTOMER_BITS: Final = 64
_SITE_BITS: Final = 48
_UNKNOWN: Final = "unknown"


def network_of(address: str) -> str:
    """The smallest network that a client's address belongs to: an IPv4 address, or the /64 of an IPv6 address; what is
    no address is one name with all others that are none."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return _UNKNOWN
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or _network(parsed, _CUSTOMER_BITS))


def network_limits(address: str, limit: int) -> dict[str, int]:
    """The names that a client's address counts under, each with its limit.

    Args:
        address: of the client; what is none counts under one name, with all others that are none.
        limit: for the smallest network.
    """
    network = network_of(address)
    if "/" not in network:
        return {network: limit}
    return {network: limit, str(_network(IPv6Address(address), _SITE_BITS)): limit * SITE_FACTOR}


def _network(address: IPv6Address, bits: int) -> IPv6Network:
    # From the number, because an address may bring a scope (RFC 4007), which a client can write as it likes.
    return IPv6Network((int(address), bits), strict=False)
