"""The conversation of a messages request as an upstream of the chat format gets it: each shape, in its order."""

from itertools import count
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.catalog_samples import sample_model
from tests.support.gateway.formats import CHAT, Json, messages_body, read_messages, sent
from tokenbooth.gateway.errors import Refusal
from tokenbooth.gateway.formats.base import OutboundRequest

MODEL = sample_model()
MARK = {"cache_control": {"type": "ephemeral"}}


def outbound_of(*messages: Json, **fields: object) -> OutboundRequest:
    """A request with these messages, as an upstream of the chat format is asked it."""
    outbound = read_messages(messages_body(messages=list(messages), **fields), MODEL).outbound(CHAT)
    assert outbound is not None
    return outbound


def translated(*messages: Json, **fields: object) -> list[Json]:
    """The messages that the upstream gets."""
    return msgspec.convert(sent(outbound_of(*messages, **fields))["messages"], list[Json])


def text(words: str, **more: object) -> Json:
    return {"type": "text", "text": words, **more}


def image(name: str) -> Json:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": name}}


def picture(name: str) -> Json:
    """An image as the upstream gets it."""
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{name}"}}


def result(call_id: str, content: object = None, **more: object) -> Json:
    given = {} if content is None else {"content": content}
    return {"type": "tool_result", "tool_use_id": call_id, **given, **more}


def use(call_id: str, **given: object) -> Json:
    return {"type": "tool_use", "id": call_id, "name": "look", "input": given}


def document(source: Json, **more: object) -> Json:
    return {"type": "document", "source": source, **more}


def user(*content: Json) -> Json:
    return {"role": "user", "content": list(content)}


def assistant(*content: Json) -> Json:
    return {"role": "assistant", "content": list(content)}


def call(call_id: str, arguments: str = "{}") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": "look", "arguments": arguments}}


def asks(*ids: str) -> Json:
    """An assistant's message that calls tools, as the upstream gets it."""
    return {"role": "assistant", "content": None, "tool_calls": [call(one) for one in ids]}


def answers(call_id: str, content: str) -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def says(content: object) -> Json:
    return {"role": "user", "content": content}


HI = says("Hi")
PLAIN: Json = {"type": "text", "media_type": "text/plain", "data": "Words."}
FOUND: Json = {
    "type": "search_result",
    "source": "https://a.example",
    "title": "A",
    "content": [text("One"), text("Two")],
}
OF_RESULT = "[image {} of the next user message]"
ROUND = (HI, assistant(use("a"), use("b")))

