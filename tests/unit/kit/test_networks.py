"""What a client's address counts as."""

from ipaddress import IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.kit.keyed_rates import KeyedRates
from tokenbooth.kit.networks import SITE_FACTOR, network_limits, network_of

SITE = IPv6Network("2001:db8:7::/48")
LIMIT = 3


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("192.0.2.7", ["192.0.2.7"]),
        ("::ffff:192.0.2.7", ["192.0.2.7"]),
        ("2001:db8:7:1::1", ["2001:db8:7:1::/64", "2001:db8:7::/48"]),
        ("2001:0DB8:0007:0001:ffff::", ["2001:db8:7:1::/64", "2001:db8:7::/48"]),
        ("fe80::1%eth0", ["fe80::/64", "fe80::/48"]),
        ("fe80::1%eth1", ["fe80::/64", "fe80::/48"]),
        ("", ["unknown"]),
        ("a.example", ["unknown"]),
        ("192.0.2.7, 192.0.2.8", ["unknown"]),
    ],
)
def test_an_address_counts_for_its_networks(address: str, names: list[str]) -> None:
    """However it is written; the wider network has the larger limit."""
    assert network_limits(address, LIMIT) == dict(zip(names, (LIMIT, LIMIT * SITE_FACTOR), strict=False))


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


def test_neighbours_in_an_ipv4_network_are_strangers() -> None:
    """No address of a /24 counts for another."""
    names = [name for host in range(256) for name in network_limits(f"192.0.2.{host}", LIMIT)]
    assert len(set(names)) == 256


@given(st.lists(st.integers(0, 2**80 - 1), min_size=1, max_size=200))
def test_whoever_has_a_site_gets_ten_times_the_limit(hosts: list[int]) -> None:
    """From any addresses of a /48, in any order, a /64 gets its limit and the site ten times that, and both get all of
    it; the site next door has its own."""
    rates, admitted = KeyedRates(), dict[int, int]()
    for host in hosts:
        address = str(IPv6Address(int(SITE.network_address) + host))
        network = host >> 64
        expected = admitted.get(network, 0) < LIMIT and sum(admitted.values()) < LIMIT * SITE_FACTOR
        assert (rates.admit_all(network_limits(address, LIMIT), now_us=0) == 0) is expected
        admitted[network] = admitted.get(network, 0) + expected
    assert rates.admit_all(network_limits("2001:db8:8::1", LIMIT), now_us=0) == 0
