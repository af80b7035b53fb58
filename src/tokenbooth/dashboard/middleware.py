"""What goes around every page: its request id, the headers that keep a browser safe, its log line, the last resort."""

import traceback
from typing import Final

import structlog
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenbooth.kit.clock import Clock
from tokenbooth.kit.ids import IdPrefix, new_id

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


class AroundPages:
    """The ASGI layer around the dashboard."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        began_us = self._clock.monotonic_us()
        request_id = new_id(IdPrefix.REQUEST, self._clock.now_us())
        status: int | None = None
        is_complete = False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, is_complete
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
            is_complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as failure:
            # Its text may quote a value, so only where it came from is written down.
            frames = traceback.extract_tb(failure.__traceback__)
            where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
            _log.error("page_failed", request_id=request_id, error=type(failure).__name__, where=where)
            if status is None:
                text = "Something failed on our side. Try again, or contact the operator.\n"
                await PlainTextResponse(text, 500)(scope, receive, send_with_headers)
            elif not is_complete:
                raise
        route = scope.get("route")
        _log.info(
            "page",
            request_id=request_id,
            method=scope["method"],
            route=route.path if isinstance(route, Route) else None,
            status=status,
            duration_ms=(self._clock.monotonic_us() - began_us) // 1_000,
        )
