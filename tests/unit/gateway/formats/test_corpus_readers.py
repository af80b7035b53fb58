"""Every row of the corpus through the readers: its cost, whether it failed, and what a translated client is told."""

from dataclasses import dataclass, replace
from typing import assert_never

import msgspec
import pytest

from tests.support.catalog_samples import sample_model
from tests.support.gateway.corpus.rows import Row
from tests.support.gateway.corpus.servers import ROWS
from tests.support.gateway.corpus.told import message_told, same_calls
from tests.support.gateway.formats import (
    messages_body,
    read_completions,
    read_embeddings,
    read_messages,
    read_responses,
    speaking,
)
from tokenbooth.config.catalog import Model
from tokenbooth.config.upstream_kinds import KINDS
from tokenbooth.config.upstream_table import GENERIC
from tokenbooth.domain.usage import InvalidUsage, Usage
from tokenbooth.gateway.errors import UpstreamFailure
from tokenbooth.gateway.formats.base import OutboundRequest
from tokenbooth.gateway.formats.json.body import UNREADABLE, decode_fields
from tokenbooth.gateway.formats.openai.chat import read_chat_request
from tokenbooth.gateway.formats.sse import BrokenStream
from tokenbooth.gateway.settlement.usage import count_answer, count_stream

# Nothing of the corpus is out of the bounds of this model.
MODEL = replace(sample_model(reasoning=True), context_tokens=2_000_000, max_output_tokens=500_000)
STOP_REASONS = {
    "stop": ("end_turn", "tool_use"),
    "length": ("max_tokens",),
    "tool_calls": ("tool_use",),
    "content_filter": ("refusal",),
}


@dataclass(frozen=True, slots=True)
class Read:
    """What the gateway makes of an answer.

    Attributes:
        usage: what is charged; None where nothing is, because the upstream failed before anything was delivered.
        estimated: the upstream did not say it.
        failed: the client is told of an error.
        left: what left for the client.
    """

    usage: Usage | None
    estimated: bool
    failed: bool
    left: bytes


def model_of(row: Row) -> Model:
    """The model at an upstream of the server's kind."""
    kind = KINDS.get(row.server.lower().replace(" ", "_").replace(".", "_"), KINDS[GENERIC])
    (route,) = MODEL.routes
    return replace(MODEL, routes=(replace(route, upstream=replace(route.upstream, name="u", kind=kind)),))


def outbound_for(row: Row) -> OutboundRequest:
    """The request that the row answers, as spoken to an upstream of the row's format."""
    model = model_of(row)
    wire = frozenset((row.wire,))
    flags: dict[str, object] = {"stream": row.streamed}
    prompt = "Hello, what is the weather like?"
    match row.wire:
        case "openai.chat":
            if row.streamed:
                flags["stream_options"] = {"include_usage": True}
            body = msgspec.json.encode(
                {
                    "model": "m",
                    "messages": [{"role": "user", "content": prompt}],
                    "n": 1 + ("two choices" in row.shape),
                    **flags,
                }
            )
            outbound = read_chat_request(decode_fields(body, 128), speaking(model, row.wire), len(body)).outbound(wire)
        case "openai.completions":
            body = msgspec.json.encode({"model": "m", "prompt": prompt, **flags})
            outbound = read_completions(body, speaking(model, row.wire)).outbound(wire)
        case "openai.embeddings":
            body = msgspec.json.encode({"model": "m", "input": prompt})
            outbound = read_embeddings(body, speaking(model, row.wire)).outbound(wire)
        case "openai.responses":
            body = msgspec.json.encode({"model": "m", "input": prompt, **flags})
            outbound = read_responses(body, speaking(model, row.wire)).outbound(wire)
        case "anthropic.messages":
            outbound = read_messages(messages_body(**flags), speaking(model, row.wire)).outbound(wire)
        case _:
            assert_never(row.wire)
    assert outbound is not None
    return outbound


def translated_outbound_for(row: Row) -> OutboundRequest:
    """A messages request whose upstream speaks chat completions, with its thinking shown."""
    thinking = {"type": "enabled", "budget_tokens": 1_024}
    body = messages_body(stream=row.streamed, max_tokens=6_000, thinking=thinking)
    outbound = read_messages(body, speaking(model_of(row), "openai.chat")).outbound(frozenset(("openai.chat",)))
    assert outbound is not None
    return outbound


