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
    """See `UpstreamCall`."""

    def __init__(
        self,
        name: str,
        request: AbstractAsyncContextManager[Response],
        timeouts: Timeouts,
        endings: "set[asyncio.Future[bool | None]]",
        *,
        stream: bool,
    ) -> None:
        """Args:
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
        """See `UpstreamCall.sent`. The library does not tell of the connection, so it is taken for there at once."""
        return self._begun

    @property
    def status(self) -> int:
        """See `UpstreamCall.status`."""
        return self._answering.status

    def header(self, name: str) -> str | None:
        """See `UpstreamCall.header`."""
        try:
            return self._answering.get_header(name)
        except ValueError:
            # Not ASCII: nothing that we could make sense of.
            return None

    async def begin(self) -> None:
        """See `UpstreamCall.begin`."""
        self._begun = True
        self._opening = asyncio.ensure_future(self._open())
        await self.wait_on(self._first_byte_s)

    async def _open(self) -> Response:
        return await self._request.__aenter__()

    @property
    def is_alive(self) -> bool:
        """See `UpstreamCall.is_alive`."""
        opening = self._opening
        return opening is not None and (not opening.done() or opening.exception() is None)

    async def wait_on(self, timeout_s: float) -> None:
        """See `UpstreamCall.wait_on`."""
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
        """See `UpstreamCall.read`."""
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
        """See `UpstreamCall.each`."""
        while (chunk := await self._next_chunk()) is not None:
            if not take(chunk):
                return

    def answer_began(self) -> None:
        """See `UpstreamCall.answer_began`."""
        self._begins_by_s = None

    def interrupt(self) -> None:
        """See `UpstreamCall.interrupt`."""
        self._interrupted.set()

    def pause(self) -> None:
        """See `UpstreamCall.pause`."""
        self._reading.clear()

    def resume(self) -> None:
        """See `UpstreamCall.resume`."""
        self._reading.set()

    def end(self) -> None:
        """See `UpstreamCall.end`; the library ends it a moment later."""
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
    """See `Upstreams`. One client, with a pool of connections; the proxies are those of the environment."""

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
        """See `Upstreams.post`."""
        asked = (
            self._client.post(upstream.base_url + request.path)
            .headers(sent_headers(upstream, request))
            .body_bytes(request.body)
            .streamed_read_buffer_limit(_READ_BUFFER_BYTES)
            .build_streamed()
        )
        return ProxiedCall(upstream.name, asked, self._timeouts, self._endings, stream=request.stream)

    async def close(self) -> None:
        """See `Upstreams.close`."""
        await asyncio.gather(*self._endings, return_exceptions=True)
        await self._client.close()


class UpstreamsByWay:
    """See `Upstreams`. Each upstream is reached directly, or through the environment's proxy."""

    def __init__(self, *, direct: Upstreams, proxied: Upstreams, is_proxied: Callable[[str], bool]) -> None:
        """Args:
        direct, proxied: the two ways.
        is_proxied: whether a URL is reached through a proxy.
        """
        self._direct = direct
        self._proxied = proxied
        self._is_proxied = is_proxied
        self._ways: dict[Upstream, Upstreams] = {}

    def post(self, upstream: Upstream, request: UpstreamRequest) -> UpstreamCall:
        """See `Upstreams.post`."""
        way = self._ways.get(upstream)
        if way is None:
            way = self._proxied if self._is_proxied(upstream.base_url) else self._direct
            self._ways[upstream] = way
        return way.post(upstream, request)

    async def close(self) -> None:
        """See `Upstreams.close`."""
        await self._direct.close()
        await self._proxied.close()
