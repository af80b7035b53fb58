"""What servers send as a chat completion, in every shape that was seen, as a message: whole and streamed."""

from typing import Any

import msgspec
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types.parsed_message import ParsedMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.catalog_samples import sample_model
from tests.support.gateway.chat_streams import Spoken, chat_streams
from tests.support.gateway.formats import CHAT, Json, events_in, messages_body, read_messages
from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.formats.base import OutboundRequest
from tokenbooth.gateway.formats.chat_answer import UnreadableAnswer

THINKING = {"type": "enabled", "budget_tokens": 1_024}


def outbound(*, stream: bool) -> OutboundRequest:
    spoken = read_messages(messages_body(stream=stream, max_tokens=6_000, thinking=THINKING), sample_model()).outbound(
        CHAT
    )
    assert spoken is not None
    return spoken


def written(value: object) -> bytes:
    """A value as JSON; bytes are JSON already."""
    return value if isinstance(value, bytes) else msgspec.json.encode(value)


def whole(message: object) -> list[Json]:
    """The blocks of a whole answer."""
    body = b'{"id":"chatcmpl-1","choices":[{"index":0,"message":%b,"finish_reason":"stop"}]}' % written(message)
    answer = msgspec.json.decode(outbound(stream=False).read_answer(body).client_answer(Usage(1, 1)).encode(0))
    blocks: list[Json] = answer["content"]
    return blocks


def streamed(*deltas: object, finish: bytes = b'"stop"') -> list[Json]:
    """The blocks that a client collects from a stream; none is opened while another one is."""
    meter = outbound(stream=True).meter(lambda usage: 0)
    events = b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":%b,"finish_reason":null}]}\n\n'
    out = b"".join(meter.feed(events % written(delta)) for delta in deltas)
    out += meter.feed(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":%b}]}\n\n' % finish)
    out += meter.feed(b"data: [DONE]\n\n")
    blocks: list[Json] = []
    is_open = False
    for event in events_in(out + meter.final_events(0)):
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(blocks)
                is_open = True
                blocks.append(msgspec.convert(event["content_block"], Json) | {"pieces": ""})
            case "content_block_delta":
                assert is_open
                delta = msgspec.convert(event["delta"], Json)
                piece = delta.get("text", delta.get("thinking", delta.get("partial_json")))
                blocks[-1]["pieces"] = f"{blocks[-1]['pieces']}{piece}"
            case "content_block_stop":
                is_open = False
    assert not is_open
    for block in blocks:
        pieces = str(block.pop("pieces"))
        if block["type"] == "tool_use":
            block["input"] = msgspec.json.decode(pieces or "{}")
        else:
            block[str(block["type"])] = pieces
    return blocks


def named(blocks: list[Json]) -> list[object]:
    """Each block in short: its text, or its name and input."""
    return [(one["name"], one["input"]) if one["type"] == "tool_use" else one[str(one["type"])] for one in blocks]


def piece(index: object = 0, arguments: object = None, **more: object) -> Json:
    function = {"name": more.pop("name")} if "name" in more else {}
    return {"index": index, **more, "function": {**function, "arguments": arguments}}


def calls(*pieces: Json) -> Json:
    return {"tool_calls": list(pieces)}


# Numeric ids: diegosouzapw/OmniRoute#3426. Arguments as an object: ggml-org/llama.cpp#20198. Index null:
# Alishahryar1/free-claude-code#633. Parts: Mistral's chat completion reference. Function call: OpenAI's legacy field.
# Custom tools and audio: OpenAI's chat completion reference. Reasoning details: OpenRouter's reasoning tokens guide.
SHAPES: list[tuple[object, list[object]]] = [
    (calls(piece(None, "{}", id="c", name="f")), [("f", {})]),
    (calls(piece(0, {"x": 1}, id="c", name="f")), [("f", {"x": 1})]),
    (calls(piece("0", '{"x":1}', id=7, name="f")), [("f", {"x": 1})]),
    (calls(piece(0, None, id="c", name="f")), [("f", {})]),
    (calls(piece(0, "[1]", id="c", name="f")), [("f", {"arguments": "[1]"})]),
    (calls(piece(0, '"{\\"x\\":1}"', id="c", name="f")), [("f", {"x": 1})]),
    ({"tool_calls": piece(0, '{"x":1}', id="c", name="f")}, [("f", {"x": 1})]),
    (
        calls(piece(0, '{"x":1}', id="", name="f"), piece(0, '{"x":2}', id="", name="f")),
        [("f", {"x": 1}), ("f", {"x": 2})],
    ),
    ({"function_call": {"name": "f", "arguments": '{"x":1}'}}, [("f", {"x": 1})]),
    (
        {"tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": "a()"}}]},
        [("f", {"input": "a()"})],
    ),
    (
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "a"},
            ]
        },
        ["hm", "a"],
    ),
    ({"content": None, "reasoning": "hm", "reasoning_content": "hm"}, ["hm"]),
    (
        {
            "reasoning_details": [
                {"type": "reasoning.summary", "summary": "hm"},
                {"type": "reasoning.encrypted", "data": "x"},
            ]
        },
        ["hm"],
    ),
    ({"content": None, "refusal": "No."}, ["No."]),
    ({"content": None, "audio": {"id": "a", "transcript": "Hi"}}, ["Hi"]),
    (b'{"content":"\\ud83d\\ude00"}', ["\U0001f600"]),
    (b'{"content":"a\\ud83d"}', ["a\ufffd"]),
]


