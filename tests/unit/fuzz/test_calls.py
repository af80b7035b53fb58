"""The target of described answers: that it makes every kind of them, and that it would find what must not be."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from fuzz.booth import WAYS, Asked, Outcome, Sent, call
from fuzz.calls import judge
from fuzz.choices import Choices
from fuzz.described import Described, described, plain
from fuzz.failures import CANARY, EVENTS, IN_JSON, WHOLE
from fuzz.plain_reader import is_private, may_end
from fuzz.written import Says, Truth

ASKED = [
    Asked(path, wire, stream) for path, wire in WAYS for stream in (False, True) if "embed" not in path or not stream
]


def failed(answer: Described) -> Described:
    """The same answer as one that had failed before it said anything."""
    return replace(answer, truth=Truth(failed=True))


def outcome_of(answer: Described) -> Outcome:
    """What comes of it."""
    return call(answer.asked, answer.sent)


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_an_answer_in_order_is_judged_so(asked: Asked) -> None:
    """In each format, whole and streamed."""
    judge(plain(asked), outcome_of(plain(asked)))


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_a_clean_end_of_a_failed_answer_is_found(asked: Asked) -> None:
    """Had this answer failed, its end would have been wrong."""
    with pytest.raises(AssertionError, match="clean end"):
        judge(failed(plain(asked)), outcome_of(plain(asked)))


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_a_charge_before_the_first_event_is_found(asked: Asked) -> None:
    """An error is told as it should be, but what is charged is not nothing."""
    answer = Described(asked, Sent([IN_JSON[0]]), Truth(failed=True))
    told = outcome_of(answer)
    judge(answer, told)
    charges = outcome_of(plain(asked)).charges
    with pytest.raises(AssertionError, match="charged"):
        judge(answer, replace(told, charges=charges))


@pytest.mark.parametrize("asked", [one for one in ASKED if "embed" not in one.path], ids=str)
def test_text_for_nothing_is_found(asked: Asked) -> None:
    """What was delivered is charged, if it costs anything."""
    told = outcome_of(plain(asked))
    free = [charge._replace(charged_nano=0) for charge in told.charges]
    with pytest.raises(AssertionError, match="free"):
        judge(plain(asked), replace(told, charges=free))


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_what_is_the_operators_is_found(asked: Asked) -> None:
    """In a header, and in the body."""
    told = outcome_of(plain(asked))
    with pytest.raises(AssertionError, match="operator"):
        judge(plain(asked), replace(told, head=told.head + b"\r\nserver: " + CANARY.encode()))
    with pytest.raises(AssertionError, match="operator"):
        judge(
            plain(asked),
            replace(told, body=told.body.replace(b"embedding", CANARY.encode()).replace(b"Hello", CANARY.encode())),
        )


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_every_shape_of_a_failure_is_told_and_free(asked: Asked) -> None:
    """In the place of a whole answer; in a stream as its first event."""
    bodies = list(WHOLE)
    if asked.stream:
        bodies += [b": keep-alive\n\n" + b"\n".join(lines) + b"\n\n" for lines in EVENTS]
    for body in bodies:
        answer = Described(asked, Sent([body]), Truth(failed=True))
        judge(answer, outcome_of(answer))


def test_answers_of_every_kind_are_made() -> None:
    """Of each format, asked whole and as a stream: in order, failed before anything was said, and behind a text."""
    rng = random.Random(3)
    kinds: Counter[tuple[Asked, bool, Says]] = Counter()
    for _ in range(4_000):
        answer = described(Choices(rng.randbytes(120)))
        kinds[replace(answer.asked, choices=1), bool(answer.truth.failed), answer.truth.says] += 1
    for asked in ASKED:
        assert kinds[asked, False, Says.SOMETHING] > 10
        assert kinds[asked, True, Says.NOTHING] > 10
        assert kinds[asked, True, Says.SOMETHING] > 10 or not asked.stream


@pytest.mark.parametrize(
    ("body", "ends"),
    [
        (b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":null}]}\n\n', False),
        (b'data: {"choices":[{"finish_reason":"null"}]}\n\n', False),
        (b'data: {"choices":[{"finish_reason": "stop"}]}\n\n', True),
        (b'data: {"choices":[{"\\u0066inish_reason":"stop"}]}\n\n', True),
        (b"data: [DONE]\n\n", True),
        (b'data: {"type":"message_stop"}\n\n', True),
        (b'{"choices":[]}', True),
    ],
)
def test_what_may_end(body: bytes, ends: bool) -> None:
    """The plain reader knows when there is no end at all."""
    assert may_end(body) is ends


@pytest.mark.parametrize(
    ("body", "private"),
    [
        (b'{"id":"%b","provider":{"name":"%b"}}', True),
        (b'data: {"response":{"id":"%b","usage":{"cost_details":"%b"}}}\n\n', True),
        (b'{"id":"%b","choices":[{"message":{"content":"%b"}}]}', False),
        (b'{"id":"%b","id":"%b"}', False),
        (b'data: {"id":"%b","x":"%b', False),
    ],
)
def test_what_is_private(body: bytes, private: bool) -> None:
    """Where it cannot tell, it finds nothing."""
    assert is_private(body % (CANARY.encode(), CANARY.encode())) is private
