"""What reaches a client of an answer: nothing of the upstream's ids, prices and accounts, and all of what was said."""

import re
from collections.abc import Callable
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.catalog_samples import sample_model
from tests.support.gateway.formats import (
    CHAT,
    events_in,
    messages_body,
    read_chat,
    read_completions,
    read_embeddings,
    read_messages,
    read_responses,
    speaking,
)
from tests.system.docs.pages import codes, read, rows, section
from tokenbooth.config.upstream_fields import USAGE_EXTENSIONS
from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.formats.base import OutboundRequest
from tokenbooth.gateway.formats.json.body import UNREADABLE
from tokenbooth.gateway.formats.meter import Meter
from tokenbooth.gateway.formats.openai.chat_stream import ChatMeter
from tokenbooth.gateway.formats.public_answers import OpenAIAnswer, usd_number
from tokenbooth.gateway.formats.public_names import (
    CHOICE_FIELDS,
    MESSAGE_EVENT_FIELDS,
    MESSAGE_FIELDS,
    OPENAI_FIELDS,
    RESPONSE_EVENT_FIELDS,
    RESPONSE_FIELDS,
)

Json = dict[str, object]
CANARY = "canary-5e81"
CHARGED_NANO = 1_234_567
CHARGED_USD = 0.001234567
# Names of ids, addresses, prices and account state. Sources: the API references and answers of OpenAI
# (`system_fingerprint`), OpenRouter (`provider`, `native_finish_reason`, `cost`, `cost_details`, `is_byok`,
# `openrouter_metadata`), Groq (`x_groq`, `usage_breakdown`, `queue_time`), xAI (`cost_in_usd_ticks`), Perplexity
# (`cost`), GLM (`request_id`), MiniMax (`base_resp`), LiteLLM (`_hidden_params`, `_response_ms`, `litellm_params`,
# `provider_specific_fields`), vLLM (`kv_transfer_params`), SGLang (`metadata`, `weight_version`), llama.cpp
# (`timings`, `__verbose`), Azure (`deployment`), Bedrock (`amazon-bedrock-invocationMetrics`),
# Together AI (`warnings`), Fireworks (`perf_metrics`), Gemini (`responseId`, `modelVersion`); and names like them.
PRIVATE = (
    "system_fingerprint",
    "provider",
    "native_finish_reason",
    "cost",
    "cost_details",
    "is_byok",
    "openrouter_metadata",
    "x_groq",
    "usage_breakdown",
    "queue_time",
    "cost_in_usd_ticks",
    "request_id",
    "requestId",
    "base_resp",
    "_hidden_params",
    "_response_ms",
    "litellm_params",
    "provider_specific_fields",
    "kv_transfer_params",
    "weight_version",
    "timings",
    "__verbose",
    "deployment",
    "amazon-bedrock-invocationMetrics",
    "warnings",
    "perf_metrics",
    "responseId",
    "modelVersion",
    "user_id",
    "organization",
    "organization_id",
    "account",
    "account_id",
    "endpoint",
    "host",
    "upstream",
    "price",
    "balance",
    "quota",
    "trace_id",
    "ID",
    "system_Fingerprint",
)
VALUES: tuple[object, ...] = (
    CANARY,
    [CANARY],
    {"id": CANARY},
    {"usage": {"cost": CANARY, "total_tokens": CANARY}},
    {CANARY: 1},
)
USAGE: Json = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
MESSAGES_USAGE: Json = {"input_tokens": 9, "output_tokens": 4, "service_tier": "standard"}
RESPONSES_USAGE: Json = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}
DETAILS: Json = {"cached_tokens": 3, "upstream_inference_cost": 0.5, "account": CANARY, "account_tokens": CANARY}
TOOL_CALL: Json = {"id": "call_7", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}


def completion(choice: Json, **more: object) -> Json:
    return {"id": CANARY, "object": "o", "created": 1, "model": CANARY, "choices": [{"index": 0, **choice}], **more}


def message(**more: object) -> Json:
    block: Json = {"type": "thinking", "thinking": "hm", "signature": "sig-1"}
    return {"id": CANARY, "type": "message", "role": "assistant", "model": CANARY, "content": [block], **more}


