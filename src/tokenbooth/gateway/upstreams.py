"""The seam to upstream servers: one POST, then the whole body or its chunks; failures in the words of the gateway.

`PyreqwestUpstreams` speaks HTTP/1.1 through pyreqwest, with connections kept alive, TLS, and proxies from the
environment. It never follows redirects and never decompresses.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, ConnectTimeoutError, PyreqwestError, ReadTimeoutError
from pyreqwest.response import Response

from tokenbooth.catalog import Upstream
from tokenbooth.gateway.speech import Credential

# pyreqwest hands over nothing, not even the head, before this much has arrived or the answer has ended: a larger
# number turns a stream of tokens into one piece at its end.
_READ_BUFFER_BYTES: Final = 1
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024


class UpstreamFailure(Exception):
    """The upstream did not do its part."""


class UpstreamUnreachable(UpstreamFailure):
    """No connection: the request was not sent, so another upstream may be tried."""


class UpstreamTimedOut(UpstreamFailure):
    """No first byte, or silence in the middle; it may have run (and billed) the request."""


class UpstreamBroke(UpstreamFailure):
    """The connection ended before the answer did, or the answer is out of bounds."""


class UpstreamResponse(Protocol):
    """An answer whose body is still to be read."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    def header(self, name: str) -> str | None:
        """A header's first value."""
        ...

    async def read(self) -> bytes:
        """The rest of the body.

        Raises:
            UpstreamTimedOut, UpstreamBroke
        """
        ...

    async def next_chunk(self) -> bytes | None:
        """What arrived next; None at the end.

        Raises:
            UpstreamTimedOut, UpstreamBroke
        """
        ...


class Upstreams(Protocol):
    """Where requests are sent."""

    def post(
        self,
        upstream: Upstream,
        path: str,
        body: bytes,
        *,
        stream: bool,
        credential: Credential = "authorization",
        headers: Mapping[str, str] | None = None,
    ) -> AbstractAsyncContextManager[UpstreamResponse]:
        """Send a request; entering the context waits for the head of the answer, leaving it ends the exchange.

        Args:
            upstream: where to.
            path: behind its base URL.
            body: a JSON object.
            stream: whether an event stream is asked for.
            credential: the header for our key there.
            headers: further ones, of the wire format.

        Raises (on entering):
            UpstreamUnreachable, UpstreamTimedOut, UpstreamBroke
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Separate limits, in seconds: for the connection, for the head of the answer, for silence inside it."""

    connect_s: float
    first_byte_s: float
    idle_s: float


class _PyreqwestResponse:
    def __init__(self, response: Response, idle_s: float) -> None:
        self._response = response
        self._idle_s = idle_s

    @property
    def status(self) -> int:
        return self._response.status

    def header(self, name: str) -> str | None:
        try:
            return self._response.get_header(name)
        except ValueError:
            # Not ASCII: nothing that we could make sense of.
            return None

    async def read(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while (chunk := await self.next_chunk()) is not None:
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise UpstreamBroke("the answer is too large")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def next_chunk(self) -> bytes | None:
        try:
            async with asyncio.timeout(self._idle_s):
                chunk = await self._response.body_reader.read_chunk()
        except (TimeoutError, ReadTimeoutError) as failure:
            raise UpstreamTimedOut("silence in the middle of the answer") from failure
        except PyreqwestError as failure:
            raise UpstreamBroke("the connection ended before the answer did") from failure
        return None if chunk is None else bytes(chunk)


class PyreqwestUpstreams:
    """Upstreams over pyreqwest; one client, with a pool of connections."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._client: Client = (
            ClientBuilder()
            .connect_timeout(timedelta(seconds=timeouts.connect_s))
            .follow_redirects(False)
            .referer(False)
            .gzip(False)
            .brotli(False)
            .zstd(False)
            .deflate(False)
            .user_agent("tokenbooth")
            .build()
        )

    @asynccontextmanager
    async def post(
        self,
        upstream: Upstream,
        path: str,
        body: bytes,
        *,
        stream: bool,
        credential: Credential = "authorization",
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[UpstreamResponse]:
        sent = {
            "content-type": "application/json",
            "accept": "text/event-stream" if stream else "application/json",
            "accept-encoding": "identity",
            **(headers or {}),
        }
        if upstream.api_key is not None:
            sent[credential] = f"Bearer {upstream.api_key}" if credential == "authorization" else upstream.api_key
        request = (
            self._client.post(upstream.base_url + path)
            .headers(sent)
            .body_bytes(body)
            .streamed_read_buffer_limit(_READ_BUFFER_BYTES)
            .build_streamed()
        )
        try:
            async with asyncio.timeout(self._timeouts.first_byte_s):
                response = await request.__aenter__()
        except (ConnectError, ConnectTimeoutError) as failure:
            raise UpstreamUnreachable(upstream.name) from failure
        except (TimeoutError, ReadTimeoutError) as failure:
            raise UpstreamTimedOut(upstream.name) from failure
        except PyreqwestError as failure:
            raise UpstreamBroke(upstream.name) from failure
        try:
            yield _PyreqwestResponse(response, self._timeouts.idle_s)
        finally:
            await request.__aexit__(None, None, None)

    async def close(self) -> None:
        await self._client.close()
