"""The meters of streamed responses and messages: usage read, the ending held back, any chunking the same."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.gateway.formats import Json, events_in, messages_body, read_messages, read_responses
from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.formats.anthropic.stream import MessagesMeter
from tokenbooth.gateway.formats.meter import Delivered, Meter
from tokenbooth.gateway.formats.openai.chat_stream import ChatMeter
from tokenbooth.gateway.formats.openai.responses_stream import ResponsesMeter
from tokenbooth.gateway.formats.sse import MAX_EVENT_BYTES, BrokenStream
from tokenbooth.gateway.settlement.usage import count_stream

cuts = st.lists(st.integers(min_value=0, max_value=5_000), max_size=12)


def stream(*data: Json, newline: bytes = b"\n") -> bytes:
    """Events as both formats send them: with a name and data."""
    events = [b"event: " + str(one["type"]).encode() + newline + b"data: " + msgspec.json.encode(one) for one in data]
    return b"".join(event + 2 * newline for event in events)


def feed(meter: Meter, whole: bytes, at: list[int]) -> bytes:
    """Feed a stream cut at these offsets, as the relay does."""
    out = b""
    edges = [0, *sorted(cut % (len(whole) + 1) for cut in at), len(whole)]
    for start, end in pairwise(edges):
        if start < end and not meter.saw_end_marker and not meter.failed:
            out += meter.feed(whole[start:end])
    return out


TEXT: Json = {"type": "response.output_text.delta", "delta": "Hello"}
FAKE: Json = {"type": "response.output_text.delta", "delta": '"type":"response.completed"'}
USAGE: Json = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}


def completed(kind: str = "response.completed", usage: object = USAGE) -> Json:
    return {"type": kind, "sequence_number": 5, "response": {"id": "r", "usage": usage, "output": []}}


@given(cuts, st.sampled_from((b"\n", b"\r\n")))
def test_a_response_ends_with_its_usage_and_cost(at: list[int], newline: bytes) -> None:
    """All passes, with one kind of line end, but the last event, which waits for the charge and then shows its cost."""
    text = stream(TEXT, FAKE, newline=newline)
    meter = ResponsesMeter()

    assert feed(meter, text + stream(completed(), newline=newline), at) == text.replace(b"\r", b"")
    assert (meter.saw_end_marker, meter.may_end_without_marker(), meter.usage) == (True, True, Usage(9, 4))
    (last,) = events_in(meter.final_events(1_500))
    assert last == {**completed(), "response": {"id": "r", "usage": {**USAGE, "cost": 0.0000015}, "output": []}}
    assert meter.final_events(1_500).startswith(b"event: response.completed\n")


def test_a_response_that_was_cut_short_ends_too() -> None:
    """The ceiling is no failure."""
    meter = ResponsesMeter()
    meter.feed(stream(completed("response.incomplete")))

    assert (meter.saw_end_marker, meter.usage) == (True, Usage(9, 4))


@pytest.mark.parametrize("kind", ["response.failed", "error", "response.cancelled"])
def test_a_failure_is_no_end(kind: str) -> None:
    """The upstream's words about its failure do not leave."""
    meter = ResponsesMeter()

    assert meter.feed(stream(TEXT, {"type": kind, "message": "host 10.0.0.1"}, TEXT)) == stream(TEXT)
    assert (meter.saw_end_marker, meter.failed, meter.may_end_without_marker()) == (False, True, False)


def test_a_response_without_usage_is_counted() -> None:
    """By what was streamed; the end passes as it came (40)."""
    meter = ResponsesMeter()
    meter.feed(stream(TEXT, TEXT, completed(usage=None)))
    request = read_responses(b'{"model":"m","input":"Hi"}')

    counted = count_stream(request, meter, request_id="r", upstream="u")

    assert (counted.estimated, counted.usage.completion_tokens) == (True, 3)
    assert events_in(meter.final_events(5)) == [completed(usage=None)]


def test_an_impossible_usage_of_a_response_is_not_believed() -> None:
    """Counted by us instead (44)."""
    meter = ResponsesMeter()
    meter.feed(stream(completed(usage={"input_tokens": -1})))

    assert (meter.usage, meter.invalid_usage, meter.saw_end_marker) == (None, True, True)


START: Json = {
    "type": "message_start",
    "message": {"id": "m", "usage": {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 1}},
}
DELTA: Json = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}
PING: Json = {"type": "ping"}
LAST: Json = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 12}}
STOP: Json = {"type": "message_stop"}


