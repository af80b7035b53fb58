"""Messages for upstreams that only speak OpenAI's chat format: the request there, the answer back."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.catalog_samples import sample_model
from tests.support.gateway.formats import CHAT, Json, events_in, messages_body, read_messages, sent, speaking
from tokenbooth.config.catalog import Model
from tokenbooth.config.upstream_kinds import KINDS
from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.errors import Refusal
from tokenbooth.gateway.formats.anthropic.to_chat import fit_messages
from tokenbooth.gateway.formats.base import OutboundRequest
from tokenbooth.gateway.formats.meter import Meter

CHAT_MODEL = sample_model()


def outbound_of(model: Model = CHAT_MODEL, /, **fields: object) -> OutboundRequest:
    """A messages request as an upstream of the chat format is asked it."""
    outbound = read_messages(messages_body(**fields), model).outbound(CHAT)
    assert outbound is not None
    return outbound


def asked(model: Model = CHAT_MODEL, /, **fields: object) -> Json:
    """The body of the chat completion."""
    return sent(outbound_of(model, **fields))


def messages_of(*messages: Json, **fields: object) -> object:
    return asked(messages=list(messages), **fields)["messages"]


def test_a_plain_request() -> None:
    """The upstream's model name, the ceiling in its field, and nothing that it does not know."""
    outbound = outbound_of(
        system="Be kind.", temperature=0.5, top_k=3, metadata={"user_id": "u"}, stop_sequences=["END"]
    )

    assert (outbound.path, outbound.credential, dict(outbound.headers())) == ("/chat/completions", "authorization", {})
    assert sent(outbound) == {
        "model": "upstream-name",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        "max_tokens": 1_000,
        "temperature": 0.5,
        "stop": ["END"],
    }
    assert sent(outbound, 300)["max_tokens"] == 300


def test_the_ceiling_stands_in_the_models_field_and_within_its_limit() -> None:
    """Coding agents ask for more than most models can write."""
    model = sample_model(output_limit_field="max_completion_tokens")

    assert asked(model, max_tokens=32_000)["max_completion_tokens"] == 8_192


def test_a_stream_asks_for_usage() -> None:
    """Or nobody would know what it cost."""
    body = asked(stream=True)

    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_system_blocks_are_joined() -> None:
    """Their cache marks are left out."""
    blocks = [{"type": "text", "text": "One", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "Two"}]

    assert asked(system=blocks)["messages"] == [
        {"role": "system", "content": "One\n\nTwo"},
        {"role": "user", "content": "Hi"},
    ]


def test_marks_of_a_long_cache_are_left_out_too() -> None:
    """They cost nothing where there is no such cache, and coding agents set them."""
    long = {"type": "ephemeral", "ttl": "1h"}
    body = asked(
        system=[{"type": "text", "text": "One", "cache_control": long}],
        tools=[{"name": "look", "input_schema": {}, "cache_control": long}],
        context_management={"edits": []},
        metadata={"user_id": "u"},
        thinking={"type": "adaptive"},
        output_config={"effort": "high"},
    )

    assert sorted(body) == ["max_tokens", "messages", "model", "tools"]
    assert "cache_control" not in msgspec.json.encode(body).decode()


def test_images_are_data_urls() -> None:
    """Text and images stay in their order."""
    source = {"type": "base64", "media_type": "image/png", "data": "QUJD"}
    content = [
        {"type": "text", "text": "Look:"},
        {"type": "image", "source": source},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Plain."}},
    ]

    assert messages_of({"role": "user", "content": content}) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "text", "text": "Plain."},
            ],
        }
    ]


def test_a_round_of_tools() -> None:
    """Calls stand in the assistant's message, results follow it at once, the user's words come behind them."""
    calls = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "a"}},
        {"type": "tool_use", "id": "t2", "name": "look", "input": {}},
    ]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}
    results = [
        {"type": "tool_result", "tool_use_id": "t1", "content": "seen"},
        {
            "type": "tool_result",
            "tool_use_id": "t2",
            "is_error": True,
            "content": [{"type": "text", "text": "dark"}, image],
        },
        {"type": "text", "text": "Go on."},
    ]

    assert messages_of(
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": calls},
        {"role": "user", "content": results},
    ) == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"at":"a"}'}},
                {"id": "t2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "seen"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: dark\n[image 1 of the next user message]"},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
                {"type": "text", "text": "Go on."},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("choice", "chosen", "parallel"),
    [
        ({"type": "auto"}, "auto", None),
        ({"type": "any"}, "required", None),
        ({"type": "none"}, "none", None),
        ({"type": "tool", "name": "look"}, {"type": "function", "function": {"name": "look"}}, None),
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto", False),
        (None, None, None),
    ],
)
def test_tools_and_their_choice(choice: object, chosen: object, parallel: object) -> None:
    """A tool is a function, and each way to choose one has its word."""
    tool = {"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {}}}
    body = asked(tools=[tool], tool_choice=choice)

    assert body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "look",
                "parameters": {"type": "object", "properties": {}},
                "description": "Looks.",
            },
        }
    ]
    assert (body.get("tool_choice"), body.get("parallel_tool_calls")) == (chosen, parallel)


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2_000}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 30_000}}, "high"),
        ({"output_config": {"effort": "max"}}, "high"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({}, None),
    ],
)
def test_how_much_to_think(fields: Json, effort: str | None) -> None:
    """A model that thinks is told how much; one that does not is not asked to."""
    assert asked(sample_model(reasoning=True), **fields).get("reasoning_effort") == effort
    assert "reasoning_effort" not in asked(**fields)


