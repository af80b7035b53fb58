"""The framing of event streams: the same events for any line ends, wherever the body is cut."""

from itertools import pairwise
from typing import Final

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenbooth.gateway.formats.anthropic.stream import MessagesMeter
from tokenbooth.gateway.formats.openai.chat_stream import ChatMeter
from tokenbooth.gateway.formats.openai.responses_stream import ResponsesMeter
from tokenbooth.gateway.formats.sse import (
    MAX_EVENT_BYTES,
    BrokenStream,
    EventFramer,
    data_of,
    is_event_stream,
    is_in_form,
    is_real,
    split_events,
    stray_of,
)

LINES: Final = st.one_of(
    st.sampled_from(("event: a", "id: 7", ": a comment", "retry: 10", "data:", 'data:{"a":1}', "data: [DONE]")),
    st.builds(lambda value: "data: " + msgspec.json.encode(value).decode(), st.dictionaries(st.text(), st.text())),
)
EVENTS: Final = st.lists(st.lists(LINES, min_size=1, max_size=4), min_size=1, max_size=6)
LINE_ENDS: Final = st.lists(st.sampled_from(("\n", "\r", "\r\n")), min_size=1, max_size=40)
CUTS: Final = st.lists(st.integers(min_value=0, max_value=4_000), max_size=12)
MARK: Final = b"\xef\xbb\xbf"
CHUNK: Final = b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}'
LAST: Final = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'


def cut(body: bytes, at: list[int]) -> list[bytes]:
    """A body cut at these offsets."""
    edges = [0, *sorted(one % (len(body) + 1) for one in at), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


def frame(pieces: list[bytes]) -> bytes:
    """What leaves of a body."""
    framer = EventFramer()
    return b"".join([framer.feed(piece) for piece in pieces]) + framer.end()


def written(events: list[list[str]], ends: list[str]) -> bytes:
    """Events whose lines end as listed, over and over."""
    text = ""
    for number, line in enumerate(line for event in events for line in (*event, "")):
        end = ends[number % len(ends)]
        # A CR and an LF with nothing between them would be one line end.
        text += line + ("\r" if not line and end == "\n" and text.endswith("\r") else end)
    return text.encode()


def with_data_in_one_line(lines: list[str]) -> list[str]:
    """The lines of an event with its data in the first that has some."""
    data = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
    if len(data) < 2:
        return lines
    first = next(at for at, line in enumerate(lines) if line.startswith("data:"))
    others = [line for line in lines[first + 1 :] if not line.startswith("data:")]
    return [*lines[:first], "data: " + " ".join(data), *others]


@given(EVENTS, LINE_ENDS, CUTS, st.booleans())
def test_any_line_ends_cut_anywhere_are_the_same_events(
    events: list[list[str]], ends: list[str], at: list[int], marked: bool
) -> None:
    """With a byte order mark or without, and with their data in one line."""
    body = (MARK if marked else b"") + written(events, ends)
    assert frame(cut(body, at)) == written([with_data_in_one_line(event) for event in events], ["\n"])


@given(EVENTS, CUTS)
@example([["data:", "data: {}"]], [])
@example([["data: {", "data: }"]], [])
def test_what_is_in_form_passes_as_it_is(events: list[list[str]], at: list[int]) -> None:
    """The short way of ordinary chunks and the long one make the same of them."""
    body = written(events, ["\n"])
    if is_in_form(body):
        assert EventFramer().feed(body) == body
    assert [event + b"\n\n" for event in body.split(b"\n\n") if event] == split_events(body)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n", b"\n\n"])
def test_the_last_event_counts_without_its_end(end: bytes) -> None:
    """The end of the body ends it, and it leaves as a whole event."""
    assert frame([b"data: 1\n\ndata: " + CHUNK + end]) == b"data: 1\n\ndata: " + CHUNK + b"\n\n"


@pytest.mark.parametrize("torn", [b'data: {"choices":[', b"data: [DO", b'data: {"a":1}\ndata: {'])
def test_a_torn_event_is_none(torn: bytes) -> None:
    """A body that ends inside of an event has no clean end."""
    framer = EventFramer()
    framer.feed(b"data: 1\n\n" + torn)
    with pytest.raises(BrokenStream, match="inside"):
        framer.end()


def chunk_in_lines(delta: dict[str, object], finish: str | None = None) -> bytes:
    """An event of a chat as JSON in many lines."""
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    lines = msgspec.json.format(msgspec.json.encode(chunk), indent=1).split(b"\n")
    return b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(("finish", "is_end"), [("stop", True), ("timeout", False)])
@pytest.mark.parametrize("before", [b"", b": comment\n\n", b"event: x\ndata: {}\n\n"])
def test_data_in_several_lines_is_one_text(before: bytes, finish: str, is_end: bool, size: int) -> None:
    """Its text counts, and the reason of its end is seen (HTML standard, 9.2.6: lines of data are one value)."""
    stream = before + chunk_in_lines({"content": "Hi"}) + chunk_in_lines({}, finish)
    meter = ChatMeter(None)
    for at in range(0, len(stream), size):
        meter.feed(stream[at : at + size])
    assert meter.delivered().text_bytes == 2
    assert meter.may_end_without_marker() is is_end
    meter.feed(b"data: [DONE]\n\n")
    assert (meter.saw_end_marker, meter.failed) == (True, not is_end)


def test_fields_in_any_order() -> None:
    """Data before its event's name, in several lines, without a blank."""
    assert data_of(b'data:{"a":\nevent: x\ndata: 1}\n\n') == b'{"a":\n1}'


@pytest.mark.parametrize("size", [1, 4_096, MAX_EVENT_BYTES * 2])
def test_an_event_of_eight_mebibytes_passes(size: int) -> None:
    """In pieces and at once; one byte more is refused."""
    text = b"data: " + b"a" * (MAX_EVENT_BYTES - 6)
    if size == 1:
        pieces = [*cut(text[:1_000], list(range(1_000))), text[1_000:], b"\n", b"\n"]
        larger = [*pieces[:-2], b"a", b"\n", b"\n"]
    else:
        whole = text + b"\n\n"
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        whole = text + b"a\n\n"
        larger = [whole[at : at + size] for at in range(0, len(whole), size)]
    framer = EventFramer()
    assert sum(len(framer.feed(piece)) for piece in pieces) == MAX_EVENT_BYTES + 2
    with pytest.raises(BrokenStream, match="too large"):
        frame(larger)


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (b'{"a":1}', True),
        (MARK + b' \r\n {"a":1}', True),
        (b"[1]", True),
        (b"data: {}\n\n", False),
        (MARK + b"\r\n: comment\n\n", False),
    ],
)
def test_the_first_bytes_say_what_a_body_is(body: bytes, whole: bool) -> None:
    """Whatever its media type says; a JSON text is collected also where a piece looks like an event."""
    for pieces in ([body], cut(body, list(range(len(body))))):
        framer = EventFramer()
        for piece in pieces:
            framer.feed(piece)
        assert (framer.whole is not None) is whole
    assert is_event_stream(body) is not whole


