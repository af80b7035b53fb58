"""Inference engines of other makes behind the gateway, on a tiny model with random weights.

`make test-engines` installs them and runs this; `make test` does not, as its name says. What they say of tokens is
what is charged. The model answers with noise, which is a test of its own.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import httpx
import pytest
from anthropic import Anthropic
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionUserMessageParam

from tests.support.gateway.gateway_rig import (
    CHAT,
    MODEL,
    Rig,
    eventually,
    open_moody_store,
    prompt,
    run_rig,
    with_routes,
)
from tokenbooth.config.catalog import Catalog, Route
from tokenbooth.domain.charges import Charge
from tokenbooth.domain.pricing import Price, cost_nano
from tokenbooth.gateway.upstream.base import Timeouts

PYTHON: Final = Path(sys.prefix) / "engines" / "bin" / "python"
SERVE: Final = Path(__file__).parent / "serve_model.py"
# Engines share the machine with whatever else runs on it.
PATIENCE: Final = Timeouts(connect_s=10, first_byte_s=100, idle_s=100)
HELLO: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Say something."}]
LLAMA_FORMATS: Final = frozenset(("openai.chat", "openai.completions", "openai.responses"))


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine behind a gateway of its own."""

    rig: Rig
    price: Price

    def account(self) -> tuple[str, str]:
        """A new account with credit, and its key."""
        account = self.rig.account("5")
        return account, self.rig.credit_key(account)

    def charge(self, account: str) -> Charge:
        """The one charge of an account, which is what its usage costs."""
        (charge,) = self.rig.charges(account)
        assert charge.charged_nano == cost_nano(self.price, charge.usage)
        return charge

    def tokens(self, account: str) -> tuple[int, int, bool]:
        """Of the one charge: prompt tokens, completion tokens, and whether we had to count."""
        charge = self.charge(account)
        return charge.prompt_tokens, charge.completion_tokens, charge.estimated


@contextmanager
def _engine(directory: Path, name: str, formats: frozenset[str]) -> Iterator[Engine]:
    assert PYTHON.exists(), "`make test-engines` installs the engines"
    log = directory / "engine.log"
    command = [str(PYTHON), str(SERVE), name, str(directory / "tiny.gguf")]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    with ExitStack() as stack:
        stack.callback(process.communicate)
        stack.callback(process.kill)
        assert process.stdout is not None
        said = next((line for line in process.stdout if line.startswith("listening on ")), None)
        assert said is not None, log.read_text(encoding="utf-8", errors="replace")[-3_000:]
        url = said.removeprefix("listening on ").strip()
        store = open_moody_store(directory / "tokenbooth.db")
        stack.callback(store.close)

        def routed(catalog: Catalog) -> Catalog:
            return _speaking(with_routes(catalog, url), formats)

        rig = stack.enter_context(run_rig(store, directory, change_catalog=routed, timeouts=PATIENCE))
        # The engine says its address just before it answers there.
        eventually(lambda: _answers(url))
        yield Engine(rig, rig.gateway._catalog().models[MODEL].price)


def _speaking(catalog: Catalog, formats: frozenset[str]) -> Catalog:
    def changed(route: Route) -> Route:
        return replace(route, upstream=replace(route.upstream, formats=formats))

    models = {name: replace(model, routes=tuple(map(changed, model.routes))) for name, model in catalog.models.items()}
    return replace(catalog, models=models)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/models").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """llama.cpp's server."""
    with _engine(tmp_path_factory.mktemp("llama"), "llama.cpp", LLAMA_FORMATS) as engine:
        yield engine


@pytest.fixture(scope="module")
def llama_messages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """llama.cpp's server, asked in Anthropic's format."""
    formats = frozenset(("anthropic.messages",))
    with _engine(tmp_path_factory.mktemp("messages"), "llama.cpp", formats) as engine:
        yield engine


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """llama.cpp's server, for embeddings only."""
    formats = frozenset(("openai.embeddings",))
    with _engine(tmp_path_factory.mktemp("embedder"), "llama.cpp-embeddings", formats) as engine:
        yield engine


@pytest.fixture(scope="module")
def cyllama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A server that ignores `stream` and `stream_options`, and answers HTTP/1.0 without keep-alive."""
    with _engine(tmp_path_factory.mktemp("cyllama"), "cyllama", frozenset(("openai.chat",))) as engine:
        yield engine


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An older server that streams, but knows no `stream_options`: its streams never tell their usage."""
    formats = frozenset(("openai.chat", "openai.completions"))
    with _engine(tmp_path_factory.mktemp("older"), "llama-cpp-python", formats) as engine:
        yield engine


