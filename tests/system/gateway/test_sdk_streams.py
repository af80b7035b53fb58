"""Streams of chat completions in any spelling, over HTTP, as the official SDKs put them together."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest
from anthropic import Anthropic
from hypothesis import HealthCheck, given, settings

from tests.support.gateway.chat_streams import Meant, Spoken, chat_streams
from tests.support.gateway.gateway_rig import (
    MODEL,
    Rig,
    eventually,
    open_moody_store,
    run_rig,
    speaking_only,
    with_routes,
)
from tests.support.gateway.scripted_upstream import Script, ScriptedUpstream
from tokenbooth.config.catalog import Catalog

Scripts = tuple[ScriptedUpstream, str]
# Nano-dollars a token, of the demo's model.
INPUT_NANO, CACHED_NANO, OUTPUT_NANO = 270, 70, 1_100
STOP_REASONS: Final = {"length": "max_tokens", "content_filter": "refusal"}
each_example = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def chat_only(tmp_path_factory: pytest.TempPathFactory, scripts: Scripts) -> Iterator[Rig]:
    """A gateway whose upstream speaks chat completions and says what is written down."""
    directory = tmp_path_factory.mktemp("gateway")
    opened = open_moody_store(directory / "tokenbooth.db")

    def catalog(given: Catalog) -> Catalog:
        return speaking_only(with_routes(given, scripts[1]), "openai.chat")

    try:
        with run_rig(opened, directory, change_catalog=catalog) as running:
            yield running
    finally:
        opened.close()


def cost_nano(meant: Meant) -> int:
    """What an answer costs by its counts."""
    fresh = meant.prompt_tokens - meant.cached_tokens
    return fresh * INPUT_NANO + meant.cached_tokens * CACHED_NANO + meant.completion_tokens * OUTPUT_NANO


def charged_once(rig: Rig, account: str) -> int:
    """The account's only charge, in nano-USD."""
    eventually(lambda: len(rig.charges(account)) == 1)
    (charge,) = rig.charges(account)
    assert not charge.estimated
    return charge.charged_nano


def test_what_a_translation_leaves_out_is_named_in_a_header(chat_only: Rig, scripts: Scripts) -> None:
    """Whole and streamed; a call that loses nothing has no such header."""
    for stream in (False, True):
        for fields, named in (({}, None), ({"top_k": 5, "context_management": {}}, "top_k")):
            name = scripts[0].add(Script((event(content="Hi"), b"data: [DONE]\n\n")))
            body = {"model": MODEL, "max_tokens": 90, "messages": [{"role": "user", "content": name}], **fields}
            key = chat_only.credit_key(chat_only.account("5"))
            answer = chat_only.http.post(
                "/anthropic/v1/messages", json={**body, "stream": stream}, headers={"x-api-key": key}
            )
            assert (answer.status_code, answer.headers.get("x-omitted")) == (200, named)


@each_example
@given(chat_streams())
def test_a_translated_stream_is_what_was_meant(chat_only: Rig, scripts: Scripts, spoken: Spoken) -> None:
    """Anthropic's SDK gets every word, thought and call, each whole and once, why it ended, and what it used."""
    meant, account = spoken.meant, chat_only.account("5")
    name = scripts[0].add(Script(spoken.pieces))
    with (
        Anthropic(
            base_url=f"{chat_only.base_url}/anthropic", api_key=chat_only.credit_key(account), max_retries=0
        ) as client,
        client.messages.stream(
            model=MODEL,
            max_tokens=6_000,
            thinking={"type": "enabled", "budget_tokens": 1_024},
            messages=[{"role": "user", "content": name}],
        ) as stream,
    ):
        message = stream.get_final_message()
    calls = [block for block in message.content if block.type == "tool_use"]

    assert "".join(block.thinking for block in message.content if block.type == "thinking") == meant.thought
    assert "".join(block.text for block in message.content if block.type == "text") == meant.text
    assert [(call.name, call.input) for call in calls] == [(call.name, call.arguments) for call in meant.calls]
    for call, told in zip(calls, meant.calls, strict=True):
        assert call.id == told.call_id if told.call_id else call.id.startswith("toolu_")
    assert len({call.id for call in calls}) == len(calls)
    assert message.stop_reason == STOP_REASONS.get(meant.finish, "tool_use" if calls else "end_turn")
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (
        meant.prompt_tokens - meant.cached_tokens,
        meant.cached_tokens,
        meant.completion_tokens,
    )
    assert charged_once(chat_only, account) == cost_nano(meant)


