"""One HTTP exchange over ASGI: reads a bounded body, writes the answer, notices when the client hangs up.

It knows nothing of models.
"""

import asyncio
from typing import Protocol, runtime_checkable

from starlette.types import Receive, Scope, Send

_Headers = list[tuple[bytes, bytes]]


class ClientGoneError(Exception):
    """The client closed the connection."""


class BodyTooLargeError(Exception):
    """The request's body is larger than the server takes."""


@runtime_checkable
class _Closable(Protocol):
    def close(self) -> None: ...


class Exchange:
    """The server's side of one request.

    Args:
        scope: the ASGI connection scope, of type `http`.
        receive: the ASGI receive function.
        send: the ASGI send function.
        headers: sent with every answer.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, headers: _Headers) -> None:
        self.method = str(scope["method"])
        self.path = str(scope["path"])
        self.headers: tuple[tuple[str, str], ...] = tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        )
        self._receive = receive
        self._send = send
        self._extra_headers = headers
        self._gone: asyncio.Task[None] | None = None

    def header(self, name: str) -> str | None:
        """The first value of a header; `name` is in lower case."""
        return next((value for known, value in self.headers if known == name), None)

    def add_header(self, name: str, value: str) -> None:
        """Sends one more header with the answer."""
        self._extra_headers.append((name.encode("latin-1"), value.encode("latin-1")))

    async def read_body(self, max_bytes: int) -> bytes:
        """The whole body of the request.

        Raises:
            BodyTooLargeError: it has more than `max_bytes`.
            ClientGoneError: the connection ended before the body did.
        """
        body = bytearray()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            body += message.get("body", b"")
            if len(body) > max_bytes:
                raise BodyTooLargeError
            if not message.get("more_body", False):
                return bytes(body)

    async def start(self, status: int, content_type: str, content_length: int | None = None) -> None:
        """Sends the status line and the headers."""
        headers = [(b"content-type", content_type.encode()), *self._extra_headers]
        if content_length is not None:
            headers.append((b"content-length", b"%d" % content_length))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Sends a part of the body; without `more` it is the last one."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, status: int, body: bytes) -> None:
        """Sends a whole JSON answer."""
        await self.start(status, "application/json", len(body))
        await self.write(body, more=False)

    async def pause(self, seconds_s: float | None) -> None:
        """Waits, without end if `seconds_s` is None; the body must have been read before.

        Raises:
            ClientGoneError: the client hung up before or meanwhile.
        """
        if self._gone is None:
            self._gone = asyncio.create_task(self._wait_for_disconnect())
        await asyncio.wait({self._gone}, timeout=seconds_s)
        if self._gone.done():
            raise ClientGoneError

    async def cut(self) -> None:
        """Closes the connection where the answer stands: no last chunk, no rest of the body.

        ASGI has no word for this, so it asks the transport of uvicorn's exchange. Under another server the
        unfinished answer is the sign, and the server closes the connection.
        """
        cycle: object = getattr(self._send, "__self__", None)
        transport: object = getattr(cycle, "transport", None)
        if not isinstance(transport, _Closable):
            return
        transport.close()
        try:
            await self.pause(None)
        except ClientGoneError:
            return

    def close(self) -> None:
        """Ends what still waits for the client; nothing may be sent after it."""
        if self._gone is not None:
            self._gone.cancel()

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue
