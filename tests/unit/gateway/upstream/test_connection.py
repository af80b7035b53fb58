"""One connection to an upstream, byte by byte, on a loop that is turned by hand: what the fuzzer found."""

from collections.abc import Iterator
from functools import partial

import pytest

from fuzz.hand_loop import HandLoop
from fuzz.upstream_side import UpstreamLine
from tokenbooth.gateway.errors import UpstreamBroke
from tokenbooth.gateway.upstream.connection import UpstreamConnection

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Asked:
    """A connection on which a call has been sent."""

    def __init__(self) -> None:
        self.loop = HandLoop()
        self.line = UpstreamLine(self.loop)
        made: list[UpstreamConnection] = []
        self.loop.do(lambda: made.append(UpstreamConnection(10, _nothing)))
        self.connection = self.line.protocol = made[0]
        self.connection.connection_made(self.line)
        self.connection.send(b"request", 10)

    def receive(self, *pieces: bytes) -> None:
        """The upstream sends, as long as there is a connection."""
        for piece in pieces:
            if self.line.is_over:
                return
            self.loop.do(partial(self.connection.data_received, piece))

    def hang_up(self) -> None:
        """The upstream closes the connection."""
        self.loop.do(partial(self.line.lose, None))

    def body(self) -> bytes:
        """What there is of the answer, if it is whole.

        Raises:
            UpstreamFailure: it is not.
        """
        task = self.loop.create_task(self.connection.read())
        self.loop.settle()
        return task.result()


def _nothing(connection: UpstreamConnection) -> None:
    """Nobody wants to know that the connection has ended."""


@pytest.fixture
def asked() -> Iterator[Asked]:
    """A connection, closed at the end, on which nothing has failed."""
    made = Asked()
    yield made
    made.hang_up()
    made.loop.check()
    made.loop.close()


@pytest.mark.parametrize("coding", [b"chunked ", b"chunked\t", b"Chunked, gzip", b"gzip", b"xchunked"])
def test_half_an_answer_in_some_coding_is_never_whole(asked: Asked, coding: bytes) -> None:
    """An answer with a coding ends by itself or not at all, however the coding is written."""
    asked.receive(b"HTTP/1.1 200 OK\r\ntransfer-encoding: %b\r\n\r\n5\r\nhel" % coding)
    asked.hang_up()

    with pytest.raises(UpstreamBroke):
        asked.body()


def test_an_answer_without_length_or_coding_ends_with_its_connection(asked: Asked) -> None:
    """As servers of HTTP/1.0 answer."""
    asked.receive(b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo")
    asked.hang_up()

    assert asked.body() == b"hello"


@pytest.mark.parametrize("cut", [(), (len(CHUNKED),)])
def test_trailers_are_no_headers(asked: Asked, cut: tuple[int, ...]) -> None:
    """What stands behind the body is not mixed with what stood before it, in whatever pieces it came."""
    answer = CHUNKED + b"5\r\nhello\r\n0\r\nretry-after: 60\r\n\r\n"

    asked.receive(*(answer[start:end] for start, end in zip((0, *cut), (*cut, len(answer)), strict=True)))

    assert asked.body() == b"hello"
    assert asked.connection.headers == [(b"transfer-encoding", b"chunked")]


@pytest.mark.parametrize("filling", [b"a: b\r\n" * 1_000, b"a" * 6_000])
def test_trailers_are_bounded(asked: Asked, filling: bytes) -> None:
    """An upstream that never comes to the end of its trailers is cut off."""
    asked.receive(CHUNKED + b"5\r\nhello\r\n0\r\nx: y\r\nz: ", *[filling] * 50)

    with pytest.raises(UpstreamBroke, match="around its body"):
        asked.body()


def test_framing_between_parts_is_not_counted_for_ever(asked: Asked) -> None:
    """A long stream, whose chunks come apart from their sizes, goes on."""
    asked.receive(CHUNKED, *(b"5;%b\r\n" % (b"x" * 3_000), b"hello", b"\r\n") * 100, b"0\r\n\r\n")

    assert asked.body() == b"hello" * 100


def test_a_call_that_ended_before_its_request_left_was_not_sent(asked: Asked) -> None:
    """So nobody pays for it, although it was about to be written."""
    asked.receive(CHUNKED + b"0\r\n\r\n")
    assert asked.connection.release(10)
    asked.connection.prepare(b"another", 10)
    asked.connection.close()
    asked.connection.write_out()

    assert not asked.connection.is_sent
    assert asked.line.written == b"request"
