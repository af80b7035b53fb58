"""Addresses of clients: telling this machine from others, and one client from another."""

import pytest

from tokenbooth.http.addresses import is_loopback, network_of


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("203.0.113.9", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_loopback_addresses(host: str, expected: bool) -> None:
    """Only addresses of this machine count, in every way they are written; a name is none."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_what_is_one_client(host: str, network: str) -> None:
    """An IPv4 address in either form, and all of the /64 that a customer gets."""
    assert network_of(host) == network
