"""The management plane as one ASGI application: `/api`, `/openapi.json`, `/healthz`, `/readyz`.

It renders the errors that the routes raise. `tokenbooth.runtime.build` mounts it.
"""

from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match

from tokenbooth.api import health, keys, management_keys, plans, usage, webhooks
from tokenbooth.api.billing import auto_topup, invoices, subscriptions, topups
from tokenbooth.api.middleware import ApiMiddleware
from tokenbooth.api.responses import respond_error
from tokenbooth.kit.errors import InvalidRequest, MethodNotAllowed, NotFound, TokenboothError
from tokenbooth.services.context import ServiceContext

_METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")


def create_management_app(context: ServiceContext) -> FastAPI:
    """Build the plane from its dependencies."""
    app = FastAPI(
        title="Tokenbooth management API",
        version=version("tokenbooth"),
        docs_url=None,
        redoc_url=None,
        # A redirect would be built from the client's Host header.
        redirect_slashes=False,
        servers=[{"url": context.settings.server.base_url()}],
    )
    modules = (
        plans,
        management_keys,
        keys,
        usage,
        subscriptions,
        topups,
        auto_topup,
        invoices,
        webhooks,
        health,
    )
    for module in modules:
        app.include_router(module.router(context))
    app.add_exception_handler(TokenboothError, _render_error)
    app.add_exception_handler(HTTPException, _render_http_error)
    app.add_exception_handler(ClientDisconnect, _render_hang_up)
    app.add_middleware(ApiMiddleware, clock=context.clock)
    return app


def _methods_of(request: Request) -> list[str]:
    """Every method that the path takes; the route that refused knows only its own."""
    return [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]


async def _render_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, TokenboothError)
    return respond_error(error)


async def _render_hang_up(_request: Request, _gone: Exception) -> Response:
    """Nobody reads it; it only keeps a client's hang-up from being taken for a failure of ours."""
    return respond_error(InvalidRequest("incomplete_body", "The body did not arrive."))


async def _render_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    match error.status_code:
        case 404:
            return respond_error(NotFound("route_not_found", "There is nothing at this path."))
        case 405:
            response = respond_error(
                MethodNotAllowed("method_not_allowed", f"This path does not take {request.method}.")
            )
            response.headers["allow"] = ", ".join(_methods_of(request))
            return response
        case _:
            return respond_error(InvalidRequest("invalid_request", "The request cannot be read."))