def read(row: Row, outbound: OutboundRequest, chunk_bytes: int | None = None) -> Read:
    """The relay's way through an answer with status 200, without sockets."""
    if row.streamed and row.media_type == "text/event-stream":
        return read_stream(row.answer, outbound, chunk_bytes or len(row.answer))
    try:
        answer = outbound.read_answer(row.answer)
        counted = count_answer(outbound, answer, row.answer, request_id="r", upstream="u")
        events = outbound.as_events(row.answer) if row.streamed else None
        left = answer.client_answer(counted.usage, "r").encode(0) if events is None else b""
        if events is not None:
            meter = outbound.meter(lambda usage: 0)
            left = meter.feed(events) + meter.final_events(0)
    except (*UNREADABLE, UpstreamFailure, InvalidUsage):
        return Read(None, estimated=False, failed=True, left=b"")
    return Read(counted.usage, counted.estimated, failed=False, left=left)


def read_stream(answer: bytes, outbound: OutboundRequest, chunk_bytes: int) -> Read:
    meter = outbound.meter(lambda usage: 0)
    left, broken = b"", False
    try:
        for start in range(0, len(answer), chunk_bytes):
            left += meter.feed(answer[start : start + chunk_bytes])
            if meter.saw_end_marker or meter.failed:
                break
        left += meter.end_of_body()
    except BrokenStream:
        broken = True
    failed = broken or meter.failed or not (meter.saw_end_marker or meter.may_end_without_marker())
    counted = count_stream(outbound.request, meter, request_id="r", upstream="u")
    # Nothing is charged where the upstream failed before its first real event.
    charged = counted.usage if not failed or meter.usage or meter.prompt_usage or meter.delivered().events else None
    return Read(charged, counted.estimated, failed, left if failed else left + meter.final_events(0))


def text_bytes(row: Row) -> int:
    """The bytes of everything that was said, each once."""
    texts = [row.text, row.reasoning, *(call.arguments for call in row.tool_calls)]
    return sum(len(msgspec.json.encode(text)) - 2 for text in texts)


def check(row: Row, outcome: Read) -> None:
    """What was read is what the row says."""
    assert outcome.failed is row.failed
    if row.usage is not None:
        assert outcome.usage == row.usage
        assert not outcome.estimated
        return
    said = text_bytes(row)
    if row.failed and not said:
        assert outcome.usage is None or outcome.usage.completion_tokens == 0
        return
    if row.failed and not row.streamed:
        assert outcome.usage is None
        return
    assert outcome.usage is not None
    assert outcome.estimated
    most_events = row.answer.count(b"data:")
    # Four bytes a token, and no fewer tokens than events with text; the same text counts once.
    assert -(-said // 4) <= outcome.usage.completion_tokens <= max(-(-said // 4), most_events)
    if row.prompt_usage is not None:
        assert outcome.usage.prompt_tokens == row.prompt_usage.prompt_tokens


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_read_right(row: Row) -> None:
    """In the format that it is asked in: what it costs, and whether it failed."""
    check(row, read(row, outbound_for(row)))


@pytest.mark.parametrize("chunk_bytes", [1, 7])
@pytest.mark.parametrize("row", [row for row in ROWS if row.streamed], ids=lambda row: row.name)
def test_pieces_change_nothing(row: Row, chunk_bytes: int) -> None:
    """Where the network cuts a stream makes no difference."""
    whole, pieces = read(row, outbound_for(row)), read(row, outbound_for(row), chunk_bytes)
    assert pieces == whole


CHAT = [row for row in ROWS if row.wire == "openai.chat" and "two choices" not in row.shape]


@pytest.mark.parametrize("row", CHAT, ids=lambda row: row.name)
def test_a_translated_client_is_told_the_same(row: Row) -> None:
    """A chat completion as a message: its text, its thinking, its calls and its end; or an error."""
    outcome = read(row, translated_outbound_for(row))
    check(row, outcome)
    if outcome.failed:
        assert b"message_stop" not in outcome.left
        return
    told = message_told(outcome.left, streamed=row.streamed)
    assert told.ended
    assert told.text == row.text
    assert told.thinking == row.reasoning
    assert same_calls(told.calls, row.tool_calls)
    assert told.reason in STOP_REASONS.get(row.finish or "stop", ("end_turn",))


@pytest.mark.parametrize("row", [row for row in ROWS if row.failed], ids=lambda row: row.name)
def test_nothing_of_a_failure_in_the_upstreams_words_leaves(row: Row) -> None:
    """Addresses, accounts, requests, balances: what a failure says stays here."""
    left = read(row, outbound_for(row)).left
    for canary in (
        b"10.1.2.3",
        b"user_2bX",
        b"req_",
        b"org-1",
        b"balance",
        b"Kluster",
        b"Nvidia",
        b"Traceback",
        b"Worker",
    ):
        assert canary not in left
