"""Each way to hold a place with nothing, with the bounds of a server, and when it ends: time is what the test says."""

from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Final

import pytest

from tests.support.hand_listener import HandListener, Line, head
from tokenbooth.http.limits import Bounds

MIB: Final = 1024 * 1024
BOUNDS: Final = Bounds()
PLANES: Final = ["/fast/", "/asgi/"]


@pytest.fixture
def listener() -> Iterator[HandListener]:
    """A listener with the bounds that a server has; in the end nothing is left of what was counted."""
    made = HandListener(BOUNDS)
    yield made
    made.end()


def is_read(line: Line) -> bool:
    """Whether bytes of the client are asked for."""
    return line.reads_on


def ended_s(listener: HandListener, line: Line) -> float:
    """When the server ended a connection, in seconds from the beginning."""
    listener.loop.advance(BOUNDS.linger_s + 1)
    assert line.ended_at_s is not None
    return line.ended_at_s - listener.began_s


# What asks for nothing


def test_a_connection_without_a_word_ends(listener: HandListener) -> None:
    """Nobody asked, so nobody is answered."""
    line = listener.connect()
    listener.loop.advance(BOUNDS.idle_s + 1)

    assert (ended_s(listener, line), line.first_words) == (BOUNDS.idle_s, b"")


@pytest.mark.parametrize("plane", PLANES)
def test_a_connection_between_two_requests_ends(listener: HandListener, plane: str) -> None:
    """Line ends between two requests are nothing, and put nothing off."""
    line = listener.connect()
    listener.send(line, head(f"{plane}5", 0))
    assert line.first_words.startswith(b"HTTP/1.1 200")
    line.read(1_000)
    for _ in range(100):
        listener.loop.advance(1)
        listener.send(line, b"\r\n")

    assert ended_s(listener, line) == BOUNDS.idle_s


def test_a_head_that_drips_ends(listener: HandListener) -> None:
    """All of a head has the same time, however steadily it comes."""
    line = listener.connect()
    listener.send(line, b"GET /fast/5 HTTP/1.1\r\nx")
    spent_s = listener.run(line, 1, partial(listener.send, line, b"x"))

    assert line.first_words.startswith(b"HTTP/1.1 408")
    assert spent_s == BOUNDS.head_s


@pytest.mark.parametrize("plane", PLANES)
def test_a_head_that_drips_behind_a_request_ends(listener: HandListener, plane: str) -> None:
    """The second request of a connection has no more time than the first."""
    line = listener.connect()
    listener.send(line, head(f"{plane}5", 0) + b"GET")
    line.read(1_000)
    line.first_words = b""
    spent_s = listener.run(line, 1, partial(listener.send, line, b"x"))

    assert line.first_words.startswith(b"HTTP/1.1 4")
    assert spent_s <= BOUNDS.head_s


# Bodies


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("every_s", [1, 20, 40])
@pytest.mark.parametrize("framing", ["content-length: 20000000", "transfer-encoding: chunked"])
def test_a_body_that_drips_ends(listener: HandListener, plane: str, every_s: float, framing: str) -> None:
    """A byte now and then is no body: it is refused as if nothing came."""
    line, piece = listener.connect(), b"x" if "length" in framing else b"1\r\nx\r\n"
    listener.send(line, f"POST {plane}5 HTTP/1.1\r\n{framing}\r\n\r\n".encode() + piece)
    spent_s = listener.run(line, every_s, partial(listener.send, line, piece))

    assert line.first_words.startswith(b"HTTP/1.1 408")
    assert BOUNDS.body_s <= spent_s <= BOUNDS.body_s + every_s
    line.read(1_000)
    assert ended_s(listener, line) <= spent_s + BOUNDS.linger_s


@pytest.mark.parametrize("size", [70_000, 200_000])
def test_a_body_that_stops_while_the_application_reads_ends(listener: HandListener, size: int) -> None:
    """The application had stopped reading because of its first part; it reads on, and nothing comes."""
    line = listener.connect()
    listener.send(line, head("/asgi/5", 300_000) + b"x" * size)
    spent_s = listener.run(line, 1, lambda: None)

    assert line.first_words.startswith(b"HTTP/1.1 408")
    assert spent_s <= 2 * BOUNDS.body_s


