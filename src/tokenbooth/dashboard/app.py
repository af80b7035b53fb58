"""The dashboard as one ASGI application: `/`, `/login`, `/dashboard/*`, `/docs`, and the page for what is not there.

It must never decide anything that the API does not decide too, and its pages load nothing from elsewhere. The
composition root builds it and hands it the paths that no other plane owns.
"""

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from tokenbooth.dashboard.account import AccountPages
from tokenbooth.dashboard.auto_topup import AutoTopUpPages
from tokenbooth.dashboard.billing import BillingPages
from tokenbooth.dashboard.context import DashboardContext
from tokenbooth.dashboard.home import HomePages
from tokenbooth.dashboard.invoices import InvoicePages
from tokenbooth.dashboard.keys import KeyPages
from tokenbooth.dashboard.login import LoginPages
from tokenbooth.dashboard.middleware import LastingFiles, PageMiddleware
from tokenbooth.dashboard.operator import OperatorPages
from tokenbooth.dashboard.overview import OverviewPages
from tokenbooth.dashboard.reference.pages import ReferencePages
from tokenbooth.dashboard.usage import UsagePages
from tokenbooth.dashboard.usdc import UsdcPages
from tokenbooth.dashboard.views import STATIC_PATH, Web
from tokenbooth.kit.errors import NotFound, TokenboothError


def page_routes(web: Web) -> list[Route]:
    """The routes of every page."""
    pages = (
        HomePages,
        LoginPages,
        OverviewPages,
        KeyPages,
        UsagePages,
        BillingPages,
        AutoTopUpPages,
        UsdcPages,
        InvoicePages,
        AccountPages,
        OperatorPages,
        ReferencePages,
    )
    return [route for page in pages for route in page(web).routes()]


def create_dashboard(context: DashboardContext) -> ASGIApp:
    """The dashboard's ASGI application; a path that it does not know gets a page that says so."""
    web = Web(context)

    async def failed(request: Request, failure: Exception) -> Response:
        assert isinstance(failure, HTTPException)
        if failure.status_code == 404:
            return web.failure(request, NotFound("route_not_found", "There is nothing at this path."), None)
        return Response(f"{failure.detail}\n", failure.status_code, failure.headers, media_type="text/plain")

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, TokenboothError)
        return web.failure(request, error, None)

    async def gone(_request: Request, _gone: Exception) -> Response:
        # Nobody reads it; it only keeps a visitor's hang-up from being taken for a failure of ours.
        return Response(status_code=400)

    app = Starlette(
        routes=[
            *page_routes(web),
            Mount(STATIC_PATH, LastingFiles(directory=Path(__file__).parent / "static")),
        ],
        exception_handlers={HTTPException: failed, TokenboothError: refused, ClientDisconnect: gone},
    )
    app.router.redirect_slashes = False
    return PageMiddleware(app, web)
