"""Every endpoint over HTTP with the official SDKs: answers, charges, errors, and how streams end."""

import datetime as dt
import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import msgspec
import openai
import pytest

from tests.support.gateway.formats import events_in
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
from tokenbooth.config.catalog import WireFormat
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.gateway.upstream.base import Timeouts

MESSAGES = "/anthropic/v1/messages"
RESPONSES = "/v1/responses"
INPUT_NANO, CACHED_NANO, OUTPUT_NANO = 270, 70, 1_100
Scripts = tuple[ScriptedUpstream, str]
Json = dict[str, Any]


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway whose upstream speaks Anthropic's format only."""
    directory = tmp_path_factory.mktemp("native")
    opened = open_moody_store(directory / "tokenbooth.db")
    try:
        with run_rig(
            opened, directory, change_catalog=lambda catalog: speaking_only(catalog, "anthropic.messages")
        ) as running:
            yield running
    finally:
        opened.close()


@pytest.fixture(scope="module")
def told(scripts: Scripts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway in front of `scripts`, which speak every format, soon tired of silence and quick to keep alive."""
    directory = tmp_path_factory.mktemp("told")
    opened = open_moody_store(directory / "tokenbooth.db")
    every: tuple[WireFormat, ...] = ("openai.chat", "openai.completions", "openai.responses", "anthropic.messages")
    try:
        with run_rig(
            opened,
            directory,
            timeouts=Timeouts(connect_s=2, first_byte_s=2, idle_s=2),
            gateway_settings=GatewaySettings(keep_alive_s=0.05),
            change_catalog=lambda catalog: speaking_only(with_routes(catalog, scripts[1]), *every),
        ) as running:
            yield running
    finally:
        opened.close()


@pytest.fixture(params=["translated", "native"])
def either(request: pytest.FixtureRequest, shared: Rig, native: Rig) -> Rig:
    """A gateway in front of a model of either make."""
    return native if request.param == "native" else shared


def claude(rig: Rig, account: str, **options: Any) -> anthropic.Anthropic:
    """Anthropic's client, which retries nothing."""
    key = rig.credit_key(account, **options)
    return anthropic.Anthropic(base_url=f"{rig.base_url}/anthropic", api_key=key, max_retries=0)


def one_charge(rig: Rig, account: str) -> int:
    """The account's only charge, in nano-USD; nothing stays held."""
    eventually(lambda: len(rig.charges(account)) == 1)
    assert rig.gateway.held_nano(account) == 0
    return rig.charged_nano(account)


def test_completions(shared: Rig) -> None:
    """Whole and streamed, with the cost in the stream's usage."""
    account = shared.account("5")
    with shared.client(shared.credit_key(account)) as client:
        whole = client.completions.create(model=MODEL, prompt="[[write 3]]", max_tokens=20)
        chunks = list(
            client.completions.create(
                model=MODEL, prompt="[[write 3]]", stream=True, stream_options={"include_usage": True}
            )
        )
    assert whole.choices[0].text == "One token after"
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "One token after"
    first, second = shared.charges(account)
    assert (first.endpoint, first.completion_tokens) == ("completions", 3)
    usage = chunks[-1].usage
    assert usage is not None
    assert round((usage.model_extra or {})["cost"] * 10**9) == second.charged_nano


def test_embeddings(shared: Rig) -> None:
    """Several inputs, charged by their tokens alone, in the encoding that the SDK asks for."""
    account = shared.account("5")
    with shared.client(shared.credit_key(account)) as client:
        answer = client.embeddings.create(model=MODEL, input=["abcd", "abcdefgh"])
    assert [len(one.embedding) for one in answer.data] == [8, 8]
    assert one_charge(shared, account) == 3 * INPUT_NANO


def test_responses(shared: Rig) -> None:
    """Whole and streamed; the event that completes the response shows the cost, and nothing was stored."""
    account = shared.account("5")
    with shared.client(shared.credit_key(account)) as client:
        whole = client.responses.create(model=MODEL, input="[[write 3]]")
        events = list(client.responses.create(model=MODEL, input="[[write 3]]", stream=True))
    assert whole.output_text == "One token after"
    first, second = shared.charges(account)
    assert (first.endpoint, first.charged_nano) == ("responses", second.charged_nano)
    last = events[-1]
    assert last.type == "response.completed"
    usage = last.response.usage
    assert usage is not None
    assert round((usage.model_extra or {})["cost"] * 10**9) == second.charged_nano
    assert shared.upstream_body()["store"] is False


def test_tools_of_responses(shared: Rig) -> None:
    """A call comes back, and its result goes in."""
    tool: Any = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}
    with shared.client(shared.credit_key(shared.account("5"))) as client:
        first = client.responses.create(model=MODEL, input="[[tool-call]] stars", tools=[tool])
        (call,) = first.output
        assert call.type == "function_call"
        asked: Any = [
            {"role": "user", "content": "stars"},
            {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
            {"type": "function_call_output", "call_id": call.call_id, "output": "many"},
            {"role": "user", "content": "[[write 2]]"},
        ]
        second = client.responses.create(model=MODEL, input=asked, tools=[tool])
    assert (call.name, second.output_text) == ("look", "One token")


async def test_the_asynchronous_client_gets_responses_and_embeddings(shared: Rig) -> None:
    """The other client works like the first."""
    async with shared.async_client(shared.credit_key(shared.account("5"))) as client:
        stream = await client.responses.create(model=MODEL, input="[[write 3]]", stream=True)
        kinds = [event.type async for event in stream]
        vectors = await client.embeddings.create(model=MODEL, input="abcd")
    assert kinds.count("response.output_text.delta") == 3
    assert len(vectors.data) == 1


def test_a_message(either: Rig) -> None:
    """Whole, from a model of either make, charged as the client is told."""
    account = either.account("5")
    with claude(either, account) as client:
        raw = client.messages.with_raw_response.create(
            model=MODEL, max_tokens=50, system="Be kind.", messages=[{"role": "user", "content": "[[write 4]]"}]
        )
    message = raw.parse()
    assert [block.text for block in message.content if block.type == "text"] == ["One token after the"]
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 4)
    charged = one_charge(either, account)
    assert charged == message.usage.input_tokens * INPUT_NANO + 4 * OUTPUT_NANO
    assert raw.headers["x-cost-usd"] == f"{charged / 10**9:.8f}".rstrip("0")
    assert message._request_id == raw.headers["x-request-id"]


