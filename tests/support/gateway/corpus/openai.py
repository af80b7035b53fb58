"""OpenAI: chat completions, completions, responses and embeddings. Only tests import this."""

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
    whole,
)
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_CHAT: Final = "OpenAI API reference, Create chat completion"
_CHUNKS: Final = "OpenAI API reference, The chat completion chunk object"
_RESPONSE: Final = "OpenAI API reference, Create a model response"
_EVENTS: Final = "OpenAI API reference, Responses: streaming events"
_HELLO: Final[Json] = {"role": "assistant", "content": "", "refusal": None}
_PARIS: Final = '{"location":"Paris, France"}'
_SERVER_ERROR: Final[Json] = {
    "error": {
        "message": "The server had an error while processing your request. Sorry about that! (request ID fb94b183)",
        "type": "server_error",
        "param": None,
        "code": None,
    }
}


def _counts(prompt: int, completion_tokens: int, cached: int = 0, reasoning: int = 0) -> Json:
    """Usage with the details that every answer of a chat completion has."""
    return counts(
        prompt,
        completion_tokens,
        prompt_tokens_details={"cached_tokens": cached, "audio_tokens": 0},
        completion_tokens_details={
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    )


def _response(status: str, output: list[Json], usage: Json | None, **fields: object) -> Json:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_741_476_777,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": "m",
        "output": output,
        "usage": usage,
        **fields,
    }


def _response_counts(prompt: int, output: int, cached: int = 0, reasoning: int = 0) -> Json:
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": prompt + output,
    }


def _message(text: str) -> Json:
    content: Json = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [content]}


def _text_delta(text: str, number: int) -> Json:
    return {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 0,
        "delta": text,
        "sequence_number": number,
    }


_CREATED: Final[Json] = {"type": "response.created", "response": _response("in_progress", [], None)}

