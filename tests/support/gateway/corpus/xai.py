"""xAI (Grok): reasoning that is counted beside the completion. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import (
    DONE,
    Json,
    call,
    choiceless,
    chunk,
    completion,
    events,
    named_events,
    said,
)
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_CHAT: Final = "xAI REST API reference, Chat completions"


def _beside(prompt: int, completion_tokens: int, reasoning: int, cached: int = 0) -> Json:
    """Usage whose total has the reasoning beside the completion."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt + completion_tokens + reasoning,
        "prompt_tokens_details": {"text_tokens": prompt, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": cached},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
        "num_sources_used": 0,
        "cost_in_usd_ticks": 232_856_000,
    }


ROWS: Final = (
    Row(
        server="xAI",
        case="whole",
        shape="a completion with a null refusal",
        source=_CHAT,
        answer=completion({"content": "101 * 3 = 303.", "refusal": None}, "stop", _beside(23, 8, 0)),
        streamed=False,
        usage=Usage(23, 8),
        text="101 * 3 = 303.",
        finish="stop",
    ),
    Row(
        server="xAI",
        case="streamed",
        shape="usage in a chunk without choices",
        source="xAI docs, Streaming response",
        answer=events(
            chunk({"content": "Ah", "role": "assistant"}),
            chunk({"content": ",", "role": "assistant"}),
            chunk({"content": "", "role": "assistant"}, "stop"),
            choiceless(usage=_beside(41, 2, 0)),
        )
        + DONE,
        streamed=True,
        usage=Usage(41, 2),
        text="Ah,",
        finish="stop",
    ),
    Row(
        server="xAI",
        case="tools",
        shape="a streamed call that comes whole",
        source="xAI docs, Function calling",
        answer=events(
            chunk(
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [call("get_temperature", '{"location":"San Francisco"}', "call_15", index=0)],
                },
            ),
            chunk({"role": "assistant", "content": ""}, "tool_calls"),
            choiceless(usage=_beside(200, 25, 0)),
        )
        + DONE,
        streamed=True,
        usage=Usage(200, 25),
        tool_calls=(ToolCall("get_temperature", '{"location":"San Francisco"}', "call_15"),),
        finish="tool_calls",
    ),
    Row(
        server="xAI",
        case="cached",
        shape="cached tokens, and reasoning beside the completion",
        source="Wei-Shaw/sub2api#5771",
        answer=completion({"content": "So."}, "stop", _beside(10_120, 1_499, 2_809, cached=128)),
        streamed=False,
        usage=Usage(10_120, 1_499 + 2_809, cached_tokens=128, reasoning_tokens=2_809),
        text="So.",
        finish="stop",
    ),
    Row(
        server="xAI",
        case="reasoning",
        shape="reasoning beside the completion: 32 + 9 + 94 = 135",
        source=f"{_CHAT}; UKGovernmentBEIS/inspect_ai#5528",
        answer=completion({"content": "303", "reasoning_content": "Multiply."}, "stop", _beside(32, 9, 94)),
        streamed=False,
        usage=Usage(32, 103, reasoning_tokens=94),
        text="303",
        reasoning="Multiply.",
        finish="stop",
    ),
    Row(
        server="xAI",
        case="reasoning",
        shape="streamed reasoning beside the completion",
        source="xAI docs, Reasoning",
        answer=events(
            chunk({"role": "assistant", "reasoning_content": "First"}),
            chunk({"reasoning_content": ", add."}),
            said("303"),
            chunk({}, "stop"),
            choiceless(usage=_beside(32, 9, 94)),
        )
        + DONE,
        streamed=True,
        usage=Usage(32, 103, reasoning_tokens=94),
        text="303",
        reasoning="First, add.",
        finish="stop",
    ),
    Row(
        server="xAI",
        wire="openai.responses",
        case="streamed",
        shape="a response whose reasoning is part of its output",
        source="vercel/ai#17068",
        answer=named_events(
            {"type": "response.created", "response": {"status": "in_progress", "usage": None}},
            {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "END_OK"},
            {
                "type": "response.completed",
                "response": {
                    "status": "completed",
                    "usage": {
                        "input_tokens": 30,
                        "input_tokens_details": {"cached_tokens": 0},
                        "output_tokens": 12,
                        "output_tokens_details": {"reasoning_tokens": 8},
                        "total_tokens": 42,
                    },
                },
            },
        ),
        streamed=True,
        usage=Usage(30, 12, reasoning_tokens=8),
        text="END_OK",
        finish="completed",
    ),
    Row(
        server="xAI",
        case="cut",
        shape="a stream that stops in the middle",
        source="flyun/chatAir#74",
        answer=events(chunk({"content": "Ah", "role": "assistant"}), chunk({"content": ", the", "role": "assistant"})),
        streamed=True,
        usage=None,
        failed=True,
        text="Ah, the",
    ),
)
