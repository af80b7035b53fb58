"""Usage objects as providers document them, each settled to nano-dollars that were computed by hand (45).

The objects were written down by hand after the pages that each case names; the numbers in them are made up. Prices
are in USD per million tokens, so one token at $3 per million is 3,000 nano-dollars.
"""

from dataclasses import dataclass, replace
from typing import Literal

import msgspec
import pytest

from tests.support.catalog_samples import with_kind
from tests.support.gateway.formats import Json, messages_body, messages_model, read_messages, read_responses
from tokenbooth.config.upstream_kinds import KINDS
from tokenbooth.domain.pricing import Price, TokenRates, cost_nano
from tokenbooth.gateway.formats.base import OutboundRequest
from tokenbooth.gateway.formats.json.body import decode_fields
from tokenbooth.gateway.formats.openai.chat import read_chat_request
from tokenbooth.gateway.settlement.usage import count_answer, count_stream

# $3 input, $0.30 cached, $3.75 cache write, $15 output.
DEAR = Price(
    TokenRates(input=3_000_000_000, cached_input=300_000_000, cache_write=3_750_000_000, output=15_000_000_000)
)
# $1.25 input, $0.125 cached, $10 output.
MIDDLE = Price(
    TokenRates(input=1_250_000_000, cached_input=125_000_000, cache_write=1_250_000_000, output=10_000_000_000)
)
# $0.27 input, $0.07 cached, $1.10 output.
CHEAP = Price(TokenRates(input=270_000_000, cached_input=70_000_000, cache_write=270_000_000, output=1_100_000_000))
# $0.30 input, $0.03 cached, $2.50 output, and $3.50 where it was thought.
THINKING = Price(
    TokenRates(
        input=300_000_000,
        cached_input=30_000_000,
        cache_write=300_000_000,
        output=2_500_000_000,
        reasoning=3_500_000_000,
    )
)


@dataclass(frozen=True, slots=True)
class Golden:
    """One usage object and what it must cost.

    Attributes:
        source: the page that shows the object.
        wire: the format that it comes in.
        nano: computed by hand, see the sum beside it.
    """

    source: str
    wire: Literal["chat", "responses", "messages"]
    reported: Json
    price: Price
    nano: int