CHAT: Final = (
    Row(
        server="OpenAI",
        case="whole",
        shape="a chat completion",
        source=_CHAT,
        answer=completion(
            {"content": "Hello! How can I assist you today?", "refusal": None, "annotations": []},
            "stop",
            _counts(19, 10),
            service_tier="default",
            system_fingerprint="fp_1",
        ),
        streamed=False,
        usage=Usage(19, 10),
        text="Hello! How can I assist you today?",
        finish="stop",
    ),
    Row(
        server="OpenAI",
        case="streamed",
        shape="chunks with a null usage, and one without choices that has it",
        source=_CHUNKS,
        answer=events(
            chunk(_HELLO, usage=None, obfuscation="a1"),
            chunk({"content": "Hello"}, usage=None, obfuscation="b2c"),
            chunk({"content": "!"}, usage=None, obfuscation="d"),
            chunk({}, "stop", usage=None, obfuscation=""),
            choiceless(usage=_counts(19, 2), obfuscation="e4"),
        )
        + DONE,
        streamed=True,
        usage=Usage(19, 2),
        text="Hello!",
        finish="stop",
    ),
    Row(
        server="OpenAI",
        case="streamed",
        shape="two choices that do not end together",
        source=f"{_CHAT}: n",
        answer=events(
            {**chunk({}), "choices": [{"index": 0, "delta": {"content": "One"}, "finish_reason": None}]},
            {**chunk({}), "choices": [{"index": 1, "delta": {"content": "Two"}, "finish_reason": None}]},
            {**chunk({}), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {**chunk({}), "choices": [{"index": 1, "delta": {"content": " more"}, "finish_reason": None}]},
            {**chunk({}), "choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]},
            choiceless(usage=_counts(9, 3)),
        )
        + DONE,
        streamed=True,
        usage=Usage(9, 3),
        text="OneTwo more",
        finish="stop",
    ),
    Row(
        server="OpenAI",
        case="tools",
        shape="a whole answer that calls a function",
        source=f"{_CHAT}: functions",
        answer=completion(
            {
                "content": None,
                "tool_calls": [call("get_current_weather", '{\n"location": "Boston, MA"\n}', "call_abc")],
            },
            "tool_calls",
            _counts(82, 17),
        ),
        streamed=False,
        usage=Usage(82, 17),
        tool_calls=(ToolCall("get_current_weather", '{\n"location": "Boston, MA"\n}', "call_abc"),),
        finish="tool_calls",
    ),
    Row(
        server="OpenAI",
        case="tools",
        shape="a streamed function call in pieces",
        source="OpenAI docs, Function calling: streaming",
        answer=events(
            chunk(
                {"role": "assistant", "content": None, "tool_calls": [call("get_weather", "", "call_D", index=0)]},
            ),
            more_arguments('{"location":'),
            more_arguments('"Paris, France"}'),
            chunk({}, "tool_calls"),
            choiceless(usage=_counts(68, 17)),
        )
        + DONE,
        streamed=True,
        usage=Usage(68, 17),
        tool_calls=(ToolCall("get_weather", _PARIS, "call_D"),),
        finish="tool_calls",
    ),
    Row(
        server="OpenAI",
        case="tools",
        shape="a custom tool that takes text",
        source=f"{_CHAT}: custom tool calls",
        answer=completion(
            {
                "content": None,
                "tool_calls": [
                    {"id": "call_c", "type": "custom", "custom": {"name": "code_exec", "input": "print(1)"}}
                ],
            },
            "tool_calls",
            _counts(60, 12),
        ),
        streamed=False,
        usage=Usage(60, 12),
        tool_calls=(ToolCall("code_exec", "print(1)", "call_c"),),
        finish="tool_calls",
    ),
    Row(
        server="OpenAI",
        case="cached",
        shape="a prompt read from the cache",
        source="OpenAI docs, Prompt caching",
        answer=completion({"content": "Yes."}, "stop", _counts(2_006, 300, cached=1_920)),
        streamed=False,
        usage=Usage(2_006, 300, cached_tokens=1_920),
        text="Yes.",
        finish="stop",
    ),
    Row(
        server="OpenAI",
        case="reasoning",
        shape="hidden reasoning that is part of the completion",
        source="OpenAI docs, Reasoning models: chat completions",
        answer=completion({"content": "Done."}, "stop", _counts(75, 1_186, reasoning=1_024)),
        streamed=False,
        usage=Usage(75, 1_186, reasoning_tokens=1_024),
        text="Done.",
        finish="stop",
    ),
    Row(
        server="OpenAI",
        case="reasoning",
        shape="a ceiling that the reasoning used up",
        source="OpenAI docs, Reasoning models: allocating space for reasoning",
        answer=events(
            chunk(_HELLO),
            chunk({}, "length"),
            choiceless(usage=_counts(40, 300, reasoning=300)),
        )
        + DONE,
        streamed=True,
        usage=Usage(40, 300, reasoning_tokens=300),
        finish="length",
    ),
    Row(
        server="OpenAI",
        case="streamed",
        shape="a refusal",
        source="OpenAI docs, Structured outputs: refusals",
        answer=events(
            chunk({"role": "assistant", "content": None, "refusal": ""}),
            chunk({"refusal": "I'm sorry, "}),
            chunk({"refusal": "I cannot assist with that."}),
            chunk({}, "stop"),
            choiceless(usage=_counts(81, 11)),
        )
        + DONE,
        streamed=True,
        usage=Usage(81, 11),
        text="I'm sorry, I cannot assist with that.",
        finish="stop",
    ),
    Row(
        server="OpenAI",
        case="whole",
        shape="speech with its transcript",
        source="OpenAI docs, Audio and speech",
        answer=completion(
            {
                "content": None,
                "audio": {"id": "audio_1", "expires_at": 1_729_234_747, "data": "UklGRg==", "transcript": "Yes."},
            },
            "stop",
            counts(
                17,
                70,
                prompt_tokens_details={"text_tokens": 17, "audio_tokens": 0, "cached_tokens": 0},
                completion_tokens_details={"text_tokens": 14, "audio_tokens": 56, "reasoning_tokens": 0},
            ),
        ),
        streamed=False,
        usage=Usage(17, 70),
        text="Yes.",
        finish="stop",
    ),
    Row(
        server="OpenAI",
        case="error event",
        shape="an error in the place of the first chunk, with an end marker behind it",
        source="sashabaranov/go-openai#396",
        answer=events(_SERVER_ERROR) + DONE,
        streamed=True,
        usage=None,
        failed=True,
    ),
    Row(
        server="OpenAI",
        case="error event",
        shape="an error behind some text",
        source="sashabaranov/go-openai#69",
        answer=events(chunk(_HELLO), said("The"), said(" question"), _SERVER_ERROR),
        streamed=True,
        usage=None,
        failed=True,
        text="The question",
    ),
    Row(
        server="OpenAI",
        case="cut",
        shape="chunks that stop without a finish reason",
        source="can1357/oh-my-pi#8563",
        answer=events(chunk(_HELLO), said("Once"), said(" upon")),
        streamed=True,
        usage=None,
        failed=True,
        text="Once upon",
    ),
    Row(
        server="OpenAI",
        case="cut",
        shape="an end before the usage, as after a stop of the client",
        source="openai/openai-openapi#539",
        answer=events(chunk(_HELLO), said("All"), chunk({}, "stop")),
        streamed=True,
        usage=None,
        text="All",
        finish="stop",
    ),
)

OLDER: Final = (
    Row(
        server="OpenAI",
        wire="openai.completions",
        case="whole",
        shape="a completion",
        source="OpenAI API reference, Create completion",
        answer=whole(
            {
                "id": "cmpl-1",
                "object": "text_completion",
                "created": 1_589_478_378,
                "model": "m",
                "choices": [
                    {"text": "\n\nThis is indeed a test", "index": 0, "logprobs": None, "finish_reason": "length"}
                ],
                "usage": counts(5, 7),
            }
        ),
        streamed=False,
        usage=Usage(5, 7),
        text="\n\nThis is indeed a test",
        finish="length",
    ),
    Row(
        server="OpenAI",
        wire="openai.completions",
        case="streamed",
        shape="a completion in pieces",
        source="OpenAI API reference, Create completion: streaming",
        answer=events(
            *(
                {
                    "id": "cmpl-1",
                    "object": "text_completion",
                    "created": 1_690_759_702,
                    "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": finish}],
                    "model": "m",
                }
                for text, finish in (("This", None), (" is", None), (" a test", "stop"))
            ),
            {"id": "cmpl-1", "object": "text_completion", "choices": [], "model": "m", "usage": counts(5, 4)},
        )
        + DONE,
        streamed=True,
        usage=Usage(5, 4),
        text="This is a test",
        finish="stop",
    ),
    Row(
        server="OpenAI",
        wire="openai.embeddings",
        case="whole",
        shape="an embedding, whose usage has no completion",
        source="OpenAI API reference, Create embeddings",
        answer=whole(
            {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.0023064255, -0.009327292]}],
                "model": "m",
                "usage": {"prompt_tokens": 8, "total_tokens": 8},
            }
        ),
        streamed=False,
        usage=Usage(8, 0),
    ),
)

