"""One text counts once, wherever it stands, in streams and in whole answers."""

from typing import Final

import msgspec
import pytest

from tests.support.gateway.formats import Json, messages_body, messages_model, read_chat, read_messages, read_responses
from tokenbooth.gateway.formats.anthropic.stream import MessagesMeter
from tokenbooth.gateway.formats.openai.chat import ChatRequest
from tokenbooth.gateway.formats.openai.chat_stream import ChatMeter
from tokenbooth.gateway.formats.openai.responses_stream import ResponsesMeter

TEXT = "four words of text"
ONCE = len(TEXT)
ARGUMENTS = {"path": "."}
AS_JSON = len(msgspec.json.encode(msgspec.json.encode(ARGUMENTS).decode())) - 2
# Sources: vllm-project/vllm#34030 and ModelTC/LightLLM#1345 (two names), OpenRouter docs, Reasoning tokens (details),
# LiteLLM docs, Reasoning content (blocks, provider fields), Mistral docs, Reasoning (parts), OpenAI API reference
# (refusal, audio, custom tools), ggml-org/llama.cpp (arguments as an object).
MESSAGES: list[tuple[str, Json, int]] = [
    ("content", {"content": TEXT}, ONCE),
    ("two names", {"reasoning_content": TEXT, "reasoning": TEXT}, ONCE),
    ("another name", {"reasoning_text": TEXT}, ONCE),
    ("thinking", {"thinking": TEXT}, ONCE),
    ("details", {"reasoning": TEXT, "reasoning_details": [{"type": "reasoning.text", "text": TEXT}]}, ONCE),
    ("details alone", {"reasoning_details": [{"type": "reasoning.text", "text": TEXT}]}, ONCE),
    (
        "blocks and provider fields",
        {
            "reasoning_content": TEXT,
            "thinking_blocks": [{"type": "thinking", "thinking": TEXT, "signature": "s"}],
            "provider_specific_fields": {"reasoning_content": TEXT},
        },
        ONCE,
    ),
    ("a part", {"content": [{"type": "text", "text": TEXT}]}, ONCE),
    ("a part that thinks", {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": TEXT}]}]}, ONCE),
    ("thought and said", {"reasoning": TEXT, "content": TEXT}, 2 * ONCE),
    ("a refusal", {"content": None, "refusal": TEXT}, ONCE),
    ("a transcript", {"content": None, "audio": {"data": "AAAA" * 50, "transcript": TEXT}}, ONCE),
    ("arguments", {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": TEXT}}]}, ONCE),
    ("an object", {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ARGUMENTS}}]}, AS_JSON),
    ("a custom tool", {"tool_calls": [{"index": 0, "type": "custom", "custom": {"name": "f", "input": TEXT}}]}, ONCE),
    # What else clients and gateways read, which is what servers write: Cohere (an object, `tool_plan`), Mistral (texts
    # among parts), OpenAI Assistants (`value`), Copilot (`cot_summary`), gateways to Gemini (`thought`).
    ("an object with a text", {"content": {"type": "text", "text": TEXT}}, ONCE),
    ("texts among parts", {"content": [TEXT, {"type": "text", "text": {"value": TEXT}}]}, 2 * ONCE),
    ("a thought in an object", {"reasoning": {"content": TEXT}}, ONCE),
    ("a thought in parts", {"reasoning_content": [{"type": "text", "text": TEXT}]}, ONCE),
    ("a summary in parts", {"reasoning_details": [{"type": "x", "summary": [{"text": TEXT}]}]}, ONCE),
    ("one thought", {"thought": TEXT}, ONCE),
    ("a summary", {"cot_summary": TEXT}, ONCE),
    ("a plan", {"tool_plan": TEXT}, ONCE),
    ("a text", {"text": TEXT}, ONCE),
    ("a call without a list", {"tool_calls": {"index": 0, "function": {"name": "f", "arguments": TEXT}}}, ONCE),
    ("a call without an object", {"tool_calls": [{"index": 0, "name": "f", "arguments": TEXT}]}, ONCE),
    ("a citation", {"content": TEXT, "annotations": [{"url_citation": {"url": "u", "content": "long " * 9}}]}, ONCE),
]


def event(**data: object) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


@pytest.mark.parametrize(("message", "text_bytes"), [row[1:] for row in MESSAGES], ids=[row[0] for row in MESSAGES])
def test_a_text_of_a_chat_counts_once(message: Json, text_bytes: int) -> None:
    """Whole and streamed alike."""
    meter = ChatMeter(None)
    meter.feed(event(choices=[{"index": 0, "delta": message}]))
    whole = msgspec.json.encode({"choices": [{"index": 0, "message": message}]})
    assert meter.delivered().text_bytes == text_bytes
    assert chat().text_bytes_in(whole) == text_bytes


def chat() -> ChatRequest:
    return read_chat()


@pytest.mark.parametrize("repeats_each", [True, False])
def test_a_message_beside_the_deltas_counts_once(repeats_each: bool) -> None:
    """Perplexity tells the message so far in each event, MiniMax all in its last (microsoft/foundry-local#144)."""
    meter = ChatMeter(None)
    for number in range(1, 4):
        told = {"message": {"content": TEXT * number}} if repeats_each else {}
        meter.feed(event(choices=[{"index": 0, "delta": {"content": TEXT}, **told}]))
    if not repeats_each:
        meter.feed(event(choices=[{"index": 0, "finish_reason": "stop", "message": {"content": TEXT * 3}}]))
    assert meter.delivered().text_bytes == 3 * ONCE


@pytest.mark.parametrize(
    "said",
    [
        {"message": TEXT},
        {"messages": [{"role": "assistant", "content": TEXT}]},
        {"messages": [{"sender_type": "BOT", "text": TEXT}]},
        {"messages": [{"index": 0, "delta": {"content": TEXT}}]},
        {"delta": TEXT},
        {"text": TEXT},
    ],
)
def test_a_text_elsewhere_in_a_choice_counts_once(said: Json) -> None:
    """MiniMax, ChatCompletion Pro (`messages`), Azure OpenAI, On your data (the same, with deltas), old llama.cpp."""
    meter = ChatMeter(None)
    meter.feed(event(choices=[{"index": 0, **said}]))
    assert meter.delivered().text_bytes == ONCE
    assert chat().text_bytes_in(msgspec.json.encode({"choices": [{"index": 0, **said}]})) == ONCE


OUTPUTS: list[tuple[Json, int]] = [
    ({"type": "message", "content": TEXT}, ONCE),
    ({"type": "message", "content": [TEXT]}, ONCE),
    ({"type": "reasoning", "summary": TEXT}, ONCE),
    ({"type": "apply_patch_call", "operation": {"diff": TEXT}}, ONCE + len('{\\"diff\\":\\"\\"}')),
]


@pytest.mark.parametrize(("item", "text_bytes"), OUTPUTS)
def test_a_response_that_is_told_in_its_last_event_alone(item: Json, text_bytes: int) -> None:
    """As in a whole answer; its pieces, where some came, are no other texts."""
    response = {"status": "completed", "output": [item]}
    meter = ResponsesMeter()
    meter.feed(event(type="response.output_text.delta", delta=TEXT))
    meter.feed(event(type="response.completed", response=response))
    assert meter.delivered().text_bytes == text_bytes
    asked = read_responses(msgspec.json.encode({"model": "m", "input": "Hi"}))
    assert asked.text_bytes_in(msgspec.json.encode(response)) == text_bytes
    assert asked.text_bytes_in(msgspec.json.encode({"output_text": TEXT})) == ONCE


def test_texts_of_messages() -> None:
    """Text, thinking and a tool's input, in pieces or as an object."""
    meter = MessagesMeter()
    for delta in ({"text": TEXT}, {"thinking": TEXT}, {"partial_json": TEXT}):
        meter.feed(event(type="content_block_delta", index=0, delta=delta))
    assert meter.delivered().text_bytes == 3 * ONCE
    meter.feed(event(type="content_block_start", index=1, content_block={"type": "tool_use", "input": ARGUMENTS}))
    assert meter.delivered().text_bytes == 3 * ONCE + AS_JSON
    blocks = [{"type": "text", "text": TEXT}, {"type": "thinking", "thinking": TEXT, "signature": "s"}]
    whole = msgspec.json.encode({"content": [*blocks, {"type": "tool_use", "name": "f", "input": ARGUMENTS}]})
    assert read_messages(messages_body(), messages_model()).text_bytes_in(whole) == 2 * ONCE + AS_JSON


def test_texts_of_responses() -> None:
    """Deltas of text, not the text again at its end, nor audio."""
    meter = ResponsesMeter()
    meter.feed(
        event(type="response.output_text.delta", delta=TEXT) + event(type="response.output_text.done", text=TEXT)
    )
    meter.feed(event(type="response.audio.delta", delta="AAAA" * 99))
    meter.feed(event(type="response.audio.transcript.delta", delta=TEXT))
    assert meter.delivered().text_bytes == 2 * ONCE
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": TEXT}]},
        {"type": "message", "content": [{"type": "output_text", "text": TEXT}]},
        {"type": "function_call", "arguments": TEXT},
        {"type": "custom_tool_call", "input": TEXT},
    ]
    whole = msgspec.json.encode({"instructions": "text", "output": output})
    asked = read_responses(msgspec.json.encode({"model": "m", "input": "Hi"}))
    assert asked.text_bytes_in(whole) == 4 * ONCE


