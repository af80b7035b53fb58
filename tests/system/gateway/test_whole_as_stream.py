"""An upstream that answers whole although a stream was asked for: the client gets the stream."""

import msgspec
import pytest
from anthropic import Anthropic

from tests.support.gateway.gateway_rig import MODEL, Rig, prompt
from tests.support.gateway.scripted_upstream import Script, ScriptedUpstream, answer
from tokenbooth.gateway.formats.whole_as_stream import chat_events, completion_events

Scripts = tuple[ScriptedUpstream, str]
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def test_a_chat_becomes_a_delta_its_usage_and_an_end() -> None:
    """The calls of tools get the number that only events have."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    body = {"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}], "usage": USAGE}
    first, second, end = chat_events(msgspec.json.encode(body)).split(b"\n\n")[:3]
    delta = {**message, "tool_calls": [{"index": 0, **call}]}
    choice = {"index": 0, "finish_reason": "tool_calls", "delta": delta}
    common = {"id": "x", "object": "chat.completion.chunk"}
    assert msgspec.json.decode(first[6:]) == {**common, "choices": [choice]}
    assert msgspec.json.decode(second[6:]) == {**common, "choices": [], "usage": USAGE}
    assert end == b"data: [DONE]"


def test_a_completion_without_usage_is_one_event() -> None:
    """Its choices are the same in both forms."""
    body = {"id": "x", "object": "text_completion", "choices": [{"index": 0, "text": "a"}], "usage": None}
    first, end, rest = completion_events(msgspec.json.encode(body)).split(b"\n\n")
    assert msgspec.json.decode(first[6:]) == {"id": "x", "object": "text_completion", "choices": body["choices"]}
    assert (end, rest) == (b"data: [DONE]", b"")


@pytest.mark.parametrize("asked", [True, False])
def test_the_client_of_a_stream_gets_one(scripted: Rig, scripts: Scripts, asked: bool) -> None:
    """The answer comes as events, with usage and cost for who asked, and is charged as reported."""
    account = scripted.account("5")
    name = scripts[0].add(Script((answer("Hello", usage=USAGE),), content_type="application/json"))
    with scripted.client(scripted.credit_key(account)) as client:
        stream = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": name}],
            stream=True,
            stream_options={"include_usage": asked},
        )
        chunks = list(stream)
    assert [chunk.choices[0].delta.content for chunk in chunks if chunk.choices] == ["Hello"]
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == ([3] if asked else [])
    assert [(charge.prompt_tokens, charge.estimated) for charge in scripted.charges(account)] == [(7, False)]


def test_a_translated_message_is_streamed_too(scripted: Rig, scripts: Scripts) -> None:
    """Anthropic's client reads the events of a message."""
    account = scripted.account("5")
    name = scripts[0].add(Script((answer("Hello", usage=USAGE),), content_type="application/json"))
    with (
        Anthropic(base_url=f"{scripted.base_url}/anthropic", api_key=scripted.credit_key(account)) as client,
        client.messages.stream(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": name}]) as stream,
    ):
        message = stream.get_final_message()
    assert [block.text for block in message.content if block.type == "text"] == ["Hello"]
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 3)


@pytest.mark.parametrize(
    "body", [b"[]", b'{"choices":5}', b'{"choices":[{"message":5}]}', b'{"error":{"message":"x"}}']
)
def test_what_is_no_answer_is_no_stream(scripted: Rig, scripts: Scripts, body: bytes) -> None:
    """It is an error before anything was sent, and free."""
    account = scripted.account("5")
    name = scripts[0].add(Script((body,), content_type="application/json"))
    refused = scripted.post(scripted.credit_key(account), prompt(name, stream=True))
    assert (refused.status_code, scripted.charges(account)) == (502, [])