def test_a_body_that_came_fast_and_drips_then_ends(listener: HandListener) -> None:
    """A fast beginning pays for no slow end."""
    line = listener.connect()
    listener.send(line, head("/fast/5", 20 * MIB))
    for _ in range(19):
        listener.send(line, b"x" * MIB)
    spent_s = listener.run(line, 20, partial(listener.send, line, b"x"))

    assert line.first_words.startswith(b"HTTP/1.1 408")
    assert spent_s == 40


def test_a_body_at_the_least_rate_ends(listener: HandListener) -> None:
    """No body takes longer than a transfer may."""
    line = listener.connect()
    listener.send(line, head("/fast/5", 20 * MIB))
    spent_s = listener.run(line, 1, partial(listener.send, line, b"x" * 5_000))

    assert line.first_words.startswith(b"HTTP/1.1 408")
    assert spent_s == BOUNDS.transfer_s


@pytest.mark.parametrize(("size", "bytes_per_s"), [(20 * MIB, 50_000), (20 * MIB, 25_000), (100_000, 5_000)])
def test_a_body_over_a_slow_line_arrives(listener: HandListener, size: int, bytes_per_s: int) -> None:
    """The largest body over a slow line, and a prompt over the slowest, with a pause of 20 seconds in the middle."""
    line = listener.connect()
    listener.send(line, head("/fast/5", size))
    left = count(size, -bytes_per_s)

    def send_some() -> None:
        rest = next(left)
        listener.send(line, b"x" * min(bytes_per_s, rest))
        if rest // bytes_per_s == size // bytes_per_s // 2:
            listener.loop.advance(20)

    listener.run(line, 1, send_some)

    assert line.first_words.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("plane", PLANES)
def test_the_body_of_a_later_request_has_its_own_time(listener: HandListener, plane: str) -> None:
    """What the one before took is not taken off."""
    line = listener.connect()
    for _ in range(2):
        line.first_words = b""
        listener.send(line, head(f"{plane}5", 2))
        listener.loop.advance(BOUNDS.body_s - 1)
        listener.send(line, b"xx")
        assert line.first_words.startswith(b"HTTP/1.1 200")


def test_while_it_waits_for_its_turn_a_body_is_not_late(listener: HandListener) -> None:
    """Behind a long answer a body is not read; then it has the time that it had."""
    line = listener.connect()
    listener.send(line, head("/fast/70000", 0) + head("/fast/5", 200_000) + b"x" * 70_000)
    assert not is_read(line)
    for _ in range(100):
        listener.loop.advance(1)
        line.read(530)
    assert not line.ended_at_s
    line.read(70_000)
    listener.loop.settle()
    assert is_read(line)
    line.first_words = b""
    listener.send(line, b"x" * 130_000)

    assert line.first_words.startswith(b"HTTP/1.1 200")


# Answers


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("what", ["5000000", "stream"])
@pytest.mark.parametrize(("every_s", "size"), [(60, 1), (1, 100), (1, 2_000)])
def test_who_reads_too_slowly_is_cut_off(
    listener: HandListener, plane: str, what: str, every_s: float, size: int
) -> None:
    """A whole answer or a stream that is read a little now and then ends, at half the least rate in twice the time."""
    line = listener.connect()
    listener.send(line, head(plane + what, 0))
    for _ in range(1_000):
        listener.loop.advance(every_s)
        line.read(size)
        if line.ended_at_s is not None:
            break

    assert line.cut
    assert ended_s(listener, line) <= 2 * BOUNDS.unread_s + 60


def test_who_reads_in_gulps_is_cut_off(listener: HandListener) -> None:
    """A stream of which the client reads all that waits, but only every two minutes."""
    line = listener.connect()
    listener.send(line, head("/fast/stream", 0))
    for _ in range(20):
        listener.loop.advance(BOUNDS.unread_s - 1)
        line.read(line.HIGH)

    assert ended_s(listener, line) <= 3 * BOUNDS.unread_s


