"""Streams as servers frame them, over HTTP, in each format: what arrives, what is charged, and who is asked instead."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest

from tests.support.gateway.formats import events_in
from tests.support.gateway.gateway_rig import (
    EVERY_FORMAT,
    MODEL,
    MoodyStore,
    Rig,
    open_moody_store,
    run_rig,
    speaking_only,
    with_routes,
)
from tests.support.gateway.scripted_upstream import Script, ScriptedUpstream, serve_scripts
from tokenbooth.config.catalog import Catalog, WireFormat
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.gateway.upstream.base import Timeouts

Json = dict[str, Any]
INPUT_NANO, OUTPUT_NANO = 270, 1_100
PROMPT, OUTPUT = 50, 9
TRUE_NANO: Final = PROMPT * INPUT_NANO + OUTPUT * OUTPUT_NANO
OPENAI_USAGE: Final = {"prompt_tokens": PROMPT, "completion_tokens": OUTPUT, "total_tokens": PROMPT + OUTPUT}
USAGE: Final = {"input_tokens": PROMPT, "output_tokens": OUTPUT}
TEXT: Final = "Hello world"
PATHS: Final = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/anthropic/v1/messages",
    "translated": "/anthropic/v1/messages",
}
FORMATS: Final = tuple(PATHS)
ERROR: Final = b'data: {"error":{"message":"secret","code":500}}\n\n'


def data_of_format(spoken: str) -> list[Json | str]:
    """What an upstream streams."""
    match spoken:
        case "chat" | "translated":
            return [
                {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello"}}]},
                {"id": "c", "choices": [{"index": 0, "delta": {"content": " world"}, "finish_reason": "stop"}]},
                {"id": "c", "choices": [], "usage": OPENAI_USAGE},
            ]
        case "completions":
            return [
                {"id": "c", "choices": [{"index": 0, "text": "Hello"}]},
                {"id": "c", "choices": [{"index": 0, "text": " world", "finish_reason": "stop"}]},
                {"id": "c", "choices": [], "usage": OPENAI_USAGE},
            ]
        case "responses":
            return [
                {"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}},
                {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": TEXT},
                {"type": "response.completed", "response": whole_of_format("responses")},
            ]
        case _:
            message = {**whole_of_format("messages"), "content": [], "usage": {**USAGE, "output_tokens": 1}}
            return [
                {"type": "message_start", "message": message},
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " world"}},
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": USAGE},
                {"type": "message_stop"},
            ]


def whole_of_format(spoken: str) -> Json:
    """The same as a whole answer."""
    match spoken:
        case "chat" | "translated":
            message = {"role": "assistant", "content": TEXT}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return {"id": "c", "object": "chat.completion", "choices": [choice], "usage": OPENAI_USAGE}
        case "completions":
            choice = {"index": 0, "text": TEXT, "finish_reason": "stop"}
            return {"id": "c", "object": "text_completion", "choices": [choice], "usage": OPENAI_USAGE}
        case "responses":
            part = {"type": "output_text", "text": TEXT, "annotations": []}
            item = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
            return {"id": "r", "object": "response", "status": "completed", "output": [item], "usage": USAGE}
        case _:
            block = {"type": "text", "text": TEXT}
            fixed = {"id": "m", "type": "message", "role": "assistant", "model": "up", "stop_reason": "end_turn"}
            return {**fixed, "content": [block], "stop_sequence": None, "usage": USAGE}


def stream_of(spoken: str, *, newline: str = "\n", data_first: bool = False, unended: bool = False) -> bytes:
    """The stream of a format, framed in one of many ways."""
    told = []
    for data in data_of_format(spoken):
        lines = [f"event: {data['type']}"] if isinstance(data, dict) and "type" in data else []
        lines.insert(0 if data_first else len(lines), "data:" + msgspec.json.encode(data).decode())
        told.append(newline.join(lines))
    if unended:
        return (newline * 2).join(told).encode()
    if "choices" in msgspec.json.encode(data_of_format(spoken)[0]).decode():
        told.append("data: [DONE]")
    return "".join(event + newline * 2 for event in told).encode()


FRAMES: Final = {
    "lf": {},
    "cr": {"newline": "\r"},
    "crlf": {"newline": "\r\n"},
    "data first": {"data_first": True},
    "unended": {"unended": True},
    "unended crlf": {"unended": True, "newline": "\r\n"},
}


class Served:
    """Two upstreams behind a gateway, of which the first is asked first; by the format that they speak."""

    def __init__(self, rig: Rig, upstreams: tuple[ScriptedUpstream, ScriptedUpstream]) -> None:
        self.rig = rig
        self.upstreams = upstreams
        self.account = ""

    def ask(self, spoken: str, first: Script, second: Script | None = None, *, stream: bool = True) -> httpx.Response:
        """What a new account gets for one call."""
        names = {self.upstreams[0].add(first), self.upstreams[1].add(second or Script(status=500))}
        (name,) = names
        self.account = self.rig.account("5")
        body: Json = {"model": MODEL, "stream": stream}
        match spoken:
            case "completions":
                body["prompt"] = name
            case "responses":
                body["input"] = name
            case _:
                body["messages"] = [{"role": "user", "content": name}]
        if spoken in ("messages", "translated"):
            body["max_tokens"] = 100
        elif stream and spoken != "responses":
            body["stream_options"] = {"include_usage": True}
        headers = {"x-api-key": self.rig.credit_key(self.account)}
        return self.rig.http.post(PATHS[spoken], json=body, headers=headers)

    def charged_nano(self) -> list[tuple[int, bool]]:
        """What that account was charged, and whether it was estimated."""
        return [(charge.charged_nano, charge.estimated) for charge in self.rig.charges(self.account)]


def serve(directory: Path, *formats: WireFormat) -> Iterator[Served]:
    """A gateway in front of two upstreams that say what a test wrote down."""
    store: MoodyStore = open_moody_store(directory / "tokenbooth.db")
    try:
        with serve_scripts() as one, serve_scripts() as two:

            def change(catalog: Catalog) -> Catalog:
                return speaking_only(with_routes(catalog, one[1], two[1]), *formats)

            with run_rig(
                store,
                directory,
                timeouts=Timeouts(connect_s=2, first_byte_s=20, idle_s=20),
                gateway_settings=GatewaySettings(rest_after_failures=1_000),
                change_catalog=change,
            ) as rig:
                yield Served(rig, (one[0], two[0]))
    finally:
        store.close()


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Upstreams that speak every format."""
    yield from serve(tmp_path_factory.mktemp("native"), *EVERY_FORMAT)


