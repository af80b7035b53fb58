"""The demo's model server over real HTTP: answers, counting, errors, recording."""

from collections.abc import Iterator

import httpx
import msgspec
import pytest

from tests.support.servers import serve
from tokenbooth_sandbox.models import ModelServer, create_model_server

KEY = "fake-upstream-key"
CHAT = "/v1/chat/completions"
CREATED_S = 1_790_000_000


def chat(question: str, **fields: object) -> dict[str, object]:
    return {"model": "deepseek-chat", "messages": [{"role": "user", "content": question}], **fields}


def sse(response: httpx.Response) -> list[object]:
    """The payloads of a stream, decoded; its closing `[DONE]` stays text."""
    payloads = [event.removeprefix("data: ") for event in response.text.split("\n\n") if event]
    return [payload if payload == "[DONE]" else msgspec.json.decode(payload) for payload in payloads]


@pytest.fixture
def server() -> ModelServer:
    return create_model_server(KEY, record=True, now_s=lambda: CREATED_S + 0.7)


@pytest.fixture
def client(server: ModelServer) -> Iterator[httpx.Client]:
    with (
        serve(server) as base_url,
        httpx.Client(base_url=base_url, headers={"authorization": f"Bearer {KEY}"}) as client,
    ):
        yield client


def test_answer_quotes_the_last_user_message(client: httpx.Client) -> None:
    """An ordinary question gets a friendly answer that mentions it, with everything OpenAI's object has."""
    answer = client.post(CHAT, json=chat("What is a token?")).json()

    text = (
        'Hello from the demo model! You said: "What is a token?". I answer at once and always the same, '
        "so you can watch how every token is counted and paid for."
    )
    expected = {
        "id": answer["id"],
        "object": "chat.completion",
        "created": CREATED_S,
        "model": "deepseek-chat",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 4 + 4,
            "completion_tokens": len(text.split()),
            "total_tokens": 8 + len(text.split()),
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
    }
    assert answer == expected
    assert answer["id"].startswith("chatcmpl-")


def test_stream_writes_one_event_per_token(client: httpx.Client) -> None:
    """A stream has a role chunk, a chunk per token, a finish chunk and `[DONE]`, and no usage if unasked."""
    response = client.post(CHAT, json=chat("[[write 3]]", stream=True))

    choices = [event["choices"][0] for event in sse(response) if isinstance(event, dict)]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": ""},
        {"content": "One"},
        {"content": " token"},
        {"content": " after"},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, None, "stop"]
    assert [event for event in sse(response) if not isinstance(event, dict)] == ["[DONE]"]
    assert '"usage"' not in response.text
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"


def test_stream_ends_with_usage_when_asked(client: httpx.Client) -> None:
    """With `include_usage` every chunk says null and an event without choices carries the count."""
    response = client.post(CHAT, json=chat("[[write 3]]", stream=True, stream_options={"include_usage": True}))

    *chunks, usage_event, done = sse(response)
    assert [chunk["usage"] for chunk in chunks if isinstance(chunk, dict)] == [None] * 5
    assert isinstance(usage_event, dict)
    assert usage_event["choices"] == []
    assert usage_event["usage"]["completion_tokens"] == 3
    assert done == "[DONE]"


