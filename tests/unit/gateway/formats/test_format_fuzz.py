"""Requests and streams of every format, made up at random: each is read or refused, and never an error of ours.

`FUZZ_EXAMPLES=200000` makes a long run of it.
"""

import os
import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.catalog_samples import sample_model
from tests.support.gateway.formats import CHAT, messages_body, read_messages, speaking
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.domain.usage import InvalidUsage, Usage
from tokenbooth.gateway.errors import Refusal, UpstreamFailure
from tokenbooth.gateway.formats.anthropic.count_tokens import count_tokens_steps
from tokenbooth.gateway.formats.anthropic.stream import MessagesMeter
from tokenbooth.gateway.formats.json.body import decode_fields, encode_fields
from tokenbooth.gateway.formats.json.steps import at_once
from tokenbooth.gateway.formats.openai.chat import model_name
from tokenbooth.gateway.formats.openai.chat_stream import ChatMeter
from tokenbooth.gateway.formats.openai.responses_stream import ResponsesMeter
from tokenbooth.gateway.formats.sse import BrokenStream
from tokenbooth.gateway.registry import ENDPOINTS
from tokenbooth.gateway.upstream.routing import Routing, rest_rules
from tokenbooth.kit.clock import SystemClock
from tokenbooth.kit.places import Caller

_CALLER = Caller("acct", has_money=True)
_ROUTING = Routing(rest_rules(GatewaySettings()), SystemClock(), random.Random(1))
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
NAMES = (
    *("model", "messages", "input", "prompt", "system", "role", "content", "type", "text", "source", "data", "url"),
    *("image_url", "tools", "tool_choice", "name", "input_schema", "function", "max_tokens", "max_output_tokens", "n"),
    *("stream", "stream_options", "thinking", "budget_tokens", "output_config", "effort", "format", "stop_sequences"),
    *("cache_control", "ttl", "file_id", "store", "reasoning", "tool_use_id", "is_error", "output", "id", "arguments"),
    *("delta", "choices", "usage", "finish_reason", "tool_calls", "index", "message", "response", "stop_reason"),
    *("input_tokens", "output_tokens", "prompt_tokens", "completion_tokens", "error", "reasoning_content"),
)
WORDS = (
    *("user", "assistant", "system", "text", "image", "image_url", "input_image", "input_text", "tool_use", "document"),
    *(
        "tool_result",
        "base64",
        "file",
        "function",
        "custom",
        "enabled",
        "disabled",
        "auto",
        "any",
        "tool",
        "json_schema",
    ),
    *("message_start", "message_delta", "message_stop", "response.completed", "response.failed", "stop", "\ud7ff", ""),
)
leaves = (
    st.none() | st.booleans() | st.integers(-5, 10**12) | st.floats() | st.sampled_from(WORDS) | st.text(max_size=8)
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=25,
)
bodies = st.dictionaries(st.sampled_from(NAMES), values, max_size=10)
model = speaking(sample_model(), "openai.chat", "openai.completions", "openai.embeddings", "openai.responses")
chat_only = speaking(sample_model(reasoning=True), "openai.chat")


def usage_at_no_cost(usage: Usage) -> int:
    return 0


def _told(refusal: Refusal) -> None:
    assert (refusal.status, bool(refusal.code), bool(refusal.message)) == (400, True, True)


def encoded(body: object) -> bytes:
    return msgspec.json.encode(body)


@settings(max_examples=EXAMPLES, deadline=None)
@given(bodies, st.sampled_from(sorted(ENDPOINTS)), st.sampled_from((model, chat_only)))
def test_any_body_is_read_or_refused(body: dict[str, object], path: str, asked: object) -> None:
    """By every reader, and what was read can be sent in each format that it has a form in (P14)."""
    content = encoded({"model": "m", **body})
    served = chat_only if asked is chat_only else model
    try:
        fields = decode_fields(content, 128)
        model_name(fields)
        request = ENDPOINTS[path].read(fields, served, len(content), [])
        _ROUTING.route(request, _CALLER)
    except Refusal as refused:
        _told(refused)
        return
    assert request.text_bytes >= 0
    assert request.output_ceiling <= served.max_output_tokens
    for route in served.routes:
        outbound = request.outbound(route.upstream.formats)
        if outbound is not None:
            encode_fields(outbound.upstream_fields(route, 5))
            outbound.headers()


@settings(max_examples=EXAMPLES, deadline=None)
@given(bodies)
def test_any_body_is_counted_or_refused(body: dict[str, object]) -> None:
    """Also where nothing is asked of a model."""
    content = encoded({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **body})
    try:
        at_once(count_tokens_steps(decode_fields(content, 128), model, len(content), []))
    except Refusal as refused:
        _told(refused)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(bodies, max_size=6), st.integers(1, 60))
def test_any_stream_is_metered(events: list[dict[str, object]], step: int) -> None:
    """By every meter, cut anywhere; what an upstream makes up never becomes an error of ours."""
    stream = b"".join(b"data: " + encoded(one) + b"\n\n" for one in events)
    translated = read_messages(messages_body(stream=True), chat_only).outbound(CHAT)
    assert translated is not None
    for meter in (ResponsesMeter(), MessagesMeter(), ChatMeter(None), translated.meter(usage_at_no_cost)):
        for at in range(0, len(stream), step):
            if meter.saw_end_marker or meter.failed:
                break
            try:
                meter.feed(stream[at : at + step])
            except BrokenStream:
                break
        meter.delivered()
        meter.saw_finish_reason()
        if meter.may_end_without_marker():
            meter.final_events(5)


@settings(max_examples=EXAMPLES, deadline=None)
@given(bodies, bodies, bodies)
def test_any_answer_is_translated_or_no_answer(
    answer: dict[str, object], choice: dict[str, object], message: object
) -> None:
    """A whole answer that has no form is a failure of the upstream."""
    outbound = read_messages(messages_body(), chat_only).outbound(CHAT)
    assert outbound is not None
    body = encoded({**answer, "choices": [{**choice, "message": message}]})
    try:
        came = outbound.read_answer(body)
        came.client_answer(came.reported_usage() or Usage(1, 1)).encode(0)
    except (msgspec.DecodeError, InvalidUsage, UpstreamFailure):
        return
