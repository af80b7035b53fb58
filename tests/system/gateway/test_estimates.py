"""What is charged where no usage comes, over HTTP in each format: each text once, wherever it stands."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec
import pytest

from tests.support.gateway.answer_rig import Asked, Format, Json, Outcome, Way, outcomes_of
from tests.support.gateway.answers import DONE, chunks, named, whole
from tests.unit.gateway.formats.test_texts import MESSAGES as CHAT_MESSAGES

TEXT: Final = "four words of text"
ONCE: Final = len(TEXT)
INPUT: Final[Json] = {"path": "."}
AS_TEXT: Final = len(msgspec.json.encode('{"path":"."}')) - 2


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """An answer without a usage.

    Attributes:
        name: what is in it.
        form: its format.
        way: how it comes.
        answer: its body.
        text_bytes: the bytes of its texts, each once.
        pieces: the events with text, of a stream that passes.
    """

    name: str
    form: Format
    way: Way
    answer: bytes
    text_bytes: int
    pieces: int = 1

    @property
    def stream(self) -> bool:
        """Whether a stream is asked for."""
        return self.way in ("streamed", "whole as stream")


def of_chats() -> Iterator[Said]:
    """The texts of a message, in one event or whole; the sources are with the list."""
    for name, message, text_bytes in CHAT_MESSAGES:
        for form in ("chat", "translated"):
            answer = whole(form, message={"role": "assistant", **message})
            pieces = 2 if name == "thought and said" else 1
            event, end = chunks(
                form, {"index": 0, "delta": message}, {"index": 0, "delta": {}, "finish_reason": "stop"}
            )
            stream = event + end + DONE
            yield Said(name, form, "whole", answer, text_bytes)
            yield Said(name, form, "streamed", stream, text_bytes, pieces)
            yield Said(name, form, "whole as stream", answer, text_bytes)
            yield Said(name, form, "stream as whole", stream, text_bytes)


def of_completions() -> Iterator[Said]:
    """OpenAI API reference, The completion object."""
    choice = {"index": 0, "text": TEXT, "finish_reason": "stop"}
    answer = msgspec.json.encode({"id": "c", "object": "text_completion", "choices": [choice]})
    stream = b"".join(chunks("completions", choice)) + DONE
    yield Said("a text", "completions", "whole", answer, ONCE)
    yield Said("a text", "completions", "streamed", stream, ONCE)
    yield Said("a text", "completions", "whole as stream", answer, ONCE)
    yield Said("a text", "completions", "stream as whole", stream, ONCE)
    two = [{"index": index, "text": TEXT, "finish_reason": "stop"} for index in (0, 1)]
    yield Said(
        "two choices",
        "completions",
        "whole",
        msgspec.json.encode({"id": "c", "object": "text_completion", "choices": two}),
        2 * ONCE,
    )


# OpenAI API reference, The response object and Responses: streaming events.
ITEMS: Final[list[tuple[str, Json, list[Json], int]]] = [
    (
        "a text",
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": TEXT, "annotations": []}]},
        [
            {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": TEXT},
            {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": TEXT},
        ],
        ONCE,
    ),
    (
        "a refusal",
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": TEXT}]},
        [
            {"type": "response.refusal.delta", "output_index": 0, "content_index": 0, "delta": TEXT},
            {"type": "response.refusal.done", "output_index": 0, "content_index": 0, "refusal": TEXT},
        ],
        ONCE,
    ),
    (
        "a summary of reasoning",
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": TEXT}]},
        [
            {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": TEXT},
            {"type": "response.reasoning_summary_text.done", "output_index": 0, "summary_index": 0, "text": TEXT},
        ],
        ONCE,
    ),
    (
        "the text of reasoning",
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": TEXT}]},
        [
            {"type": "response.reasoning_text.delta", "output_index": 0, "content_index": 0, "delta": TEXT},
            {"type": "response.reasoning_text.done", "output_index": 0, "content_index": 0, "text": TEXT},
        ],
        ONCE,
    ),
    (
        "a call",
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"path":"."}'},
        [
            {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"path":"."}'},
            {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"path":"."}'},
        ],
        AS_TEXT,
    ),
    (
        "a custom call",
        {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": TEXT},
        [
            {"type": "response.custom_tool_call_input.delta", "output_index": 0, "delta": TEXT},
            {"type": "response.custom_tool_call_input.done", "output_index": 0, "input": TEXT},
        ],
        ONCE,
    ),
]


def of_responses() -> Iterator[Said]:
    """An item in its pieces, when it is done, and in the last event: once."""
    for name, item, deltas, text_bytes in ITEMS:
        response: Json = {"id": "r", "object": "response", "status": "completed", "output": [{"id": "i", **item}]}
        answer = msgspec.json.encode(response)
        stream = named(
            {"type": "response.created", "response": {**response, "status": "in_progress", "output": []}},
            {"type": "response.output_item.added", "output_index": 0, "item": {"id": "i", "type": item["type"]}},
            *({**one, "item_id": "i"} for one in deltas),
            {"type": "response.output_item.done", "output_index": 0, "item": {"id": "i", **item}},
            {"type": "response.completed", "response": response},
        )
        yield Said(name, "responses", "whole", answer, text_bytes)
        yield Said(name, "responses", "streamed", stream, text_bytes)
        yield Said(name, "responses", "whole as stream", answer, text_bytes)
        yield Said(name, "responses", "stream as whole", stream, text_bytes)


# Anthropic API reference, Messages and Streaming messages.
BLOCKS: Final[list[tuple[str, Json, Json, Json, int]]] = [
    ("a text", {"type": "text", "text": TEXT}, {"text": ""}, {"type": "text_delta", "text": TEXT}, ONCE),
    (
        "thinking",
        {"type": "thinking", "thinking": TEXT, "signature": "long and signed"},
        {"thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": TEXT},
        ONCE,
    ),
    (
        "a call",
        {"type": "tool_use", "id": "t", "name": "f", "input": INPUT},
        {"input": {}},
        {"type": "input_json_delta", "partial_json": '{"path":"."}'},
        AS_TEXT,
    ),
    ("a text in its beginning", {"type": "text", "text": TEXT}, {}, {}, ONCE),
    ("a call in its beginning", {"type": "tool_use", "id": "t", "name": "f", "input": INPUT}, {}, {}, AS_TEXT),
]


def of_messages() -> Iterator[Said]:
    """A block in its pieces, or whole where it begins."""
    for name, block, begun, delta, text_bytes in BLOCKS:
        message: Json = {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "content": [block],
            "stop_reason": "end_turn",
        }
        answer = msgspec.json.encode(message)
        stream = named(
            {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": {**block, **begun}},
            *([{"type": "content_block_delta", "index": 0, "delta": delta}] if delta else ()),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            {"type": "message_stop"},
        )
        yield Said(name, "messages", "whole", answer, text_bytes)
        yield Said(name, "messages", "streamed", stream, text_bytes)
        yield Said(name, "messages", "whole as stream", answer, text_bytes)
        yield Said(name, "messages", "stream as whole", stream, text_bytes)


ALL: Final = (*of_chats(), *of_completions(), *of_responses(), *of_messages())


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[Said, Outcome]:
    """What each came to."""
    asked = [Asked(one.form, one.answer, one.stream) for one in ALL]
    return dict(zip(ALL, outcomes_of(tmp_path_factory.mktemp("estimates"), asked), strict=True))


@pytest.mark.parametrize("said", ALL, ids=lambda one: f"{one.name} [{one.form}, {one.way}]")
def test_a_text_is_charged_once(said: Said, outcomes: dict[Said, Outcome]) -> None:
    """Four bytes a token, and in a stream no fewer tokens than events with text; marked as an estimate."""
    outcome = outcomes[said]
    assert outcome.ended, outcome.answer.text
    assert outcome.charged_nano == outcome.estimate_nano(said.text_bytes, said.pieces)
    assert outcome.estimated
    if not said.stream:
        assert outcome.shown_nano == outcome.charged_nano
