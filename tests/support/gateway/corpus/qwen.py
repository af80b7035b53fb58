"""Qwen (Alibaba Cloud Model Studio): OpenAI's formats, with caches of two kinds. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import (
    DONE,
    call,
    choiceless,
    chunk,
    completion,
    counts,
    events,
    named_events,
    said,
)
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_CHAT: Final = "Alibaba Cloud Model Studio docs, OpenAI compatible chat"


ROWS: Final = (
    Row(
        server="Qwen",
        case="whole",
        shape="a completion with an empty reasoning",
        source=_CHAT,
        answer=completion(
            {"content": "I am a large language model.", "reasoning_content": ""},
            "stop",
            counts(22, 17, prompt_tokens_details={"cached_tokens": 0}),
            system_fingerprint=None,
        ),
        streamed=False,
        usage=Usage(22, 17),
        text="I am a large language model.",
        finish="stop",
    ),
    Row(
        server="Qwen",
        case="streamed",
        shape="null usage in every chunk but one without choices",
        source=f"{_CHAT}: streaming",
        answer=events(
            chunk({"content": "", "role": "assistant"}, usage=None),
            chunk({"content": "I am"}, usage=None),
            chunk({"content": " Qwen."}, usage=None),
            chunk({"content": ""}, "stop", usage=None),
            choiceless(usage=counts(22, 17, prompt_tokens_details={"cached_tokens": 0})),
        )
        + DONE,
        streamed=True,
        usage=Usage(22, 17),
        text="I am Qwen.",
        finish="stop",
    ),
    Row(
        server="Qwen",
        case="tools",
        shape="a streamed call whose later pieces have an empty id and no name",
        source="Alibaba Cloud Model Studio docs, Function calling",
        answer=events(
            chunk({"content": None, "role": "assistant", "tool_calls": [call("get_weather", "", "call_f0", index=0)]}),
            *(
                chunk({"tool_calls": [{"index": 0, "id": "", "type": "function", "function": {"arguments": piece}}]})
                for piece in ('{"location":', ' "Hangzhou"}', "")
            ),
            chunk({"content": ""}, "tool_calls"),
            choiceless(usage=counts(203, 21)),
        )
        + DONE,
        streamed=True,
        usage=Usage(203, 21),
        tool_calls=(ToolCall("get_weather", '{"location": "Hangzhou"}', "call_f0"),),
        finish="tool_calls",
    ),
    Row(
        server="Qwen",
        case="cached",
        shape="a prompt read from the implicit cache",
        source="Alibaba Cloud Model Studio docs, Context cache",
        answer=completion(
            {"content": "So."}, "stop", counts(3_019, 104, prompt_tokens_details={"cached_tokens": 2_048})
        ),
        streamed=False,
        usage=Usage(3_019, 104, cached_tokens=2_048),
        text="So.",
        finish="stop",
    ),
    Row(
        server="Qwen",
        case="cached",
        shape="tokens written to the explicit cache",
        source="can1357/oh-my-pi#1290",
        answer=completion(
            {"content": "So."},
            "stop",
            counts(
                2_100,
                50,
                prompt_tokens_details={
                    "cached_tokens": 0,
                    "cache_creation_input_tokens": 2_000,
                    "cache_creation": {"ephemeral_5m_input_tokens": 2_000},
                    "cache_type": "ephemeral",
                },
            ),
        ),
        streamed=False,
        usage=Usage(2_100, 50, cache_write_tokens=2_000),
        text="So.",
        finish="stop",
    ),
    Row(
        server="Qwen",
        case="reasoning",
        shape="streamed reasoning_content",
        source="Alibaba Cloud Model Studio docs, Deep thinking",
        answer=events(
            chunk({"content": None, "role": "assistant", "reasoning_content": ""}, usage=None),
            chunk({"content": None, "reasoning_content": "The user"}, usage=None),
            chunk({"content": None, "reasoning_content": " asks."}, usage=None),
            chunk({"content": "Qwen.", "reasoning_content": None}, usage=None),
            chunk({"content": "", "reasoning_content": None}, "stop", usage=None),
            choiceless(usage=counts(11, 60, completion_tokens_details={"reasoning_tokens": 48})),
        )
        + DONE,
        streamed=True,
        usage=Usage(11, 60, reasoning_tokens=48),
        text="Qwen.",
        reasoning="The user asks.",
        finish="stop",
    ),
    Row(
        server="Qwen",
        case="error event",
        shape="an error object without an end marker",
        source="open-octo/octo-agent#910",
        answer=events(
            said("Output"),
            {
                "error": {
                    "code": "data_inspection_failed",
                    "param": None,
                    "message": "Output data may contain inappropriate content.",
                    "type": "data_inspection_failed",
                },
                "id": "chatcmpl-1",
                "request_id": "8a1f",
            },
        ),
        streamed=True,
        usage=None,
        failed=True,
        text="Output",
    ),
    Row(
        server="Qwen",
        wire="openai.responses",
        case="error event",
        shape="response.failed behind streamed reasoning",
        source="ginlix-ai/LangAlpha#396",
        answer=named_events(
            {"type": "response.created", "response": {"status": "in_progress", "usage": None}},
            {"type": "response.reasoning_text.delta", "item_id": "rs_1", "output_index": 0, "delta": "Think"},
            {
                "type": "response.failed",
                "response": {"status": "failed", "error": {"code": "data_inspection_failed", "message": "Input data"}},
            },
        ),
        streamed=True,
        usage=None,
        failed=True,
        reasoning="Think",
    ),
)
