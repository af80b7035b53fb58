"""An upstream that says byte for byte what a test wrote down, for what no decent model server would ever send.

A test adds a script and puts its number into the prompt. Only tests import it.
"""

import asyncio
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec
from starlette.types import Receive, Scope, Send

from tests.support.servers import serve

Ending = Literal["end", "cut", "hang"]
DONE: Final = b"data: [DONE]\n\n"


@dataclass(slots=True)
class Script:
    """What to answer; `gone` tells that the gateway hung up, `headers` and `body` what it sent.

    Attributes:
        pieces: parts of the body, each sent on its own.
        ending: end the answer, cut the connection, or fall silent after the pieces.
        headless: begin with the ending, so that not even the head is sent.
        pause_before: the number of a piece before which `proceed` is waited for.
    """

    pieces: tuple[bytes, ...] = ()
    ending: Ending = "end"
    status: int = 200
    content_type: str = "text/event-stream"
    extra_headers: tuple[tuple[str, str], ...] = ()
    headless: bool = False
    pause_before: int | None = None
    proceed: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)
    calls: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class ScriptedUpstream:
    """The ASGI application."""

    def __init__(self) -> None:
        self._scripts: dict[str, Script] = {}
        self._numbers = itertools.count(1)

    def add(self, script: Script) -> str:
        """Take a script; returns the prompt that runs it."""
        name = f"script-{next(self._numbers)}"
        self._scripts[name] = script
        return name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        script = self._scripts[_prompt_of(body)]
        script.calls += 1
        script.body = body
        script.headers = tuple((name.decode(), value.decode("latin-1")) for name, value in scope["headers"])
        if not script.headless:
            await _send(script, send)
        match script.ending:
            case "end":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            case "hang":
                while (await receive())["type"] != "http.disconnect":
                    continue
                script.gone.set()
            case "cut":
                # Ending without having finished the answer makes the server close the connection.
                transport = getattr(getattr(send, "__self__", None), "transport", None)
                assert transport is not None
                transport.close()


def _prompt_of(body: bytes) -> str:
    """The last thing that the user said, in any format."""
    fields = msgspec.json.decode(body)
    said = fields["messages"][-1]["content"] if "messages" in fields else fields.get("input", fields.get("prompt"))
    assert isinstance(said, str)
    return said


async def _send(script: Script, send: Send) -> None:
    headers = [("content-type", script.content_type), *script.extra_headers]
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": script.status, "headers": raw})
    for number, piece in enumerate(script.pieces):
        if number == script.pause_before:
            await _proceed(script)
        await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _proceed(script: Script) -> None:
    """Wait for the test, however many scripts wait at once."""
    async with asyncio.timeout(30):
        while not script.proceed.is_set():  # noqa: ASYNC110 - it is set from another thread
            await asyncio.sleep(0.005)


@contextmanager
def serve_scripts() -> Iterator[tuple[ScriptedUpstream, str]]:
    """A scripted upstream on a port of its own, with its base URL."""
    upstream = ScriptedUpstream()
    with serve(upstream, lifespan="off") as url:
        yield upstream, url


def chunk(content: str | None = None, *, finish: bool = False, usage: object = None, choices: bool = True) -> bytes:
    """One event of a stream."""
    delta = {"role": "assistant", "content": ""} if content is None and not finish else {}
    if content is not None:
        delta = {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": "stop" if finish else None}
    fields: dict[str, object] = {"id": "c", "object": "chat.completion.chunk", "choices": [choice] if choices else []}
    if usage is not None:
        fields["usage"] = usage
    return b"data: " + msgspec.json.encode(fields) + b"\n\n"


def answer(content: str = "abcdabcdabcd", *, usage: object = None) -> bytes:
    """A whole answer that is not streamed."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    fields = {"id": "c", "object": "chat.completion", "choices": [choice]}
    return msgspec.json.encode(fields if usage is None else {**fields, "usage": usage})