# Anthropic's reference ("Messages", "Tool use", "PDF support", "Search results", "Citations"), and public reports:
# ogx-ai/ogx#6367 (text before a result), BerriAI/litellm#7972 (roles that don't alternate), cline/cline#230.
SHAPES: dict[str, tuple[tuple[Json, ...], list[Json]]] = {
    "a text": ((HI,), [HI]),
    "one block": ((user(text("Hi", **MARK)),), [HI]),
    "several blocks": ((user(text("A"), text("B")),), [says([text("A"), text("B")])]),
    "an empty text": ((says(""),), [says("")]),
    "no blocks": ((says([]),), [says("")]),
    "no content": (({"role": "user"},), [says("")]),
    "users in a row": ((says("A"), says("B"), user(text("C"))), [says([text("A"), text("B"), text("C")])]),
    "assistants in a row": (
        (HI, {"role": "assistant", "content": "A"}, assistant(text("B"))),
        [HI, {"role": "assistant", "content": "A\n\nB"}],
    ),
    "a text cut by its citations": (
        (HI, assistant(text("One, ", citations=[{"type": "char_location"}]), text("two."))),
        [HI, {"role": "assistant", "content": "One, two."}],
    ),
    "an answer begun": (
        (HI, {"role": "assistant", "content": "{"}),
        [HI, {"role": "assistant", "content": "{"}],
    ),
    "a system's message on the way": (
        (HI, {"role": "system", "content": [text("Be"), text("kind.", **MARK)]}, says("Go")),
        [HI, {"role": "system", "content": "Be\n\nkind."}, says("Go")],
    ),
    "images among texts": (
        (user(text("A"), image("x"), text("B"), image("y")),),
        [says([text("A"), picture("x"), text("B"), picture("y")])],
    ),
    "an image by its address": (
        (user({"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}}),),
        [says([{"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}])],
    ),
    "a plain document": ((user(document(PLAIN, **MARK)),), [says("Words.")]),
    "a document with a title": (
        (user(document(PLAIN, title="Notes", context="From May")),),
        [says("Notes\n\nFrom May\n\nWords.")],
    ),
    "a document of one text": ((user(document({"type": "content", "content": "Words."})),), [says("Words.")]),
    "a document of blocks": (
        (user(document({"type": "content", "content": [text("A"), image("x"), text("B")]}, title="Notes")),),
        [says([text("Notes"), text("A"), picture("x"), text("B")])],
    ),
    "a search result": ((user(FOUND),), [says("A\nhttps://a.example\nOne\n\nTwo")]),
    "a search result of a tool": (
        (*ROUND[:1], assistant(use("a")), user(result("a", [FOUND]))),
        [HI, asks("a"), answers("a", "A\nhttps://a.example\nOne\n\nTwo")],
    ),
    "a document of a tool": (
        (HI, assistant(use("a")), user(result("a", [document(PLAIN, title="Notes"), text("End")]))),
        [HI, asks("a"), answers("a", "Notes\n\nWords.\nEnd")],
    ),
    "results in their order": (
        (*ROUND, user(result("a", "1"), result("b", "2"))),
        [HI, asks("a", "b"), answers("a", "1"), answers("b", "2")],
    ),
    "results in another order": (
        (*ROUND, user(result("b", "2"), result("a", "1"))),
        [HI, asks("a", "b"), answers("a", "1"), answers("b", "2")],
    ),
    "words before and between results": (
        (*ROUND, user(text("First"), result("a", "1"), text("then"), result("b", "2"), text("last"))),
        [
            HI,
            asks("a", "b"),
            answers("a", "1"),
            answers("b", "2"),
            says([text("First"), text("then"), text("last")]),
        ],
    ),
    "results in several messages": (
        (*ROUND, user(text("First"), result("a", "1")), user(result("b", "2"))),
        [HI, asks("a", "b"), answers("a", "1"), answers("b", "2"), says("First")],
    ),
    "calls in several messages": (
        (HI, assistant(use("a")), assistant(use("b")), user(result("b", "2"), result("a", "1"))),
        [HI, asks("a", "b"), answers("a", "1"), answers("b", "2")],
    ),
    "a system's message between call and result": (
        (HI, assistant(use("a")), {"role": "system", "content": "Be kind."}, user(result("a", "1"), text("Go"))),
        [HI, asks("a"), answers("a", "1"), {"role": "system", "content": "Be kind."}, says("Go")],
    ),
    "results with images": (
        (
            *ROUND,
            user(
                text("Look"),
                image("u"),
                result("b", [image("b1"), text("seen"), image("b2")]),
                result("a", [image("a1")]),
                text("Go"),
            ),
        ),
        [
            HI,
            asks("a", "b"),
            answers("a", OF_RESULT.format(4)),
            answers("b", f"{OF_RESULT.format(2)}\nseen\n{OF_RESULT.format(3)}"),
            says(
                [text("Look"), picture("u"), picture("b1"), picture("b2"), picture("a1"), text("Go")],
            ),
        ],
    ),
    "results without content": (
        (HI, assistant(use("a"), use("b"), use("c")), user(result("a"), result("b", ""), result("c", []))),
        [HI, asks("a", "b", "c"), answers("a", ""), answers("b", ""), answers("c", "")],
    ),
    "results that are errors": (
        (*ROUND, user(result("a", "dark", is_error=True), result("b", [text("x"), text("y")], is_error=False))),
        [HI, asks("a", "b"), answers("a", "Error: dark"), answers("b", "x\ny")],
    ),
    # Whether that may be so is the upstream's to say.
    "a call without a result": (
        (*ROUND, user(result("a", "1"), text("Go"))),
        [HI, asks("a", "b"), answers("a", "1"), says("Go")],
    ),
    "a result without a call": (
        (HI, assistant(use("a")), user(result("z", "9"), result("a", "1"))),
        [HI, asks("a"), answers("a", "1"), answers("z", "9")],
    ),
    "words around calls": (
        (HI, assistant(text("I look."), use("a", at="x"), text("And wait."))),
        [
            HI,
            {"role": "assistant", "content": "I look.\n\nAnd wait.", "tool_calls": [call("a", '{"at":"x"}')]},
        ],
    ),
    "a call without input": (
        (HI, assistant({"type": "tool_use", "id": "a", "name": "look", "input": None}), user(result("a", "1"))),
        [HI, asks("a"), answers("a", "1")],
    ),
    "thoughts": (
        (
            HI,
            assistant(
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "thinking", "thinking": "theirs", "signature": "EqQB"},
                {"type": "redacted_thinking", "data": "x"},
                text("Yes."),
            ),
        ),
        [HI, {"role": "assistant", "content": "Yes.", "reasoning_content": "hm"}],
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_conversation(name: str) -> None:
    """Nothing is lost, mixed or out of order, as far as the other format can say it."""
    given, expected = SHAPES[name]

    assert translated(*given) == expected


def test_the_system_prompt_comes_first() -> None:
    """Together with what the first messages add to it."""
    added: Json = {"role": "system", "content": "And brief."}

    assert translated(added, HI, system=[text("Be kind.", **MARK)]) == [
        {"role": "system", "content": "Be kind.\n\nAnd brief."},
        HI,
    ]


@pytest.mark.parametrize("system", [None, "", [], [text("")]])
def test_an_empty_system_prompt_is_none(system: object) -> None:
    """Some servers refuse an empty message."""
    assert translated(HI, system=system) == [HI]


# What it is, and what the client can do instead.
REFUSED: dict[str, tuple[Json, str, str]] = {
    "a PDF": (
        user(document({"type": "base64", "media_type": "application/pdf", "data": "QQ=="})),
        "content.document",
        "Send its text",
    ),
    "a PDF by address": (
        user(document({"type": "url", "url": "https://a.example/x.pdf"})),
        "content.document",
        "Send its text",
    ),
    "a PDF of a tool": (
        user(result("a", [document({"type": "base64", "data": "QQ=="})])),
        "content.document",
        "Send its text",
    ),
    "an image without its type": (
        user({"type": "image", "source": {"type": "base64", "data": "QQ=="}}),
        "content.image",
        "'media_type'",
    ),
    "an image without an address": (user({"type": "image", "source": {"type": "url"}}), "content.image", "'url'"),
    "an image without a source": (user({"type": "image"}), "content.image", "'url'"),
    "an image of the assistant": (assistant(image("x")), "content.image", "Leave it out"),
    "a result of the assistant": (assistant(result("a", "1")), "content.tool_result", "Leave it out"),
    "a call of the user": (user(use("a")), "content.tool_use", "Leave it out"),
    "an image of the system": ({"role": "system", "content": [image("x")]}, "content.image", "only texts"),
    "a result for nothing": (user({"type": "tool_result", "content": "1"}), "messages", "'tool_use_id'"),
    "a call without an id": (assistant({"type": "tool_use", "name": "look", "input": {}}), "messages", "'id'"),
    "a call without a name": (assistant({"type": "tool_use", "id": "a", "input": {}}), "messages", "'name'"),
    "a call whose input is a text": (
        assistant({"type": "tool_use", "id": "a", "name": "look", "input": "{}"}),
        "messages",
        "object",
    ),
    "a role that nobody knows": ({"role": "tool", "content": "1"}, "messages", "user or assistant"),
    "a text that is none": (user({"type": "text", "text": 5}), "messages", "string"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_there(name: str) -> None:
    """It is refused by its name, before anything is held, and the client is told what to do."""
    message, param, advice = REFUSED[name]
    with pytest.raises(Refusal) as refused:
        outbound_of(HI, message)

    assert (refused.value.status, refused.value.param) == (400, param)
    assert advice in refused.value.message


@pytest.mark.parametrize(
    ("block", "omitted"),
    [
        (document(PLAIN, citations={"enabled": True}), ("citations",)),
        (document(PLAIN, citations={"enabled": False}), ()),
        (FOUND | {"citations": {"enabled": True}}, ("citations",)),
        (image("x") | {"transformations": {"resize": "fit"}}, ("content.transformations",)),
        (text("Hi", **MARK), ()),
    ],
)
def test_what_is_left_out_of_a_block_is_named(block: Json, omitted: tuple[str, ...]) -> None:
    """But for marks that only save work."""
    assert outbound_of(user(block)).omitted == omitted


def test_what_is_signed_for_another_model_is_named() -> None:
    """Only its own model can read it."""
    signed: Json = {"type": "thinking", "thinking": "hm", "signature": "EqQB"}

    assert outbound_of(HI, assistant(signed, text("A")), HI).omitted == ("content.thinking",)


def test_few_names_are_told() -> None:
    """A client may send any number of them, and a header is short."""
    blocks = [text("Hi", **{f"x{number}": 1}) for number in range(1_000)]

    assert len(outbound_of(user(*blocks)).omitted) == 32


words = st.text('ab é\U0001f600"\\\n', max_size=4)
kinds = st.sampled_from(("text", "image", "result"))


@given(st.lists(st.lists(kinds, max_size=6), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_everything_that_was_said_arrives_once_and_in_order(turns: list[list[str]], rng: Random) -> None:
    """What a user says keeps its order among itself, results that of their calls; none is lost and none told twice."""
    number = count()
    conversation: list[Json] = [HI]
    said: list[str] = []
    told: list[str] = []
    for turn in turns:
        ids = [f"c{next(number)}" for kind in turn if kind == "result"]
        if ids:
            conversation.append(assistant(*(use(one) for one in ids)))
        told += ids
        shuffled = list(ids)
        rng.shuffle(shuffled)
        blocks: list[Json] = []
        for kind in turn:
            if kind == "result":
                blocks.append(result(call_id := shuffled.pop(0), [text(f"of {call_id}"), image(f"of-{call_id}")]))
                said.append(f"of-{call_id}")
                continue
            said.append(f"n{next(number)}")
            blocks.append(text(said[-1]) if kind == "text" else image(said[-1]))
        conversation.append(user(*blocks))
    arrived: list[str] = []
    results: list[str] = []
    for message in translated(*conversation):
        content = message["content"]
        if message["role"] == "tool":
            results.append(str(message["tool_call_id"]))
            assert str(content).startswith(f"of {message['tool_call_id']}\n")
        elif message["role"] == "user":
            parts = msgspec.convert(content, list[Json]) if isinstance(content, list) else [text(str(content))]
            for part in parts:
                if part["type"] == "text":
                    arrived.append(str(part["text"]))
                else:
                    url = msgspec.convert(part["image_url"], dict[str, str])["url"]
                    arrived.append(url.rpartition(",")[2])

    assert [one for one in arrived if one not in ("Hi", "")] == said
    assert results == told


@given(st.lists(words, min_size=1, max_size=5))
def test_texts_arrive_as_they_were_written(texts: list[str]) -> None:
    """Whatever is escaped in them, in every place."""
    (system, first, second) = translated(
        user(*map(text, texts)), assistant(*map(text, texts)), system=[*map(text, [*texts, "end"])]
    )

    assert system["content"] == "\n\n".join([*texts, "end"])
    assert first["content"] == (texts[0] if len(texts) == 1 else [text(one) for one in texts])
    assert second["content"] == "".join(texts)
