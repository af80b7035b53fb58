"""The official SDK against the gateway, with nothing changed but base URL and key."""

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionFunctionToolParam, ChatCompletionUserMessageParam

from tests.support.gateway.gateway_rig import CHAT, MODEL, Rig, events_of, prompt
from tokenbooth.domain.keys import KeyKind
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.kit.ids import new_key

HELLO: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Hello [[write 5]]"}]


def cost_of(chunk: ChatCompletionChunk) -> float:
    """The cost that a usage event tells, which the SDK's types don't know."""
    assert chunk.usage is not None
    cost = (chunk.usage.model_extra or {})["cost"]
    assert isinstance(cost, float)
    return cost


def test_the_synchronous_client_gets_an_answer_with_its_usage(shared: Rig) -> None:
    """A plain call answers with text, usage and our request id."""
    with shared.client(shared.credit_key(shared.account("5"))) as client:
        answer = client.chat.completions.create(model=MODEL, messages=HELLO)
    assert answer.choices[0].message.content == "One token after the other"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert answer._request_id is not None
    assert answer._request_id.startswith("req_")


async def test_the_asynchronous_client_gets_an_answer(shared: Rig) -> None:
    """The asynchronous client works like the other."""
    async with shared.async_client(shared.credit_key(shared.account("5"))) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=HELLO)
    assert answer.choices[0].finish_reason == "stop"


def test_a_stream_with_usage_ends_with_the_exact_cost(shared: Rig) -> None:
    """The usage event that the client asked for tells exactly what was charged."""
    account = shared.account("5")
    with shared.client(shared.credit_key(account)) as client:
        stream = client.chat.completions.create(
            model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "One token after the other"
    assert chunks[-1].choices == []
    assert round(cost_of(chunks[-1]) * NANO_PER_USD) == shared.charged_nano(account)


async def test_an_asynchronous_stream_without_usage_gets_no_usage_event(shared: Rig) -> None:
    """A client that did not ask for usage sees only events with choices, and pays all the same."""
    account = shared.account("5")
    async with shared.async_client(shared.credit_key(account)) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
    assert all(chunk.choices for chunk in chunks)
    assert len(shared.charges(account)) == 1
    assert not shared.charges(account)[0].estimated


def test_models_are_listed_and_shown(shared: Rig) -> None:
    """The model list and a single model, whose name has a slash, are read by the SDK."""
    with shared.client(shared.credit_key(shared.account())) as client:
        assert [model.id for model in client.models.list()] == [MODEL]
        assert client.models.retrieve(MODEL).id == MODEL


def test_an_unknown_model_raises_not_found(shared: Rig) -> None:
    """Both the call and the look-up of a model that does not exist raise NotFoundError with its param."""
    with shared.client(shared.credit_key(shared.account("5"))) as client:
        with pytest.raises(openai.NotFoundError) as called:
            client.chat.completions.create(model="no/such", messages=HELLO)
        with pytest.raises(openai.NotFoundError) as shown:
            client.models.retrieve("no/such")
    assert (called.value.code, called.value.param) == ("model_not_found", "model")
    assert (shown.value.code, shown.value.param) == ("model_not_found", "model")


def test_an_unknown_key_raises_authentication_error(shared: Rig) -> None:
    """A well-formed key that is nobody's raises AuthenticationError."""
    with shared.client(new_key(KeyKind.API)) as client, pytest.raises(openai.AuthenticationError) as refused:
        client.models.list()
    assert refused.value.code == "invalid_api_key"
    assert refused.value.request_id is not None


def test_a_rate_limit_raises_rate_limit_error(shared: Rig) -> None:
    """The second call of a key with one request a minute raises RateLimitError."""
    with shared.client(shared.credit_key(shared.account("5"), rpm=1)) as client:
        client.chat.completions.create(model=MODEL, messages=HELLO)
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(model=MODEL, messages=HELLO)
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.type == "rate_limit_error"


def test_an_unpriced_parameter_raises_bad_request(shared: Rig) -> None:
    """A parameter that would buy something unpriced raises BadRequestError that names it."""
    with (
        shared.client(shared.credit_key(shared.account("5"))) as client,
        pytest.raises(openai.BadRequestError) as refused,
    ):
        client.chat.completions.create(model=MODEL, messages=HELLO, service_tier="priority")
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "service_tier")