@pytest.fixture(scope="module")
def chat_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Upstreams that speak chat completions only."""
    yield from serve(tmp_path_factory.mktemp("chat"), "openai.chat")


@pytest.fixture(params=FORMATS)
def spoken(request: pytest.FixtureRequest) -> str:
    """A format of the client and of its upstream."""
    given: str = request.param
    return given


@pytest.fixture
def served(spoken: str, native: Served, chat_only: Served) -> Served:
    """The gateway for a format."""
    return chat_only if spoken == "translated" else native


def text_of(spoken: str, read: bytes) -> str:
    """What a client reads of a stream that has come to its end."""
    told: list[Any] = events_in(read.replace(b"data:{", b"data: {"))
    match spoken:
        case "chat":
            ended = read.endswith(b"data: [DONE]\n\n")
            said = [choice["delta"].get("content") or "" for one in told for choice in one["choices"]]
        case "completions":
            ended = read.endswith(b"data: [DONE]\n\n")
            said = [choice["text"] for one in told for choice in one["choices"]]
        case "responses":
            ended = told[-1]["type"] == "response.completed"
            said = [one["delta"] for one in told if one["type"] == "response.output_text.delta"]
        case _:
            ended = told[-1]["type"] == "message_stop"
            said = [one["delta"]["text"] for one in told if one["type"] == "content_block_delta"]
    assert ended, read
    return "".join(said)


def text_of_whole(spoken: str, answer: Json) -> str:
    """What a client reads of a whole answer."""
    match spoken:
        case "chat":
            said: str = answer["choices"][0]["message"]["content"]
        case "completions":
            said = answer["choices"][0]["text"]
        case "responses":
            said = answer["output"][0]["content"][0]["text"]
        case _:
            said = answer["content"][0]["text"]
    return said


@pytest.mark.parametrize("framed", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("piece_bytes", [7, 100_000])
def test_a_stream_however_it_is_framed(served: Served, spoken: str, framed: dict[str, Any], piece_bytes: int) -> None:
    """Its text and its end arrive, and its usage is charged to the nano-dollar."""
    body = stream_of(spoken, **framed)
    pieces = tuple(body[at : at + piece_bytes] for at in range(0, len(body), piece_bytes))
    answer = served.ask(spoken, Script(pieces))
    assert text_of(spoken, answer.content) == TEXT
    assert served.charged_nano() == [(TRUE_NANO, False)]


@pytest.mark.parametrize(
    "media_type", ["Text/Event-Stream;charset=utf-8", "text/plain", "application/octet-stream", "application/json", ""]
)
@pytest.mark.parametrize("is_whole", [False, True])
def test_the_body_says_what_it_is(served: Served, spoken: str, media_type: str, is_whole: bool) -> None:
    """A stream and a whole answer under any media type become the stream that was asked for."""
    body = msgspec.json.encode(whole_of_format(spoken)) if is_whole else stream_of(spoken)
    answer = served.ask(spoken, Script((body[:5], body[5:]), content_type=media_type))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert text_of(spoken, answer.content) == TEXT
    assert served.charged_nano() == [(TRUE_NANO, False)]


@pytest.mark.parametrize("media_type", ["text/event-stream", "application/json"])
def test_a_stream_that_nobody_asked_for_is_put_together(served: Served, spoken: str, media_type: str) -> None:
    """It becomes the whole answer, and is charged as reported."""
    answer = served.ask(spoken, Script((stream_of(spoken),), content_type=media_type), stream=False)
    assert answer.headers["content-type"] == "application/json"
    assert text_of_whole(spoken, answer.json()) == TEXT
    assert served.charged_nano() == [(TRUE_NANO, False)]


@pytest.mark.parametrize("body", [b"data: {", ERROR, b"data: [DONE]\n\n", b": x\n\n"])
def test_a_stream_without_an_answer_is_none(served: Served, spoken: str, body: bytes) -> None:
    """Where a whole answer was asked for: 502, and nothing is charged."""
    answer = served.ask(spoken, Script((body,)), stream=False)
    assert (answer.status_code, served.charged_nano()) == (502, [])
    assert "secret" not in answer.text


FAILURES: Final = {
    "comments and a cut": Script((b": processing\n\n", b": processing\n\n"), "cut"),
    "a ping and a cut": Script((b'event: ping\ndata: {"type": "ping"}\n\n',), "cut"),
    "nothing": Script(()),
    "comments": Script((b": processing\n\n",)),
    "the end": Script((b"data: [DONE]\n\n",)),
    "an error": Script((ERROR,)),
    "a named error": Script((b'event: error\ndata: {"type":"error","error":{"message":"secret"}}\n\n',)),
    "an error behind a comment": Script((b": processing\n\n", ERROR)),
    "an error in a field of its own": Script((b'error: {"code":500,"message":"secret"}\n\n',)),
    "an error as bare JSON": Script((b'{"error":{"message":"secret"}}',)),
    "a torn event": Script((b'data: {"choices":[{"index"',)),
}


@pytest.mark.parametrize("name", FAILURES)
def test_another_upstream_answers_before_the_first_real_event(served: Served, spoken: str, name: str) -> None:
    """Its answer is the only one that the client sees and pays for."""
    first, second = copied(FAILURES[name]), Script((stream_of(spoken),))
    answer = served.ask(spoken, first, second)
    assert (first.calls, second.calls) == (1, 1)
    assert text_of(spoken, answer.content) == TEXT
    assert b"processing" not in answer.content
    assert served.charged_nano() == [(TRUE_NANO, False)]


@pytest.mark.parametrize("name", FAILURES)
def test_with_no_other_upstream_it_is_an_error_with_a_status(served: Served, spoken: str, name: str) -> None:
    """502, free, and not in the upstream's words."""
    answer = served.ask(spoken, copied(FAILURES[name]), copied(FAILURES[name]))
    assert (answer.status_code, served.charged_nano()) == (502, [])
    assert "secret" not in answer.text


def test_no_other_upstream_answers_behind_the_first_real_event(served: Served, spoken: str) -> None:
    """The stream ends with an error event, and what was delivered is charged."""
    body = stream_of(spoken).split(b"\n\n")
    second = Script((stream_of(spoken),))
    answer = served.ask(spoken, Script((b"\n\n".join(body[:1]) + b"\n\n",), "cut"), second)
    assert (answer.status_code, second.calls) == (200, 0)
    assert b"error" in answer.content
    assert [estimated for _, estimated in served.charged_nano()] == [True]


def copied(script: Script) -> Script:
    """A script to be run once."""
    return Script(script.pieces, script.ending, content_type=script.content_type)
