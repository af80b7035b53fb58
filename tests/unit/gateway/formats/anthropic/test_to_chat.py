"""The fields of a messages request as an upstream of the chat format gets them: translated, left out or refused."""

from dataclasses import replace

import msgspec
import pytest

from tests.support.catalog_samples import SAMPLE_ROUTE, sample_model
from tests.support.gateway.formats import CHAT, Json, events_in, messages_body, read_messages, sent, speaking
from tokenbooth.config.catalog import Model
from tokenbooth.config.upstream_kinds import KINDS
from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.errors import Refusal
from tokenbooth.gateway.formats.base import OutboundRequest
from tokenbooth.gateway.formats.json.body import encode_fields

MODEL = sample_model()
REASONING = sample_model(reasoning=True)
MARK = {"cache_control": {"type": "ephemeral"}}
LONG = "mcp__a_server_with_a_long_name__and_a_tool_whose_name_is_even_longer_than_that"
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
EMPTY = {"type": "object", "properties": {}}
HI = {"role": "user", "content": "Hi"}


def outbound_of(model: Model = MODEL, /, **fields: object) -> OutboundRequest:
    """A request with these fields, as an upstream of the chat format is asked it."""
    outbound = read_messages(messages_body(**fields), model).outbound(CHAT)
    assert outbound is not None
    return outbound


def added(model: Model = MODEL, /, **fields: object) -> Json:
    """What the fields add to the body of a plain request."""
    plain = sent(outbound_of(model))
    return {name: value for name, value in sent(outbound_of(model, **fields)).items() if plain.get(name) != value}


def function(**fields: object) -> Json:
    return {"tools": [{"type": "function", "function": fields}]}


def look(**fields: object) -> list[Json]:
    return [{"name": "look", "input_schema": SCHEMA, **fields}]


def choice(chosen: object, **more: object) -> Json:
    return function(name="look", parameters=SCHEMA) | {"tool_choice": chosen, **more}


# Anthropic's reference ("Messages", "Tool use", "Structured outputs", "Effort", "Context editing"), OpenAI's of chat
# completions; openai/openai-agents-python#449 (schemas without properties), BerriAI/litellm#17904 (long names).
TRANSLATED: dict[str, tuple[Json, Json]] = {
    "stop sequences": ({"stop_sequences": ["A", "B"]}, {"stop": ["A", "B"]}),
    "no stop sequences": ({"stop_sequences": []}, {}),
    "sampling": ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
    "nulls": (
        {
            "temperature": None,
            "top_p": None,
            "stop_sequences": None,
            "tools": None,
            "tool_choice": None,
            "system": None,
        },
        {},
    ),
    "a tool": (
        {"tools": look(description="Looks.", type="custom", **MARK)},
        function(name="look", parameters=SCHEMA, description="Looks."),
    ),
    "a strict tool": ({"tools": look(strict=True)}, function(name="look", parameters=SCHEMA, strict=True)),
    "a tool with nulls": (
        {"tools": look(strict=None, description=None, type=None)},
        function(name="look", parameters=SCHEMA),
    ),
    "a tool that would be looked up": (
        {"tools": look(defer_loading=True, eager_input_streaming=True)},
        function(name="look", parameters=SCHEMA),
    ),
    "a tool with examples": (
        {"tools": look(description="Looks.", input_examples=[{"at": 'a "b"'}])},
        function(name="look", parameters=SCHEMA, description='Looks.\n\nExamples of its input: [{"at":"a \\"b\\""}]'),
    ),
    "a tool with examples alone": (
        {"tools": look(input_examples=[{"at": "a"}])},
        function(name="look", parameters=SCHEMA, description='Examples of its input: [{"at":"a"}]'),
    ),
    "a tool without a schema": ({"tools": [{"name": "look"}]}, function(name="look", parameters=EMPTY)),
    "a tool whose schema is null": (
        {"tools": [{"name": "look", "input_schema": None}]},
        function(name="look", parameters=EMPTY),
    ),
    "a tool whose schema is empty": (
        {"tools": [{"name": "look", "input_schema": {}}]},
        function(name="look", parameters=EMPTY),
    ),
    "a tool without properties": (
        {"tools": [{"name": "look", "input_schema": {"type": "object", "additionalProperties": False}}]},
        function(name="look", parameters=EMPTY | {"additionalProperties": False}),
    ),
    "a tool whose schema refers": (
        {"tools": [{"name": "look", "input_schema": {"$ref": "#/$defs/a", "$defs": {"a": SCHEMA}}}]},
        function(name="look", parameters={"$ref": "#/$defs/a", "$defs": {"a": SCHEMA}}),
    ),
    "no tools": ({"tools": [], "tool_choice": {"type": "auto"}}, {}),
    "any tool": ({"tools": look(), "tool_choice": {"type": "any"}}, choice("required")),
    "a certain tool": (
        {"tools": look(), "tool_choice": {"type": "tool", "name": "look"}},
        choice({"type": "function", "function": {"name": "look"}}),
    ),
    "no tool now": ({"tools": look(), "tool_choice": {"type": "none"}}, choice("none")),
    "one call at a time": (
        {"tools": look(), "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        choice("required", parallel_tool_calls=False),
    ),
    "calls together": (
        {"tools": look(), "tool_choice": {"type": "auto", "disable_parallel_tool_use": False}},
        choice("auto"),
    ),
    "a schema for the answer": (
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            }
        },
    ),
    "a schema under its earlier name": (
        {"output_format": {"type": "json_schema", "schema": SCHEMA}, "output_config": {"format": None}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            }
        },
    ),
    "what costs nothing and changes nothing": (
        {
            "metadata": {"user_id": "u"},
            "service_tier": "auto",
            "speed": "standard",
            "container": None,
            "mcp_servers": None,
            **MARK,
        },
        {},
    ),
    "only the standard tier": ({"service_tier": "standard_only"}, {}),
    "thinking switched off": ({"thinking": {"type": "disabled"}}, {}),
}


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_field(name: str) -> None:
    """It is told in the other format's words, and nothing that had to be left out was."""
    fields, expected = TRANSLATED[name]

    assert added(**fields) == expected
    assert outbound_of(**fields).omitted == ()


