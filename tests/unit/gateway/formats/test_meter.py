"""The meter of a stream: the same output and usage however the bytes arrive, usage and end held back."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.formats.meter import Delivered
from tokenbooth.gateway.formats.openai.chat_stream import ChatMeter
from tokenbooth.gateway.formats.public_answers import usd_number
from tokenbooth.gateway.formats.reported_usage import with_cost
from tokenbooth.gateway.formats.sse import MAX_EVENT_BYTES, BrokenStream


def delta(text: str, finish: str | None = None, **more: object) -> str:
    """The data of a chunk with some text."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return msgspec.json.encode({"id": "c", "choices": [choice], **more}).decode()


def usage_data(prompt: int, completion: int, **more: object) -> str:
    """The data of a usage event."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return msgspec.json.encode({"id": "c", "choices": [], "usage": usage, **more}).decode()


def events(*data: str, newline: str = "\n") -> bytes:
    return "".join(f"data: {one}{newline}{newline}" for one in data).encode()


def feed(meter: ChatMeter, stream: bytes, cuts: list[int]) -> bytes:
    """Feed a stream cut at these offsets, as the relay does: nothing more after the end marker."""
    out = b""
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in pairwise(edges):
        if start < end and not meter.saw_end_marker:
            out += meter.feed(stream[start:end])
    return out


TEXT = [delta("Hel"), delta("lo, wörld \n\n 你好"), delta('"usage": {"prompt_tokens": 99}'), delta("[DONE]")]
cuts = st.lists(st.integers(min_value=0, max_value=5_000), max_size=12)
newlines = st.sampled_from(("\n", "\r\n"))


@given(cuts, newlines)
def test_any_chunking_is_the_same_stream(at: list[int], newline: str) -> None:
    """Text passes with one kind of line end, the usage event and the end marker don't, wherever the bytes are cut."""
    text = events(*TEXT, delta("", "stop"), newline=newline)
    meter = ChatMeter(None)

    out = feed(meter, text + events(usage_data(9, 4), "[DONE]", newline=newline), at)

    assert out == events(*TEXT, delta("", "stop"))
    assert meter.usage == Usage(prompt_tokens=9, completion_tokens=4)
    assert (meter.saw_end_marker, meter.saw_finish_reason()) == (True, True)
    assert msgspec.json.decode(meter.usage_event or b"") == msgspec.json.decode(usage_data(9, 4))
    assert meter.delivered().events == 4


@given(cuts)
def test_line_ends_may_be_mixed(at: list[int]) -> None:
    """Comments of a proxy with one line end among events with another hide neither usage nor end."""
    stream = b": ping\r\n\r\n" + events(*TEXT) + b": ping\r\n\r\n" + events(usage_data(9, 4), "[DONE]")
    meter = ChatMeter(None)

    out = feed(meter, stream, at)

    assert meter.usage == Usage(prompt_tokens=9, completion_tokens=4)
    assert meter.saw_end_marker
    assert b"data: [DONE]" not in out


@given(cuts)
def test_cumulative_usage_counts_once(at: list[int]) -> None:
    """Usage in every chunk, growing: the last one is the usage (41)."""
    growing = [
        delta("a" * n, usage={"prompt_tokens": 9, "completion_tokens": n, "total_tokens": 9 + n}) for n in (1, 2, 3)
    ]
    meter = ChatMeter(None)

    out = feed(meter, events(*growing, "[DONE]"), at)

    assert out == events(*growing)
    assert meter.usage == Usage(prompt_tokens=9, completion_tokens=3)
    assert meter.usage_event is None


def test_usage_of_null_in_each_chunk_is_none() -> None:
    """OpenAI sends null until the last event."""
    stream = events(delta("a", usage=None), delta("b", usage=None))
    meter = ChatMeter(None)

    assert meter.feed(stream) == stream
    assert meter.usage is None
    assert not meter.saw_finish_reason()


def test_usage_and_end_in_one_chunk() -> None:
    """They often arrive together, and what follows the end is nobody's."""
    meter = ChatMeter(None)

    assert meter.feed(events(delta("a"), usage_data(1, 1), "[DONE]", delta("more"))) == events(delta("a"))
    assert (meter.usage, meter.saw_end_marker) == (Usage(prompt_tokens=1, completion_tokens=1), True)