def test_a_streamed_message(either: Rig) -> None:
    """The SDK puts the events together; usage and cost are in the last but one."""
    account = either.account("5")
    with (
        claude(either, account) as client,
        client.messages.stream(
            model=MODEL,
            max_tokens=3_000,
            thinking={"type": "enabled", "budget_tokens": 1_024},
            messages=[{"role": "user", "content": "[[think 2]] [[write 4]]"}],
        ) as stream,
    ):
        costs = [(event.usage.model_extra or {})["cost"] for event in stream if event.type == "message_delta"]
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 6)
    assert [round(cost * 10**9) for cost in costs] == [one_charge(either, account)]


def test_cached_tokens_are_left_out_of_the_input(either: Rig) -> None:
    """And cost less: the format tells them apart (45)."""
    account = either.account("5")
    text = f"{account} " + "word " * 400 + "[[write 2]]"
    with claude(either, account) as client:
        answers = [
            client.messages.create(model=MODEL, max_tokens=50, messages=[{"role": "user", "content": text}])
            for _ in range(2)
        ]
    cached = answers[1].usage.cache_read_input_tokens
    assert cached is not None
    assert cached > 400
    assert answers[1].usage.input_tokens == answers[0].usage.input_tokens - cached
    charge = either.charges(account)[1]
    fresh = answers[1].usage.input_tokens
    assert charge.charged_nano == fresh * INPUT_NANO + cached * CACHED_NANO + 2 * OUTPUT_NANO


def test_a_round_of_tools_in_messages(either: Rig) -> None:
    """A call comes back with its arguments, streamed; its result goes in."""
    tool: Any = {"name": "look", "input_schema": {"type": "object"}}
    with claude(either, either.account("5")) as client:
        with client.messages.stream(
            model=MODEL, max_tokens=50, tools=[tool], messages=[{"role": "user", "content": "[[tool-call]] stars"}]
        ) as stream:
            first = stream.get_final_message()
        (call,) = first.content
        assert call.type == "tool_use"
        asked: Any = [
            {"role": "user", "content": "stars"},
            {"role": "assistant", "content": [call.model_dump(include={"type", "id", "name", "input"})]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "many"}]},
            {"role": "assistant", "content": "Go on?"},
            {"role": "user", "content": "[[write 2]]"},
        ]
        second = client.messages.create(model=MODEL, max_tokens=50, tools=[tool], messages=asked)
    assert (first.stop_reason, call.name, call.input) == ("tool_use", "look", {"query": "stars"})
    assert [block.text for block in second.content if block.type == "text"] == ["One token"]


