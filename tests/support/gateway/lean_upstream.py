"""A model server that costs next to nothing: it knows one answer, and streams that stay idle until they are released.

`GET /release` ends every idle stream. Run as a script it prints its port. Only tests and benchmarks
start it.
"""

import asyncio
import re
from typing import Final, cast

import uvloop

PROMPT_TOKENS: Final = 9
COMPLETION_TOKENS: Final = 5
_USAGE: Final = b'"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}' % (
    PROMPT_TOKENS,
    COMPLETION_TOKENS,
    PROMPT_TOKENS + COMPLETION_TOKENS,
)
_ANSWER: Final = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"Flat as a pancake"},"finish_reason":"stop"}],' + _USAGE + b"}"
)
_WHOLE: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_ANSWER) + _ANSWER
)
_EVENT: Final = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[%s]%s}\n\n'
_DELTA: Final = b'{"index":0,"delta":{"content":"Flat "},"finish_reason":null}'
_FINISH: Final = b'{"index":0,"delta":{},"finish_reason":"stop"}'
_NOTHING: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# Large enough to fill every buffer on the way to a client that does not read.
_FLOOD_EVENTS: Final = 2_000


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


_BEGIN: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" + _chunk(
    _EVENT % (_DELTA, b"")
)
_END: Final = (
    _chunk(_EVENT % (_FINISH, b"")) + _chunk(_EVENT % (b"", b"," + _USAGE)) + _chunk(b"data: [DONE]\n\n") + _chunk(b"")
)
_FLOOD: Final = _chunk(_EVENT % (_DELTA.replace(b"Flat ", b"Flood " * 400), b"")) * _FLOOD_EVENTS


class _Connection(asyncio.Protocol):
    def __init__(self, idle: "set[_Connection]") -> None:
        self._idle = idle
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, failure: Exception | None) -> None:
        self._idle.discard(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[: end + 2]
            found = _LENGTH.search(head)
            whole = end + 4 + (int(found.group(1)) if found else 0)
            if len(self._received) < whole:
                return
            body, self._received = self._received[end + 4 : whole], self._received[whole:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /release"):
            for connection in tuple(self._idle):
                connection.end()
            self._transport.write(_NOTHING)
        elif b'"stream":true' not in body:
            self._transport.write(_WHOLE)
        elif b"flood" in body:
            self._transport.write(_BEGIN + _FLOOD + _END)
        else:
            self._transport.write(_BEGIN)
            self._idle.add(self)

    def end(self) -> None:
        """Let an idle stream come to its end."""
        self._idle.discard(self)
        self._transport.write(_END)


async def _serve() -> None:
    idle: set[_Connection] = set()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(idle), "127.0.0.1", 0, backlog=4_096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
