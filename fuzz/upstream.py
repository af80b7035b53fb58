"""Target: the bytes of an upstream, in pieces, through its connection to who waits for the answer.

What must hold: nothing leaves but what says that the upstream broke or the client hung up; a whole answer is what
others read in these bytes, wherever they are cut, and what is not complete never passes for it; each part is handed
over once and in order; a connection that is kept is clean, and what follows an answer never comes with the next one.
"""

import asyncio
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import h11

from fuzz.hand_loop import HandLoop
from fuzz.readers import FRAMING, Answer, NotAnswers, ends_by_itself, next_answer
from fuzz.streams import BYTEWISE_AT_MOST, pieces
from fuzz.upstream_side import UpstreamLine
from fuzz.wire import BETWEEN_ANSWERS, split_seed
from tokenbooth.gateway.errors import ClientHungUp, UpstreamFailure
from tokenbooth.gateway.upstream.connection import UpstreamConnection

_IDLE_S: Final = 10
_FIRST_BYTE_S: Final = 20
_KEPT_S: Final = 30
_LONG_S: Final = 1_000
_WILD_STEPS: Final = 300
_MOST_HEADERS: Final = 256 * 1024


def check_upstream(data: bytes) -> None:
    """Let a connection carry calls, calmly in several cuts, then with everything else that may happen.

    Raises:
        AssertionError: something that must hold does not.
    """
    seed, stream = split_seed(data)
    answers = stream.split(BETWEEN_ANSWERS)
    rng = random.Random(zlib.crc32(stream) + seed)
    ways: list[Callable[[bytes], list[bytes]]] = [lambda answer: [answer], lambda answer: pieces(answer, rng)]
    if len(stream) <= BYTEWISE_AT_MOST:
        ways.append(lambda answer: [answer[at : at + 1] for at in range(len(answer))])
    runs = [_calm(answers, cut, reads=reads) for cut in ways for reads in (True, False)]
    for run in runs:
        # What is behind an answer may end the connection, and so the calls on it, at once or with the next call.
        for outcome, other in zip(run.outcomes(), runs[0].outcomes(), strict=False):
            assert outcome == other, "it matters where the answer is cut, or how it is taken"
    _check_against_h11(answers, runs[0])
    for _ in range(2):
        run = _wild(answers, rng)
        for call, calm in zip(run.calls, runs[0].calls, strict=False):
            _check_wild(call, calm)


@dataclass(slots=True)
class _Call:
    """One call and what came of it.

    Attributes:
        body: the whole body, if it came to its end.
        taken: what was handed over of it.
        failure: why it did not come to its end.
    """

    body: bytes | None = None
    taken: bytes = b""
    failure: BaseException | None = None
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class _Run:
    """One connection, and the calls that it carries."""

    def __init__(self) -> None:
        self.loop = HandLoop()
        self.line = UpstreamLine(self.loop)
        self.calls: list[_Call] = []
        self.lost: list[UpstreamConnection] = []
        made: list[UpstreamConnection] = []
        self.loop.do(lambda: made.append(UpstreamConnection(_IDLE_S, self.lost.append)))
        self.loop.check()
        self.connection = self.line.protocol = made[0]
        self.connection.connection_made(self.line)

    def begin(self, *, reads: bool, most_parts: int = 1 << 30) -> "asyncio.Task[None]":
        """Begin a call."""
        call = _Call()
        self.calls.append(call)
        return self.loop.create_task(self._carry(call, reads, most_parts))

    async def _carry(self, call: _Call, reads: bool, most_parts: int) -> None:
        connection = self.connection
        left = most_parts

        def take(part: bytes) -> bool:
            nonlocal left
            assert part
            call.taken += part
            left -= 1
            return left > 0

        try:
            connection.send(b"request", _FIRST_BYTE_S)
            await connection.head()
            call.status, call.headers = connection.status, list(connection.headers)
            if reads:
                call.body = call.taken = await connection.read()
            else:
                await connection.for_each_chunk(take)
                call.body = call.taken if left > 0 else None
        except (UpstreamFailure, ClientHungUp) as failure:
            call.failure = failure

    def feed(self, piece: bytes) -> None:
        """Bytes arrive."""
        if not self.line.is_over and piece:
            self.loop.call_soon(self.connection.data_received, piece)

    def release(self) -> bool:
        """End the call; whether the connection carries another one. Then it is as good as new."""
        kept = self.connection.release(_KEPT_S)
        if kept:
            state = self.connection
            assert self.line.reads, "a kept connection does not read"
            clean = (state._body, state._consume, state._waiter)
            assert clean == (b"", None, None), "a kept connection is not clean"
        return kept

    def check_bounds(self) -> None:
        """What is kept is bounded."""
        assert sum(len(name) + len(value) for name, value in self.connection.headers) <= _MOST_HEADERS

    def outcomes(self) -> list[tuple[object, ...]]:
        """What came of the calls, to be compared; of a broken answer it may differ how much got through before."""
        return [
            (type(call.failure),) if call.body is None else (call.body, call.status, call.headers)
            for call in self.calls
        ]

    def end(self) -> None:
        """The upstream goes away, and nothing is left of the connection."""
        self.loop.do(partial(self.line.lose, ConnectionResetError()))
        self.loop.advance(_LONG_S)
        self.loop.check()
        assert self.lost == [self.connection], "the end is told once"
        assert not self.loop.timers(), "a timer is left"
        assert not self.loop.tasks(), "a call never ends"
        self.loop.close()