def test_a_schema_for_the_answer() -> None:
    """Structured output has its own name there."""
    wanted = {"format": {"type": "json_schema", "schema": {"type": "object"}}}

    assert asked(output_config=wanted)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools.bash_20250124"),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "base64"}}]}]},
            "content.document",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "image", "source": {"type": "url"}}]}]},
            "content.image",
        ),
    ],
)
def test_what_has_no_form_there_is_refused_by_name(fields: Json, param: str) -> None:
    """Before anything is held; a model that has another upstream is asked there."""
    with pytest.raises(Refusal) as refused:
        read_messages(messages_body(**fields), CHAT_MODEL)
    both = read_messages(messages_body(**fields), speaking(CHAT_MODEL, "openai.chat", "anthropic.messages"))

    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", param)
    assert both.outbound(CHAT) is None
    assert both.outbound(frozenset(("anthropic.messages",))) is both


def whole(message: Json, finish: str = "stop", **choice: object) -> Json:
    """The message that a whole completion becomes."""
    completion = {"id": "chatcmpl-1", "choices": [{"message": message, "finish_reason": finish, **choice}]}
    usage = Usage(prompt_tokens=20, completion_tokens=6, cached_tokens=8, cache_write_tokens=2)
    outbound = outbound_of(thinking={"type": "enabled", "budget_tokens": 1_024})
    decoded: Json = msgspec.json.decode(
        outbound.read_answer(msgspec.json.encode(completion)).client_answer(usage, "1").encode(0)
    )
    return decoded


def test_a_whole_answer() -> None:
    """Thinking, text and calls become blocks; the usage is told in the format's own way of counting."""
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}

    assert whole({"content": "Hi", "reasoning_content": "hm", "tool_calls": [call]}, "tool_calls") == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": CHAT_MODEL.name,
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": 1}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 2,
            "cache_read_input_tokens": 8,
            "output_tokens": 6,
            "cost": 0.0,
        },
    }


@pytest.mark.parametrize(
    ("finish", "more", "reason"),
    [
        ("stop", {}, ("end_turn", None)),
        ("length", {}, ("max_tokens", None)),
        ("content_filter", {}, ("refusal", None)),
        ("function_call", {}, ("tool_use", None)),
        ("stop", {"stop_reason": "END"}, ("stop_sequence", "END")),
        ("stop", {"stop_reason": 128_009}, ("end_turn", None)),
        ("strange", {}, ("end_turn", None)),
    ],
)
def test_reasons_to_stop(finish: str, more: Json, reason: tuple[str, str | None]) -> None:
    """Each has its word in the other format."""
    message = whole({"content": "Hi"}, finish, **more)

    assert (message["stop_reason"], message["stop_sequence"]) == reason


@pytest.mark.parametrize(
    ("arguments", "given"),
    [("", {}), ("{}", {}), ("not json", {"arguments": "not json"}), ("[1]", {"arguments": "[1]"})],
)
def test_arguments_that_are_no_object(arguments: str, given: Json) -> None:
    """A model's mistake reaches the client as a value, not as an error of ours."""
    (block,) = msgspec.convert(
        whole({"content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": arguments}}]})[
            "content"
        ],
        list[Json],
    )

    assert block["input"] == given


def test_text_in_parts_is_joined() -> None:
    """Some servers write the text as a list of parts."""
    parts = [{"type": "thinking", "text": "hm"}, {"type": "text", "text": "He"}, {"type": "text", "text": "llo"}]

    assert whole({"content": parts})["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "Hello"},
    ]


