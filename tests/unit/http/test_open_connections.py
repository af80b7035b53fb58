"""How many connections there may be, and which one makes room for the next."""

import pytest

from tests.support.hand_listener import HandListener, Line, head
from tokenbooth.http.limits import Bounds

MANY = ["203.0.113.1"] * 40


def open_ones(lines: list[Line]) -> int:
    """How many of them were not closed."""
    return sum(line.ended_at_s is None for line in lines)


def listener_for(connections: int) -> HandListener:
    """A listener that takes so many connections."""
    return HandListener(Bounds(connections=connections))


def test_one_address_gets_all_but_the_last_quarter() -> None:
    """The first ones stay, the others are closed at once."""
    listener = listener_for(32)
    lines = [listener.connect(address) for address in MANY]
    listener.loop.settle()

    assert [line.ended_at_s is None for line in lines] == [True] * 24 + [False] * 16
    listener.end()


def test_there_is_a_place_for_who_comes_next() -> None:
    """Whatever others have open: who asks is served, also when nothing is left, instead of who asks for nothing."""
    listener = listener_for(32)
    idle = [listener.connect(address) for address in MANY]
    for number in range(2, 40):
        newcomer = listener.connect(f"203.0.113.{number}")
        listener.send(newcomer, head("/fast/5", 0))
        assert newcomer.first_words.startswith(b"HTTP/1.1 200")
        newcomer.read(1_000)

    assert len(listener.config.connections) <= 32
    assert open_ones(idle) < 24
    listener.end()


@pytest.mark.parametrize("begun", [b"", b"GET /fast/5 HTTP/1.1\r\nx: "])
def test_no_request_makes_room(begun: bytes) -> None:
    """Connections with a request under way stay; the one that goes has none, or only half a head."""
    listener = listener_for(16)
    busy = [listener.connect(f"203.0.113.{number}") for number in range(14)]
    for line in busy:
        listener.send(line, head("/fast/5", 100))
    waiting = listener.connect("203.0.113.100")
    listener.send(waiting, begun)
    for number in range(101, 110):
        newcomer = listener.connect(f"203.0.113.{number}")
        listener.send(newcomer, head("/fast/5", 100))

    assert open_ones(busy) == 14
    assert waiting.ended_at_s is not None
    listener.end()


def test_who_came_late_makes_room_behind_many_that_are_busy() -> None:
    """However many requests are under way, the first who asks finds a place."""
    listener = listener_for(256)
    busy = [listener.connect(f"10.0.0.{number}") for number in range(200)]
    for line in busy:
        listener.send(line, head("/fast/5", 100))
    late = [listener.connect(f"10.0.1.{number}") for number in range(55)]
    newcomers = [listener.connect(f"10.0.2.{number}") for number in range(20)]
    for line in newcomers:
        listener.send(line, head("/fast/5", 100))

    assert (open_ones(busy), open_ones(newcomers)) == (200, 20)
    assert open_ones(late) < 55
    listener.end()


def test_half_a_head_outlives_nothing_at_all() -> None:
    """Who has begun to ask is closed only when nobody is there who has not."""
    listener = listener_for(16)
    half = listener.connect("203.0.113.100")
    listener.send(half, b"GET")
    idle = [listener.connect(f"203.0.113.{number}") for number in range(20)]

    assert half.ended_at_s is None
    assert open_ones(idle) <= 15
    listener.end()


@pytest.mark.parametrize("proxy", ["203.0.113.1", "127.0.0.1", "::1"])
def test_the_connections_of_a_proxy_are_not_those_of_one_client(proxy: str) -> None:
    """Behind each of them is another client; on this machine a proxy need not be listed."""
    listener = HandListener(Bounds(connections=32), trusted_proxies=["203.0.113.0/24"])
    lines = [listener.connect(proxy, port) for port in range(30)]

    assert open_ones(lines) == 30
    listener.end()


def test_who_was_refused_and_still_sends_makes_room() -> None:
    """An answer has left, and what comes behind it is thrown away: others need the place more."""
    listener = HandListener(Bounds(connections=16, body_bytes=1_000))
    refused = [listener.connect(f"203.0.113.{number}") for number in range(14)]
    for line in refused:
        listener.send(line, head("/fast/5", 100_000))
        assert line.first_words.startswith(b"HTTP/1.1 413")
        line.read(1_000)
    for number in range(100, 110):
        newcomer = listener.connect(f"203.0.113.{number}")
        listener.send(newcomer, head("/fast/5", 0))
        assert newcomer.first_words.startswith(b"HTTP/1.1 200")

    assert open_ones(refused) < 14
    listener.end()