@given(cuts, st.sampled_from((b"\n", b"\r\n")))
def test_a_message_ends_with_its_usage_and_cost(at: list[int], newline: bytes) -> None:
    """The prompt's usage passes at once; the last but one event waits with the last, and shows the cost (41)."""
    text = stream(START, DELTA, PING, DELTA, newline=newline)
    meter = MessagesMeter()

    assert feed(meter, text + stream(LAST, PING, STOP, newline=newline), at) == text.replace(b"\r", b"")
    assert (meter.saw_end_marker, meter.saw_finish_reason(), meter.usage) == (
        True,
        True,
        Usage(10, 12, cached_tokens=3),
    )
    shown = {**LAST, "usage": {"output_tokens": 12, "cost": 0.000000007}}
    assert events_in(meter.final_events(7)) == [shown, PING, STOP]


def test_cumulative_usage_of_messages_counts_once() -> None:
    """Several such events: only the last one is held back, and it replaces the counts before it (41)."""
    early: Json = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 5}}
    meter = MessagesMeter()

    assert meter.feed(stream(START, early, PING, LAST, STOP)) == stream(START, early, PING)
    assert meter.usage == Usage(10, 12, cached_tokens=3)


UNREADABLE_EVENTS = (
    b'{"type":"message_delta","usage":{"\xff":1}}',
    b'{"type":"response.created","response":{"usage":{"\xff":1}}}',
    b'{"choices":[{"delta":{"content":"\xff"}}],"error":null,"usage":{"a":"\xff"}}',
    b'{"error":' + b"[" * 100_000 + b'},"usage":{"a":' + b"[" * 100_000,
    b'{"type":"message_start","message":{"usage":{"a":' + b"[" * 100_000,
)


@pytest.mark.parametrize("data", UNREADABLE_EVENTS)
def test_an_event_that_is_no_text_or_bottomless_passes(data: bytes) -> None:
    """It is nothing that we could read, and no reason to fail."""
    event = b"data: " + data + b"\n\n"
    for meter in (ResponsesMeter(), MessagesMeter(), ChatMeter(None)):
        assert meter.feed(event) == event
        assert (meter.usage, meter.may_end_without_marker()) == (None, False)


def test_a_cost_is_not_shown_where_it_cannot_be_written() -> None:
    """The last event may hold beside its usage what nobody can read; it leaves as it came."""
    for meter, data in (
        (MessagesMeter(), b'{"type":"message_delta","delta":{"stop_reason":"x"},"usage":{"output_tokens":1},"\xff":1}'),
        (ResponsesMeter(), b'{"type":"response.completed","response":{"usage":{"input_tokens":1},"\xff":1}}'),
    ):
        meter.feed(b"data: " + data + b"\n\n")

        assert meter.may_end_without_marker()
        assert data in meter.final_events(5)


def test_a_message_that_does_not_end_breaks_the_stream() -> None:
    """What is held back behind its last event does not fill the memory."""
    meter = MessagesMeter()
    meter.feed(stream(START, LAST))
    ping = stream({"type": "ping", "padding": "x" * 1024 * 1024})
    for _ in range(MAX_EVENT_BYTES // len(ping)):
        assert meter.feed(ping) == b""
    with pytest.raises(BrokenStream, match="does not end"):
        meter.feed(ping)


def test_an_ending_is_known_by_its_type_however_the_stream_is_cut() -> None:
    """A type counts as what it says, however it is written, alone and beside other events."""
    disguised = b'data: {"\\u0074ype":"response.completed"}\n\n'
    together, alone = ResponsesMeter(), ResponsesMeter()
    fake = stream({"type": "x", "of": {"type": "error"}})

    assert together.feed(disguised + fake) == alone.feed(disguised) == b""
    assert together.saw_end_marker
    assert alone.saw_end_marker


def test_a_message_that_breaks_off_is_charged_by_its_prompt_and_a_count() -> None:
    """The prompt was told before the answer, so only the output is counted (40)."""
    meter = MessagesMeter()
    meter.feed(stream(START, DELTA, DELTA, DELTA))
    counted = count_stream(read_messages(messages_body()), meter, request_id="r", upstream="u")

    assert not meter.may_end_without_marker()
    assert meter.delivered() == Delivered(events=3, text_bytes=15)
    assert (counted.usage, counted.estimated) == (Usage(10, 4, cached_tokens=3), True)


def test_an_error_event_of_a_message_does_not_leave() -> None:
    """Its words may name the operator's account."""
    error: Json = {"type": "error", "error": {"type": "overloaded_error", "message": "org-123 is overloaded"}}
    meter = MessagesMeter()

    assert meter.feed(stream(START, error, DELTA)) == stream(START)
    assert meter.failed


def test_a_message_without_its_last_event_may_end() -> None:
    """Once the reason to stop is known, a missing end is made up for."""
    meter = MessagesMeter()
    meter.feed(stream(START, LAST))

    assert (meter.saw_end_marker, meter.may_end_without_marker()) == (False, True)
    assert [one["type"] for one in events_in(meter.final_events(0))] == ["message_delta", "message_stop"]


def test_the_cost_is_shown_where_usage_came_earlier() -> None:
    """The last such event may have no usage of its own."""
    early: Json = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 5}}
    lasts: list[Json] = [{**LAST, "usage": None}, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}]
    for last in lasts:
        meter = MessagesMeter()
        meter.feed(stream(START, early, last, STOP))

        assert events_in(meter.final_events(7))[0]["usage"] == {"cost": 0.000000007}


