"""What goes around every request: its id, the headers of every answer, its log line, the last resort.

An exception that nobody expected becomes a 500 without details; its log line says where it was raised, and never its
text, which may quote a value.
"""

import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenbooth.api.responses import respond_error
from tokenbooth.kit.clock import Clock
from tokenbooth.kit.errors import TokenboothError
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.kit.texts import refused_target

_NOTES: Final = "tokenbooth.notes"
_CLIENT_ID_MAX: Final = 128

log: structlog.stdlib.BoundLogger = structlog.get_logger("tokenbooth.api")


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
    """The notes of a request that came through `AroundRequests`."""
    notes = request.scope[_NOTES]
    assert isinstance(notes, RequestNotes)
    return notes


class AroundRequests:
    """The ASGI layer around the whole plane."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_us = self._clock.monotonic_us()
        notes = RequestNotes(request_id=new_id(IdPrefix.REQUEST, self._clock.now_us()))
        scope[_NOTES] = notes
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = notes.request_id
                headers["cache-control"] = "no-store"
            await send(message)

        try:
            refused = refused_target(scope)
            answering = self._app if refused is None else respond_error(refused)
            await answering(scope, receive, send_with_headers)
        except Exception as failure:
            log.error(
                "request_failed",
                request_id=notes.request_id,
                error=type(failure).__name__,
                where=_where(failure),
            )
            if status is not None:
                raise
            error = TokenboothError(
                "internal_error", "Something failed on our side. Try again, or contact the operator."
            )
            await respond_error(error)(scope, receive, send_with_headers)
        log.info(
            "request",
            request_id=notes.request_id,
            client_request_id=_client_id(scope),
            method=scope["method"],
            route=_route(scope),
            status=status,
            duration_ms=(self._clock.monotonic_us() - began_us) // 1_000,
            account_id=notes.account_id,
            key_id=notes.key_id,
        )
        await _finish(notes)


async def _finish(notes: RequestNotes) -> None:
    for task in notes.after_answer:
        try:
            await task()
        except TokenboothError as failure:
            log.warning("after_answer_failed", request_id=notes.request_id, code=failure.code)


def _where(failure: BaseException) -> list[str]:
    frames = traceback.extract_tb(failure.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def _route(scope: Scope) -> str | None:
    """The route's template, never the path, in which a client may have put anything."""
    route = scope.get("route")
    return route.path if isinstance(route, Route) else None


def _client_id(scope: Scope) -> str | None:
    text = Headers(scope=scope).get("x-request-id")
    if text is None or not text.isascii() or not text.isprintable():
        return None
    return text[:_CLIENT_ID_MAX]