@pytest.mark.parametrize(("message", "blocks"), SHAPES)
def test_what_is_plain_is_read(message: object, blocks: list[object]) -> None:
    """Whole and in one event of a stream it is the same message."""
    assert named(whole(message)) == blocks
    assert named(streamed(message)) == blocks


# Interleaved: praxis-proxy/ai#266, ls1intum/edutelligence#923. Late name: vercel/ai#16507. Text between:
# youssofal/MTPLX#249. No ids: BerriAI/litellm#24095. Split emoji: elizaOS/eliza#30904.
STREAMS: list[tuple[list[object], list[object]]] = [
    (
        [
            calls(piece(0, "", id="a", name="f"), piece(1, "", id="b", name="g")),
            calls(piece(0, '{"x":')),
            calls(piece(1, '{"y":')),
            calls(piece(0, "1}")),
            calls(piece(1, "2}")),
        ],
        [("f", {"x": 1}), ("g", {"y": 2})],
    ),
    ([calls(piece(0, "", id="a", name="")), calls(piece(0, '{"x":1}', id="a", name="f"))], [("f", {"x": 1})]),
    ([calls(piece(0, '{"x"', id="a", name="f")), {"content": "\n"}, calls(piece(0, ":1}"))], [("f", {"x": 1}), "\n"]),
    (
        [calls(piece(0, '{"x":1}', id="", name="f")), calls(piece(0, '{"y":2}', id="", name="g"))],
        [("f", {"x": 1}), ("g", {"y": 2})],
    ),
    (
        [calls(piece(0, "", id="a", name="f")), calls(piece(0, '{"x"', id="r1")), calls(piece(0, ":1}", id="r2"))],
        [("f", {"x": 1})],
    ),
    ([calls(piece(0, "{}", id="a", name="f")), calls(piece(0, '{"x":1}'))], [("f", {"x": 1})]),
    ([calls(piece(None, '{"x"', id="a", name="f")), calls(piece(None, ":1}"))], [("f", {"x": 1})]),
    (
        [calls(piece(0, "", id="a", name="f")), calls(piece(0, '{"x"', name="f")), calls(piece(0, ":1}", name="f"))],
        [("f", {"x": 1})],
    ),
    (
        [
            {"function_call": {"name": "f"}},
            {"function_call": {"arguments": '{"x"'}},
            {"function_call": {"arguments": ":1}"}},
        ],
        [("f", {"x": 1})],
    ),
    (
        [
            calls(piece(None, "", id="a")),
            calls(piece(None, "", id="b")),
            calls(piece(None, "{}", id="b", name="g")),
            calls(piece(None, "{}", id="a", name="f")),
        ],
        [("f", {}), ("g", {})],
    ),
    ([b'{"content":"a\\ud83d"}', b'{"content":"\\ude00b"}'], ["a\U0001f600b"]),
    (
        [
            calls(piece(0, '{"x":"', id="a", name="f")),
            b'{"tool_calls":[{"index":0,"function":{"arguments":"\\ud83d"}}]}',
            b'{"tool_calls":[{"index":0,"function":{"arguments":"\\ude00\\"}"}}]}',
        ],
        [("f", {"x": "\U0001f600"})],
    ),
]


