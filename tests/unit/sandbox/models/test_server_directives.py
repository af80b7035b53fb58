"""What a prompt can make the demo's model server do, over real HTTP."""

import time
from collections.abc import Callable, Iterator

import httpx
import msgspec
import pytest

from tests.support.servers import serve
from tokenbooth_sandbox.models import ModelServer, create_model_server
from tokenbooth_sandbox.models.directives import Directives, parse_directives

CHAT = "/v1/chat/completions"
_WAIT_S = 10.0


def chat(question: str, **fields: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": question}], **fields}


def asked_usage(question: str) -> dict[str, object]:
    return chat(question, stream=True, stream_options={"include_usage": True})


def chunks(response: httpx.Response) -> list[dict[str, object]]:
    """The JSON events of a stream."""
    events = [event.removeprefix("data: ") for event in response.text.split("\n\n") if event]
    return [msgspec.json.decode(event) for event in events if event != "[DONE]"]


def wait_until(condition: Callable[[], bool]) -> None:
    """Returns as soon as the condition holds; fails if that takes too long."""
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


@pytest.fixture
def server() -> ModelServer:
    return create_model_server(None, record=True)


@pytest.fixture
def client(server: ModelServer) -> Iterator[httpx.Client]:
    with serve(server) as base_url, httpx.Client(base_url=base_url) as client:
        yield client


def test_directives_are_taken_out_of_the_quote(client: httpx.Client) -> None:
    """The answer mentions the message without its directives, and leaves other brackets alone."""
    answer = client.post(CHAT, json=chat("Is [[ -f x ]] or [[wiki]] [[delay 0]] fine?")).json()

    assert 'You said: "Is [[ -f x ]] or [[wiki]] fine?".' in answer["choices"][0]["message"]["content"]


def test_only_the_last_user_message_directs(client: httpx.Client) -> None:
    """Directives in older messages and in answers are ordinary text."""
    messages = [
        {"role": "user", "content": "[[fail 500]]"},
        {"role": "assistant", "content": "[[fail 501]]"},
        {"role": "user", "content": "[[write 1]]"},
        {"role": "system", "content": "[[fail 502]]"},
    ]
    response = client.post(CHAT, json={"model": "m", "messages": messages})

    assert (response.status_code, response.json()["usage"]["completion_tokens"]) == (200, 1)


@pytest.mark.parametrize(
    "directive",
    [
        "[[write]]",
        "[[write -1]]",
        "[[write 200001]]",
        "[[delay soon]]",
        "[[delay 3601]]",
        "[[fail 200]]",
        "[[no-usage 1]]",
        "[[usage]]",
        "[[usage prompt]]",
        "[[usage price=1]]",
        "[[stop-after 1 2]]",
        "[[retry-after é]]",
    ],
)
def test_wrong_arguments_are_refused(client: httpx.Client, directive: str) -> None:
    """A directive that makes no sense is an error that quotes it, not a silent ordinary answer."""
    response = client.post(CHAT, json=chat(directive))

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "invalid_directive")
    assert error["message"].startswith(f"{directive} is not a valid directive: ")


def test_text_without_directives_is_left_as_it_is() -> None:
    """Ordinary text parses to no directive at all."""
    assert parse_directives("  a \n b  ") == (Directives(), "a b")


@pytest.mark.parametrize("stream", [False, True])
def test_failure_comes_before_the_first_byte(client: httpx.Client, stream: bool) -> None:
    """A told failure has its status, an error object and the told retry-after, streamed or not."""
    response = client.post(CHAT, json=chat("[[fail 529]] [[retry-after 7]]", stream=stream))

    assert (response.status_code, response.headers["retry-after"]) == (529, "7")
    assert response.json()["error"]["type"] == "server_error"


def test_delay_holds_back_the_first_byte(client: httpx.Client) -> None:
    """A delayed answer is not there when the client's patience ends."""
    with pytest.raises(httpx.ReadTimeout):
        client.post(CHAT, json=chat("[[delay 60]]", stream=True), timeout=0.2)


def test_token_delay_sends_tokens_one_by_one(client: httpx.Client, server: ModelServer) -> None:
    """Tokens arrive while later ones are not even written; a client that leaves ends the writing."""
    with client.stream("POST", CHAT, json=chat("[[write 1000]] [[token-delay 0.02]]", stream=True)) as response:
        lines = response.iter_lines()
        seen = [line for line in (next(lines) for _ in range(6)) if line]

    wait_until(lambda: server.requests[0].outcome == "client_gone")
    assert len(seen) == 3
    assert 2 <= server.requests[0].tokens_sent < 1000