async def test_the_asynchronous_client_of_messages(either: Rig) -> None:
    """Whole and streamed, like the other."""
    key = either.credit_key(either.account("5"))
    asked: Any = [{"role": "user", "content": "[[write 3]]"}]
    async with anthropic.AsyncAnthropic(base_url=f"{either.base_url}/anthropic", api_key=key) as client:
        whole = await client.messages.create(model=MODEL, max_tokens=50, messages=asked)
        async with client.messages.stream(model=MODEL, max_tokens=50, messages=asked) as stream:
            text = "".join([piece async for piece in stream.text_stream])
    assert whole.content[0].type == "text"
    assert text == whole.content[0].text


def test_a_ceiling_cuts_a_message(either: Rig) -> None:
    """The format's word for it."""
    with claude(either, either.account("5")) as client:
        message = client.messages.create(
            model=MODEL, max_tokens=2, messages=[{"role": "user", "content": "[[write 9]]"}]
        )
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 2)


def test_counting_tokens_is_free(either: Rig) -> None:
    """No credit is needed, and no model is asked."""
    account = either.account()
    before = len(either.models.requests)
    with claude(either, account) as client:
        counted = client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "Hello"}])
    assert 1 <= counted.input_tokens <= 30
    assert (len(either.models.requests), either.charges(account)) == (before, [])


def test_models_in_the_other_format(shared: Rig) -> None:
    """One page with all of them, and each by its name."""
    with claude(shared, shared.account()) as client:
        assert [model.id for model in client.models.list()] == [MODEL]
        assert client.models.retrieve(MODEL).max_tokens == 8_192
        with pytest.raises(anthropic.NotFoundError):
            client.models.retrieve("no/such")


def test_the_keys_of_our_upstreams_go_where_they_belong(shared: Rig, native: Rig) -> None:
    """Each format has its header for the key, and the client's own goes nowhere."""
    for rig, header, value in ((shared, "authorization", "Bearer "), (native, "x-api-key", "")):
        key = rig.credit_key(rig.account("5"))
        body = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        headers = {"x-api-key": key, "anthropic-beta": "fast-mode-2026-02-01", "x-secret": "mine"}
        rig.http.post(MESSAGES, json=body, headers=headers).raise_for_status()
        sent = dict(rig.models.requests[-1].headers)
        assert sent[header] == f"{value}upstream-key-for-tests"
        assert sent.get("anthropic-version") == ("2023-06-01" if rig is native else None)
        assert not {"x-secret", "anthropic-beta"} & set(sent)
        assert not any(key in value for value in sent.values())


def test_a_model_that_cannot_be_asked_in_a_format(native: Rig) -> None:
    """400 that names the format; nothing is held, nothing is sent."""
    account = native.account("5")
    with native.client(native.credit_key(account)) as client, pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
    assert (refused.value.code, refused.value.param) == ("unsupported_endpoint", "model")
    assert native.charges(account) == []