@pytest.mark.parametrize(("deltas", "blocks"), STREAMS)
def test_pieces_are_put_together(deltas: list[object], blocks: list[object]) -> None:
    """Each call is one block, with its name and its whole arguments."""
    assert named(streamed(*deltas, finish=b'"tool_calls"')) == blocks


def put_together(events: list[Any]) -> ParsedMessage[None]:
    """The message that Anthropic's own SDK makes of some events."""
    message: ParsedMessage[None] | None = None
    pieces: dict[int, bytes] = {}
    for event in events:
        message = accumulate_event(event=event, current_snapshot=message, json_bufs=pieces)
    assert message is not None
    return message


@settings(max_examples=300)
@given(chat_streams(), st.booleans())
def test_a_stream_in_any_spelling_is_what_was_meant(spoken: Spoken, shows_thinking: bool) -> None:
    """Every word, thought and call arrives whole and once, and what leaves is a message, event by event."""
    thinking = THINKING if shows_thinking else {"type": "disabled"}
    request = read_messages(messages_body(stream=True, max_tokens=6_000, thinking=thinking), sample_model())
    asked = request.outbound(CHAT)
    assert asked is not None
    meter = asked.meter(lambda usage: 0)
    out = b"".join(meter.feed(piece) for piece in spoken.pieces if not meter.saw_end_marker)
    assert meter.saw_end_marker
    assert not meter.failed
    assert meter.may_end_without_marker()
    events = events_in(out + meter.final_events(0))
    message, meant = put_together(events), spoken.meant
    said: dict[str, str] = {"thinking": "", "text": ""}
    for block in message.content:
        if block.type in ("text", "thinking"):
            said[block.type] += getattr(block, block.type)
    calls = [block for block in message.content if block.type == "tool_use"]

    assert said == {"thinking": meant.thought if shows_thinking else "", "text": meant.text}
    assert [(call.name, call.input) for call in calls] == [(call.name, call.arguments) for call in meant.calls]
    assert [told.call_id for told in meant.calls if told.call_id] == [
        call.id for call, told in zip(calls, meant.calls, strict=True) if told.call_id
    ]
    assert [event["type"] for event in events].count("message_stop") == 1
    assert _is_nested(events)


@given(chat_streams())
def test_a_stream_that_nobody_asked_for_says_the_same_whole(spoken: Spoken) -> None:
    """Some servers stream although they are not asked to."""
    asked, meant = outbound(stream=False), spoken.meant
    came = asked.read_answer(asked.as_answer(spoken.body))
    answer = msgspec.json.decode(came.client_answer(Usage(1, 1)).encode(0))
    said: dict[str, str] = {"thinking": "", "text": ""}
    calls: list[Json] = []
    for block in answer["content"]:
        if block["type"] == "tool_use":
            calls.append(block)
        else:
            said[block["type"]] += block[block["type"]]

    assert said == {"thinking": meant.thought, "text": meant.text}
    assert [(call["name"], call["input"]) for call in calls] == [(call.name, call.arguments) for call in meant.calls]
    assert [told.call_id for told in meant.calls if told.call_id] == [
        call["id"] for call, told in zip(calls, meant.calls, strict=True) if told.call_id
    ]
    assert came.reported_usage() == Usage(meant.prompt_tokens, meant.completion_tokens, meant.cached_tokens)


def test_a_stream_whose_call_has_no_name_is_no_whole_answer() -> None:
    """As it is none when it was asked for."""
    events = b'data: {"choices":[{"delta":%b}]}\n\ndata: [DONE]\n\n' % written(calls(piece(0, "{}", id="c")))
    with pytest.raises(UnreadableAnswer):
        outbound(stream=False).as_answer(events)


