"""GLM (Z.ai, Zhipu): usage in the last chunk, errors in shapes of its own. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import DONE, call, chunk, completion, counts, events, said, whole
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_CHAT: Final = "Z.AI API reference, Chat completion"


ROWS: Final = (
    Row(
        server="GLM",
        case="whole",
        shape="a completion with a request id",
        source=_CHAT,
        answer=completion({"content": "Hello."}, "stop", counts(48, 9), request_id="2025081514"),
        streamed=False,
        usage=Usage(48, 9),
        text="Hello.",
        finish="stop",
    ),
    Row(
        server="GLM",
        case="streamed",
        shape="usage beside the finish reason",
        source="Z.AI docs, Streaming messages",
        answer=events(
            chunk({"role": "assistant", "content": "Spring"}),
            chunk({"role": "assistant", "content": " comes"}),
            chunk(
                {"role": "assistant", "content": ""},
                "stop",
                usage=counts(8, 262, prompt_tokens_details={"cached_tokens": 0}),
            ),
        )
        + DONE,
        streamed=True,
        usage=Usage(8, 262),
        text="Spring comes",
        finish="stop",
    ),
    Row(
        server="GLM",
        case="streamed",
        shape="a cumulative usage in every chunk",
        source="rashidrazak/opencode-cmd-provider#213",
        answer=events(
            chunk({"role": "assistant", "content": "One"}, usage=counts(8, 1)),
            chunk({"role": "assistant", "content": " two"}, usage=counts(8, 2)),
            chunk({"role": "assistant", "content": ""}, "stop", usage=counts(8, 3)),
        )
        + DONE,
        streamed=True,
        usage=Usage(8, 3),
        text="One two",
        finish="stop",
    ),
    Row(
        server="GLM",
        case="streamed",
        shape="an empty finish reason in every chunk but the last",
        source="adolfousier/opencrabs#1499",
        answer=events(
            chunk({"role": "assistant", "content": "One"}, ""),
            chunk({"role": "assistant", "content": " two"}, ""),
            chunk({"role": "assistant", "content": ""}, "stop", usage=counts(8, 3)),
        )
        + DONE,
        streamed=True,
        usage=Usage(8, 3),
        text="One two",
        finish="stop",
    ),
    Row(
        server="GLM",
        case="tools",
        shape="a streamed call that comes whole",
        source="Z.AI docs, Function calling",
        answer=events(
            chunk({"role": "assistant", "reasoning_content": "Look it up."}),
            chunk(
                {
                    "role": "assistant",
                    "tool_calls": [call("get_weather", '{"city": "Beijing"}', "call_-8231", index=0)],
                }
            ),
            chunk({"role": "assistant", "content": ""}, "tool_calls", usage=counts(170, 40)),
        )
        + DONE,
        streamed=True,
        usage=Usage(170, 40),
        reasoning="Look it up.",
        tool_calls=(ToolCall("get_weather", '{"city": "Beijing"}', "call_-8231"),),
        finish="tool_calls",
    ),
    Row(
        server="GLM",
        case="cached",
        shape="a prompt read from the cache",
        source="Z.AI docs, Context caching",
        answer=completion({"content": "So."}, "stop", counts(1_200, 300, prompt_tokens_details={"cached_tokens": 800})),
        streamed=False,
        usage=Usage(1_200, 300, cached_tokens=800),
        text="So.",
        finish="stop",
    ),
    Row(
        server="GLM",
        case="reasoning",
        shape="whole reasoning_content",
        source="Z.AI docs, Thinking mode",
        answer=completion(
            {"content": "Two.", "reasoning_content": "One and one."},
            "stop",
            counts(12, 30, completion_tokens_details={"reasoning_tokens": 25}),
        ),
        streamed=False,
        usage=Usage(12, 30, reasoning_tokens=25),
        text="Two.",
        reasoning="One and one.",
        finish="stop",
    ),
    Row(
        server="GLM",
        case="error in 200",
        shape="code, msg and success instead of an answer",
        source="zai-org/GLM-5#91",
        answer=whole({"code": 500, "msg": "404 NOT_FOUND http://10.1.2.3/x", "success": False}),
        streamed=False,
        usage=None,
        failed=True,
    ),
    Row(
        server="GLM",
        case="error in 200",
        shape="the same to one who asked for a stream",
        source="zai-org/GLM-5#91",
        answer=whole({"code": 500, "msg": "404 NOT_FOUND http://10.1.2.3/x", "success": False}),
        streamed=True,
        usage=None,
        failed=True,
    ),
    Row(
        server="GLM",
        case="error event",
        shape="a finish reason that says that the network failed",
        source=f"{_CHAT}: finish_reason network_error",
        answer=events(
            chunk({"role": "assistant", "content": "Half"}),
            chunk({"role": "assistant", "content": ""}, "network_error"),
        )
        + DONE,
        streamed=True,
        usage=None,
        failed=True,
        text="Half",
        finish="network_error",
    ),
    Row(
        server="GLM",
        case="cut",
        shape="a chunk that another answer's chunk runs into",
        source="zai-org/GLM-5#66",
        answer=events(said("Yes"))
        + b'data: {"id":"20260430204055297b","created":1777552855,"object":"chat.c'
        + events(chunk({"role": "assistant", "content": "11"})),
        streamed=True,
        usage=None,
        failed=True,
        text="Yes",
    ),
)