def test_a_message_without_any_usage_is_counted() -> None:
    """Nothing was reported, neither before nor after (40)."""
    meter = MessagesMeter()
    meter.feed(stream({"type": "message_start", "message": {}}, DELTA, {**LAST, "usage": None}, STOP))
    request = read_messages(messages_body())
    counted = count_stream(request, meter, request_id="r", upstream="u")

    assert (counted.usage, counted.estimated) == (Usage(-(-request.text_bytes // 4), 2), True)


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_are_metered(chunks: list[bytes]) -> None:
    """Whatever an upstream sends, the meters pass or keep it without an error."""
    for meter in (ResponsesMeter(), MessagesMeter()):
        for chunk in chunks:
            meter.feed(chunk)
        meter.delivered()


PIECES = (
    b'data: {"type":"message_delta","usage":',
    b'{"output_tokens":1}',
    b'data: {"type":"response.completed","response":',
    b'data: {"type":"message_start","message":{"usage":5}}',
    b'{"usage":7}',
    b'"type":"error"',
    b"\n\n",
    b"\r\n\r\n",
    b"}",
    b"data: ",
)


@given(st.lists(st.sampled_from(PIECES), max_size=20))
def test_broken_events_are_metered(pieces: list[bytes]) -> None:
    """Neither are events that only look like an end or like usage."""
    for meter in (ResponsesMeter(), MessagesMeter()):
        for piece in pieces:
            if not meter.saw_end_marker and not meter.failed:
                meter.feed(piece)
        meter.final_events(1)


@pytest.mark.parametrize("status", [5, {"a": 1}, ["failed"], True, None])
def test_a_status_of_another_type_hides_no_end(status: object) -> None:
    """The response is complete by its event, whatever stands for its status; its end waits for the charge."""
    meter = ResponsesMeter()
    end: Json = {"type": "response.completed", "response": {"status": status, "usage": USAGE, "output": []}}
    assert feed(meter, stream(TEXT, end), []) == stream(TEXT)
    assert (meter.saw_end_marker, meter.failed, meter.usage) == (True, False, Usage(9, 4))


@pytest.mark.parametrize("response", [5, "completed", [], [{"id": "r"}]])
@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete"])
def test_an_end_that_cannot_be_read_is_a_failure(kind: str, response: object) -> None:
    """It does not leave: its client would take the answer for complete, and get an error behind it."""
    meter = ResponsesMeter()
    assert feed(meter, stream(TEXT, {"type": kind, "response": response}), []) == stream(TEXT)
    assert (meter.saw_end_marker, meter.failed) == (False, True)


@pytest.mark.parametrize("told", [{"delta": 5}, {"delta": []}, {"message": "m"}, {"message": [1]}])
def test_an_end_of_a_message_that_cannot_be_read_is_a_failure(told: Json) -> None:
    """The same, in the other format."""
    meter = MessagesMeter()
    said: Json = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
    assert feed(meter, stream(said, {"type": "message_stop", **told}), []) == stream(said)
    assert (meter.saw_end_marker, meter.failed) == (False, True)