def test_the_stop_sequence_survives_putting_together() -> None:
    """Where the server names it."""
    events = b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop","stop_reason":"END"}]}\n\n'
    asked = outbound(stream=False)
    answer = msgspec.json.decode(asked.read_answer(asked.as_answer(events)).client_answer(Usage(1, 1)).encode(0))

    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "END")


def _is_nested(events: list[Json]) -> bool:
    """Whether blocks are opened and closed one after the other, and numbered so."""
    opened = -1
    is_open = False
    for event in events:
        match event["type"]:
            case "content_block_start":
                opened += 1
                if is_open or event["index"] != opened:
                    return False
                is_open = True
            case "content_block_delta" | "content_block_stop":
                if not is_open or event["index"] != opened:
                    return False
                is_open = event["type"] == "content_block_delta"
            case "message_delta" if is_open:
                return False
    return not is_open


@pytest.mark.parametrize(
    "delta",
    [
        b"not json",
        b'"x",',
        {"content": [{"type": "image_url", "image_url": {"url": "u"}}]},
        {"images": [{}]},
        calls(piece(0, "{}", id="c")),
        {"tool_calls": "x"},
    ],
)
def test_what_has_no_meaning_is_an_error(delta: object) -> None:
    """Never a clean message without it, which would be charged."""
    meter = outbound(stream=True).meter(lambda usage: 0)
    meter.feed(b'data: {"choices":[{"index":0,"delta":%b,"finish_reason":null}]}\n\n' % written(delta))
    meter.feed(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
    assert meter.failed
    with pytest.raises(UnreadableAnswer):
        whole(delta)


def test_an_id_that_comes_late_is_the_calls_id() -> None:
    """Some servers need theirs back."""
    (block,) = streamed(calls(piece(0, name="f")), calls(piece(0, "", id="c")), calls(piece(0, '{"x":1}')))

    assert (block["id"], block["name"], block["input"]) == ("c", "f", {"x": 1})


def test_ids_that_are_missing_or_come_twice_are_replaced() -> None:
    """A client answers each call by its id."""
    blocks = whole(calls(piece(0, "{}", name="f"), piece(1, "{}", id="c", name="f"), piece(2, "{}", id="c", name="f")))
    ids = [str(block["id"]) for block in blocks]

    assert len(set(ids)) == 3
    assert ids[1] == "c"
    assert ids[0].startswith("toolu_")


def test_a_message_that_tells_all_again_adds_only_what_is_new() -> None:
    """MiniMax ends its streams with one."""
    meter = outbound(stream=True).meter(lambda usage: 0)
    out = meter.feed(b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\n')
    out += meter.feed(b'data: {"choices":[{"index":0,"message":{"content":"Hello"},"finish_reason":"stop"}]}\n\n')

    assert [one["delta"] for one in events_in(out) if one["type"] == "content_block_delta"] == [
        {"type": "text_delta", "text": "Hel"},
        {"type": "text_delta", "text": "lo"},
    ]


def test_only_the_first_of_several_choices_is_told() -> None:
    """The format has one answer, and two must not be mixed into one."""
    meter = outbound(stream=True).meter(lambda usage: 0)
    out = meter.feed(b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n')
    out += meter.feed(b'data: {"choices":[{"index":1,"delta":{"content":"Ho"}}]}\n\n')

    assert b"Hi" in out
    assert b"Ho" not in out


@pytest.mark.parametrize("index", [b"1e400", b"-1e400", b"NaN", b"Infinity", b"1.0", b'"7"', b"true", b"9" * 40])
def test_an_index_of_any_number_is_no_error_of_ours(index: bytes) -> None:
    """Of a choice and of a call; what cannot be a number is none."""
    call = b'{"index":%b,"id":"c","function":{"name":"f","arguments":"{}"}}' % index
    body = b'{"choices":[{"index":%b,"message":{"content":"Hi","tool_calls":[%b]}}]}' % (index, call)
    answer = outbound(stream=False).read_answer(body).client_answer(Usage(1, 1))
    blocks = msgspec.json.decode(answer.encode(0))["content"]
    assert [block["type"] for block in blocks] == ["text", "tool_use"]