def test_empty_credit_raises_a_status_error(shared: Rig) -> None:
    """An account without credit gets 402, which the SDK does not retry."""
    with (
        shared.client(shared.credit_key(shared.account()), max_retries=2) as client,
        pytest.raises(openai.APIStatusError) as refused,
    ):
        client.chat.completions.create(model=MODEL, messages=HELLO)
    assert (refused.value.status_code, refused.value.code) == (402, "insufficient_credits")


def test_an_error_in_mid_stream_raises_api_error(shared: Rig) -> None:
    """A stream that the upstream cuts raises APIError out of the iteration, never a clean end."""
    with shared.client(shared.credit_key(shared.account("5"))) as client:
        stream = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "[[write 9]] [[stop-after 3]] [[token-delay 0.01]]"}],
            stream=True,
        )
        with pytest.raises(openai.APIError) as broken:
            list(stream)
    assert broken.value.code == "upstream_error"


def test_tool_calls_and_several_choices_pass(shared: Rig) -> None:
    """What the gateway does not price passes verbatim: tools go up, their calls and all choices come back."""
    tool: ChatCompletionFunctionToolParam = {
        "type": "function",
        "function": {"name": "look", "parameters": {"type": "object"}},
    }
    with shared.client(shared.credit_key(shared.account("5"))) as client:
        answer = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "[[tool-call]]"}], tools=[tool], n=2
        )
    assert [choice.finish_reason for choice in answer.choices] == ["tool_calls", "tool_calls"]


@pytest.mark.parametrize("text", ["ordinary", "[[fail 500]]", "[[fail 400]]"])
def test_every_answer_has_our_request_id(shared: Rig, text: str) -> None:
    """The request id is ours, whatever the client or the upstream calls the request."""
    key = shared.credit_key(shared.account("5"))
    answer = shared.post(key, prompt(text), **{"x-request-id": "mine"})
    assert answer.headers.get_list("x-request-id") == [answer.headers["x-request-id"]]
    assert answer.headers["x-request-id"].startswith("req_")
    again = shared.post(key, prompt(text), **{"x-request-id": "mine"})
    assert answer.headers["x-request-id"] != again.headers["x-request-id"]


def test_cost_header_and_store_agree(shared: Rig) -> None:
    """The cost header is to the nano-dollar what the store charged."""
    account = shared.account("5")
    answer = shared.post(shared.credit_key(account), prompt("[[write 3]] [[usage prompt=11 cached=3]]"))
    # (8 x 270 + 3 x 70 + 3 x 1100) thousandths of a nano-dollar a token, in nano-dollars per thousand tokens.
    expected_nano = 8 * 270 + 3 * 70 + 3 * 1_100
    assert answer.headers["x-cost-usd"] == "0.00000567"
    assert shared.charged_nano(account) == expected_nano


def test_the_wire_form_of_a_stream(shared: Rig) -> None:
    """A stream is an event stream that ends with its usage and the end marker."""
    body = prompt("[[write 2]]", stream=True, stream_options={"include_usage": True})
    answer = shared.post(shared.credit_key(shared.account("5")), body)
    events = events_of(answer.text)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert events[-1] == "[DONE]"
    assert events.count("[DONE]") == 1
    usage = httpx.Response(200, text=events[-2]).json()["usage"]
    assert usage["completion_tokens"] == 2
    # An exact JSON number without an exponent, for readers that keep decimals.
    assert f'"cost":{usage["cost"]:.9f}' in events[-2]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", CHAT, 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/chat", 404, "not_found"),
        ("DELETE", f"/v1/models/{MODEL}", 405, "method_not_allowed"),
    ],
)
def test_wrong_methods_and_paths(shared: Rig, method: str, path: str, status: int, code: str) -> None:
    """A path that does not exist is 404, one that exists with another method 405 and its methods, as error objects."""
    answer = shared.http.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert (status == 405) == ("allow" in answer.headers)


def test_tokens_reach_the_client_as_they_are_written(shared: Rig) -> None:
    """The first tokens are in the client's hands while the model still writes: nothing gathers a stream up."""
    key = shared.credit_key(shared.account("5"))
    body = prompt("[[write 3]] [[hang-after 2]]", stream=True)
    with shared.http.stream("POST", CHAT, json=body, headers={"authorization": f"Bearer {key}"}) as answer:
        text = ""
        for piece in answer.iter_text():
            text += piece
            if "token" in text:
                break
    assert text.count('"content":') == 3
