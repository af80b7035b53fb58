"""Sockets: binding them, and telling this machine from others."""

import pytest

from tokenbooth.server import ListenFailed, address_of, bind, is_loopback, port_of


def test_port_zero_picks_a_free_port() -> None:
    """Two sockets get two ports, and say where they are."""
    with bind("127.0.0.1", 0) as one, bind("127.0.0.1", 0) as other:
        assert port_of(one) != port_of(other)
        assert address_of(one) == f"http://127.0.0.1:{port_of(one)}"


def test_a_port_belongs_to_one() -> None:
    """A port in use is refused by its address."""
    with bind("127.0.0.1", 0) as one, pytest.raises(ListenFailed, match=f"127.0.0.1:{port_of(one)}"):
        bind("127.0.0.1", port_of(one))


def test_a_host_that_is_none() -> None:
    """A host that cannot be resolved is refused by its name."""
    with pytest.raises(ListenFailed, match="no host"):
        bind("no host", 0)


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