def test_prompt_tokens_follow_the_documented_rule(client: httpx.Client) -> None:
    """A prompt counts a quarter of its text's and tools' bytes, 4 per message and 85 per other part."""
    tools = [{"type": "function", "function": {"name": "find"}}]
    parts = [{"type": "text", "text": "häh"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    body = msgspec.json.encode({"model": "m", "messages": messages, "tools": tools})

    answer = client.post(CHAT, content=body).json()

    text_bytes = len("Be brief.") + len("häh".encode()) + len(msgspec.json.encode(tools))
    assert answer["usage"]["prompt_tokens"] == -(-text_bytes // 4) + 2 * 4 + 85


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_token_ceiling_cuts_the_answer(client: httpx.Client, field: str, stream: bool) -> None:
    """Either ceiling stops the answer after that many tokens with the reason `length`."""
    response = client.post(CHAT, json=chat("[[write 50]]", stream=stream, **{field: 7}))

    assert response.text.count('"finish_reason":"length"') == 1
    assert response.text.count('"content":" ') == (6 if stream else 0)
    assert stream or response.json()["usage"]["completion_tokens"] == 7


def test_several_choices_are_all_counted(client: httpx.Client) -> None:
    """Three choices of four tokens are twelve completion tokens."""
    answer = client.post(CHAT, json=chat("[[write 4]]", n=3)).json()

    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["completion_tokens"] == 12


@pytest.mark.parametrize("stop", ["after", ["nowhere", "after"]])
def test_stop_sequence_ends_the_text_before_it(client: httpx.Client, stop: object) -> None:
    """The text before the first stop sequence is all that is written and counted."""
    answer = client.post(CHAT, json=chat("[[write 10]]", stop=stop)).json()

    assert answer["choices"][0]["message"]["content"] == "One token "
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == 3


def test_repeated_beginning_of_a_prompt_is_cached(client: httpx.Client) -> None:
    """Whole blocks of 64 tokens that were seen with the same model count as cached, and only those."""
    system = {"role": "system", "content": "Rules of the house. " * 50}

    def cached(model: str, question: str) -> object:
        body = {"model": model, "messages": [system, {"role": "user", "content": question}]}
        return client.post(CHAT, json=body).json()["usage"]["prompt_tokens_details"]["cached_tokens"]

    assert [cached("a", "one"), cached("a", "two"), cached("b", "two")] == [0, 3 * 64, 0]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"{", None, None),
        (b'\xff{"model"', None, None),
        (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', None, None),
        (b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}', None, None),
        (b"[" * 5_000, None, "invalid_type"),
        (b'{"model":"m","x":' + b"[" * 5_000, None, None),
        (b"[]", None, "invalid_type"),
        (b'{"messages":[]}', "model", "missing_required_parameter"),
        (b'{"model":"m"}', "messages", "missing_required_parameter"),
        (b'{"model":"m","messages":[]}', "messages", "empty_array"),
        (b'{"model":"m","messages":[{"content":"x"}]}', "messages[0].role", "missing_required_parameter"),
        (b'{"model":"m","messages":[{"role":"user"}],"n":"2"}', "n", "invalid_type"),
        (b'{"model":"m","messages":[{"role":"user"}],"n":0}', "n", "integer_below_min_value"),
        (b'{"model":"m","messages":[{"role":"user"}],"n":129}', "n", "integer_above_max_value"),
        (
            b'{"model":"m","messages":[{"role":"user"}],"max_tokens":0}',
            "max_tokens",
            "integer_below_min_value",
        ),
        (
            b'{"model":"m","messages":[{"role":"user"}],"stop":["","","","",""]}',
            "stop",
            "array_above_max_length",
        ),
        (b'{"model":"m","messages":[{"role":"user"}],"stream_options":{}}', "stream_options", None),
        (
            b'{"model":"m","messages":[{"role":"user"}],"max_tokens":1,"max_completion_tokens":1}',
            "max_tokens",
            "invalid_parameter_combination",
        ),
    ],
)
def test_bad_body_is_refused_by_field(client: httpx.Client, body: bytes, param: str | None, code: str | None) -> None:
    """A body that is not JSON or has a wrong field gets OpenAI's error object, never a 500."""
    response = client.post(CHAT, content=body)

    error = response.json()["error"]
    assert response.status_code == 400
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", KEY, "bearer é"])
def test_wrong_bearer_is_refused(client: httpx.Client, authorization: str) -> None:
    """Without the right key every path answers 401."""
    headers = [(b"authorization", authorization.encode())]
    statuses = [client.get(path, headers=headers).status_code for path in ("/v1/models", "/_requests", "/x")]

    response = client.post(CHAT, json=chat("Hi"), headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert statuses == [401, 401, 401]


def test_only_configured_models_exist() -> None:
    """With a list of models the others are 404 and `GET /v1/models` shows the list."""
    server = create_model_server(None, models=["one", "two"])
    with serve(server) as base_url, httpx.Client(base_url=base_url) as client:
        listed = client.get("/v1/models").json()
        shown = client.get("/v1/models/two")
        unknown = client.post(CHAT, json=chat("Hi"))

    assert [model["id"] for model in listed["data"]] == ["one", "two"]
    assert shown.json()["id"] == "two"
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


def test_unknown_paths_and_methods_are_refused(client: httpx.Client) -> None:
    """Another path is 404, another method on a known path 405."""
    refused = [client.get("/v2"), client.get(CHAT), client.post("/v1/models"), client.get("/v1/models/")]

    assert [response.status_code for response in refused] == [404, 405, 405, 200]


def test_requests_are_recorded_as_they_arrived(client: httpx.Client, server: ModelServer) -> None:
    """A recording server keeps headers, body and outcome, and shows them over HTTP too."""
    client.post(CHAT, content=b'{"model":"m","messages":[{"role":"user","content":"[[write 2]]"}]}')

    (recorded,) = server.requests
    assert recorded.body == b'{"model":"m","messages":[{"role":"user","content":"[[write 2]]"}]}'
    assert recorded.header("Authorization") == f"Bearer {KEY}"
    assert (recorded.method, recorded.path) == ("POST", CHAT)
    assert (recorded.outcome, recorded.tokens_sent) == ("answered", 2)
    (shown,) = client.get("/_requests").json()
    assert (shown["body"], shown["tokensSent"]) == (recorded.body.decode(), 2)


def test_recording_is_bounded() -> None:
    """Only the newest requests are kept."""
    server = create_model_server(None, record=True, max_recorded=2)
    with serve(server) as base_url, httpx.Client(base_url=base_url) as client:
        for question in ("one", "two", "three"):
            client.post(CHAT, json=chat(question))

    assert [msgspec.json.decode(kept.body)["messages"][0]["content"] for kept in server.requests] == [
        "two",
        "three",
    ]


def test_nothing_is_recorded_unasked() -> None:
    """A server that was not told to record keeps nothing and has no page for it."""
    server = create_model_server(None)
    with serve(server) as base_url, httpx.Client(base_url=base_url) as client:
        client.post(CHAT, json=chat("Hi"))
        response = client.get("/_requests")

    assert response.status_code == 404
    assert server.requests == ()