TABLE = [
    Golden(
        "OpenAI API reference, The chat completion object",
        "chat",
        {
            "prompt_tokens": 2_006,
            "completion_tokens": 300,
            "total_tokens": 2_306,
            "prompt_tokens_details": {"cached_tokens": 1_920, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 128,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        MIDDLE,
        # 86 fresh x 1,250 + 1,920 cached x 125 + 300 x 10,000; reasoning is part of the 300.
        107_500 + 240_000 + 3_000_000,
    ),
    Golden(
        "OpenAI API reference, The chat completion object, without details",
        "chat",
        {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29},
        MIDDLE,
        # 19 x 1,250 + 10 x 10,000
        23_750 + 100_000,
    ),
    Golden(
        "OpenAI API reference, The response object",
        "responses",
        {
            "input_tokens": 328,
            "input_tokens_details": {"cached_tokens": 128},
            "output_tokens": 52,
            "output_tokens_details": {"reasoning_tokens": 40},
            "total_tokens": 380,
        },
        MIDDLE,
        # 200 x 1,250 + 128 x 125 + 52 x 10,000
        250_000 + 16_000 + 520_000,
    ),
    Golden(
        "OpenAI API reference, The response object, with tokens written to the cache",
        "responses",
        {
            "input_tokens": 1_000,
            "input_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 600},
            "output_tokens": 10,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 1_010,
        },
        DEAR,
        # 100 x 3,000 + 300 x 300 + 600 x 3,750 + 10 x 15,000
        300_000 + 90_000 + 2_250_000 + 150_000,
    ),
    Golden(
        "Anthropic API reference, Messages",
        "messages",
        {"input_tokens": 2_095, "output_tokens": 503},
        DEAR,
        # 2,095 x 3,000 + 503 x 15,000
        6_285_000 + 7_545_000,
    ),
    Golden(
        "Anthropic docs, Prompt caching: the input excludes what was read from and written to the cache",
        "messages",
        {
            "input_tokens": 50,
            "cache_creation_input_tokens": 248,
            "cache_read_input_tokens": 100_000,
            "cache_creation": {"ephemeral_5m_input_tokens": 248, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 503,
            "service_tier": "standard",
        },
        DEAR,
        # 50 x 3,000 + 248 x 3,750 + 100,000 x 300 + 503 x 15,000
        150_000 + 930_000 + 30_000_000 + 7_545_000,
    ),
    Golden(
        "Anthropic API reference, Messages: caches named and null",
        "messages",
        {
            "input_tokens": 10,
            "cache_creation_input_tokens": None,
            "cache_read_input_tokens": None,
            "output_tokens": 20,
            "output_tokens_details": {"thinking_tokens": 12},
        },
        THINKING,
        # 10 x 300 + 8 x 2,500 + 12 thinking x 3,500
        3_000 + 20_000 + 42_000,
    ),
    Golden(
        "DeepSeek API docs, Create chat completion: hits and misses of the cache",
        "chat",
        {
            "prompt_tokens": 1_024,
            "completion_tokens": 256,
            "total_tokens": 1_280,
            "prompt_cache_hit_tokens": 960,
            "prompt_cache_miss_tokens": 64,
        },
        CHEAP,
        # 64 x 270 + 960 x 70 + 256 x 1,100
        17_280 + 67_200 + 281_600,
    ),
    Golden(
        "DeepSeek API docs, the reasoning model: both ways of telling the same cache hits",
        "chat",
        {
            "prompt_tokens": 128,
            "completion_tokens": 900,
            "total_tokens": 1_028,
            "prompt_tokens_details": {"cached_tokens": 64},
            "completion_tokens_details": {"reasoning_tokens": 700},
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 64,
        },
        CHEAP,
        # 64 x 270 + 64 x 70 + 900 x 1,100
        17_280 + 4_480 + 990_000,
    ),
    Golden(
        "Gemini API docs, OpenAI compatibility: thinking shows in the total only",
        "chat",
        {"prompt_tokens": 14, "completion_tokens": 28, "total_tokens": 142},
        THINKING,
        # 14 x 300 + (142 - 14) x 2,500
        4_200 + 320_000,
    ),
    Golden(
        "OpenRouter docs, Usage accounting: its own cost is not ours",
        "chat",
        {
            "prompt_tokens": 194,
            "completion_tokens": 2,
            "total_tokens": 196,
            "cost": 0.95,
            "cost_details": {"upstream_inference_cost": 19},
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        DEAR,
        # 194 x 3,000 + 2 x 15,000
        582_000 + 30_000,
    ),
    Golden(
        "OpenRouter docs, Prompt caching: written tokens are part of the prompt",
        "chat",
        {
            "prompt_tokens": 10_339,
            "completion_tokens": 60,
            "total_tokens": 10_399,
            "prompt_tokens_details": {"cached_tokens": 10_000, "cache_write_tokens": 300},
        },
        DEAR,
        # 39 x 3,000 + 10,000 x 300 + 300 x 3,750 + 60 x 15,000
        117_000 + 3_000_000 + 1_125_000 + 900_000,
    ),
]


def outbound_of(wire: str, *, stream: bool = False) -> OutboundRequest:
    """A request of the format, as spoken to an upstream of the same format."""
    outbound: OutboundRequest | None
    match wire:
        case "chat":
            body = msgspec.json.encode(
                {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
            )
            # Its kind says what its totals mean, see the row; the other rows add up without it.
            model = with_kind(KINDS["gemini"], "openai.chat")
            outbound = read_chat_request(decode_fields(body, 128), model, len(body)).outbound(
                frozenset(("openai.chat",))
            )
        case "responses":
            body = msgspec.json.encode({"model": "m", "input": "Hi", "stream": stream})
            outbound = read_responses(body).outbound(frozenset(("openai.responses",)))
        case _:
            outbound = read_messages(
                messages_body(stream=stream), replace(messages_model(), context_tokens=200_000)
            ).outbound(frozenset(("anthropic.messages",)))
    assert outbound is not None
    return outbound


def whole(golden: Golden) -> bytes:
    """An answer that is not streamed."""
    return msgspec.json.encode({"id": "x", "status": "completed", "usage": golden.reported})


def events(golden: Golden) -> bytes:
    """The end of a stream, as each format tells usage there."""
    data: list[Json]
    match golden.wire:
        case "chat":
            data = [{"choices": [], "usage": golden.reported}]
        case "responses":
            data = [{"type": "response.completed", "response": {"usage": golden.reported}}]
        case "messages":
            # The prompt at the beginning with a first word; the output at the end, cumulative (41).
            start = {**golden.reported, "output_tokens": 1, "output_tokens_details": None}
            end = {
                name: golden.reported[name]
                for name in ("output_tokens", "output_tokens_details")
                if name in golden.reported
            }
            data = [
                {"type": "message_start", "message": {"usage": start}},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end},
                {"type": "message_stop"},
            ]
    return b"".join(b"data: " + msgspec.json.encode(one) + b"\n\n" for one in data)


@pytest.mark.parametrize("golden", TABLE, ids=lambda golden: golden.source)
def test_a_whole_answer_costs_what_was_computed_by_hand(golden: Golden) -> None:
    """Every documented usage object has exactly one price (45)."""
    outbound, body = outbound_of(golden.wire), whole(golden)
    counted = count_answer(outbound, outbound.read_answer(body), body, request_id="r", upstream="of-gemini")

    assert cost_nano(golden.price, counted.usage) == golden.nano


@pytest.mark.parametrize("golden", TABLE, ids=lambda golden: golden.source)
def test_a_stream_costs_the_same(golden: Golden) -> None:
    """The way in which usage arrives does not change the price (41, 45)."""
    outbound = outbound_of(golden.wire, stream=True)
    meter = outbound.meter(lambda usage: 0)
    meter.feed(events(golden))
    counted = count_stream(outbound.request, meter, request_id="r", upstream="of-gemini")

    assert cost_nano(golden.price, counted.usage) == golden.nano