def response(**more: object) -> Json:
    item: Json = {"id": "rs_1", "type": "reasoning", "encrypted_content": "sealed-1", "summary": []}
    return {"id": CANARY, "object": "response", "model": CANARY, "output": [item], "error": None, **more}


def chat_only() -> OutboundRequest:
    model = speaking(sample_model(reasoning=True), "openai.chat")
    outbound = read_messages(messages_body(thinking={"type": "enabled", "budget_tokens": 1_024}), model).outbound(CHAT)
    assert outbound is not None
    return outbound


def native() -> OutboundRequest:
    return read_messages(messages_body())


SAID: Json = {"role": "assistant", "content": "Hi", "reasoning_content": "hm", "tool_calls": [TOOL_CALL]}
# For each format: the outbound request, a whole answer, what of its content has to leave, its usage, the new id.
WHOLE: dict[str, tuple[Callable[[], OutboundRequest], Json, tuple[str, ...], Json, str]] = {
    "chat": (read_chat, completion({"message": SAID}, citations=["u1"]), ("call_7", "u1"), USAGE, "chatcmpl-req"),
    "completions": (
        lambda: read_completions(b'{"model":"m","prompt":"Hi"}'),
        completion({"text": "Hi"}),
        ("Hi",),
        USAGE,
        "cmpl-req",
    ),
    "embeddings": (
        lambda: read_embeddings(b'{"model":"m","input":"Hi"}'),
        {"id": CANARY, "object": "list", "model": CANARY, "data": [{"object": "embedding", "embedding": [0.25]}]},
        ("0.25",),
        USAGE,
        "embd-req",
    ),
    "responses": (
        lambda: read_responses(b'{"model":"m","input":"Hi"}'),
        response(metadata={"mine": "m1"}),
        ("rs_1", "sealed-1", "m1"),
        RESPONSES_USAGE,
        "resp_req",
    ),
    "messages": (native, message(), ("sig-1",), MESSAGES_USAGE, "msg_req"),
    "translated": (chat_only, completion({"message": SAID}), ("call_7", "hm"), USAGE, "msg_req"),
}


@pytest.mark.parametrize("name", PRIVATE)
@pytest.mark.parametrize("form", WHOLE)
def test_a_whole_answer_shows_nothing_private(form: str, name: str) -> None:
    """Whatever such a field holds, at the top, in the usage and its details, and beside a choice's message."""
    outbound_of, answer, said, usage, answer_id = WHOLE[form]
    for value in VALUES:
        counts = {**usage, "prompt_tokens_details": {**DETAILS, name: value}, "input_tokens_details": DETAILS}
        answer = {**answer, name: value, "usage": {**counts, name: value}}
        if "choices" in answer:
            choices = answer["choices"]
            assert isinstance(choices, list)
            answer["choices"] = [{**choices[0], name: value}]
        outbound = outbound_of()
        told = outbound.read_answer(msgspec.json.encode(answer)).client_answer(Usage(9, 4), "req").encode(CHARGED_NANO)

        assert CANARY not in told.decode()
        assert b"upstream_inference_cost" not in told
        for one in said:
            assert one in told.decode()
        decoded = msgspec.json.decode(told)
        assert decoded["id"] == answer_id
        assert decoded["model"] == outbound.request.model.name
        assert decoded["usage"]["cost"] == CHARGED_USD


def test_an_answer_without_usage_has_no_cost() -> None:
    """There is nothing that it could stand in; the header says it."""
    answer = read_chat().read_answer(msgspec.json.encode(completion({"message": SAID})))
    assert "usage" not in msgspec.json.decode(answer.client_answer(Usage(9, 4), "req").encode(CHARGED_NANO))


def test_what_is_said_passes_as_it_was_written() -> None:
    """Spaces, escapes and large numbers within values stay what they were."""
    choices = (
        b'[ {"index":0, "message":{"content":"\\u00e9 \\/ 1e400", "annotations":[ 1.000 ]},"finish_reason":"stop"} ]'
    )
    answer = read_chat().read_answer(b'{"id":"x","choices":' + choices + b"}")
    told = answer.client_answer(Usage(1, 1), "req").encode(1)
    assert b'{"content":"\\u00e9 \\/ 1e400", "annotations":[ 1.000 ]}' in told


