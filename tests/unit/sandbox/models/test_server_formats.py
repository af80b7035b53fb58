"""The demo's model server in its other formats: the same answer, counted the same way, told in each format's words."""

import base64
import struct
from collections.abc import Iterator

import httpx
import pytest

from tests.support.gateway.formats import Json, events_in
from tests.support.servers import serve
from tokenbooth_sandbox.models import create_model_server

KEY = "fake-upstream-key"
COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES = "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        serve(create_model_server(KEY, models=["m"], record=True)) as base_url,
        httpx.Client(base_url=base_url, headers={"x-api-key": KEY}) as client,
    ):
        yield client


def body(path: str, text: str, **fields: object) -> Json:
    """A request of the format that asks for the same."""
    match path:
        case "/v1/completions":
            return {"model": "m", "prompt": text, **fields}
        case "/v1/responses":
            return {"model": "m", "input": text, "store": False, **fields}
        case _:
            return {"model": "m", "max_tokens": 500, "messages": [{"role": "user", "content": text}], **fields}


FORMATS = [COMPLETIONS, RESPONSES, MESSAGES]


def text_of(answer: Json, path: str) -> object:
    """The text of a whole answer."""
    keys = {
        COMPLETIONS: ("choices", 0, "text"),
        RESPONSES: ("output", 0, "content", 0, "text"),
        MESSAGES: ("content", 0, "text"),
    }
    value: object = answer
    for key in keys[path]:
        value = value[key]  # type: ignore[index] # a path through decoded JSON
    return value


@pytest.mark.parametrize("path", FORMATS)
def test_the_same_answer_in_every_format(client: httpx.Client, path: str) -> None:
    """Whole, with its tokens counted."""
    answer = client.post(path, json=body(path, "[[write 4]]")).json()
    usage = answer["usage"]

    assert text_of(answer, path) == "One token after the"
    assert usage.get("output_tokens", usage.get("completion_tokens")) == 4


@pytest.mark.parametrize("path", FORMATS)
def test_the_same_stream_in_every_format(client: httpx.Client, path: str) -> None:
    """One event a token, usage at the end, and the format's own last event."""
    answer = client.post(path, json=body(path, "[[write 4]]", stream=True, stream_options={"include_usage": True}))
    events = events_in(answer.content)
    usage_at = {COMPLETIONS: -1, RESPONSES: -1, MESSAGES: -2}[path]
    ending = {COMPLETIONS: "[DONE]", RESPONSES: "response.completed", MESSAGES: "message_stop"}[path]

    assert answer.text.count('"delta":') + answer.text.count('"text":" ') >= 4 - 1
    assert '"usage":{' in str(events[usage_at]).replace("'", '"').replace(" ", "")
    assert ending in answer.text.strip().splitlines()[-1]


@pytest.mark.parametrize("path", FORMATS)
@pytest.mark.parametrize(("directive", "status"), [("[[fail 503]]", 503), ("[[write x]]", 400)])
def test_failures_are_told_in_the_format(client: httpx.Client, path: str, directive: str, status: int) -> None:
    """Anthropic's envelope on its path, OpenAI's error object on the others."""
    answer = client.post(path, json=body(path, directive))
    error = answer.json()

    assert answer.status_code == status
    assert (error.get("type") == "error") == (path == MESSAGES)
    assert error["error"]["message"]


@pytest.mark.parametrize("path", FORMATS)
def test_a_stream_can_be_told_to_break(client: httpx.Client, path: str) -> None:
    """An error event after the first words."""
    answer = client.post(path, json=body(path, "[[write 9]] [[error-after 2]]", stream=True))

    assert "told to fail" in answer.text.splitlines()[-2]
    assert "[DONE]" not in answer.text


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called(client: httpx.Client, path: str, stream: bool) -> None:
    """The first one of the request, with arguments."""
    tool = {"type": "function", "name": "look"} if path == RESPONSES else {"name": "look", "input_schema": {}}
    answer = client.post(path, json=body(path, "[[tool-call]] stars", tools=[tool], stream=stream))

    assert "look" in answer.text
    assert "query" in answer.text


def test_a_server_without_state_stores_nothing(client: httpx.Client) -> None:
    """The format's default is to store, so saying nothing is refused."""
    answer = client.post(RESPONSES, json={"model": "m", "input": "Hi"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "store")


@pytest.mark.parametrize("form", ["float", "base64"])
def test_embeddings_depend_on_their_input_only(client: httpx.Client, form: str) -> None:
    """In both encodings, with the prompt counted."""
    asked = {"model": "m", "input": ["abcd", "abcd", [1, 2]], "encoding_format": form}
    answer = client.post(EMBEDDINGS, json=asked).json()
    vectors = [one["embedding"] for one in answer["data"]]
    if form == "base64":
        vectors = [list(struct.unpack("<8f", base64.b64decode(vector))) for vector in vectors]

    assert vectors[0] == vectors[1] != vectors[2]
    assert (len(vectors[0]), answer["usage"]) == (8, {"prompt_tokens": 3, "total_tokens": 3})


@pytest.mark.parametrize("path", [*FORMATS, EMBEDDINGS])
def test_malformed_bodies_and_unknown_models(client: httpx.Client, path: str) -> None:
    """400 and 404, whatever the format."""
    unknown = {**body(path, "Hi"), "model": "other", "input": "Hi"}

    assert client.post(path, content=b"{").status_code == 400
    assert client.post(path, json={"model": "m"}).status_code == 400
    assert client.post(path, json=unknown).status_code == 404
    assert client.get(path).status_code == 405
    assert client.post(path, json=unknown, headers={"x-api-key": "wrong"}).status_code == 401