def test_cut_stream_has_exactly_the_told_tokens(client: httpx.Client, server: ModelServer) -> None:
    """A cut connection delivers the tokens before the cut and never a proper end."""
    received: list[bytes] = []
    with (
        client.stream("POST", CHAT, json=chat("[[write 9]] [[stop-after 3]]", stream=True)) as response,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        received.extend(response.iter_raw())

    assert b"".join(received).count(b"data: ") == 1 + 3
    wait_until(lambda: server.requests[0].outcome == "interrupted")
    assert server.requests[0].tokens_sent == 3


@pytest.mark.parametrize("question", ["[[stop-after 0]]", "[[write 4]] [[stop-after 2]]"])
@pytest.mark.parametrize("stream", [False, True])
def test_cut_is_never_a_clean_end(client: httpx.Client, question: str, stream: bool) -> None:
    """Before the first byte, in a body and in a stream, a cut is a broken connection for the client."""
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(CHAT, json=chat(question, stream=stream))


@pytest.mark.parametrize("question", ["[[hang-after 0]]", "[[write 4]] [[hang-after 2]]"])
@pytest.mark.parametrize("stream", [False, True])
def test_silence_lasts_until_the_client_leaves(
    client: httpx.Client, server: ModelServer, question: str, stream: bool
) -> None:
    """A server that was told to hang sends nothing more, and notices that the client gave up."""
    with pytest.raises(httpx.ReadTimeout):
        client.post(CHAT, json=chat(question, stream=stream), timeout=0.2)

    wait_until(lambda: server.requests[0].outcome == "client_gone")


def test_short_answer_is_not_interrupted(client: httpx.Client) -> None:
    """An interruption after more tokens than there are does not happen."""
    response = client.post(CHAT, json=chat("[[write 2]] [[stop-after 3]]", stream=True))

    assert response.text.endswith("data: [DONE]\n\n")


def test_early_end_lacks_finish_and_done(client: httpx.Client) -> None:
    """A stream that was told to end early ends cleanly, with its last token as its last event."""
    response = client.post(CHAT, json=asked_usage("[[write 9]] [[end-after 2]]"))

    assert len(chunks(response)) == 1 + 2
    assert "[DONE]" not in response.text
    assert '"finish_reason":"stop"' not in response.text


def test_early_end_truncates_a_body(client: httpx.Client) -> None:
    """Without a stream an early end is a response that is complete for HTTP and broken for JSON."""
    response = client.post(CHAT, json=chat("[[end-after 0]]"))

    assert response.status_code == 200
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(response.content)


def test_error_in_mid_stream_is_an_event(client: httpx.Client) -> None:
    """A stream that was told to fail ends with an error event; an answer without a stream is a 500."""
    streamed = client.post(CHAT, json=chat("[[write 9]] [[error-after 2]]", stream=True))
    whole = client.post(CHAT, json=chat("[[write 9]] [[error-after 2]]"))

    assert list(chunks(streamed)[-1]) == ["error"]
    assert len(chunks(streamed)) == 1 + 2 + 1
    assert whole.status_code == 500


@pytest.mark.parametrize("stream", [False, True])
def test_usage_can_be_missing(client: httpx.Client, stream: bool) -> None:
    """No usage is reported when told so, even if the client asks."""
    body = asked_usage("[[no-usage]]") if stream else chat("[[no-usage]]")

    assert '"usage":{' not in client.post(CHAT, json=body).text


def test_usage_can_be_a_lie(client: httpx.Client) -> None:
    """Told numbers replace the true ones, negative or absurd, and the others stay true."""
    lie = "[[write 4]] [[usage prompt=-10 completion=999999999999999999 cached=5]]"

    usage = client.post(CHAT, json=chat(lie)).json()["usage"]

    assert usage == {
        "prompt_tokens": -10,
        "completion_tokens": 999_999_999_999_999_999,
        "total_tokens": 999_999_999_999_999_989,
        "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def test_usage_event_can_come_twice(client: httpx.Client) -> None:
    """The same usage event can be repeated before the end."""
    *_, first, second = chunks(client.post(CHAT, json=asked_usage("[[write 2]] [[usage-twice]]")))

    assert first == second
    assert first["choices"] == []


def test_usage_can_ride_on_the_last_choice(client: httpx.Client) -> None:
    """The usage can stand on the chunk with the finish reason, and then no event of its own follows."""
    events = chunks(client.post(CHAT, json=asked_usage("[[write 2]] [[usage-in-last-choice]]")))

    assert [event["usage"] is not None for event in events] == [False, False, False, True]
    assert '"finish_reason":"stop"' in msgspec.json.encode(events[-1]).decode()


def test_usage_can_be_cumulative(client: httpx.Client) -> None:
    """Every chunk can carry the usage so far, which ends at the true count."""
    events = chunks(client.post(CHAT, json=chat("[[write 3]] [[cumulative-usage]]", stream=True)))

    usages = [event["usage"] for event in events]
    assert [usage["completion_tokens"] for usage in usages if isinstance(usage, dict)] == [0, 1, 2, 3, 3, 3]


def test_reasoning_is_part_of_the_completion(client: httpx.Client) -> None:
    """Thought tokens are counted in the completion, detailed apart, and cut by the ceiling."""
    answer = client.post(CHAT, json=chat("[[think 5]] [[write 5]]", max_tokens=7)).json()

    message = answer["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Let me think about what", "One token")
    assert answer["usage"]["completion_tokens"] == 7
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 5


def test_tool_call_names_the_first_tool(client: httpx.Client) -> None:
    """A told tool call uses the request's tool and hands it the question."""
    tools = [{"type": "function", "function": {"name": "weather"}}]

    answer = client.post(CHAT, json=chat("[[tool-call]] rain today", tools=tools)).json()

    choice = answer["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"query":"rain today"}'}
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")
    assert answer["usage"]["completion_tokens"] == 3
