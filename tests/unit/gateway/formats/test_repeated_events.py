"""Events that are like one before: rewritten and counted by comparison as they would be when they are decoded."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenbooth.gateway.formats.anthropic.stream import MessagesMeter
from tokenbooth.gateway.formats.meter import Meter
from tokenbooth.gateway.formats.openai.chat_stream import ChatMeter
from tokenbooth.gateway.formats.openai.completions import CompletionMeter
from tokenbooth.gateway.formats.openai.responses_stream import ResponsesMeter
from tokenbooth.gateway.formats.public_answers import MessageAnswer, OpenAIAnswer, PublicAnswer, ResponseAnswer
from tokenbooth.gateway.formats.repeated_events import PublicStream
from tokenbooth.gateway.formats.sse import data_of, split_events

CANARY = "canary-5e81"
# Events of one stream by format, each with a text %b that changes; what is private is beside it.
CHAT = (
    b'data: {"id":"canary-5e81","model":"m","choices":[{"index":0,"delta":{"content":"%b"}}],"obfuscation":"ab"}\n\n',
    b'data: {"choices":[{"delta":{"reasoning_content":"%b","role":"assistant"},"index":0}],"id":"canary-5e81"}\n\n',
    b'data: {"id":"canary-5e81","choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"%b"}}]}}]}\n\n',
    b'data: {"id":"canary-5e81","choices":[{"index":0,"delta":{"content":[{"type":"text","text":"%b"}]}}]}\n\n',
    b'data: {"id":"canary-5e81","choices":[{"index":0,"delta":{"reasoning":"%b","reasoning_content":"a"}}]}\n\n',
    b'data: {"host":"canary-5e81","choices":[{"index":0,"delta":{"content":"%b","refusal":"no"}}]}\n\n',
)
COMPLETIONS = (b'data: {"id":"canary-5e81", "choices": [{"text": "%b", "index": 0, "finish_reason": null}]}\n\n',)
MESSAGES = (
    b'event: a\ndata: {"type":"content_block_delta","host":"canary-5e81","delta":{"type":"b","text":"%b"}}\n\n',
    b'data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"%b"}}\n\n',
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"%b"}}\n\n',
)
RESPONSES = (
    b'data: {"type":"response.text.delta","sequence_number":3,"delta":"%b","obfuscation":"x","a":"canary-5e81"}\n\n',
    b'event: c\ndata: {"type":"response.function_call_arguments.delta","delta":"%b","sequence_number":12}\n\n',
    b'data: {"type":"response.audio.delta","delta":"%b","sequence_number":4}\n\n',
)
FORMATS: dict[str, tuple[tuple[bytes, ...], type[PublicAnswer]]] = {
    "chat": (CHAT, OpenAIAnswer),
    "completions": (COMPLETIONS, OpenAIAnswer),
    "messages": (MESSAGES, MessageAnswer),
    "responses": (RESPONSES, ResponseAnswer),
}
# What a text may be made of, as JSON writes it.
PIECES = ("a", " ", "é", "你", '\\"', "\\\\", "\\n", "{", "}", ":", ",", "data: ", '\\"id\\":')
ESCAPES = ("\\/", "\\u00e9", "\\ud83d\\ude00", "\\t")
TEXTS = st.lists(st.sampled_from(PIECES), max_size=6).map(lambda pieces: "".join(pieces).encode())
WRITTEN = st.lists(st.sampled_from(PIECES + ESCAPES), max_size=6).map(lambda pieces: "".join(pieces).encode())
# What no text may hold, and ways out of one.
HOSTILE = (
    *(piece.encode() for piece in PIECES + ESCAPES),
    b'"',
    b"\\",
    b"\n",
    b"\n\n",
    b"\r",
    b'"},"id":"canary-5e81","x":{"y":"',
    b'"}}],"host":"canary-5e81"}\n\ndata: {"a":"',
    b"data: [DONE]\n\n",
    b'"usage":{"cost":"canary-5e81"}',
)


def meter_of(form: str) -> Meter:
    """A meter of the format, for a client of ours."""
    match form:
        case "messages":
            return MessagesMeter(MessageAnswer("ours", "m"))
        case "responses":
            return ResponsesMeter(ResponseAnswer("ours", "m"))
        case "completions":
            return CompletionMeter(None, OpenAIAnswer("ours", "m"))
        case _:
            return ChatMeter(None, OpenAIAnswer("ours", "m"))


def meter_without_patterns(form: str) -> Meter:
    """A meter whose events leave as they came."""
    meter = {"messages": MessagesMeter, "responses": ResponsesMeter}.get(form)
    if meter is not None:
        return meter()
    return CompletionMeter(None) if form == "completions" else ChatMeter(None)


@pytest.mark.parametrize("form", FORMATS)
@given(
    st.lists(st.tuples(st.integers(0, 5), WRITTEN), min_size=1, max_size=20),
    st.lists(st.integers(1, 4), min_size=20, max_size=20),
)
def test_like_events_leave_as_if_each_were_decoded(
    form: str, planned: list[tuple[int, bytes]], together: list[int]
) -> None:
    """Whatever their texts, several kinds in turn, one or more at once; nothing private leaves."""
    templates, _ = FORMATS[form]
    events = [templates[kind % len(templates)] % text for kind, text in planned]
    meter = meter_of(form)
    out, at = b"", 0
    for count in together:
        out += meter.feed(b"".join(events[at : at + count]))
        at += count

    assert out == b"".join(meter_of(form).feed(event) for event in events)
    assert CANARY.encode() not in out


@pytest.mark.parametrize("form", FORMATS)
@given(st.lists(st.tuples(st.integers(0, 5), TEXTS), min_size=1, max_size=20))
def test_like_events_count_as_if_each_were_looked_into(form: str, planned: list[tuple[int, bytes]]) -> None:
    """As many texts with as many bytes as for a meter that knows no event again."""
    templates, _ = FORMATS[form]
    meter, forgetful = meter_of(form), meter_without_patterns(form)
    for kind, text in planned:
        event = templates[kind % len(templates)] % text
        meter.feed(event)
        forgetful.feed(event)

    assert meter.delivered() == forgetful.delivered()


@pytest.mark.parametrize("form", FORMATS)
@given(st.integers(0, 5), st.lists(st.sampled_from(HOSTILE), max_size=8))
@example(0, [b"\\", rb"\ud83d\ude00"])
def test_what_breaks_out_of_a_text_is_not_like_others(form: str, kind: int, pieces: list[bytes]) -> None:
    """Quotes and line ends in the place of a text: it is told as it is without a pattern, or is told to be no text."""
    templates, answer = FORMATS[form]
    template = templates[kind % len(templates)]
    stream = PublicStream(answer("ours", "m"))
    stream.rewrite(template % b"a", data_of(template % b"a"), meter_of(form).plain_texts)
    broken = template % b"".join(pieces)
    repeated = stream.repeated(broken)
    if repeated is None:
        return

    assert CANARY.encode() not in repeated
    assert broken.count(b"\n") == repeated.count(b"\n")
    for event, told in zip(split_events(broken), split_events(repeated), strict=True):
        decoded = stream.rewrite(event, data_of(event), None)
        assert decoded in (b"", told)


def test_like_events_are_not_decoded_again() -> None:
    """An event that differs by its text only is rewritten by comparison, several at once too; another one is not."""
    stream = PublicStream(OpenAIAnswer("ours", "m"))
    first, second = CHAT[0] % b"a", CHAT[0] % b'\\"b\\\\'
    told = stream.rewrite(first, data_of(first), ChatMeter(None).plain_texts)
    assert stream.repeated(second + first) == told.replace(b'"a"', b'"\\"b\\\\"') + told
    assert (stream.is_counted, stream.texts, stream.text_bytes) == (True, 2, 6)
    assert stream.repeated(first.replace(b"{", b'{"host":"a",', 1)) is None
    assert stream.repeated(first.replace(b"canary-5e81", b"other")) is None


@pytest.mark.parametrize(
    "hidden",
    [
        b'data: {"id":"x","choices":[{"delta":{"content":"first","content":"a"}}]}\n\n',
        b'data: {"id":"x","host":"content","choices":[{"delta":{"content":"a\n\nid: x"}}]}\n\n',
        b'data: {"id":"x","x_groq":{"content":"a"},"choices":[]}\n\n',
        b'data: {"id":"x","choices":"\\"content\\":\\"a\\""}\n\n',
    ],
)
def test_no_pattern_is_learned_of_what_is_not_proven(hidden: bytes) -> None:
    """A name that comes twice, a line end in a text, a text that does not leave, a text within a text."""
    stream = PublicStream(OpenAIAnswer("ours", "m"))
    stream.rewrite(hidden, hidden[6:].strip(), ChatMeter(None).plain_texts)
    assert stream.repeated(hidden) in (None, stream.rewrite(hidden, hidden[6:].strip(), None))


def test_an_end_within_a_text_is_no_text() -> None:
    """Line ends in what looks like a learned event make events of their own, and one that is torn is a failure."""
    meter = ChatMeter(None, OpenAIAnswer("ours", "m"))
    meter.feed(CHAT[0] % b"a")
    before, _, behind = (CHAT[0] % b"MARK").partition(b"MARK")
    out = meter.feed(before + b"\n\ndata: [DONE]\n\ndata: " + behind)
    assert (out, meter.failed) == (b"", True)


def test_a_text_that_a_format_does_not_know_is_counted_alike_in_any_cut() -> None:
    """Arguments of calls among completions: seen only beside what makes the count an exact one."""
    call = b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"%b"}}]}}]}\n\n'
    end = b'data: {"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens_details":{"cached_tokens":0}}}\n\n'
    events = [call % b"first", call % b"second", call % b"third", end]
    at_once, one_by_one = meter_of("completions"), meter_of("completions")
    at_once.feed(b"".join(events))
    for event in events:
        one_by_one.feed(event)

    assert one_by_one.delivered() == at_once.delivered()
    assert at_once.delivered().events == 3