@pytest.mark.parametrize("plane", PLANES)
def test_a_large_answer_over_a_slow_line_arrives(listener: HandListener, plane: str) -> None:
    """Progress counts: it takes minutes, and nobody cuts it off."""
    line = listener.connect()
    listener.send(line, head(f"{plane}{20 * MIB}", 0))
    for _ in range(20 * MIB // 50_000 + 1):
        listener.loop.advance(1)
        line.read(50_000)
        assert line.ended_at_s is None

    assert line.read_bytes > 20 * MIB


def test_a_stream_over_a_slow_line_may_take_hours(listener: HandListener) -> None:
    """Who reads at more than the least rate is served for as long as there is something."""
    line = listener.connect()
    listener.send(line, head("/fast/stream", 0))
    for _ in range(4_000):
        listener.loop.advance(1)
        line.read(8_000)

    assert line.ended_at_s is None
    listener.loop.do(line.abort)


def test_a_whole_answer_ends_at_the_least_rate_as_well(listener: HandListener) -> None:
    """An answer that the transport never gets rid of is cut off when a transfer has taken its time."""
    line = listener.connect()
    listener.send(line, head(f"/fast/{20 * MIB}", 0))
    for _ in range(2_000):
        listener.loop.advance(1)
        line.read(5_000)

    assert ended_s(listener, line) == BOUNDS.transfer_s


@pytest.mark.parametrize("what", ["1000", "5000000"])
def test_the_last_answer_of_a_connection_is_not_kept_for_ever(listener: HandListener, what: str) -> None:
    """A connection that is closed waits for its client to read, as long as any other."""
    line = listener.connect()
    listener.send(line, b"GET /fast/%b HTTP/1.1\r\nconnection: close\r\n\r\n" % what.encode())
    listener.loop.advance(2 * BOUNDS.unread_s)

    assert line.cut
    assert ended_s(listener, line) <= BOUNDS.unread_s + BOUNDS.linger_idle_s


def test_requests_behind_an_unread_answer_end_with_it(listener: HandListener) -> None:
    """Who pipelines and does not read is not served, and gone when the answer would have to be read."""
    line = listener.connect()
    listener.send(line, head("/fast/5000000", 0) + head("/fast/5", 0) * 15)
    listener.loop.advance(10 * BOUNDS.unread_s)

    assert ended_s(listener, line) == BOUNDS.unread_s


# How much


@pytest.mark.parametrize("plane", PLANES)
def test_of_all_requests_that_wait_little_is_read(listener: HandListener, plane: str) -> None:
    """Each of their bodies would be small enough, and each of their heads."""
    for more in (
        head(f"{plane}5", 30_000) + b"x" * 30_000,
        b"GET %b5 HTTP/1.1\r\nx: %b\r\n\r\n" % (b"/fast/", b"x" * 30_000),
    ):
        line = listener.connect()
        listener.send(line, head("/fast/stream", 0))
        sent = 0
        while is_read(line):
            listener.send(line, more)
            sent += len(more)

        assert sent <= 100_000
        listener.loop.do(line.abort)


def test_who_leaves_more_unread_than_the_share_is_cut_off() -> None:
    """One account may leave three quarters unread, and what another one has to read stays."""
    listener = HandListener(Bounds(all_unread_bytes=16 * MIB))
    greedy = [listener.connect("203.0.113.1") for _ in range(4)]
    for line in greedy:
        listener.send(line, head(f"/fast/{5 * MIB}", 0))
    other = listener.connect("203.0.113.2")
    listener.send(other, head(f"/fast/{2 * MIB}", 0, account="other"))

    assert [line.cut for line in greedy] == [False, False, True, True]
    assert other.ended_at_s is None
    listener.end()


def test_bodies_for_the_application_have_a_sixteenth() -> None:
    """What nobody is known to have sent counts by address, and the data plane's bodies have room beside it."""
    listener = HandListener(Bounds(all_bodies_bytes=16 * MIB))
    lines = [listener.connect("203.0.113.1") for _ in range(20)]
    for line in lines:
        listener.send(line, head("/asgi/5", 200_000) + b"x" * 100_000)
    refused = [line for line in lines if line.first_words.startswith(b"HTTP/1.1 503")]
    other, account = listener.connect("203.0.113.2"), listener.connect("203.0.113.3")
    listener.send(other, head("/asgi/5", 60_000) + b"x" * 50_000)
    listener.send(account, head("/fast/5", 9 * MIB))
    listener.send(account, b"x" * (9 * MIB - 1))

    assert len(lines) - len(refused) == 3 * MIB // 4 // 100_000
    listener.send(other, b"x" * 10_000)
    listener.send(account, b"x")
    assert other.first_words.startswith(b"HTTP/1.1 200")
    assert account.first_words.startswith(b"HTTP/1.1 200")
    listener.end()
