"""The API's middleware: errors in its envelope, nothing cached, one log line for each request."""

from collections.abc import Mapping
from typing import ClassVar, Final

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Scope

from tokenbooth.api.responses import respond_error
from tokenbooth.kit.errors import TokenboothError
from tokenbooth.kit.middleware import RequestMiddleware, RequestNotes, route_of

_CLIENT_ID_MAX: Final = 128

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("tokenbooth.api")


class ApiMiddleware(RequestMiddleware):
    """The layer around the whole API."""

    headers: ClassVar[Mapping[str, str]] = {"cache-control": "no-store"}

    def refuse(self, scope: Scope, error: TokenboothError) -> ASGIApp:
        return respond_error(error)

    def fail(self, error: TokenboothError) -> ASGIApp:
        return respond_error(error)

    def log_failure(self, request_id: str, error: str, where: list[str]) -> None:
        _log.error("request_failed", request_id=request_id, error=error, where=where)

    def log_request(self, scope: Scope, notes: RequestNotes, *, status: int | None, duration_ms: int) -> None:
        _log.info(
            "request",
            request_id=notes.request_id,
            client_request_id=_client_id(scope),
            method=scope["method"],
            route=route_of(scope),
            status=status,
            duration_ms=duration_ms,
            account_id=notes.account_id,
            key_id=notes.key_id,
        )


def _client_id(scope: Scope) -> str | None:
    text = Headers(scope=scope).get("x-request-id")
    if text is None or not text.isascii() or not text.isprintable():
        return None
    return text[:_CLIENT_ID_MAX]