# What changes details, or is of no use to the model, and has no counterpart.
LEFT_OUT: dict[str, tuple[Json, tuple[str, ...]]] = {
    "top_k": ({"top_k": 5}, ("top_k",)),
    "the editing of the context": ({"context_management": {"edits": []}}, ("context_management",)),
    "thinking of a model that does not": ({"thinking": {"type": "adaptive"}}, ("thinking",)),
    "effort of a model that does not think": ({"output_config": {"effort": "low"}}, ("output_config.effort",)),
    "a budget for a task": ({"output_config": {"task_budget": {"tokens": 9}}}, ("output_config.task_budget",)),
    "a field that nobody knows": ({"flavour": "mild", "nothing": None}, ("flavour",)),
    "a field with a name for no header": ({"a b\r\nc": 1}, ()),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_is_named(name: str) -> None:
    """It is free, so that it does not refuse the call; and the client is told."""
    fields, omitted = LEFT_OUT[name]

    assert added(**fields) == {}
    assert outbound_of(**fields).omitted == omitted


def test_what_is_left_out_of_a_tool_is_named() -> None:
    """So is who may call it, which is always the model itself."""
    tools = look(allowed_callers=["code_execution_20260120"])

    assert added(tools=tools) == function(name="look", parameters=SCHEMA)
    assert outbound_of(tools=tools).omitted == ("tools.allowed_callers",)


REFUSED: dict[str, tuple[Json, str, str]] = {
    "a tool that is built in": (
        {"tools": [{"type": "bash_20250124", "name": "bash"}]},
        "tools.bash_20250124",
        "'input_schema'",
    ),
    "a tool that the server runs": (
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        "tools.web_search_20250305",
        "Remove it",
    ),
    "a tool without a name": ({"tools": [{"input_schema": {}}]}, "tools", "'name'"),
    "a tool whose schema is none": ({"tools": [{"name": "look", "input_schema": "x"}]}, "tools", "object"),
    "a choice among no tools": ({"tool_choice": {"type": "any"}}, "tool_choice", "no 'tools'"),
    "a tool that is not there": (
        {"tools": [], "tool_choice": {"type": "tool", "name": "look"}},
        "tool_choice",
        "no 'tools'",
    ),
    "a choice that nobody knows": ({"tools": look(), "tool_choice": {"type": "all"}}, "tool_choice", "auto, any"),
    "a choice in the other format's words": ({"tools": look(), "tool_choice": "auto"}, "tool_choice", "auto, any"),
    "a format that nobody knows": (
        {"output_config": {"format": {"type": "grammar"}}},
        "output_config.format",
        "json_schema",
    ),
    "a format without a schema": (
        {"output_config": {"format": {"type": "json_schema"}}},
        "output_config.format",
        "'schema'",
    ),
    "a container": ({"container": "c"}, "container", "Remove it"),
    "servers of tools": ({"mcp_servers": [{"url": "https://a.example"}]}, "mcp_servers", "Remove it"),
    "a dearer tier": ({"service_tier": "priority"}, "service_tier", "Remove it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_missed_is_refused(name: str) -> None:
    """By its name, with what to do about it."""
    fields, param, advice = REFUSED[name]
    with pytest.raises(Refusal) as refused:
        outbound_of(**fields)

    assert (refused.value.status, refused.value.param) == (400, param)
    assert advice in refused.value.message


def test_what_the_operator_lets_pass_is_passed_on() -> None:
    """By its name, but never a number of answers that nothing was held for."""
    model = sample_model("provider", "n", "stop")
    outbound = outbound_of(model, provider={"order": ["a"]}, n=3, stop="x", stop_sequences=["y"])
    body = sent(outbound)

    assert (body["provider"], body["stop"], "n" in body) == ({"order": ["a"]}, ["y"], False)
    assert outbound.omitted == ("n",)


def test_a_model_with_both_upstreams_names_what_the_one_left_out() -> None:
    """The other got it."""
    both = speaking(MODEL, "openai.chat", "anthropic.messages")
    request = read_messages(messages_body(top_k=5), both)
    translated, native = request.outbound(CHAT), request.outbound(frozenset(("anthropic.messages",)))

    assert translated is not None
    assert native is not None
    assert (translated.omitted, native.omitted) == (("top_k",), ())


@pytest.mark.parametrize(
    ("fields", "effort", "omitted"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2_000}}, "low", ()),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}, "medium", ()),
        ({"output_config": {"effort": "utmost"}}, None, ("output_config.effort",)),
    ],
)
def test_how_much_a_model_is_to_think(fields: Json, effort: str | None, omitted: tuple[str, ...]) -> None:
    """A word for it that nobody knows is named."""
    outbound = outbound_of(REASONING, max_tokens=6_000, **fields)

    assert (sent(outbound).get("reasoning_effort"), outbound.omitted) == (effort, omitted)