def test_usage_without_a_list_of_choices_is_read() -> None:
    """An event whose `choices` is null, or missing, carries usage all the same and is withheld."""
    for choices in ({"choices": None}, {}):
        usage = {"usage": {"prompt_tokens": 5, "completion_tokens": 6}}
        meter = ChatMeter(None)
        out = meter.feed(events(msgspec.json.encode(choices | usage).decode()))

        assert (out, meter.usage) == (b"", Usage(prompt_tokens=5, completion_tokens=6))


def test_cost_is_shown_in_a_usage_event_with_choices() -> None:
    """Where the usage stands in an event that has to pass anyway, its cost is added there."""
    meter = ChatMeter(lambda usage: usage.completion_tokens * 1_000)
    out = meter.feed(events(delta("a", usage={"prompt_tokens": 9, "completion_tokens": 7})))

    shown = msgspec.json.decode(out.removeprefix(b"data: "))
    assert shown["usage"] == {"prompt_tokens": 9, "completion_tokens": 7, "cost": 0.000007}
    assert shown["choices"][0]["delta"] == {"content": "a"}


def test_cost_of_a_usage_event() -> None:
    """The cost is an exact number, and the event's other fields stay; an upstream's own cost is replaced."""
    event = b'{"id":"c","choices":[],"usage":{"prompt_tokens":1,"cost":99.5}}'

    assert with_cost(event, 2_376_000) == b'{"id":"c","choices":[],"usage":{"prompt_tokens":1,"cost":0.002376000}}'


@pytest.mark.parametrize(
    ("amount_nano", "number"), [(0, b"0.000000000"), (1, b"0.000000001"), (12_500_000_000, b"12.500000000")]
)
def test_usd_numbers(amount_nano: int, number: bytes) -> None:
    """Nano-dollars as an exact JSON number."""
    assert usd_number(amount_nano) == number


def test_impossible_usage_is_marked_and_withheld() -> None:
    """Counts that cannot be true are no usage; the event without choices does not pass, another one does (44)."""
    meter = ChatMeter(None)
    with_choices = events(delta("a", usage={"prompt_tokens": -1}))

    assert meter.feed(events(usage_data(-1, 5))) == b""
    assert meter.feed(with_choices) == with_choices
    assert (meter.usage, meter.invalid_usage, meter.usage_event) == (None, True, None)


def test_an_error_of_the_upstream_ends_the_stream() -> None:
    """Neither the error, in the upstream's words, nor what follows it leaves."""
    meter = ChatMeter(None)
    out = meter.feed(events(delta("a"), '{"error":{"message":"account acct_1 is out of quota"}}', delta("b")))

    assert (out, meter.failed, meter.saw_end_marker) == (events(delta("a")), True, False)


@pytest.mark.parametrize("data", [delta("a", error=None), delta('say "error": 1'), '{"x":{"error":1}}', '{"error":'])
def test_what_only_looks_like_an_error_passes(data: str) -> None:
    """An error of null, in a text, further inside, or in no JSON at all."""
    meter = ChatMeter(None)

    assert meter.feed(events(data)) == events(data)
    assert not meter.failed


def test_usage_that_is_no_object_of_ours_passes() -> None:
    """An event that only looks like one with usage is passed on, and nothing is read from it."""
    other = events('{"choices":[],"x":{"usage":{"prompt_tokens":1}}}', '{"choices":5,"usage":{"a":')
    meter = ChatMeter(None)

    assert meter.feed(other) == other
    assert meter.usage is None


