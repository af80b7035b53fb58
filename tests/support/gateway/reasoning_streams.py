"""A stream that thinks for long without showing it, then says ten words, in every wire format. Only tests import it."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from tests.support.gateway.gateway_rig import CHAT, MODEL, UPSTREAM_KEY, Rig, open_moody_store, run_rig
from tests.support.gateway.scripted_upstream import DONE, Script, ScriptedUpstream, chunk, serve_scripts
from tokenbooth.config.catalog import Catalog, Route, Upstream
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.gateway.upstream.base import Timeouts

THINKING_TOKENS: Final = 20_000
WORDS: Final = 10
PROMPT_TOKENS: Final = 10
OUTPUT_TOKENS: Final = THINKING_TOKENS + WORDS
TRUE_NANO: Final = PROMPT_TOKENS * 270 + OUTPUT_TOKENS * 1_100
Scripts = tuple[ScriptedUpstream, str]


def _event(**fields: object) -> bytes:
    return f"event: {fields['type']}\ndata: {json.dumps(fields)}\n\n".encode()


def _text_chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "text": text, "finish_reason": finish}
    return b"data: " + msgspec.json.encode({"id": "c", "object": "text_completion", "choices": [choice]}) + b"\n\n"


_USAGE: Final = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "completion_tokens_details": {"reasoning_tokens": THINKING_TOKENS},
}
_RESPONSE: Final = {
    "id": "resp_1",
    "status": "completed",
    "usage": {
        "input_tokens": PROMPT_TOKENS,
        "output_tokens": OUTPUT_TOKENS,
        "output_tokens_details": {"reasoning_tokens": THINKING_TOKENS},
    },
}


@dataclass(frozen=True, slots=True)
class Format:
    """How one wire format is asked and answered.

    Attributes:
        path: the endpoint.
        upstream: the format that the upstream speaks.
        before, word, behind: the events of the stream.
    """

    path: str
    upstream: str
    before: tuple[bytes, ...]
    word: bytes
    behind: tuple[bytes, ...]

    def script(self, pause_before: int | None = None) -> Script:
        """The stream; `pause_before` counts all of its events."""
        return Script((*self.before, *(WORDS * (self.word,)), *self.behind), pause_before=pause_before)

    @property
    def last_word(self) -> int:
        """How many events there are up to the last word."""
        return len(self.before) + WORDS

    def body(self, said: str, **fields: object) -> bytes:
        """A request with this prompt."""
        match self.path:
            case "/v1/completions":
                asked: dict[str, object] = {"prompt": said}
            case "/v1/responses":
                asked = {"input": said}
            case "/anthropic/v1/messages":
                asked = {"messages": [{"role": "user", "content": said}], "max_tokens": 100_000}
            case _:
                asked = {"messages": [{"role": "user", "content": said}]}
        return msgspec.json.encode({"model": MODEL, "stream": True, **asked, **fields})


_CHAT_BEHIND: Final = (chunk(finish=True), chunk(usage=_USAGE, choices=False), DONE)
FORMATS: Final = {
    "chat": Format(CHAT, "openai.chat", (chunk(),), chunk("word "), _CHAT_BEHIND),
    "completions": Format(
        "/v1/completions",
        "openai.completions",
        (),
        _text_chunk("word "),
        (_text_chunk("", "stop"), chunk(usage=_USAGE, choices=False), DONE),
    ),
    "responses": Format(
        "/v1/responses",
        "openai.responses",
        (_event(type="response.created", response={"id": "resp_1", "status": "in_progress"}),),
        _event(type="response.output_text.delta", delta="word "),
        (_event(type="response.completed", response=_RESPONSE),),
    ),
    "messages": Format(
        "/anthropic/v1/messages",
        "anthropic.messages",
        (
            _event(type="message_start", message={"usage": {"input_tokens": PROMPT_TOKENS, "output_tokens": 1}}),
            _event(type="content_block_start", index=0, content_block={"type": "text", "text": ""}),
        ),
        _event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "word "}),
        (
            _event(type="content_block_stop", index=0),
            _event(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": OUTPUT_TOKENS}),
            _event(type="message_stop"),
        ),
    ),
    "translated messages": Format("/anthropic/v1/messages", "openai.chat", (chunk(),), chunk("word "), _CHAT_BEHIND),
}


@contextmanager
def reasoning_rig(
    directory: Path,
    *,
    upstream_format: str = "openai.chat",
    reasoning: bool = True,
    bills: bool = False,
    timeouts: Timeouts | None = None,
    settings: GatewaySettings | None = None,
) -> Iterator[tuple[Rig, ScriptedUpstream]]:
    """A gateway in front of a scripted upstream with one model, which reasons."""
    store = open_moody_store(directory / "tokenbooth.db")

    def changed(catalog: Catalog, url: str) -> Catalog:
        upstream = Upstream("up", f"{url}/v1", UPSTREAM_KEY, bills, frozenset((upstream_format,)))
        model = replace(
            catalog.models[MODEL], routes=(Route(upstream, "m", 1),), reasoning=reasoning, max_output_tokens=100_000
        )
        return replace(catalog, models={MODEL: model})

    with (
        serve_scripts() as (scripts, url),
        run_rig(
            store,
            directory,
            timeouts=timeouts,
            gateway_settings=settings,
            change_catalog=lambda catalog: changed(catalog, url),
        ) as rig,
    ):
        yield rig, scripts
    store.close()


def connect(rig: Rig, key: str, path: str, body: bytes) -> socket.socket:
    """Send a request and leave the answer to be read."""
    host, port = rig.base_url.removeprefix("http://").split(":")
    sock = socket.create_connection((host, int(port)))
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    sock.sendall(head.encode() + body)
    return sock


def read_until(sock: socket.socket, is_enough: Callable[[bytes], bool]) -> bytes:
    """Read from an answer until there is enough of it, or nothing more."""
    read = b""
    sock.settimeout(20)
    while not is_enough(read) and (part := sock.recv(65_536)):
        read += part
    return read