@pytest.mark.parametrize(
    "choices", [None, [], "canary", [1], {"canary": 1}, ["canary"], [{"message": None, "host": "canary"}]]
)
def test_choices_of_any_form(choices: object) -> None:
    """What is no choice makes a failure of an answer, and nothing of an event."""
    body = msgspec.json.encode({"choices": choices, "usage": USAGE})
    try:
        told = read_chat().read_answer(body).client_answer(Usage(1, 1), "req").encode(1)
    except UNREADABLE:
        told = b""
    meter = ChatMeter(None, OpenAIAnswer("ours", "m"))
    told += meter.feed(b"data: " + body + b"\n\n")
    assert b"canary" not in told


# Streams: events by their texts, each with canaries, and what the client has to get of them.

TEXTS = (
    "Hel",
    "lo",
    ' "quoted" ',
    "\n\n",
    "你好",
    "back\\slash",
    "[DONE]",
    '"usage":{"cost":1}',
    "",
    "x" * 300,
    "end\\",
)


def chat_event(text: str, **more: object) -> Json:
    return completion({"delta": {"content": text}, "logprobs": None, "finish_reason": None}, **more)


def completions_event(text: str, **more: object) -> Json:
    return completion({"text": text, "finish_reason": None}, **more)


def messages_event(text: str, **more: object) -> Json:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}, **more}


def responses_event(text: str, **more: object) -> Json:
    return {"type": "response.output_text.delta", "sequence_number": 3, "item_id": "msg_7", "delta": text, **more}


STREAMS: dict[str, tuple[Callable[[], OutboundRequest], Callable[..., Json], tuple[Json, ...], tuple[Json, ...]]] = {
    "chat": (lambda: read_chat(stream=True, stream_options={"include_usage": True}), chat_event, (), ()),
    "completions": (
        lambda: read_completions(b'{"model":"m","prompt":"Hi","stream":true,"stream_options":{"include_usage":true}}'),
        completions_event,
        (),
        (),
    ),
    "messages": (
        native,
        messages_event,
        ({"type": "message_start", "message": message(usage=MESSAGES_USAGE)},),
        (
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": MESSAGES_USAGE},
            {"type": "message_stop"},
        ),
    ),
    "responses": (
        lambda: read_responses(b'{"model":"m","input":"Hi","stream":true}'),
        responses_event,
        ({"type": "response.created", "response": response()},),
        ({"type": "response.completed", "response": response(usage=RESPONSES_USAGE)},),
    ),
}


def framed(
    event: Json, *, spaced: bool = False, reverse: bool = False, newline: str = "\n", noise: bool = False
) -> bytes:
    """An event as it is sent; `noise` is what a server may put around its data."""
    ordered = dict(reversed(event.items())) if reverse else event
    data = msgspec.json.encode(ordered)
    if spaced:
        data = msgspec.json.format(data, indent=0).replace(b'": "', b'" :  "')
    kind = f"event: {event['type']}{newline}" if "type" in event else ""
    around = f": {CANARY}{newline}id: {CANARY}{newline}" if noise else ""
    return (around + kind + "data: " + data.decode() + newline * 2).encode()


def feed(meter: Meter, stream: bytes, at: list[int]) -> bytes:
    """Feed a stream cut at these offsets, and end it."""
    out = b""
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in at), len(stream)]
    for start, end in pairwise(edges):
        if start < end and not meter.saw_end_marker:
            out += meter.feed(stream[start:end])
    return out + meter.final_events(CHARGED_NANO)


def text_of(form: str, event: Json) -> str | None:
    """What an event says."""
    if form == "messages":
        delta = event.get("delta")
        return str(delta["text"]) if isinstance(delta, dict) and "text" in delta else None
    if form == "responses":
        return str(event["delta"]) if "delta" in event else None
    choices = event["choices"]
    assert isinstance(choices, list)
    if not choices:
        return None
    return str(choices[0]["text"] if "text" in choices[0] else choices[0]["delta"]["content"])


