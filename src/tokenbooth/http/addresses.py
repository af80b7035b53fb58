"""The addresses of clients: which is this machine, and which are one client."""

from ipaddress import IPv6Address, IPv6Network, ip_address


def is_loopback(host: str) -> bool:
    """Whether a client's address is this machine itself."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def network_of(host: str) -> str:
    """What is counted as one client: an IPv4 address, or the /64 of an IPv6 address, all of which one customer has."""
    if ":" not in host:
        return host
    address = IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped or IPv6Network((address, 64), strict=False))
