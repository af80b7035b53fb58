"""Target: the bytes of a client, in pieces, through its connection to a fast path and an application.

What must hold: what is served is what others read in these bytes, wherever they are cut; answers leave whole and in
the order of the requests, at most one for each, nothing behind the end; what is kept is bounded; whatever happens in
between, everything ends, and neither a timer nor a task is left.
"""

import logging
import random
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

import uvicorn
from uvicorn.server import ServerState

from fuzz.client_side import How, Seen, Servers, Unwell
from fuzz.client_socket import Socket
from fuzz.hand_loop import HandLoop
from fuzz.readers import Answer, Headers, NotAnswers, agreed, answers_by_h11, requests_by_h11, without_framing
from fuzz.streams import BYTEWISE_AT_MOST, pieces
from fuzz.wire import split_seed
from tokenbooth.http.limits import Bounds, FastPath, ListenerConfig
from tokenbooth.http.uvicorn import UvicornConnection

# Of which a sixteenth is for accounts without money, and those of the fuzzed servers have none.
BOUNDS: Final = Bounds(head_bytes=2_000, head_lines=20, body_bytes=3_000, all_bodies_bytes=16 * 3_000)
_MOST_WAITING: Final = 128
_LONG_S: Final = 1_000
# What has arrived while reading was about to pause: one piece of a socket.
_PIECE_BYTES: Final = 65_536
_FAULTS_OF_BOUNDS: Final = (431, 413, 408, 503)
_WILD_STEPS: Final = 400
_DISTURBANCES: Final = 10
_READING: Final = (How.WHOLE, How.LATER, How.STREAMED)

logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def check_connection(data: bytes) -> None:
    """Feed a connection, calmly in several cuts, then with everything else that may happen.

    Raises:
        AssertionError: something that must hold does not.
    """
    seed, stream = split_seed(data)
    rng = random.Random(zlib.crc32(stream) + seed)
    cut_ways = [[stream], pieces(stream, rng)]
    if len(stream) <= BYTEWISE_AT_MOST:
        cut_ways.append([stream[at : at + 1] for at in range(len(stream))])
    calm = [_calm(seed, cut) for cut in cut_ways if stream]
    for run in calm:
        run.check(stream)
        run.check_calm(stream)
    _check_same(calm)
    for _ in range(2):
        wild = _Run(seed)
        _wild(wild, pieces(stream, rng), rng)
        wild.end(drains=rng.randrange(2) == 0)
        wild.check(stream)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of a run.

    Attributes:
        complete: the requests that were complete.
        fault: the status of what the connection said was wrong.
        may_differ: whether it depends on the pieces when somebody noticed.
    """

    complete: list[tuple[object, ...]]
    fault: int | None
    may_differ: bool


class _Run:
    """One connection with what is around it."""

    def __init__(self, seed: int) -> None:
        self.loop = HandLoop()
        self.servers = Servers(seed)
        self.socket = Socket(self.loop)
        config = ListenerConfig(FastPath(self.servers.handles, self.servers.serve), BOUNDS, lambda: "req")
        self.config = config
        connection = type("Connection", (UvicornConnection,), {"listener_config": config})
        self.connection = connection(_config(), ServerState(), {}, self.loop)
        self.connection.app = self.servers.application
        self.socket.protocol = self.connection
        self.loop.do(partial(self.connection.connection_made, self.socket))

    def feed(self, piece: bytes) -> None:
        """Bytes arrive."""
        self.loop.call_soon(self.connection.data_received, piece)

    def check_bounds(self) -> None:
        """What is kept is bounded."""
        kept = 0
        for seen in self.servers.seen:
            if seen.exchange is not None:
                size = len(seen.exchange._body)
                assert size <= BOUNDS.body_bytes, "a body is larger than it may be"
                kept += size
        assert kept <= _PIECE_BYTES + 16 * BOUNDS.body_bytes
        assert len(self.connection._ours._waiting.requests) <= _MOST_WAITING

    def end(self, *, drains: bool = True) -> None:
        """Nothing comes any more; the client reads what there is, or leaves it."""
        if drains:
            self.loop.do(self.socket.drain)
        for _ in range(5):
            self.loop.advance(_LONG_S)
        waits = bool(self.servers.seen) and not self.servers.seen[-1].how.ends_well
        assert self.socket.lost or waits, "the connection is never closed"
        if not self.socket.lost:
            self.loop.do(partial(self.socket.lose, ConnectionResetError()))
        self.loop.advance(_LONG_S)
        assert not self.loop.timers(), "a timer is left"
        self.loop.failures = [failure for failure in self.loop.failures if not isinstance(failure, Unwell)]
        self.loop.failures += self.servers.failures
        self.loop.check()
        assert not self.loop.tasks(), "a task is left"
        assert not self.config.bodies.shares.used, "room for bodies is never given back"
        assert not self.config.unread.shares.used, "room for answers is never given back"
        connections = self.config.connections
        assert not len(connections), "a connection is never forgotten"
        assert not connections.without_request, "a connection makes room for ever"
        self.loop.close()

    def check(self, stream: bytes) -> None:
        """What holds of every run that has ended."""
        assert not self.socket.late, "something was written behind the end"
        _check_seen(self.servers.seen, stream)
        self.answers()
        for seen in self.servers.seen:
            exchange = seen.exchange
            assert exchange is None or exchange.gone or exchange.is_answered, "an exchange never ends"

    def answers(self) -> list[Answer]:
        """The answers, each of them checked."""
        seen = self.servers.seen
        try:
            answers = self._read([one.method for one in seen])
        except NotAnswers as mistake:
            raise AssertionError("what was written are no answers") from mistake
        for place, answer in enumerate(answers):
            is_last = place == len(answers) - 1
            assert answer.is_complete or is_last, "an answer follows half of one"
            shown = dict(answer.headers).get(b"x-place")
            if shown is not None:
                assert int(shown) == place, "answers are out of order"
            elif not is_last:
                raise AssertionError("something else was answered in between")
        return answers

    def _read(self, methods: list[str]) -> list[Answer]:
        written = bytes(self.socket.written)
        try:
            return answers_by_h11(written, [*methods, "GET"], has_ended=True)
        except NotAnswers:
            if "HEAD" not in methods[-1:]:
                raise
            # Half a request for a head: what the connection says of it has a body, and ends it.
            return answers_by_h11(written, [*methods[:-1], "GET"], has_ended=True)

    def check_calm(self, stream: bytes) -> None:
        """What holds if nothing disturbed it."""
        answers = self.answers()
        if not all(seen.how.ends_well for seen in self.servers.seen):
            return
        whole = len(requests_by_h11(stream).complete)
        assert all(answer.is_complete for answer in answers[:whole]), "half an answer"
        if self.status_of_fault(answers) in (*_FAULTS_OF_BOUNDS, 400, 501) or any(one.status == 413 for one in answers):
            return
        if self._ends_with_an_early_answer():
            return
        by_others = agreed(stream)
        if by_others is not None:
            assert len(self.servers.seen) >= len(by_others), "a valid request was not served"
            assert len(answers) >= len(by_others), "a request was not answered"

    def _ends_with_an_early_answer(self) -> bool:
        """Whether a client that waits for a word was answered without it: whether its body comes, nobody can tell."""
        seen = self.servers.seen
        return bool(seen) and seen[-1].how not in _READING and any(name == b"expect" for name, _ in seen[-1].headers)

    def outcome(self) -> _Outcome:
        """What must be the same for each cut."""
        fault = self.status_of_fault(self.answers())
        seen = self.servers.seen
        complete: list[tuple[object, ...]] = [
            (one.method, one.path, one.headers, one.body, one.is_too_large)
            for one in seen
            if one.body is not None or one.is_too_large
        ]
        bounded = fault in _FAULTS_OF_BOUNDS or len(seen) >= _MOST_WAITING
        # Who answers before the body is there is never told what is wrong with it.
        answers_early = any(one.how not in _READING or one.is_too_large or one.has_no_room for one in seen)
        return _Outcome(complete, fault, bounded or answers_early)

    def status_of_fault(self, answers: list[Answer]) -> int | None:
        """The status with which the connection said that something is wrong, if it did."""
        return answers[-1].status if answers and b"x-place" not in dict(answers[-1].headers) else None


def _calm(seed: int, cut: Iterable[bytes]) -> _Run:
    """The connection is let do what it wants after each piece."""
    run = _Run(seed)
    for piece in cut:
        for _ in range(_WILD_STEPS):
            if run.socket.reads or run.socket.lost:
                break
            run.loop.advance(1)
        if not run.socket.reads or run.socket.is_closing():
            break
        run.feed(piece)
        run.loop.settle()
        run.check_bounds()
    for _ in range(40):
        run.loop.advance(1)
    run.end()
    return run


def _wild(run: _Run, cut: list[bytes], rng: random.Random) -> None:
    """Pieces, and in between what else happens to a connection."""
    waiting = list(reversed(cut))
    for _ in range(_WILD_STEPS):
        number = rng.randrange(40)
        if number < _DISTURBANCES:
            _disturb(run, number, rng)
        elif number % 2 == 0 and waiting and run.socket.reads and not run.socket.is_closing():
            run.feed(waiting.pop())
            run.loop.turn()
        elif number % 2 or rng.randrange(10):
            run.loop.turn()
        elif not waiting:
            return
        run.check_bounds()
        if run.socket.lost:
            return


def _disturb(run: _Run, number: int, rng: random.Random) -> None:
    match number:
        case 0:
            run.loop.advance(rng.choice((0.5, 3, 3, 11, 40)))
        case 1 | 2:
            run.loop.advance(1)
        case 3:
            run.socket.is_slow = not run.socket.is_closing()
        case 4:
            run.loop.do(run.socket.fill)
        case 5 | 6 | 7:
            run.loop.do(run.socket.drain)
        case _ if rng.randrange(3):
            pass
        case 8:
            end = rng.choice((run.connection.shutdown, run.socket.half_close, partial(run.socket.lose, None)))
            if not run.socket.lost:
                run.loop.call_soon(end)
        case _:
            run.loop.call_soon(run.socket.lose, ConnectionResetError())


@cache
def _config() -> uvicorn.Config:
    config = uvicorn.Config(
        _nothing, interface="asgi3", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False
    )
    config.load()
    return config


async def _nothing(scope: object, receive: object, send: object) -> None:
    """Stands where the application is set later."""


def _check_seen(seen: list[Seen], stream: bytes) -> None:
    """What was served is what h11 reads, as far as it reads."""
    for served, request in zip(seen, requests_by_h11(stream).complete, strict=False):
        assert (served.method, served.body) in ((request.method, None), (request.method, request.body)), "another body"
        if request.path.startswith("/"):
            assert served.path == request.path, "another path"
        assert _plain(served.headers) == _plain(request.headers), "other headers"
        assert served.scope_headers == served.headers, "headers changed behind the head"
        if served.is_too_large:
            assert len(request.body) > BOUNDS.body_bytes, "not too large"


def _plain(headers: Headers) -> Headers:
    """Without the wish for another protocol, which is not passed on."""
    return [header for header in without_framing(headers) if header[0] != b"upgrade"]


def _check_same(runs: list[_Run]) -> None:
    """It does not matter where the bytes are cut, but for bounds that count what has arrived."""
    outcomes = [run.outcome() for run in runs]
    for outcome in outcomes[1:]:
        if not outcome.may_differ and not outcomes[0].may_differ:
            assert outcomes[0].complete == outcome.complete, "it matters where the bytes are cut"
            assert outcomes[0].fault == outcome.fault, "the mistake is another one when cut"