@st.composite
def plans(draw: st.DrawFn) -> list[tuple[str, Json, bool, bool, bool]]:
    """Texts, each with what is private beside it and how its event is written; most like the one before."""
    planned: list[tuple[str, Json, bool, bool, bool]] = []
    beside: Json = {}
    spaced = reverse = noise = False
    for _ in range(draw(st.integers(1, 12))):
        if draw(st.integers(0, 3)) == 0:
            names = draw(st.lists(st.sampled_from(PRIVATE), max_size=3))
            beside = {name: draw(st.sampled_from(VALUES)) for name in names}
            spaced, reverse, noise = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
        planned.append((draw(st.sampled_from(TEXTS)), beside, spaced, reverse, noise))
    return planned


@pytest.mark.parametrize("form", STREAMS)
@given(plans(), st.lists(st.integers(0, 20_000), max_size=12), st.sampled_from(("\n", "\r\n")), st.booleans())
def test_a_stream_shows_nothing_private(
    form: str, planned: list[tuple[str, Json, bool, bool, bool]], at: list[int], newline: str, growing: bool
) -> None:
    """Wherever it is cut, in whatever order its fields come; every text arrives, under one id."""
    outbound_of, event_of, first, last = STREAMS[form]
    stream = b"".join(framed(event, newline=newline) for event in first)
    for number, (text, beside, spaced, reverse, noise) in enumerate(planned):
        event = event_of(text, **beside)
        if "choices" in event:
            event["id"] = f"{CANARY}-{number}"
            choices = event["choices"]
            assert isinstance(choices, list)
            event["choices"] = [{**choices[0], **beside}]
            if growing:
                event["usage"] = {**USAGE, **beside, "cost": 7}
        stream += framed(event, spaced=spaced, reverse=reverse, newline=newline, noise=noise)
    stream += b"".join(framed({**event, "host": CANARY}, newline=newline) for event in last)
    if not last:
        stream += framed(
            {**completion({}), "choices": [], "usage": {**USAGE, "cost": 7, "cost_details": {"a": CANARY}}}
        )
        stream += b"data: [DONE]\n\n"

    out = feed(outbound_of().meter(lambda usage: CHARGED_NANO, "req"), stream, at)

    assert CANARY not in out.decode()
    events = events_in(out)
    said = [text_of(form, event) for event in events]
    assert [text for text in said if text is not None] == [text for text, *_ in planned]
    ids = set(re.findall(r'"id":"((?:chatcmpl-|cmpl-|msg_|resp_)[^"]*)"', out.decode()))
    assert ids == {
        {"chat": "chatcmpl-", "completions": "cmpl-", "messages": "msg_", "responses": "resp_"}[form] + "req"
    }
    assert set(re.findall(rb'"cost":([^,}]+)', out)) == {usd_number(CHARGED_NANO)}


def test_comments_and_broken_events_do_not_leave() -> None:
    """A comment may name who wrote it; what is no object is nothing that a client can read."""
    meter = ChatMeter(None, OpenAIAnswer("ours", "m"))
    assert meter.feed(b": HOST PROCESSING\n\nid: 7\n\nretry: 5\n\ndata: {broken\n\ndata: 5\n\n") == b""


def test_the_docs_name_what_passes() -> None:
    """docs/upstreams.md has each list."""
    named = [set(codes(row[1])) for row in rows(section(read("upstreams.md"), "What comes back"))]
    lists = (OPENAI_FIELDS, CHOICE_FIELDS, MESSAGE_FIELDS, MESSAGE_EVENT_FIELDS, RESPONSE_FIELDS, RESPONSE_EVENT_FIELDS)
    beside = (set[str](), {"usage"}, set[str](), {"message"}, {"error", "previous_response_id"}, {"response"})
    assert named[-7:-1] == [set(one) | more for one, more in zip(lists, beside, strict=True)]
    assert named[-1] >= USAGE_EXTENSIONS