def test_a_piece_of_json_is_no_event() -> None:
    """Where a text is cut, its rest may look like one."""
    meter = ChatMeter(None)
    body = b'{"text":"data: 1"}\n\n'
    assert meter.feed(body[:9]) + meter.feed(body[9:]) == b""
    assert bytes(meter.whole or b"") == body


# llama.cpp, tools/server/server.cpp: server_sent_event("error", ...). Gemini's OpenAI form closes a failed stream with
# the bare body of the error.
STRAYS: Final = (
    b'error: {"code":500,"message":"secret","type":"server_error"}\n\n',
    b'error: {"code":500,"message":"secret","type":"server_error"}',
    b"error: secret words\n\n",
    b'{"error":{"code":503,"message":"secret","status":"UNAVAILABLE"}}',
    b'{"error":{"code":503,"message":"secret"}}\n\n',
    b'{\n  "error": {\n    "code": 503,\n    "message": "secret"\n  }\n}\n',
)


@pytest.mark.parametrize("stray", STRAYS)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@given(at=CUTS)
def test_an_error_in_no_field_fails_the_stream(stray: bytes, newline: bytes, at: list[int]) -> None:
    """In each format and wherever it is cut; none of it leaves, nor what follows."""
    body = (b"data: " + LAST + b"\n\n" + stray + b"data: [DONE]\n\n" * stray.endswith(b"\n\n")).replace(b"\n", newline)
    for meter in (ChatMeter(None), MessagesMeter(), ResponsesMeter()):
        out = b""
        for piece in cut(body, at):
            if not meter.failed:
                out += meter.feed(piece)
        out += meter.end_of_body()
        assert (out, meter.failed, meter.saw_end_marker) == (b"data: " + LAST + b"\n\n", True, False)


def test_other_bare_json_does_not_leave() -> None:
    """It is in no field, so that no client reads it."""
    meter = ChatMeter(None)
    event = b"data: " + CHUNK + b"\n\n"
    assert meter.feed(event + b'{"id":"secret"}\n\n' + event) == event + event
    assert not meter.failed


def test_strays_are_told_apart() -> None:
    """Of an event and what stands in its lines."""
    framer = EventFramer()
    events = split_events(framer.feed(b'data: 1\n{"a":\n1}\nid: 5\n\n'))
    assert [stray_of(event) for event in events] == [None, b'{"a":1}']
    assert events[0] == b"data: 1\nid: 5\n\n"


@pytest.mark.parametrize(
    ("event", "real"),
    [
        (b": processing\n\n", False),
        (b"event: ping\ndata: {}\n\n", False),
        (b"data:\n\n", False),
        (b"id: 1\n\n", False),
        (b'event: ping\ndata: {"type": "ping"}\n\n', False),
        (b'data: {"type":"ping","cost":"0"}\n\n', False),
        # Azure: the filter's results of the prompt, before the model.
        (b'data: {"choices":[],"prompt_filter_results":[{}]}\n\n', False),
        (b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n', True),
        (b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n', True),
        (b'data: {"type":"message_start","message":{}}\n\n', True),
        (b'data: {"type":"response.created","response":{}}\n\n', True),
        (b": x\n\ndata: " + CHUNK + b"\n\n", True),
    ],
)
def test_what_is_real(event: bytes, real: bool) -> None:
    """What begins an answer: the first event that says something of it."""
    assert is_real(event) is real
