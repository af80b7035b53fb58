"""Targets: any bytes of an upstream, as a stream through every meter, as a whole answer, and through the relay.

What must hold: nothing is raised but what says that the upstream broke; wherever the stream is cut, the same leaves,
the same is counted and the same is known of it; only whole events leave, and nothing behind the end; usage that is
told twice counts once; at most one event shows what the call cost at its end. Of a call, in each format, asked whole
and as a stream: a refused one is free, one whose text was delivered is not, none ends cleanly without any word that
ends an answer, and what stands in the operator's places alone does not reach the client.
"""

import json
import random
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from fuzz.booth import WAYS, Asked, Sent, call
from fuzz.calls import check_outcome, check_secrets
from fuzz.plain_reader import is_private, may_end
from tests.support.catalog_samples import sample_model
from tests.support.gateway.formats import messages_model, speaking
from tokenbooth.config.catalog import Model
from tokenbooth.domain.pricing import cost_nano
from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.errors import UpstreamFailure
from tokenbooth.gateway.formats.anthropic.via_chat import TranslatingMeter
from tokenbooth.gateway.formats.base import OutboundRequest
from tokenbooth.gateway.formats.json.body import UNREADABLE, decode_fields
from tokenbooth.gateway.formats.meter import Delivered, Meter
from tokenbooth.gateway.formats.sse import BrokenStream, EventFramer, split_events
from tokenbooth.gateway.registry import ENDPOINTS
from tokenbooth.gateway.settlement.usage import count_answer

BYTEWISE_AT_MOST: Final = 300
_CHARGED_NANO: Final = 1_234_567_891
# A call that comes without an id gets one that nobody can guess.
_OUR_CALL_ID: Final = re.compile(rb"toolu_[0-9a-f]{24}")
_THINKING: Final = {"type": "enabled", "budget_tokens": 1_024}
_CHAT_ONLY: Final = speaking(sample_model(reasoning=True), "openai.chat")


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
        if meter.saw_end_marker or meter.failed or broken:
            break
    return Metered(
        out=_OUR_CALL_ID.sub(b"toolu_", b"".join(out)),
        tail=_OUR_CALL_ID.sub(b"toolu_", meter.final_events(_CHARGED_NANO)) if meter.may_end_without_marker() else b"",
        usage=meter.usage,
        prompt_usage=meter.prompt_usage,
        invalid_usage=meter.invalid_usage,
        ended=meter.saw_end_marker,
        failed=meter.failed,
        finished=meter.saw_finish_reason(),
        delivered=meter.delivered(),
        broken=broken,
    )


def check_stream(data: bytes) -> None:
    """Meter a stream in every way.

    Raises:
        AssertionError: something that must hold does not.
    """
    _check_calls(data)
    # In the one form of events, so that a cut between two of them is one like the others.
    framer = EventFramer()
    try:
        stream = framer.feed(data + b"\n\n") + framer.end()
    except BrokenStream:
        return
    for make in _METERS:
        whole = meter_all(make(), [stream])
        for cut in cuts(stream):
            assert meter_all(make(), cut) == whole, "it matters where the stream is cut"
        twice = meter_all(make(), [event * 2 for event in split_events(stream)])
        # A call that is told twice may make no message.
        if twice.failed == whole.failed or not isinstance(make(), TranslatingMeter):
            assert (twice.usage, twice.ended, twice.failed) == (whole.usage, whole.ended, whole.failed), "counted twice"
        assert whole.tail.count(b'"cost":1.234567891') <= 1
        if whole.ended:
            assert meter_all(make(), [stream + b'data: {"choices":[{"delta":{"content":"more"}}]}\n\n']) == whole


def _outbound_requests(**more: object) -> list[OutboundRequest]:
    """A request of every format, as it is spoken to its own kind of upstream, and the translated one.

    Args:
        more: fields of all of them, but for that of embeddings.
    """
    everything = speaking(sample_model(), "openai.chat", "openai.completions", "openai.embeddings", "openai.responses")
    fields = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
    asked: list[tuple[str, Model, dict[str, object]]] = [
        ("/v1/chat/completions", everything, fields),
        ("/v1/completions", everything, {"model": "m", "prompt": "Hi"}),
        ("/v1/embeddings", everything, {"model": "m", "input": "Hi"}),
        ("/v1/responses", everything, {"model": "m", "input": "Hi"}),
        ("/anthropic/v1/messages", messages_model(), fields),
        ("/anthropic/v1/messages", _CHAT_ONLY, {**fields, "max_tokens": 6_000, "thinking": _THINKING}),
    ]
    spoken: list[OutboundRequest] = []
    for path, model, body in asked:
        content = msgspec.json.encode(body if path == "/v1/embeddings" else {**body, **more})
        request = ENDPOINTS[path].read(decode_fields(content, 128), model, len(content), [])
        spoken += [
            outbound for route in model.routes if (outbound := request.outbound(route.upstream.formats)) is not None
        ]
    return spoken


def _no_cost(usage: Usage) -> int:
    return 0


def _meters() -> list[Callable[[], Meter]]:
    """A meter of every format with streams, as the relay makes it; of a chat with its usage and without."""
    outbound_requests = [one for one in _outbound_requests(stream=True) if one.path != "/embeddings"]
    outbound_requests += [
        one for one in _outbound_requests(stream=True, stream_options={"include_usage": True}) if _is_chat(one)
    ]
    return [partial(outbound.meter, _no_cost, "req_1") for outbound in outbound_requests]


def _is_chat(outbound: OutboundRequest) -> bool:
    return outbound.request.endpoint == "chat.completions"


_OUTBOUND_REQUESTS: Final = _outbound_requests()
_METERS: Final = _meters()


def _check_calls(body: bytes) -> None:
    """Calls that are answered so, in each format, asked whole and as a stream."""
    may_end_cleanly, hides_all = may_end(body), is_private(body)
    for path, wire in WAYS:
        for stream in (False, True) if wire != "openai.embeddings" else (False,):
            asked = Asked(path, wire, stream)
            outcome = call(asked, Sent((body[: len(body) // 2], body[len(body) // 2 :])))
            told = check_outcome(asked, outcome)
            assert may_end_cleanly or not told.has_ended, "a clean end without any word that ends an answer"
            if hides_all:
                check_secrets(outcome)


def check_answer(data: bytes) -> None:
    """Count a whole answer, and make of it what the client gets.

    Raises:
        AssertionError: something that must hold does not.
    """
    _check_calls(data)
    for outbound in _OUTBOUND_REQUESTS:
        try:
            came = outbound.read_answer(data)
            counted = count_answer(outbound, came, data, request_id="r", upstream="u")
            answer = came.client_answer(counted.usage).encode(0)
        except (*UNREADABLE, UpstreamFailure):
            continue
        usage, request = counted.usage, outbound.request
        assert 0 <= usage.cached_tokens + usage.cache_write_tokens <= usage.prompt_tokens <= request.most_prompt_tokens
        assert 0 <= usage.completion_tokens <= request.model.max_output_tokens * request.choices
        assert cost_nano(request.model.price, usage) >= 0
        # A number may be longer than Python converts.
        json.loads(answer.decode("utf-8", "replace"), strict=False, parse_int=str)
