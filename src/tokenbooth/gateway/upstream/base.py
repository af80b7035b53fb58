"""The seam to upstream servers: one POST and its answer, whole or as it arrives; failures in the words of the gateway.

`tokenbooth.gateway.upstream.pool` speaks HTTP/1.1 to them, `tokenbooth.gateway.upstream.proxy` through a proxy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from tokenbooth.config.catalog import Upstream
from tokenbooth.gateway.formats.base import Credential

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
_NO_HEADERS: Final[Mapping[str, str]] = {}


class UpstreamRequest:
    """What an upstream is asked.

    Attributes:
        path: behind its base URL.
        body: a JSON object.
        stream: whether an event stream is asked for.
        credential: the header for our key there.
        headers: further ones, of the wire format.
    """

    __slots__ = ("body", "credential", "headers", "path", "stream")

    def __init__(
        self,
        path: str,
        body: bytes,
        stream: bool,
        credential: Credential = "authorization",
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> None:
        self.path = path
        self.body = body
        self.stream = stream
        self.credential = credential
        self.headers = headers


class AnswerHead(Protocol):
    """The head of an answer."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    def header(self, name: str) -> str | None:
        """A header's first value; `name` in lower case."""
        ...


class UpstreamCall(AnswerHead, Protocol):
    """One request to an upstream. `begin` it, then `read` it or take it with `for_each_chunk`; `end` it in any case."""

    @property
    def sent(self) -> bool:
        """Whether the request has left, so that the upstream may be working on it."""
        ...

    async def begin(self) -> None:
        """Send the request and wait for the head of the answer.

        Raises:
            UpstreamUnreachable, UpstreamTimedOut, UpstreamBroke, ClientHungUp
        """
        ...

    @property
    def is_alive(self) -> bool:
        """Whether an answer, or the rest of it, may still come."""
        ...

    async def wait_on(self, timeout_s: float) -> None:
        """After a time-out before the first byte: wait for the head once more, and then for the first byte of the body.

        Raises:
            UpstreamTimedOut, UpstreamBroke, ClientHungUp
        """
        ...

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            UpstreamTimedOut, UpstreamBroke, ClientHungUp
        """
        ...

    async def for_each_chunk(self, consume: Callable[[bytes], bool]) -> None:
        """Hand over the body as it arrives, until its end or until `consume` returns False.

        Raises:
            UpstreamTimedOut, UpstreamBroke, ClientHungUp, and what `consume` raises
        """
        ...

    def answer_began(self) -> None:
        """What has come of a stream is an answer: from now on silence is bounded, instead of the time to its begin."""
        ...

    def interrupt(self) -> None:
        """Nobody waits for the answer any more: what waits for the upstream raises `ClientHungUp`, once."""
        ...

    def pause(self) -> None:
        """Read no more of the body for now: who takes it has fallen behind."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def end(self) -> None:
        """End the call: its connection serves the next one if the answer was complete, else it is closed."""
        ...


class Upstreams(Protocol):
    """Where requests are sent."""

    def post(self, upstream: Upstream, request: UpstreamRequest) -> UpstreamCall:
        """A call, not sent yet."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Separate limits, in seconds.

    Attributes:
        connect_s: for the connection.
        first_byte_s: from the request to the first real event of a stream.
        idle_s: for silence inside an answer.
        whole_answer_s: from the request to the first byte of an answer that is not streamed; most servers send it when
            all of the answer is written.
    """

    connect_s: float
    first_byte_s: float
    idle_s: float
    whole_answer_s: float = 1_800.0

    def first_s(self, stream: bool) -> float:
        """How long an answer may take to begin."""
        return self.first_byte_s if stream else self.whole_answer_s


def sent_headers(upstream: Upstream, request: UpstreamRequest) -> dict[str, str]:
    """The headers of a request, and no others: nothing of the client's crosses."""
    sent = {
        "content-type": "application/json",
        "accept": "text/event-stream" if request.stream else "application/json",
        "accept-encoding": "identity",
        "user-agent": "tokenbooth",
        **request.headers,
    }
    if upstream.api_key is not None:
        is_bearer = request.credential == "authorization"
        sent[request.credential] = f"Bearer {upstream.api_key}" if is_bearer else upstream.api_key
    return sent