@pytest.mark.parametrize(
    ("credit", "body", "status", "kind", "code"),
    [
        ("5", {"model": "no/such"}, 404, "not_found_error", "model_not_found"),
        ("5", {}, 400, "invalid_request_error", "missing_model"),
        ("5", {"model": MODEL, "max_tokens": 9}, 400, "invalid_request_error", "missing_messages"),
        (None, None, 402, "billing_error", "insufficient_credits"),
        ("5", "[[fail 500]]", 502, "api_error", "upstream_error"),
        ("5", "[[fail 429]]", 529, "overloaded_error", "overloaded"),
        ("5", "[[fail 400]]", 400, "invalid_request_error", "upstream_invalid_request"),
        ("5", "[[fail 401]]", 502, "api_error", "upstream_error"),
    ],
)
def test_errors_in_the_envelope(
    either: Rig, credit: str | None, body: Json | str | None, status: int, kind: str, code: str
) -> None:
    """The format's type, our code, our request id under both names, and nothing charged."""
    account = either.account(credit)
    sent = body if isinstance(body, dict) else {"model": MODEL, "max_tokens": 9, "messages": []}
    if not isinstance(body, dict):
        sent["messages"] = [{"role": "user", "content": body or "Hi"}]
    answer = either.http.post(MESSAGES, json=sent, headers={"x-api-key": either.credit_key(account)})
    error = answer.json()
    assert (answer.status_code, error["type"]) == (status, "error")
    assert (error["error"]["type"], error["error"]["code"]) == (kind, code)
    assert error["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]
    assert either.charges(account) == []


def test_unknown_keys_and_paths_in_the_envelope(shared: Rig) -> None:
    """Also what is refused before anything is read."""
    unknown = shared.http.post(MESSAGES, headers={"x-api-key": "nonsense"})
    missing = shared.http.get("/anthropic/v1/nothing")
    method = shared.http.get(MESSAGES)
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (401, "authentication_error")
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")
    assert (method.status_code, method.json()["error"]["type"]) == (405, "invalid_request_error")


def test_limits_are_told_as_instants(shared: Rig) -> None:
    """On success and refusal, beside the headers of the other format."""
    key = shared.credit_key(shared.account("5"), rpm=1, tpm=50_000)
    body = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    answers = [shared.http.post(MESSAGES, json=body, headers={"x-api-key": key}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    for answer in answers:
        headers = answer.headers
        assert headers["anthropic-ratelimit-requests-limit"] == headers["x-ratelimit-limit-requests"] == "1"
        assert headers["anthropic-ratelimit-requests-remaining"] == "0"
        assert headers["anthropic-ratelimit-tokens-limit"] == "50000"
        reset = dt.datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"])
        left = reset - dt.datetime.now(dt.UTC)
        assert dt.timedelta(0) < left <= dt.timedelta(seconds=61)
    assert answers[1].json()["error"]["type"] == "rate_limit_error"


def test_no_sdk_is_told_to_sleep_for_long(shared: Rig) -> None:
    """A long wait is said, with the word that it is no use to try again (the SDK obeys any retry-after)."""
    asked: Any = [{"role": "user", "content": "[[fail 429]] [[retry-after 900]]"}]
    body = {"model": MODEL, "max_tokens": 9, "messages": asked}
    key = shared.credit_key(shared.account("5"))
    answer = shared.http.post(MESSAGES, json=body, headers={"x-api-key": key})
    assert (answer.status_code, answer.headers["retry-after"]) == (529, "900")
    assert answer.headers["x-should-retry"] == "false"
    with (
        anthropic.Anthropic(base_url=f"{shared.base_url}/anthropic", api_key=key, max_retries=5) as client,
        pytest.raises(anthropic.InternalServerError),
    ):
        client.messages.create(model=MODEL, max_tokens=9, messages=asked)


def event(kind: str, **fields: object) -> bytes:
    """One named event."""
    return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode({"type": kind, **fields}) + b"\n\n"


START = event("message_start", message={"id": "m", "usage": {"input_tokens": 100, "output_tokens": 1}})
TEXT = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "abcd"})
LAST = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7})
STOP = event("message_stop")
SAID = event("response.output_text.delta", delta="abcd")
ENDED = event("response.completed", response={"id": "r", "usage": {"input_tokens": 100, "output_tokens": 7}})
STREAMS: dict[str, tuple[bytes, ...]] = {MESSAGES: (START, TEXT, LAST, STOP), RESPONSES: (SAID, ENDED)}
FULL_NANO = 100 * INPUT_NANO + 7 * OUTPUT_NANO


def stream_body(path: str, text: str) -> Json:
    asked: Json = {"model": MODEL, "stream": True}
    if path == MESSAGES:
        return {**asked, "max_tokens": 500, "messages": [{"role": "user", "content": text}]}
    return {**asked, "input": text}


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
def test_the_charge_is_on_disk_before_the_end_leaves(told: Rig, scripts: Scripts, path: str) -> None:
    """Whoever has seen the event that ends the answer has been charged; what follows it is never waited for (P10)."""
    account = told.account("5")
    script = Script(STREAMS[path], "hang")
    body = stream_body(path, scripts[0].add(script))
    answer = told.http.post(path, json=body, headers={"x-api-key": told.credit_key(account)})
    events = events_in(answer.content)
    assert events[-1]["type"] == ("message_stop" if path == MESSAGES else "response.completed")
    assert '"cost":0.000034700' in answer.text
    assert one_charge(told, account) == FULL_NANO
    assert script.gone.wait(5)


