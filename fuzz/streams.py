"""Targets: the bytes of an upstream, as a stream through every meter, and as a whole answer.

What must hold: nothing is raised but what says that the upstream broke; wherever the stream is cut, the same leaves,
the same is counted and the same is known of it; only whole events leave, in their order, and nothing behind the end;
usage that is told twice counts once; at most one event shows what the call cost at its end.
"""

import json
import random
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from tests.support.catalog_samples import sample_model
from tests.support.formats import CHAT, messages_body, messages_model, read_messages, speaking
from tokenbooth.catalog import Model
from tokenbooth.domain.pricing import cost_nano
from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.body import UNREADABLE, decode_fields
from tokenbooth.gateway.completions_request import CompletionMeter
from tokenbooth.gateway.counting import count_answer
from tokenbooth.gateway.endpoints import ENDPOINTS
from tokenbooth.gateway.event_stream import BrokenStream, split_events
from tokenbooth.gateway.messages_meter import MessagesMeter
from tokenbooth.gateway.meter import StreamMeter
from tokenbooth.gateway.responses_meter import ResponsesMeter
from tokenbooth.gateway.speech import Delivered, Meter, Speech
from tokenbooth.gateway.upstreams import UpstreamFailure

BYTEWISE_AT_MOST: Final = 300
_CHARGED_NANO: Final = 1_234_567_891
# A call that comes without an id gets one that nobody can guess.
_OUR_CALL_ID: Final = re.compile(rb"toolu_[0-9a-f]{24}")
_CHAT_ONLY: Final = speaking(sample_model(reasoning=True), "openai.chat")


def _translating() -> Meter:
    thinking = {"type": "enabled", "budget_tokens": 1_024}
    speech = read_messages(messages_body(stream=True, thinking=thinking), _CHAT_ONLY).speech(CHAT)
    assert speech is not None
    return speech.meter(_no_cost)


def _no_cost(usage: Usage) -> int:
    return 0


# Those whose events leave as they came, and those that show a cost or say everything anew.
_PASSING: Final[tuple[Callable[[], Meter], ...]] = (lambda: StreamMeter(None), MessagesMeter, ResponsesMeter)
_OTHERS: Final[tuple[Callable[[], Meter], ...]] = (
    lambda: StreamMeter(lambda usage: usage.completion_tokens),
    lambda: CompletionMeter(None),
    _translating,
)


@dataclass(frozen=True, slots=True)
class Metered:
    """What one meter made of a stream."""

    out: bytes
    tail: bytes
    usage: Usage | None
    prompt_usage: Usage | None
    invalid_usage: bool
    ended: bool
    failed: bool
    finished: bool
    delivered: Delivered
    broken: bool


def pieces(data: bytes, rng: random.Random) -> list[bytes]:
    """The bytes, cut at random: into a few large pieces or many small ones.

    A target that feeds anything else in pieces, such as an `asyncio.Protocol`, cuts with this too.
    """
    longest = rng.choice((2, 7, 60, 500, 5_000))
    cut: list[bytes] = []
    at = 0
    while at < len(data):
        size = rng.randint(1, longest)
        cut.append(data[at : at + size])
        at += size
    return cut


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """The same bytes cut in several ways, always the same ones for the same bytes."""
    rng = random.Random(zlib.crc32(data))
    yield split_events(data)
    yield pieces(data, rng)
    if len(data) <= BYTEWISE_AT_MOST:
        yield [data[at : at + 1] for at in range(len(data))]


def meter_all(meter: Meter, cut: list[bytes]) -> Metered:
    """Feed a meter as the relay does."""
    out: list[bytes] = []
    broken = False
    for piece in cut:
        try:
            out.append(meter.feed(piece))
        except BrokenStream:
            broken = True
        if meter.ended or meter.failed or broken:
            break
    return Metered(
        out=_OUR_CALL_ID.sub(b"toolu_", b"".join(out)),
        tail=_OUR_CALL_ID.sub(b"toolu_", meter.tail(_CHARGED_NANO)) if meter.complete() else b"",
        usage=meter.usage,
        prompt_usage=meter.prompt_usage,
        invalid_usage=meter.invalid_usage,
        ended=meter.ended,
        failed=meter.failed,
        finished=meter.finished(),
        delivered=meter.delivered(),
        broken=broken,
    )


def check_stream(data: bytes) -> None:
    """Meter a stream in every way.

    Raises:
        AssertionError: something that must hold does not.
    """
    # Ended by an empty line, so that a cut between events is one like the others.
    stream = data + b"\n\n"
    for make in (*_PASSING, *_OTHERS):
        whole = meter_all(make(), [stream])
        for cut in cuts(stream):
            assert meter_all(make(), cut) == whole, "it matters where the stream is cut"
        twice = meter_all(make(), [event * 2 for event in split_events(stream)])
        assert (twice.usage, twice.ended, twice.failed) == (whole.usage, whole.ended, whole.failed), "counted twice"
        assert whole.tail.count(b'"cost":1.234567891') <= 1
        if whole.ended:
            assert meter_all(make(), [stream + b'data: {"choices":[{"delta":{"content":"more"}}]}\n\n']) == whole
        if make in _PASSING:
            _check_order(whole.out, stream)


def _check_order(out: bytes, stream: bytes) -> None:
    """What left is some of the events that came, in their order."""
    came = iter(split_events(stream))
    for event in split_events(out):
        assert event in came, "something left that did not come"


def _speeches() -> list[Speech]:
    """A request of every format, as it is spoken to its own kind of upstream, and the translated one."""
    everything = speaking(sample_model(), "openai.chat", "openai.completions", "openai.embeddings", "openai.responses")
    fields = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
    asked: list[tuple[str, Model, dict[str, object]]] = [
        ("/v1/chat/completions", everything, fields),
        ("/v1/completions", everything, {"model": "m", "prompt": "Hi"}),
        ("/v1/embeddings", everything, {"model": "m", "input": "Hi"}),
        ("/v1/responses", everything, {"model": "m", "input": "Hi"}),
        ("/anthropic/v1/messages", messages_model(), fields),
        ("/anthropic/v1/messages", _CHAT_ONLY, fields),
    ]
    spoken: list[Speech] = []
    for path, model, body in asked:
        content = msgspec.json.encode(body)
        request = ENDPOINTS[path].read(decode_fields(content, 128), model, len(content), [])
        spoken += [speech for route in model.routes if (speech := request.speech(route.upstream.formats)) is not None]
    return spoken


_SPEECHES: Final = _speeches()


def check_answer(data: bytes) -> None:
    """Count a whole answer, and make of it what the client gets.

    Raises:
        AssertionError: something that must hold does not.
    """
    for speech in _SPEECHES:
        try:
            came = speech.read_answer(data)
            counted = count_answer(speech, came, data, request_id="r", upstream="u")
            answer = came.client_answer(counted.usage).encode(0)
        except (*UNREADABLE, UpstreamFailure):
            continue
        usage, request = counted.usage, speech.request
        assert 0 <= usage.cached_tokens + usage.cache_write_tokens <= usage.prompt_tokens <= request.most_prompt_tokens
        assert 0 <= usage.completion_tokens <= request.model.max_output_tokens * request.choices
        assert cost_nano(request.model.price, usage) >= 0
        # A number may be longer than Python converts.
        json.loads(answer.decode("utf-8", "replace"), strict=False, parse_int=str)