def _calm(answers: list[bytes], cut: Callable[[bytes], list[bytes]], *, reads: bool) -> _Run:
    """Call by call: the answer comes, and behind the last one the connection ends."""
    run = _Run()
    for place, answer in enumerate(answers):
        task = run.begin(reads=reads)
        run.loop.settle()
        for piece in cut(answer):
            run.feed(piece)
            run.loop.settle()
            run.check_bounds()
        if place == len(answers) - 1 or not task.done():
            run.loop.do(partial(run.line.lose, None))
        run.loop.check()
        assert task.done(), "a call does not end"
        if not run.release():
            break
        run.loop.settle()
    run.end()
    return run


def _wild(answers: list[bytes], rng: random.Random) -> _Run:
    """Pieces, and in between what else happens to a call."""
    run = _Run()
    for answer in answers:
        _carry_wildly(run, pieces(answer, rng)[::-1], rng)
        kept = run.release()
        run.loop.settle()
        if not kept or run.line.is_over:
            break
    run.end()
    return run


def _carry_wildly(run: _Run, waiting: list[bytes], rng: random.Random) -> None:
    task = run.begin(reads=rng.randrange(2) == 0, most_parts=rng.choice((1, 3, 1 << 30, 1 << 30)))
    connection = run.connection
    for _ in range(_WILD_STEPS):
        match rng.randrange(30):
            case 0 if rng.randrange(8) == 0:
                connection.interrupt()
            case 1 if rng.randrange(8) == 0:
                run.loop.call_soon(run.line.lose, rng.choice((None, ConnectionResetError())))
            case 2:
                run.loop.advance(rng.choice((1, 1, 1, 11, 21)))
            case 3 | 4:
                connection.pause()
            case 5 | 6 | 7:
                connection.resume()
            case number if number % 2:
                run.loop.turn()
            case _ if waiting and run.line.reads:
                run.feed(waiting.pop())
                run.loop.turn()
            case _:
                pass
        run.check_bounds()
        if task.done():
            break
    else:
        connection.resume()
        run.loop.advance(_FIRST_BYTE_S + _IDLE_S)
    run.loop.check()
    assert task.done(), "a call waits for ever"


def _check_against_h11(answers: list[bytes], run: _Run) -> None:
    """What h11 reads in the answers is what came of the calls."""
    for place, (answer, call) in enumerate(zip(answers, run.calls, strict=False)):
        reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        reader.send(h11.Request(method="POST", target="/", headers=[("host", "here")]))
        reader.send(h11.EndOfMessage())
        reader.receive_data(answer)
        if place == len(run.calls) - 1:
            reader.receive_data(b"")
        try:
            read = next_answer(reader)
        except NotAnswers:
            continue
        if read is not None:
            _check_one(read, call, ends_by_itself=ends_by_itself(answer))


def _check_one(read: Answer, call: _Call, *, ends_by_itself: bool) -> None:
    if call.body is not None:
        # h11 reads what stands in trailers, and refuses some.
        assert read.is_complete or ends_by_itself, "half an answer passes for a whole one"
        assert read.body == call.body, "another body"
        assert read.status == call.status, "another status"


def _check_wild(call: _Call, calm: _Call) -> None:
    """Disturbed or not, it is the same answer."""
    if call.body is not None and any(name in FRAMING for name, _ in call.headers):
        assert call.body == calm.body, "another body when disturbed"
    assert calm.body is None or calm.body.startswith(call.taken), "something else was handed over"