def test_without_usage_what_was_delivered_counts() -> None:
    """Every kind of text counts: content, reasoning, tool arguments, refusals; empty ones don't (40)."""
    chunks = [
        '{"choices":[{"delta":{"role":"assistant","content":""}}]}',
        '{"choices":[{"delta":{"content":"12345"}}]}',
        '{"choices":[{"delta":{"reasoning_content" : "123"}}]}',
        '{"choices":[{"delta":{"reasoning":"12"}}]}',
        '{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{\\"a\\":1}"}}]}}]}',
        '{"choices":[{"delta":{"refusal":"1"}}]}',
        '{"choices":[{"delta":{},"finish_reason":"stop"}]}',
    ]
    meter = ChatMeter(None)
    for chunk in chunks:
        meter.feed(events(chunk))

    assert meter.delivered() == Delivered(events=5, text_bytes=5 + 3 + 2 + len('{\\"a\\":1}') + 1)
    assert meter.saw_finish_reason()


def test_counting_in_between_changes_nothing() -> None:
    """A long stream is counted piece by piece, with the same result, and its finish is remembered."""
    meter = ChatMeter(None)
    meter.feed(events(delta("x", "length")))
    for _ in range(50):
        meter.feed(events(delta("y" * 1_000)))

    assert meter.delivered() == Delivered(events=51, text_bytes=50_001)
    assert meter.delivered() == Delivered(events=51, text_bytes=50_001)
    assert meter.saw_finish_reason()


def test_an_unfinished_event_is_kept_back() -> None:
    """Half an event does not leave, and does not count as delivered."""
    meter = ChatMeter(None)

    assert meter.feed(b'data: {"choices":[{"delta":{"content":"a"}}]}\n') == b""
    assert meter.delivered() == Delivered(events=0, text_bytes=0)


def test_an_event_without_an_end_breaks_the_stream() -> None:
    """An upstream that never ends its event does not fill the memory."""
    meter = ChatMeter(None)
    piece = b"x" * (1024 * 1024)
    for _ in range(MAX_EVENT_BYTES // len(piece)):
        assert meter.feed(piece) == b""
    with pytest.raises(BrokenStream, match="too large"):
        meter.feed(piece)


@pytest.mark.timeout(20)
def test_a_large_event_in_many_pieces_costs_no_more_than_its_length() -> None:
    """An upstream that dribbles one event does not keep the process busy.

    The limit of this test is far above what a linear search needs and far below a quadratic one.
    """
    meter = ChatMeter(None)
    event = b'data: {"x":"' + b"x" * (MAX_EVENT_BYTES - 100) + b'"}\n\n'
    out = [meter.feed(event[at : at + 50]) for at in range(0, len(event), 50)]

    assert b"".join(out) == event


@pytest.mark.parametrize("blank", [b"\n", b"\r\n"])
def test_a_further_empty_line_is_nothing(blank: bytes) -> None:
    """Wherever the stream is cut, the same leaves of it: an event without a line says nothing."""
    stream = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n' + blank + b"data: {}\n\n"
    whole, bytewise = ChatMeter(None), ChatMeter(None)

    assert whole.feed(stream) == b"data: {}\n\n"
    assert b"".join(bytewise.feed(stream[at : at + 1]) for at in range(len(stream))) == b"data: {}\n\n"


def test_a_text_that_does_not_end_ends_with_its_line() -> None:
    """A broken event is not counted together with the one behind it, wherever the stream is cut."""
    events = [b'data: {"content":"abc\n\n', b'data: {"content":"d"\n\n']
    whole, cut = ChatMeter(None), ChatMeter(None)
    whole.feed(b"".join(events))
    for event in events:
        cut.feed(event)
        cut.delivered()

    assert whole.delivered() == cut.delivered() == Delivered(events=1, text_bytes=1)


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_are_metered(chunks: list[bytes]) -> None:
    """Whatever an upstream sends, the meter passes or keeps it without an error."""
    meter = ChatMeter(None)
    out = b"".join(meter.feed(chunk) for chunk in chunks)

    assert len(out) <= sum(map(len, chunks)) + 4 * len(chunks)


@given(
    st.lists(
        st.sampled_from((b'data: {"usage":{', b"[DONE]", b'"usage"', b"\n\n", b"\r\n\r\n", b"}", b"data:")), max_size=20
    )
)
def test_broken_events_are_metered(pieces: list[bytes]) -> None:
    """Neither are events that only look like usage or the end."""
    meter = ChatMeter(None)
    for piece in pieces:
        meter.feed(piece)

    assert meter.usage is None
