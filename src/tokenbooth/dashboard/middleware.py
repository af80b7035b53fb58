"""The dashboard's middleware: the headers that keep a browser safe, one log line for each page, lasting files."""

from collections.abc import Mapping
from typing import ClassVar, Final

import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from tokenbooth.dashboard.views import Web
from tokenbooth.kit.errors import TokenboothError
from tokenbooth.kit.middleware import RequestMiddleware, RequestNotes, route_of

SECURITY_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
    # A link that was mailed stands in the address: it must not leave this site.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
_ONE_YEAR_S: Final = 365 * 86_400

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class LastingFiles(StaticFiles):
    """Files whose address changes with their content, so that browsers keep them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with the file."""
        response = await super().get_response(path, scope)
        if response.status_code == 200 and b"v=" in scope["query_string"]:
            response.headers["cache-control"] = f"public, max-age={_ONE_YEAR_S}, immutable"
        return response


class PageMiddleware(RequestMiddleware):
    """The layer around the dashboard."""

    headers: ClassVar[Mapping[str, str]] = SECURITY_HEADERS

    def __init__(self, app: ASGIApp, web: Web) -> None:
        super().__init__(app, web.context.services.clock)
        self._web = web

    def refuse(self, scope: Scope, error: TokenboothError) -> ASGIApp:
        return self._web.failure(Request(scope), error, None)

    def fail(self, error: TokenboothError) -> ASGIApp:
        # Without a template, which may be what failed.
        return PlainTextResponse(f"{error.message}\n", error.status)

    def log_failure(self, request_id: str, error: str, where: list[str]) -> None:
        _log.error("page_failed", request_id=request_id, error=error, where=where)

    def log_request(self, scope: Scope, notes: RequestNotes, *, status: int | None, duration_ms: int) -> None:
        _log.info(
            "page",
            request_id=notes.request_id,
            method=scope["method"],
            route=route_of(scope),
            status=status,
            duration_ms=duration_ms,
        )