NOTHING_SAID: Final[list[object]] = [None, "", "null", False, {}, " "]


@pytest.mark.parametrize("reason", NOTHING_SAID)
def test_a_reason_that_says_nothing_is_no_end(reason: object) -> None:
    """ollama/ollama#4357, sgl-project/sglang#3912."""
    meter, message = ChatMeter(None), MessagesMeter()
    meter.feed(event(choices=[{"index": 0, "delta": {"content": "a"}, "finish_reason": reason}]))
    message.feed(event(type="message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 3}))
    assert not any(
        (
            meter.saw_finish_reason(),
            meter.may_end_without_marker(),
            message.saw_finish_reason(),
            message.may_end_without_marker(),
        )
    )
    meter.feed(event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    message.feed(event(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 4}))
    assert meter.may_end_without_marker()
    assert message.may_end_without_marker()


@pytest.mark.parametrize(
    "choice",
    [
        {"delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": {"finish_reason": "stop"}}}]}},
        {"delta": {"content": "a", "provider_specific_fields": {"finish_reason": "stop"}}},
        {"delta": {"content": [{"type": "text", "text": "a", "finish_reason": "stop"}]}},
        {"delta": {"content": "a"}, "logprobs": {"finish_reason": "stop"}},
    ],
    ids=["arguments", "a gateway's fields", "a part", "logprobs"],
)
def test_a_reason_inside_of_what_is_said_is_no_end(choice: Json) -> None:
    """It is the choice that ends."""
    meter = ChatMeter(None)
    meter.feed(event(choices=[{"index": 0, **choice, "finish_reason": None}], finish_reason="stop"))
    assert not meter.saw_finish_reason()
    meter.feed(b'data: {"choices":[null,{"index":0,"delta":{"content":"\\ud83d"},"finish_reason":"stop"}]}\n\n')
    assert meter.saw_finish_reason()


def test_several_choices_end_together() -> None:
    """The answer ends when all that were asked for have."""
    meter = ChatMeter(None, choices=2)
    meter.feed(event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    meter.feed(event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    assert not meter.saw_finish_reason()
    meter.feed(event(choices=[{"index": 1, "delta": {}, "finish_reason": "length"}]))
    assert meter.may_end_without_marker()


@pytest.mark.parametrize("usage", NOTHING_SAID[1:])
def test_a_usage_that_says_nothing_is_absent(usage: object) -> None:
    """Neither a failure nor a count."""
    meter = ChatMeter(None)
    meter.feed(event(choices=[{"index": 0, "delta": {"content": "a"}}], usage=usage))
    assert (meter.usage, meter.invalid_usage) == (None, False)
    body = msgspec.json.encode({"choices": [{"message": {"content": "a"}}], "usage": usage})
    assert chat().read_answer(body).reported_usage() is None
