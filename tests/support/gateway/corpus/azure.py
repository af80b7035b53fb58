"""Azure OpenAI: chunks of its content filter without a choice or without a delta. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import (
    DONE,
    Json,
    call,
    choiceless,
    chunk,
    completion,
    counts,
    events,
    more_arguments,
    named_events,
    said,
)
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_REFERENCE: Final = "Azure OpenAI REST API reference, Chat completions"
_SAFE: Final[Json] = {
    "hate": {"filtered": False, "severity": "safe"},
    "violence": {"filtered": False, "severity": "safe"},
}
_PROMPT_FILTER: Final[Json] = {
    "choices": [],
    "created": 0,
    "id": "",
    "model": "",
    "object": "",
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}],
}


def _filtered(start: int, end: int) -> Json:
    """A chunk that only says that the text up to here passed the filter: its choice has no delta."""
    return {
        "id": "",
        "object": "",
        "created": 0,
        "model": "",
        "choices": [
            {
                "index": 0,
                "finish_reason": None,
                "content_filter_results": _SAFE,
                "content_filter_offsets": {"check_offset": start, "start_offset": start, "end_offset": end},
            }
        ],
        "usage": None,
    }


def _failed(code: str, text: str) -> Json:
    return {"type": "response.failed", "response": {"status": "failed", "error": {"code": code, "message": text}}}


ROWS: Final = (
    Row(
        server="Azure",
        case="whole",
        shape="a completion with what its filter found",
        source=_REFERENCE,
        answer=completion(
            {"content": "Yes, Azure supports that."},
            "stop",
            counts(33, 557),
            prompt_filter_results=[{"prompt_index": 0, "content_filter_results": _SAFE}],
            system_fingerprint=None,
        ),
        streamed=False,
        usage=Usage(33, 557),
        text="Yes, Azure supports that.",
        finish="stop",
    ),
    Row(
        server="Azure",
        case="streamed",
        shape="a first chunk about the prompt, without a choice",
        source="AbanteAI/archive-old-cli-mentat#429",
        answer=events(
            _PROMPT_FILTER,
            chunk({"role": "assistant", "content": ""}),
            said("This is"),
            said(" a test"),
            chunk({}, "stop"),
            choiceless(usage=counts(12, 5)),
        )
        + DONE,
        streamed=True,
        usage=Usage(12, 5),
        text="This is a test",
        finish="stop",
    ),
    Row(
        server="Azure",
        case="streamed",
        shape="annotations of the filter, without a delta, also behind the finish reason",
        source="langchain-ai/langchain#18977",
        answer=events(
            _PROMPT_FILTER,
            chunk({"role": "assistant", "content": ""}),
            said("A long text"),
            _filtered(44, 198),
            chunk({}, "stop"),
            _filtered(4_522, 4_686),
            choiceless(usage=counts(12, 9)),
        )
        + DONE,
        streamed=True,
        usage=Usage(12, 9),
        text="A long text",
        finish="stop",
    ),
    Row(
        server="Azure",
        case="streamed",
        shape="an answer that the filter ended, without an end marker",
        source="experientiallabs/experiential#962",
        answer=events(said("Once"), said(" there"), chunk({}, "content_filter")),
        streamed=True,
        usage=None,
        text="Once there",
        finish="content_filter",
    ),
    Row(
        server="Azure",
        case="tools",
        shape="a streamed function call behind the filter's chunk",
        source="Azure OpenAI docs, Function calling",
        answer=events(
            _PROMPT_FILTER,
            chunk({"role": "assistant", "content": None, "tool_calls": [call("get_time", "", "call_p", index=0)]}),
            more_arguments('{"location":'),
            more_arguments('"Tokyo"}'),
            chunk({}, "tool_calls"),
            choiceless(usage=counts(81, 15)),
        )
        + DONE,
        streamed=True,
        usage=Usage(81, 15),
        tool_calls=(ToolCall("get_time", '{"location":"Tokyo"}', "call_p"),),
        finish="tool_calls",
    ),
    Row(
        server="Azure",
        case="cached",
        shape="a prompt read from the cache",
        source="Azure OpenAI docs, Prompt caching",
        answer=completion(
            {"content": "So."},
            "stop",
            counts(
                1_566,
                1_518,
                completion_tokens_details={"audio_tokens": None, "reasoning_tokens": 576},
                prompt_tokens_details={"audio_tokens": None, "cached_tokens": 1_408},
            ),
        ),
        streamed=False,
        usage=Usage(1_566, 1_518, cached_tokens=1_408, reasoning_tokens=576),
        text="So.",
        finish="stop",
    ),
    Row(
        server="Azure",
        case="reasoning",
        shape="reasoning that is part of the completion",
        source="Azure OpenAI docs, Reasoning models",
        answer=completion(
            {"content": "Three."},
            "stop",
            counts(
                20,
                1_843,
                completion_tokens_details={"audio_tokens": None, "reasoning_tokens": 448},
                prompt_tokens_details={"audio_tokens": None, "cached_tokens": 0},
            ),
        ),
        streamed=False,
        usage=Usage(20, 1_843, reasoning_tokens=448),
        text="Three.",
        finish="stop",
    ),
    Row(
        server="Azure",
        wire="openai.responses",
        case="error event",
        shape="a failed response with an error event behind it",
        source="maximhq/bifrost#6419",
        answer=named_events(
            {"type": "response.created", "response": {"status": "in_progress", "error": None, "usage": None}},
            _failed("server_error", "An error occurred."),
            {
                "type": "error",
                "error": {"type": "invalid_request_error", "code": "content_filter", "message": "Filtered."},
            },
        ),
        streamed=True,
        usage=None,
        failed=True,
    ),
)
