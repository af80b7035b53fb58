"""The dashboard: pages for people, rendered on the server.

It must never decide anything that the API does not decide too, and its pages load nothing from elsewhere. The
composition root builds it and hands it the paths that no other plane owns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenbooth.catalog import Catalog, Model
from tokenbooth.clock import Clock
from tokenbooth.domain.money import format_usd
from tokenbooth.domain.plans import Plan
from tokenbooth.ids import IdPrefix, new_id

_HERE: Final = Path(__file__).parent
_STATIC_PATH: Final = "/dashboard"
_EXAMPLE_MODEL: Final = "deepseek/deepseek-chat-v3-0324"
_SECURITY_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
_NOTICES: Final = {
    "success": "Thank you. Your payment is being confirmed; this takes a few seconds.",
    "cancelled": "The payment was cancelled. Nothing was charged.",
}


@dataclass(frozen=True, slots=True)
class DashboardContext:
    """What the pages are given.

    Attributes:
        catalog: gives the catalog that holds now.
        clock: the time.
        base_url: the address to show, without a slash at its end.
        min_top_up_nano: the smallest top-up, in nano-USD.
        version: of the program.
    """

    catalog: Callable[[], Catalog]
    clock: Clock
    base_url: str
    min_top_up_nano: int
    version: str


@dataclass(frozen=True, slots=True)
class _ShownPlan:
    slug: str
    name: str
    price: str
    interval: str
    budget: str
    window: str
    rpm: str
    tpm: str | None


@dataclass(frozen=True, slots=True)
class _ShownModel:
    name: str
    input: str
    cached: str
    output: str
    context: str


def create_dashboard(context: DashboardContext) -> ASGIApp:
    """The dashboard's ASGI application; a path that it does not know gets a page that says so."""
    pages = _Pages(context)
    web = Starlette(
        routes=[
            Route("/", pages.start, methods=["GET"]),
            Mount(f"{_STATIC_PATH}/static", StaticFiles(directory=_HERE / "static")),
        ],
        exception_handlers={HTTPException: pages.failure},
    )
    return _WithHeaders(web, context.clock)


class _Pages:
    """The pages, one method each."""

    def __init__(self, context: DashboardContext) -> None:
        self._context = context
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=select_autoescape(),
            undefined=StrictUndefined,
        )

    async def start(self, request: Request) -> Response:
        catalog = self._context.catalog()
        return self._page(
            "start.html",
            notice=_NOTICES.get(request.query_params.get("checkout", "")),
            base_url=self._context.base_url,
            example_model=next(iter(catalog.models), _EXAMPLE_MODEL),
            plans=[_shown_plan(plan) for plan in catalog.plans.values()],
            models=[_shown_model(model) for model in catalog.models.values()],
            min_top_up=_short_usd(self._context.min_top_up_nano),
        )

    async def failure(self, _: Request, failure: Exception) -> Response:
        assert isinstance(failure, HTTPException)
        if failure.status_code == 404:
            return self._page("not_found.html", status=404)
        return Response(f"{failure.detail}\n", failure.status_code, failure.headers, media_type="text/plain")

    def _page(self, template: str, *, status: int = 200, **values: object) -> Response:
        text = self._templates.get_template(template).render(
            base_path=_STATIC_PATH, version=self._context.version, **values
        )
        return Response(text, status, {"cache-control": "no-cache"}, media_type="text/html")


class _WithHeaders:
    """Puts our request id and the headers that keep a browser safe on every answer."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = new_id(IdPrefix.REQUEST, self._clock.now_us())
        added = [
            (name.encode(), value.encode()) for name, value in {**_SECURITY_HEADERS, "x-request-id": request_id}.items()
        ]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _shown_plan(plan: Plan) -> _ShownPlan:
    return _ShownPlan(
        slug=plan.slug,
        name=plan.name,
        price=_short_usd(plan.price_nano),
        interval=plan.interval,
        budget=format_usd(plan.budget_nano),
        window=plan.window,
        rpm=f"{plan.rpm:,}",
        tpm=None if plan.tpm is None else f"{plan.tpm:,}",
    )


def _shown_model(model: Model) -> _ShownModel:
    rates = model.price.rates
    return _ShownModel(
        name=model.name,
        input=format_usd(rates.input),
        cached=format_usd(rates.cached_input),
        output=format_usd(rates.output),
        context=f"{model.context_tokens:,}",
    )


def _short_usd(amount_nano: int) -> str:
    """ "20" rather than "20.00", where the cents are zero."""
    return format_usd(amount_nano).removesuffix(".00")