@pytest.fixture(params=["llama", "cyllama", "older"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine that chats."""
    found: Engine = request.getfixturevalue(request.param)
    return found


def test_a_whole_chat_is_charged_as_the_engine_counts(engine: Engine) -> None:
    """The usage in the answer is what is charged, to the nano-dollar."""
    account, key = engine.account()
    with engine.rig.client(key) as client:
        answer = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=12)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, False) == engine.tokens(account)
    assert answer.usage.completion_tokens > 0


@pytest.mark.parametrize("asked", [True, False])
def test_a_stream_is_charged_as_the_engine_counts(llama: Engine, asked: bool) -> None:
    """The usage event is always asked for, and shown, with its cost, to a client that asked."""
    account, key = llama.account()
    with llama.rig.client(key) as client:
        stream = client.chat.completions.create(
            model=MODEL, messages=HELLO, max_tokens=12, stream=True, stream_options={"include_usage": asked}
        )
        chunks = list(stream)
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    prompt_tokens, completion_tokens, estimated = llama.tokens(account)
    assert not estimated
    assert 0 < completion_tokens <= 12
    assert [(usage.prompt_tokens, usage.completion_tokens) for usage in usages] == (
        [(prompt_tokens, completion_tokens)] if asked else []
    )


def test_a_stream_that_never_tells_its_usage_is_counted(older: Engine) -> None:
    """Where `include_usage` is ignored we count what was streamed, and mark the charge as estimated."""
    account, key = older.account()
    with older.rig.client(key) as client:
        stream = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=12, stream=True)
        chunks = list(stream)
    assert [chunk.usage for chunk in chunks if chunk.usage is not None] == []
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    prompt_tokens, completion_tokens, estimated = older.tokens(account)
    assert estimated
    assert prompt_tokens > 0
    assert completion_tokens >= len(texts) > 0


def test_an_engine_that_does_not_stream_is_streamed_all_the_same(cyllama: Engine) -> None:
    """An engine that ignores `stream` and `include_usage` answers whole; a client gets events, and pays its usage."""
    account, key = cyllama.account()
    with cyllama.rig.client(key) as client:
        stream = client.chat.completions.create(
            model=MODEL, messages=HELLO, max_tokens=12, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
    usage = chunks[-1].usage
    assert usage is not None
    assert chunks[0].choices[0].delta.content is not None
    assert (usage.prompt_tokens, usage.completion_tokens, False) == cyllama.tokens(account)


def test_completions_whole_and_streamed(llama: Engine) -> None:
    """The older endpoint; its stream tells the usage with the last text."""
    account, key = llama.account()
    with llama.rig.client(key) as client:
        whole = client.completions.create(model=MODEL, prompt="Once upon", max_tokens=8)
        assert whole.usage is not None
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, False) == llama.tokens(account)
        account, key = llama.account()
    with llama.rig.client(key) as client:
        streamed = list(client.completions.create(model=MODEL, prompt="Once upon", max_tokens=8, stream=True))
    assert len(streamed) > 1
    prompt_tokens, completion_tokens, estimated = llama.tokens(account)
    assert (prompt_tokens, completion_tokens <= 8, estimated) == (whole.usage.prompt_tokens, True, False)


def test_embeddings(embedder: Engine) -> None:
    """Vectors pass as they are; the prompt is what is charged."""
    account, key = embedder.account()
    with embedder.rig.client(key) as client:
        answer = client.embeddings.create(model=MODEL, input=["one", "another"])
    assert [len(found.embedding) for found in answer.data] == [64, 64]
    assert embedder.tokens(account) == (answer.usage.prompt_tokens, 0, False)


# The token of the tiny model that is a whole call.
BIAS: Final = {"259": 100}
TOOL: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather.",
        "parameters": {
            "type": "object",
            "properties": {"unit": {"type": "string", "enum": ["c", "f"]}},
            "required": ["unit"],
            "additionalProperties": False,
        },
    },
}


def test_tools_whole_and_streamed(llama: Engine) -> None:
    """A call of a tool that the engine's grammar enforces comes through, whole and in pieces."""
    account, key = llama.account()
    with llama.rig.client(key) as client:
        answer = client.chat.completions.create(
            model=MODEL, messages=HELLO, tools=[TOOL], tool_choice="required", max_tokens=20, logit_bias=BIAS
        )
        called = answer.choices[0].message.tool_calls
        assert called is not None
        assert {call.function.name for call in called if call.type == "function"} == {"weather"}
        assert llama.charge(account).completion_tokens > 0
    account, key = llama.account()
    with llama.rig.client(key) as client:
        stream = client.chat.completions.create(
            model=MODEL,
            messages=HELLO,
            tools=[TOOL],
            tool_choice="required",
            max_tokens=20,
            logit_bias=BIAS,
            stream=True,
        )
        deltas = [chunk.choices[0].delta for chunk in stream if chunk.choices]
    pieces = [call.function for delta in deltas for call in delta.tool_calls or []]
    assert {piece.name for piece in pieces if piece is not None and piece.name} == {"weather"}
    assert not llama.charge(account).estimated


@pytest.mark.parametrize("engine", ["llama", "older"], indirect=True)
def test_a_client_that_hangs_up_pays_for_what_it_got(engine: Engine) -> None:
    """In mid-stream the engine is stopped, and what was streamed is charged once, counted by us."""
    account, key = engine.account()
    headers = {"authorization": f"Bearer {key}"}
    body = prompt("Say something.", max_tokens=1_500, stream=True)
    with engine.rig.http.stream("POST", CHAT, json=body, headers=headers) as response:
        lines = response.iter_lines()
        seen = [next(lines) for _ in range(8)]
    eventually(lambda: bool(engine.rig.charges(account)))
    charge = engine.charge(account)
    assert sum(line.startswith("data: ") for line in seen) >= 4
    assert charge.estimated
    assert 0 < charge.completion_tokens < 1_500
    assert engine.rig.gateway.held_nano(account) == 0


@pytest.mark.parametrize("streamed", [False, True])
def test_messages_are_translated(engine: Engine, streamed: bool) -> None:
    """Anthropic's client talks to an engine that knows OpenAI's chats only."""
    account, key = engine.account()
    with Anthropic(base_url=f"{engine.rig.base_url}/anthropic", api_key=key, max_retries=0) as client:
        _say_something(client, streamed=streamed, engine=engine, account=account)


@pytest.mark.parametrize("streamed", [False, True])
def test_messages_as_they_are(llama_messages: Engine, streamed: bool) -> None:
    """llama.cpp's own form of Anthropic's messages, passed as it is."""
    account, key = llama_messages.account()
    with Anthropic(base_url=f"{llama_messages.rig.base_url}/anthropic", api_key=key, max_retries=0) as client:
        _say_something(client, streamed=streamed, engine=llama_messages, account=account)


def _say_something(client: Anthropic, *, streamed: bool, engine: Engine, account: str) -> None:
    if streamed:
        with client.messages.stream(model=MODEL, max_tokens=12, messages=[{"role": "user", "content": "Hi"}]) as stream:
            usage = stream.get_final_message().usage
    else:
        usage = client.messages.create(model=MODEL, max_tokens=12, messages=[{"role": "user", "content": "Hi"}]).usage
    prompt_tokens, completion_tokens, estimated = engine.tokens(account)
    # What we had to count, the client is told of the output only.
    told = 0 if estimated else prompt_tokens
    assert (usage.input_tokens + (usage.cache_read_input_tokens or 0), usage.output_tokens) == (told, completion_tokens)


@pytest.mark.parametrize("streamed", [False, True])
def test_responses(llama: Engine, streamed: bool) -> None:
    """llama.cpp's own form of OpenAI's responses, passed as it is."""
    account, key = llama.account()
    with llama.rig.client(key) as client:
        if streamed:
            # Its events lack what the SDK's accumulating helper needs; they are read one by one.
            events = client.responses.create(model=MODEL, input="Hi", max_output_tokens=12, stream=True)
            (answer,) = [
                event.response for event in events if event.type in ("response.completed", "response.incomplete")
            ]
        else:
            answer = client.responses.create(model=MODEL, input="Hi", max_output_tokens=12)
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, False) == llama.tokens(account)


def test_what_an_engine_refuses_is_free(llama: Engine) -> None:
    """A prompt beyond the engine's context is its 400, and costs nothing."""
    account, key = llama.account()
    refused = llama.rig.post(key, prompt("word " * 4_000))
    assert refused.status_code == 400
    assert llama.rig.charges(account) == []
    assert llama.rig.gateway.held_nano(account) == 0