@pytest.mark.parametrize("ending", ["cut", "end", "hang", "error"])
@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
def test_trouble_in_mid_stream(told: Rig, scripts: Scripts, path: str, ending: Any) -> None:
    """An error event in the format's form, no end, and what was delivered is charged and marked (39, 40)."""
    account = told.account("5")
    pieces = STREAMS[path][: 2 if path == MESSAGES else 1]
    if ending == "error":
        pieces = (*pieces, event("error", error={"message": "secret of org-operator"}))
    script = Script(pieces, "end" if ending == "error" else ending)
    body = stream_body(path, scripts[0].add(script))
    answer = told.http.post(path, json=body, headers={"x-api-key": told.credit_key(account)})
    last = events_in(answer.content)[-1]
    code = "upstream_timeout" if ending == "hang" else "upstream_error"
    assert (last["type"], "secret" in answer.text) == ("error", False)
    assert msgspec.convert(last["error"], Json)["code"] == code
    assert "message_stop" not in answer.text
    assert "response.completed" not in answer.text
    prompt = 100 if path == MESSAGES else -(-len(msgspec.json.encode(body)) // 4)
    assert abs(one_charge(told, account) - prompt * INPUT_NANO - OUTPUT_NANO) <= 20 * INPUT_NANO
    assert told.charges(account)[0].estimated


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
def test_the_sdks_raise_what_broke_a_stream(told: Rig, scripts: Scripts, path: str) -> None:
    """An exception out of the iteration, never a clean end."""
    script = Script(STREAMS[path][:1], "cut")
    name = scripts[0].add(script)
    account = told.account("5")
    if path == MESSAGES:
        with claude(told, account) as client, pytest.raises(anthropic.APIStatusError, match="upstream_error"):
            list(
                client.messages.create(
                    model=MODEL, max_tokens=9, stream=True, messages=[{"role": "user", "content": name}]
                )
            )
    else:
        with told.client(told.credit_key(account)) as other, pytest.raises(openai.APIError, match="failed"):
            list(other.responses.create(model=MODEL, input=name, stream=True))


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
def test_hanging_up_in_mid_stream_is_charged_once(told: Rig, scripts: Scripts, path: str) -> None:
    """The upstream is stopped, and what was delivered is charged (39)."""
    account = told.account("5")
    script = Script(STREAMS[path][: 2 if path == MESSAGES else 1], "hang")
    body = stream_body(path, scripts[0].add(script))
    headers = {"x-api-key": told.credit_key(account)}
    with told.http.stream("POST", path, json=body, headers=headers) as answer:
        next(answer.iter_bytes())
    assert script.gone.wait(5)
    assert one_charge(told, account) > 0
    assert told.charges(account)[0].estimated


def test_a_failed_response_costs_nothing(told: Rig, scripts: Scripts) -> None:
    """An answer that says that it failed is an upstream's failure (38)."""
    account = told.account("5")
    failed = msgspec.json.encode({"id": "r", "status": "failed", "error": {"message": "secret"}, "usage": None})
    name = scripts[0].add(Script((failed,), content_type="application/json"))
    answer = told.http.post(
        RESPONSES, json={"model": MODEL, "input": name}, headers={"x-api-key": told.credit_key(account)}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
    assert told.charges(account) == []


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES, "/v1/chat/completions"])
def test_silence_after_the_first_byte_is_kept_alive(told: Rig, scripts: Scripts, path: str) -> None:
    """Comments between events while the upstream thinks; none before its first byte, and none at the end."""
    first = STREAMS.get(path, (b'data: {"choices":[{"delta":{"content":"abcd"}}]}\n\n', b"data: [DONE]\n\n"))
    script = Script(first, pause_before=1)
    body = stream_body(path if path != "/v1/chat/completions" else MESSAGES, scripts[0].add(script))
    read = ""
    headers = {"x-api-key": told.credit_key(told.account("5"))}
    with told.http.stream("POST", path, json=body, headers=headers) as answer:
        for piece in answer.iter_text():
            read += piece
            if read.count(": keep-alive\n\n") == 2:
                script.proceed.set()
    assert read.index("data: ") < read.index(": keep-alive")
    parts = read.split("\n\n")
    assert parts[-1] == ""
    assert not any("keep-alive" in part and part != ": keep-alive" for part in parts)
    assert not parts[-2].startswith(":")


def test_a_stream_that_is_never_silent_has_no_comments(told: Rig, scripts: Scripts) -> None:
    """They cost nothing where they are not needed."""
    name = scripts[0].add(Script(STREAMS[MESSAGES]))
    answer = told.http.post(
        MESSAGES, json=stream_body(MESSAGES, name), headers={"x-api-key": told.credit_key(told.account("5"))}
    )
    assert "keep-alive" not in answer.text


def test_many_messages_at_once_never_overspend(native: Rig) -> None:
    """The caps hold in this format as in the others (34)."""
    account = native.account("5")
    key = native.credit_key(account, max_budget_usd="0.0005")
    body = {"model": MODEL, "max_tokens": 300, "messages": [{"role": "user", "content": "[[write 200]]"}]}
    statuses: list[int] = []

    def call() -> None:
        with httpx.Client(base_url=native.base_url, timeout=30) as client:
            statuses.append(client.post(MESSAGES, json=body, headers={"x-api-key": key}).status_code)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 402, 429}
    assert 0 < native.charged_nano(account) <= 500_000
