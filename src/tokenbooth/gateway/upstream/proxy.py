"""Upstreams behind an HTTP proxy that the environment names, through pyreqwest, which speaks to every kind of proxy.

pyreqwest hands over nothing, not even the head, before its read buffer is full or the answer has ended; with the
smallest buffer events pass as they arrive, at some cost for each. That is why only proxied upstreams go this way.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Final, TypeVar

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, ConnectTimeoutError, PyreqwestError, ReadTimeoutError
from pyreqwest.response import Response

from tokenbooth.config.catalog import Upstream
from tokenbooth.gateway.errors import ClientHungUp, UpstreamBroke, UpstreamTimedOut, UpstreamUnreachable
from tokenbooth.gateway.upstream.base import (
    MAX_ANSWER_BYTES,
    Timeouts,
    UpstreamCall,
    UpstreamRequest,
    Upstreams,
    sent_headers,
)

T = TypeVar("T")

_READ_BUFFER_BYTES: Final = 1


class ProxiedCall:
    """One request through a proxy."""

    def __init__(
        self,
        name: str,
        request: AbstractAsyncContextManager[Response],
        timeouts: Timeouts,
        endings: "set[asyncio.Future[bool | None]]",
        *,
        stream: bool,
    ) -> None:
        """Take what it works with.

        Args:
            name: of the upstream.
            request: to be sent.
            timeouts: see there.
            endings: where its end is kept while it is under way.
            stream: whether an event stream is asked for.
        """
        self._first_byte_s = timeouts.first_s(stream)
        self._opening: asyncio.Task[Response] | None = None
        self._endings = endings
        self._name = name
        self._request = request
        self._timeouts = timeouts
        self._response: Response | None = None
        self._begun = False
        self._interrupted = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        # When the answer has to have begun; None once it has, or for one that is read whole.
        self._begins_by_s: float | None = None

    @property
    def sent(self) -> bool:
        """Whether the request has left. The library does not tell, so it is taken for sent at once."""
        return self._begun

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return self._answering.status

    def header(self, name: str) -> str | None:
        """A header's first value; `name` in lower case."""
        try:
            return self._answering.get_header(name)
        except ValueError:
            # Not ASCII: nothing that we could make sense of.
            return None

    async def begin(self) -> None:
        """Send the request and wait for the head of the answer."""
        self._begun = True
        self._opening = asyncio.ensure_future(self._open())
        await self.wait_on(self._first_byte_s)

    async def _open(self) -> Response:
        return await self._request.__aenter__()

    @property
    def is_alive(self) -> bool:
        """Whether an answer, or the rest of it, may still come."""
        opening = self._opening
        return opening is not None and (not opening.done() or opening.exception() is None)

    async def wait_on(self, timeout_s: float) -> None:
        """After a time-out wait once more: for the head, and then for the first byte of the body."""
        self._begins_by_s = asyncio.get_running_loop().time() + timeout_s
        opening = self._opening
        if opening is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                # Shielded: what was sent goes on when the time is over, for who waits on.
                self._response = await self._unless_interrupted(_result_of(opening))
            self._opening = None
        except (ConnectError, ConnectTimeoutError) as failure:
            raise UpstreamUnreachable(self._name) from failure
        except (TimeoutError, ReadTimeoutError) as failure:
            raise UpstreamTimedOut(self._name) from failure
        except PyreqwestError as failure:
            raise UpstreamBroke(self._name) from failure

    async def read(self) -> bytes:
        """The whole body."""
        self._begins_by_s = None
        parts: list[bytes] = []
        size = 0
        while (chunk := await self._next_chunk()) is not None:
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise UpstreamBroke("the answer is too large")
        return b"".join(parts)

    async def each(self, take: Callable[[bytes], bool]) -> None:
        """Hand over the body as it arrives, until its end or until `take` returns False."""
        while (chunk := await self._next_chunk()) is not None:
            if not take(chunk):
                return

    def answer_began(self) -> None:
        """From now on silence is bounded, instead of the time to the answer's begin."""
        self._begins_by_s = None

    def interrupt(self) -> None:
        """Let what waits for the upstream raise `ClientHungUp`, once."""
        self._interrupted.set()

    def pause(self) -> None:
        """Read no more of the body for now."""
        self._reading.clear()

    def resume(self) -> None:
        """Read on."""
        self._reading.set()

    def end(self) -> None:
        """End the call; the library ends it a moment later."""
        opening, self._opening = self._opening, None
        if opening is not None and not opening.cancel() and opening.exception() is None:
            self._response = opening.result()
        if self._response is not None:
            self._response = None
            ending = asyncio.ensure_future(self._request.__aexit__(None, None, None))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    @property
    def _answering(self) -> Response:
        assert self._response is not None
        return self._response

    async def _next_chunk(self) -> bytes | None:
        if not self._reading.is_set():
            await self._unless_interrupted(self._reading.wait())
        try:
            async with asyncio.timeout(self._wait_s()):
                chunk = await self._unless_interrupted(self._answering.body_reader.read_chunk())
        except (TimeoutError, ReadTimeoutError) as failure:
            raise UpstreamTimedOut("silence in the middle of the answer") from failure
        except PyreqwestError as failure:
            raise UpstreamBroke("the connection ended before the answer did") from failure
        return None if chunk is None else bytes(chunk)

    def _wait_s(self) -> float:
        """How long the next part may take."""
        if self._begins_by_s is None:
            return self._timeouts.idle_s
        return max(self._begins_by_s - asyncio.get_running_loop().time(), 0.0)

    async def _unless_interrupted(self, waiting: Coroutine[object, object, T]) -> T:
        """What is waited for.

        Raises:
            ClientHungUp: the interruption came first.
        """
        work = asyncio.ensure_future(waiting)
        interruption = asyncio.ensure_future(self._interrupted.wait())
        try:
            await asyncio.wait((work, interruption), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            self._interrupted.clear()
            raise ClientHungUp
        finally:
            interruption.cancel()
            work.cancel()


async def _result_of(task: "asyncio.Task[T]") -> T:
    return await asyncio.shield(task)


class ProxiedUpstreams:
    """Sends requests through the proxies of the environment, by one client with a pool of connections."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._endings: set[asyncio.Future[bool | None]] = set()
        self._client: Client = (
            ClientBuilder()
            .connect_timeout(timedelta(seconds=timeouts.connect_s))
            .follow_redirects(False)
            .referer(False)
            .gzip(False)
            .brotli(False)
            .zstd(False)
            .deflate(False)
            .build()
        )

    def post(self, upstream: Upstream, request: UpstreamRequest) -> UpstreamCall:
        """A call, not sent yet."""
        asked = (
            self._client.post(upstream.base_url + request.path)
            .headers(sent_headers(upstream, request))
            .body_bytes(request.body)
            .streamed_read_buffer_limit(_READ_BUFFER_BYTES)
            .build_streamed()
        )
        return ProxiedCall(upstream.name, asked, self._timeouts, self._endings, stream=request.stream)

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*self._endings, return_exceptions=True)
        await self._client.close()


class UpstreamsByWay:
    """Sends requests. Each upstream is reached directly, or through the environment's proxy."""

    def __init__(self, *, direct: Upstreams, proxied: Upstreams, is_proxied: Callable[[str], bool]) -> None:
        """Take what it works with.

        Args:
            direct, proxied: the two ways.
            is_proxied: whether a URL is reached through a proxy.
        """
        self._direct = direct
        self._proxied = proxied
        self._is_proxied = is_proxied
        self._ways: dict[Upstream, Upstreams] = {}

    def post(self, upstream: Upstream, request: UpstreamRequest) -> UpstreamCall:
        """A call, not sent yet."""
        way = self._ways.get(upstream)
        if way is None:
            way = self._proxied if self._is_proxied(upstream.base_url) else self._direct
            self._ways[upstream] = way
        return way.post(upstream, request)

    async def close(self) -> None:
        """Close every connection."""
        await self._direct.close()
        await self._proxied.close()