@each_example
@given(chat_streams(plain=True))
def test_a_native_stream_is_what_was_meant(chat_only: Rig, scripts: Scripts, spoken: Spoken) -> None:
    """OpenAI's SDK gets the same of a stream that passes as it is."""
    meant, account = spoken.meant, chat_only.account("5")
    name = scripts[0].add(Script(spoken.pieces))
    with (
        chat_only.client(chat_only.credit_key(account)) as client,
        client.chat.completions.stream(
            model=MODEL, messages=[{"role": "user", "content": name}], stream_options={"include_usage": True}
        ) as stream,
    ):
        completion = _completion(stream)
    choice = completion.choices[0]
    calls = choice.message.tool_calls or []

    assert (choice.message.content or "") == meant.text
    assert [(call.function.name, call.id, json.loads(call.function.arguments)) for call in calls] == [
        (call.name, call.call_id, call.arguments) for call in meant.calls
    ]
    assert choice.finish_reason == meant.finish
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (
        meant.prompt_tokens,
        meant.completion_tokens,
    )
    assert charged_once(chat_only, account) == cost_nano(meant)


def event(**delta: object) -> bytes:
    """An event of a stream that goes on."""
    return b"data: " + msgspec.json.encode({"choices": [{"index": 0, "delta": delta}]}) + b"\n\n"


def call(number: int, arguments: str, **named: str) -> dict[str, object]:
    return {"tool_calls": [{"index": number, **named, "function": {**named, "arguments": arguments}}]}


# The second call, and what is said behind it, wait for the first one to be whole, which it never is.
MIXED: Final = (
    event(content="I look at both. "),
    event(**call(0, '{"path": "', id="a", name="look")),
    event(**call(1, '{"path": "src/tokenbooth"', id="b", name="look")),
    event(content="And say so while I do it. "),
    event(reasoning_content="Which one was it? " * 3),
    event(**call(1, "}")),
)


@pytest.mark.parametrize("came", range(1, len(MIXED) + 1))
def test_what_was_held_back_when_a_stream_broke_is_text_that_came(chat_only: Rig, scripts: Scripts, came: int) -> None:
    """It costs what it costs a client of chat completions, and the message says that it is what came."""
    tokens: list[int] = []
    for path in ("/v1/chat/completions", "/anthropic/v1/messages"):
        account = chat_only.account("5")
        name = scripts[0].add(Script(MIXED[:came], "cut"))
        body = {"model": MODEL, "max_tokens": 90, "stream": True, "messages": [{"role": "user", "content": name}]}
        headers = {"authorization": f"Bearer {chat_only.credit_key(account)}"}
        answer = chat_only.http.post(path, json=body, headers=headers)
        eventually(lambda account=account: len(chat_only.charges(account)) == 1)  # type: ignore[misc]
        (charge,) = chat_only.charges(account)
        tokens.append(charge.completion_tokens)
        assert charge.estimated
        assert "What came until then cost $" in answer.text
        assert "message_stop" not in answer.text
        assert "[DONE]" not in answer.text
    texts = re.findall(rb'"(?:content|reasoning_content|arguments)":"((?:[^"\\]|\\.)+)"', b"".join(MIXED[:came]))

    assert tokens[0] == tokens[1] >= len(texts)


def _completion(stream: Any) -> Any:
    """What the SDK made of the stream; it refuses to hand one over that was cut or filtered."""
    for _ in stream:
        continue
    return stream.current_completion_snapshot