RESPONSES: Final = (
    Row(
        server="OpenAI",
        wire="openai.responses",
        case="whole",
        shape="a response",
        source=_RESPONSE,
        answer=whole(_response("completed", [_message("In a forest.")], _response_counts(36, 87))),
        streamed=False,
        usage=Usage(36, 87),
        text="In a forest.",
        finish="completed",
    ),
    Row(
        server="OpenAI",
        wire="openai.responses",
        case="streamed",
        shape="a response in named events",
        source=f"{_RESPONSE}: streaming",
        answer=named_events(
            _CREATED,
            {"type": "response.output_item.added", "output_index": 0, "item": _message("")},
            _text_delta("Hi", 4),
            _text_delta(" there!", 5),
            {"type": "response.output_text.done", "item_id": "msg_1", "text": "Hi there!"},
            {"type": "response.output_item.done", "output_index": 0, "item": _message("Hi there!")},
            {
                "type": "response.completed",
                "response": _response("completed", [_message("Hi there!")], _response_counts(37, 11)),
            },
        ),
        streamed=True,
        usage=Usage(37, 11),
        text="Hi there!",
        finish="completed",
    ),
    Row(
        server="OpenAI",
        wire="openai.responses",
        case="tools",
        shape="a response that calls a function",
        source=f"{_RESPONSE}: functions",
        answer=whole(
            _response(
                "completed",
                [
                    {
                        "type": "function_call",
                        "id": "fc_1",
                        "call_id": "call_u",
                        "name": "get_current_weather",
                        "arguments": _PARIS,
                        "status": "completed",
                    }
                ],
                _response_counts(291, 23),
            )
        ),
        streamed=False,
        usage=Usage(291, 23),
        tool_calls=(ToolCall("get_current_weather", _PARIS, "call_u"),),
        finish="completed",
    ),
    Row(
        server="OpenAI",
        wire="openai.responses",
        case="tools",
        shape="a streamed custom tool call",
        source=f"{_EVENTS}, response.custom_tool_call_input.delta",
        answer=named_events(
            _CREATED,
            {
                "type": "response.output_item.added",
                "output_index": 0,
                "item": {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_x", "name": "exec", "input": ""},
            },
            {"type": "response.custom_tool_call_input.delta", "item_id": "ctc_1", "output_index": 0, "delta": "ls "},
            {"type": "response.custom_tool_call_input.delta", "item_id": "ctc_1", "output_index": 0, "delta": "-l"},
            {"type": "response.custom_tool_call_input.done", "item_id": "ctc_1", "output_index": 0, "input": "ls -l"},
            {
                "type": "response.completed",
                "response": _response(
                    "completed",
                    [
                        {
                            "type": "custom_tool_call",
                            "id": "ctc_1",
                            "call_id": "call_x",
                            "name": "exec",
                            "input": "ls -l",
                        }
                    ],
                    _response_counts(50, 9),
                ),
            },
        ),
        streamed=True,
        usage=Usage(50, 9),
        tool_calls=(ToolCall("exec", "ls -l", "call_x"),),
        finish="completed",
    ),
    Row(
        server="OpenAI",
        wire="openai.responses",
        case="cached",
        shape="a response whose prompt was read from the cache",
        source="OpenAI API reference, The response object: usage.input_tokens_details",
        answer=whole(_response("completed", [_message("So.")], _response_counts(328, 52, cached=128))),
        streamed=False,
        usage=Usage(328, 52, cached_tokens=128),
        text="So.",
        finish="completed",
    ),
    Row(
        server="OpenAI",
        wire="openai.responses",
        case="reasoning",
        shape="a response that stopped while it reasoned",
        source="OpenAI docs, Reasoning models: incomplete responses",
        answer=named_events(
            _CREATED,
            {"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "delta": "Comparing"},
            {
                "type": "response.incomplete",
                "response": _response(
                    "incomplete",
                    [{"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Comparing"}]}],
                    _response_counts(75, 300, reasoning=300),
                    incomplete_details={"reason": "max_output_tokens"},
                ),
            },
        ),
        streamed=True,
        usage=Usage(75, 300, reasoning_tokens=300),
        reasoning="Comparing",
        finish="incomplete",
    ),
    Row(
        server="OpenAI",
        wire="openai.responses",
        case="error in 200",
        shape="a response that failed",
        source="OpenAI API reference, The response object: status and error",
        answer=whole(
            _response(
                "failed", [], None, error={"code": "server_error", "message": "The model failed. Request req_123456"}
            )
        ),
        streamed=False,
        usage=None,
        failed=True,
    ),
    Row(
        server="OpenAI",
        wire="openai.responses",
        case="error event",
        shape="response.failed behind some text",
        source=f"{_EVENTS}, response.failed",
        answer=named_events(
            _CREATED,
            _text_delta("Half", 4),
            {
                "type": "response.failed",
                "response": _response(
                    "failed", [], None, error={"code": "rate_limit_exceeded", "message": "Organization org-1, limit 1"}
                ),
            },
        ),
        streamed=True,
        usage=None,
        failed=True,
        text="Half",
    ),
    Row(
        server="OpenAI",
        wire="openai.responses",
        case="error event",
        shape="an event of type error",
        source=f"{_EVENTS}, error",
        answer=named_events(
            _CREATED,
            {"type": "error", "code": "ERR_SOMETHING", "message": "Something went wrong", "param": None},
        ),
        streamed=True,
        usage=None,
        failed=True,
    ),
    Row(
        server="OpenAI",
        wire="openai.responses",
        case="cut",
        shape="a response that is never completed",
        source="openai/codex#45412",
        answer=named_events(_CREATED, _text_delta("Hi", 4)),
        streamed=True,
        usage=None,
        failed=True,
        text="Hi",
    ),
)

ROWS: Final = (*CHAT, *OLDER, *RESPONSES)
