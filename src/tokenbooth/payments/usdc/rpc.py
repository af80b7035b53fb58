"""JSON-RPC over HTTP: one request, one bounded answer, failures told apart by what may be done about them.

The node's URL often holds a secret; it must never stand in an error or a log line.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Final, Protocol

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
"""Reading a larger one would hold up everything else that the process does."""
_TOO_MANY: Final = 429
_TOO_LARGE_STATUSES: Final = (413,)
_RATE_LIMIT_CODES: Final = (-32029, 429)
_LIMIT_EXCEEDED_CODE: Final = -32005
# What nodes say when a range or its answer is too large; there is no code that they agree on.
_RANGE_WORDS: Final = (
    "block range",
    "query returned more than",
    "too many results",
    "response size",
    "range is too",
    "range too",
    "limited to",
    "exceeds the range",
    "exceed maximum",
    "max range",
    "query timeout",
    "too large",
)
_RATE_WORDS: Final = ("rate limit", "too many requests", "request limit", "capacity", "per second")


class NodeTrouble(StrEnum):
    """Why a node did not answer a question."""

    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    RATE_LIMITED = "rate_limited"
    TOO_LARGE = "too_large"
    """The range, or the answer to it, is more than the node (or we) take at once."""
    REFUSED = "refused"
    """The node answered with an error."""
    NONSENSE = "nonsense"
    """The answer does not have the form that it must have."""
    WRONG_CHAIN = "wrong_chain"
    WRONG_TOKEN = "wrong_token"  # noqa: S105


class NodeError(Exception):
    """The node did not do its part. `detail` is safe to show: it never holds the node's URL."""

    def __init__(self, trouble: NodeTrouble, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{trouble}: {detail}")
        self.trouble = trouble
        self.detail = detail
        self.retry_after_s = retry_after_s


class Rpc(Protocol):
    """What a chain is asked through."""

    async def call(self, method: str, params: Sequence[Json]) -> Json:
        """The result of a method.

        Raises:
            NodeError: there is none.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


class HttpRpc:
    """JSON-RPC over pyreqwest, with connections kept alive."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """`timeout_s`: for a whole exchange, in seconds."""
        self._url = url
        self._timeout_s = timeout_s
        self._client: Client = (
            ClientBuilder()
            .connect_timeout(timedelta(seconds=timeout_s))
            .follow_redirects(False)
            .referer(False)
            .user_agent("tokenbooth")
            .build()
        )
        self._id = 0

    async def call(self, method: str, params: Sequence[Json]) -> Json:
        """The result of a method; `NodeError` when there is none."""
        self._id += 1
        sent_id = self._id
        body = json.dumps({"jsonrpc": "2.0", "id": sent_id, "method": method, "params": params}).encode()
        try:
            async with asyncio.timeout(self._timeout_s):
                status, retry_after_s, raw = await self._post(body)
        except TimeoutError:
            raise NodeError(NodeTrouble.TIMED_OUT, f"no answer to {method} within {self._timeout_s:g} s") from None
        except PyreqwestError as failure:
            # The failure's text has the URL in it.
            raise NodeError(NodeTrouble.UNREACHABLE, f"{method}: {type(failure).__name__}") from None
        return result_of(method, sent_id, status, retry_after_s, raw)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def _post(self, body: bytes) -> tuple[int, float | None, bytes]:
        headers = {"content-type": "application/json", "accept": "application/json"}
        request = self._client.post(self._url).headers(headers).body_bytes(body).build_streamed()
        parts: list[bytes] = []
        size = 0
        async with request as response:
            while (chunk := await response.body_reader.read_chunk()) is not None:
                size += len(chunk)
                if size > MAX_ANSWER_BYTES:
                    raise NodeError(NodeTrouble.TOO_LARGE, f"the answer has more than {MAX_ANSWER_BYTES} bytes")
                parts.append(bytes(chunk))
            return response.status, _seconds(response.get_header("retry-after")), b"".join(parts)


def result_of(method: str, sent_id: int, status: int, retry_after_s: float | None, raw: bytes) -> Json:
    """The result in an HTTP answer.

    Args:
        method, sent_id: of the request.
        status, raw: the answer's status and body.
        retry_after_s: what the answer said of that, in seconds.

    Raises:
        NodeError: there is none.
    """
    if status == _TOO_MANY:
        raise NodeError(NodeTrouble.RATE_LIMITED, f"{method}: HTTP {status}", retry_after_s=retry_after_s)
    if status in _TOO_LARGE_STATUSES:
        raise NodeError(NodeTrouble.TOO_LARGE, f"{method}: HTTP {status}")
    try:
        answer: Json = json.loads(raw)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, Mapping):
        trouble = NodeTrouble.UNREACHABLE if status >= 500 else NodeTrouble.NONSENSE
        raise NodeError(trouble, f"{method}: HTTP {status} without a JSON-RPC answer", retry_after_s=retry_after_s)
    error = answer.get("error")
    if error is not None:
        raise _error_of(method, error, retry_after_s)
    if "result" not in answer or answer.get("id") != sent_id:
        raise NodeError(NodeTrouble.NONSENSE, f"{method}: HTTP {status}, no result of this request")
    return answer["result"]


def _error_of(method: str, error: Json, retry_after_s: float | None) -> NodeError:
    code = error.get("code") if isinstance(error, Mapping) else None
    message = str(error.get("message", "")).lower() if isinstance(error, Mapping) else ""
    if code in _RATE_LIMIT_CODES or any(words in message for words in _RATE_WORDS):
        return NodeError(NodeTrouble.RATE_LIMITED, f"{method}: error {code}", retry_after_s=retry_after_s)
    if code == _LIMIT_EXCEEDED_CODE or any(words in message for words in _RANGE_WORDS):
        return NodeError(NodeTrouble.TOO_LARGE, f"{method}: error {code}")
    return NodeError(NodeTrouble.REFUSED, f"{method}: error {code}")


def _seconds(header: str | None) -> float | None:
    """`Retry-After` as seconds; the form with a date is not used by nodes."""
    return float(header) if header is not None and header.isascii() and header.isdigit() else None