def chunk(delta: Json, finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + msgspec.json.encode({"id": "chatcmpl-1", "choices": [choice], **more}) + b"\n\n"


def call(index: int, arguments: str, **named: str) -> Json:
    name = {"name": named["name"]} if "name" in named else {}
    ident = {"id": named["id"]} if "id" in named else {}
    return {"tool_calls": [{"index": index, **ident, "function": {**name, "arguments": arguments}}]}


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":6}}\n\n'
DONE = b"data: [DONE]\n\n"
ANSWER = (
    chunk({"role": "assistant", "content": ""})
    + chunk({"reasoning_content": "hm"})
    + chunk({"content": "Hel"})
    + chunk({"content": "lo"})
    + chunk(call(0, "", id="c1", name="look"))
    + chunk(call(0, '{"at":'))
    + chunk(call(0, "1}"))
    + chunk(call(1, "{}", id="c2", name="go"))
    + chunk({}, "tool_calls")
)


def meter_of(**fields: object) -> Meter:
    return outbound_of(stream=True, **fields).meter(lambda usage: 0, "1")


def feed(meter: Meter, stream: bytes, at: list[int]) -> bytes:
    out = b""
    for start, end in pairwise([0, *sorted(cut % (len(stream) + 1) for cut in at), len(stream)]):
        if start < end and not meter.saw_end_marker:
            out += meter.feed(stream[start:end])
    return out


@given(st.lists(st.integers(min_value=0, max_value=5_000), max_size=12))
def test_a_stream(at: list[int]) -> None:
    """The events of a message in their order, wherever the bytes are cut; usage and cost in the last but one."""
    meter = meter_of(thinking={"type": "enabled", "budget_tokens": 1_024})
    events = events_in(feed(meter, ANSWER + USAGE + DONE, at))
    start = events[0]["message"]

    assert isinstance(start, dict)
    assert (start["id"], start["model"], start["content"]) == ("msg_1", CHAT_MODEL.name, [])
    assert events[1:] == [
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 1},
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {"type": "tool_use", "id": "c1", "name": "look", "input": {}},
        },
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"at":'}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "1}"}},
        {"type": "content_block_stop", "index": 2},
        {
            "type": "content_block_start",
            "index": 3,
            "content_block": {"type": "tool_use", "id": "c2", "name": "go", "input": {}},
        },
        {"type": "content_block_delta", "index": 3, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    ]
    assert events_in(meter.final_events(2_000)) == [
        {"type": "content_block_stop", "index": 3},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {
                "input_tokens": 20,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 6,
                "cost": 0.000002,
            },
        },
        {"type": "message_stop"},
    ]
    assert (meter.usage, meter.saw_end_marker) == (Usage(20, 6), True)


def test_thinking_is_not_shown_to_a_client_that_did_not_ask() -> None:
    """It is paid all the same: the usage holds it."""
    events = events_in(meter_of().feed(ANSWER))

    blocks = [msgspec.convert(one["content_block"], dict[str, object]) for one in events if "content_block" in one]
    assert [block["type"] for block in blocks] == ["text", "tool_use", "tool_use"]


def test_calls_with_one_number_and_several_ids() -> None:
    """Some servers number every call 0; each id is a call of its own."""
    meter = meter_of()
    events = events_in(
        meter.feed(chunk(call(0, "{}", id="a", name="f")) + chunk(call(0, "{}", id="b", name="f")) + chunk({}, "stop"))
    )
    last = events_in(meter.final_events(0))[-2]["delta"]

    assert [one["type"] for one in events].count("content_block_start") == 2
    # The server's word for why it stopped is not right; the client has to run the calls.
    assert last == {"stop_reason": "tool_use", "stop_sequence": None}


def test_a_stream_without_a_word_is_a_message_without_content() -> None:
    """Still a message, from its start to its end."""
    meter = meter_of()
    meter.feed(DONE)

    assert [one["type"] for one in events_in(meter.final_events(0))] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]


def test_an_error_in_mid_stream_does_not_leave() -> None:
    """The client is told in our words."""
    meter = meter_of()
    meter.feed(b'data: {"error":{"message":"org-1"}}\n\n')

    assert (meter.failed, meter.may_end_without_marker()) == (True, False)


def test_thinking_without_a_signature_goes_back() -> None:
    """DeepSeek and Moonshot refuse a call that comes back without it; what is signed is for its signer."""
    blocks = [
        {"type": "thinking", "thinking": "I must ", "signature": ""},
        {"type": "thinking", "thinking": "call.", "signature": ""},
        {"type": "thinking", "thinking": "secret", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "tool_use", "id": "t", "name": "a", "input": {}},
    ]
    message = msgspec.convert(messages_of({"role": "assistant", "content": blocks}), list[Json])[0]

    assert message["reasoning_content"] == "I must call."


@pytest.mark.parametrize(
    ("name", "kept"), [("deepseek", "reasoning_content"), ("openrouter", "reasoning"), ("openai", None)]
)
def test_thinking_goes_back_under_the_upstreams_name(name: str, kept: str | None) -> None:
    """And not at all where the field is refused."""
    messages = msgspec.Raw(b'[{"role":"assistant","content":"a","reasoning_content":"hm"}]')
    told = msgspec.json.decode(fit_messages(messages, KINDS[name], reasons=True, ends_begun=False))

    assert told == [{"role": "assistant", "content": "a"} | ({kept: "hm"} if kept else {})]
