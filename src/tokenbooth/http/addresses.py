"""The addresses of clients: which is this machine."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether a client's address is this machine itself."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