def test_names_that_chat_refuses_come_back_as_they_were() -> None:
    """In tools, their choice and earlier calls one way, in whole answers and streams the other."""
    asked = {
        "tools": [{"name": LONG, "input_schema": SCHEMA}, {"name": "a.b c", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": LONG},
        "messages": [
            HI,
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": LONG, "input": {}}]},
        ],
    }
    body = sent(outbound_of(**asked))
    tools = msgspec.convert(body["tools"], list[dict[str, object]])
    long, other = (str(msgspec.convert(tool["function"], Json)["name"]) for tool in tools)
    calls = [
        {"index": number, "id": f"c{number}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for number, name in enumerate((long, other, "mine"))
    ]
    completion = {"choices": [{"index": 0, "message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}
    whole = msgspec.json.decode(
        outbound_of(**asked).read_answer(msgspec.json.encode(completion)).client_answer(Usage(1, 1)).encode(0)
    )
    meter = outbound_of(stream=True, **asked).meter(lambda usage: 0)
    chunk = {"choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}
    events = events_in(meter.feed(b"data: %b\n\ndata: [DONE]\n\n" % msgspec.json.encode(chunk)) + meter.final_events(0))
    blocks = [msgspec.convert(event["content_block"], Json) for event in events if "content_block" in event]

    assert body["tool_choice"] == {"type": "function", "function": {"name": long}}
    assert f'"name":"{long}"' in msgspec.json.encode(body["messages"]).decode()
    assert LONG not in msgspec.json.encode(body).decode()
    assert [block["name"] for block in whole["content"]] == [LONG, "a.b c", "mine"]
    assert [block["name"] for block in blocks] == [LONG, "a.b c", "mine"]


CALLED = [
    HI,
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}]},
]


def sent_to(kind: str, model: Model, /, **fields: object) -> list[Json]:
    """The messages that an upstream of this kind gets."""
    route = replace(SAMPLE_ROUTE, upstream=replace(SAMPLE_ROUTE.upstream, kind=KINDS[kind]))
    body = msgspec.json.decode(encode_fields(outbound_of(model, **fields).upstream_fields(route, None)))
    return msgspec.convert(body["messages"], list[Json])


@pytest.mark.parametrize(
    ("kind", "model", "thought"),
    [
        # earendil-works/pi#4178, theopenco/llmgateway#2093: an empty one is refused like none.
        ("deepseek", REASONING, " "),
        ("moonshot", REASONING, " "),
        ("deepseek", MODEL, None),
        ("vllm", REASONING, None),
        ("openai", REASONING, None),
    ],
)
def test_a_call_without_its_thought_gets_a_blank_one_where_one_is_insisted_on(
    kind: str, model: Model, thought: str | None
) -> None:
    """A client that did not ask to see it has none to send back."""
    assert sent_to(kind, model, messages=CALLED)[1].get("reasoning_content") == thought


@pytest.mark.parametrize(("kind", "mark"), [("mistral", "prefix"), ("moonshot", "partial"), ("vllm", None)])
def test_a_begun_answer_is_marked_where_there_is_a_mark(kind: str, mark: str | None) -> None:
    """Only the last one is, and no call of a tool."""
    begun: Json = {"role": "assistant", "content": "{"}
    marked = begun | ({mark: True} if mark else {})

    assert sent_to(kind, MODEL, messages=[HI, begun]) == [HI, marked]
    assert sent_to(kind, MODEL, messages=[HI, begun, HI]) == [HI, begun, HI]
    assert mark not in sent_to(kind, MODEL, messages=CALLED[:2])[1]


def test_thinking_that_is_not_to_be_shown_is_not() -> None:
    """It is paid all the same."""
    completion = {"choices": [{"message": {"reasoning_content": "hm", "content": "Hi"}, "finish_reason": "stop"}]}
    thinking = {"type": "enabled", "budget_tokens": 1_024, "display": "omitted"}
    asked = outbound_of(REASONING, max_tokens=6_000, thinking=thinking)
    answer = asked.read_answer(msgspec.json.encode(completion)).client_answer(Usage(1, 1))

    assert msgspec.json.decode(answer.encode(0))["content"] == [{"type": "text", "text": "Hi"}]
