"""ASGI middleware of the API and of the dashboard: request id, headers of every answer, log line, 500 handler.

An exception that nobody expected becomes a 500 without details; its log line says where it was raised, and never its
text, which may quote a value.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenbooth.kit.clock import Clock
from tokenbooth.kit.errors import TokenboothError
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.kit.logs import where
from tokenbooth.kit.texts import refused_target

_NOTES: Final = "tokenbooth.notes"

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True)
class RequestNotes:
    """What is known of a request while it runs.

    Attributes:
        request_id: ours.
        account_id, key_id: who asks, once that is known.
        after_answer: what is still to be done when the answer is out; a failure is only logged.
    """

    request_id: str
    account_id: str | None = None
    key_id: str | None = None
    after_answer: list[Callable[[], Awaitable[None]]] = field(default_factory=list)


def notes_of(request: Request) -> RequestNotes:
    """The notes of a request that came through `RequestMiddleware`."""
    notes = request.scope[_NOTES]
    assert isinstance(notes, RequestNotes)
    return notes


class RequestMiddleware(ABC):
    """The layer around an application; `headers` are set on every answer of it."""

    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    @abstractmethod
    def refuse(self, scope: Scope, error: TokenboothError) -> ASGIApp:
        """The answer to a request whose path or query is refused before any route reads it."""

    @abstractmethod
    def fail(self, error: TokenboothError) -> ASGIApp:
        """The answer to a request that failed by a mistake of ours."""

    @abstractmethod
    def log_failure(self, request_id: str, error: str, where: list[str]) -> None:
        """Log the name of an exception that nobody expected, and the places that it came through."""

    @abstractmethod
    def log_request(self, scope: Scope, notes: RequestNotes, *, status: int | None, duration_ms: int) -> None:
        """Log a request that was answered; a `status` of None means that nobody waited for the answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_us = self._clock.monotonic_us()
        notes = RequestNotes(request_id=new_id(IdPrefix.REQUEST, self._clock.now_us()))
        scope[_NOTES] = notes
        status: int | None = None
        is_complete = False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, is_complete
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = notes.request_id
                headers.update(self.headers)
            is_complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            refused = refused_target(scope)
            app = self._app if refused is None else self.refuse(scope, refused)
            await app(scope, receive, send_with_headers)
        except Exception as failure:
            self.log_failure(notes.request_id, type(failure).__name__, where(failure))
            if status is None:
                error = TokenboothError(
                    "internal_error", "Something failed on our side. Try again, or contact the operator."
                )
                await self.fail(error)(scope, receive, send_with_headers)
            elif not is_complete:
                raise
        self.log_request(scope, notes, status=status, duration_ms=(self._clock.monotonic_us() - began_us) // 1_000)
        await _finish(notes)


def route_of(scope: Scope) -> str | None:
    """The route's template, never the path, in which a client may have put anything."""
    route = scope.get("route")
    return route.path if isinstance(route, Route) else None


async def _finish(notes: RequestNotes) -> None:
    for task in notes.after_answer:
        try:
            await task()
        except TokenboothError as failure:
            _log.warning("after_answer_failed", request_id=notes.request_id, code=failure.code)
