"""The start page, which is for everybody."""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.config.catalog import Model
from tokenbooth.dashboard.overview import first_model
from tokenbooth.dashboard.views import Pages, see_other

_NOTICES: Final = {
    "success": "Thank you. Your payment is being confirmed; this takes a few seconds.",
    "cancelled": "The payment was cancelled. Nothing was charged.",
}


@dataclass(frozen=True, slots=True)
class _ShownModel:
    name: str
    input_nano: int
    cached_nano: int
    output_nano: int
    context_tokens: int


class HomePages(Pages):
    """The start page."""

    def routes(self) -> list[Route]:
        return [Route("/", self.start, methods=["GET"])]

    async def start(self, request: Request) -> Response:
        visitor = await self._web.visitor(request)
        outcome = request.query_params.get("checkout", "")
        if visitor is not None and outcome in _NOTICES:
            # Payment pages lead back here, whoever opened them.
            return see_other(f"/dashboard/billing?checkout={outcome}")
        catalog = self._services.catalog()
        return self._web.page(
            request,
            "start.html",
            visitor,
            notice=_NOTICES.get(outcome),
            example_model=first_model(self._services),
            plans=list(catalog.plans.values()),
            models=[_shown_model(model) for model in catalog.models.values()],
            min_top_up_nano=self._services.settings.billing.min_top_up_nano,
        )


def _shown_model(model: Model) -> _ShownModel:
    rates = model.price.rates
    return _ShownModel(model.name, rates.input, rates.cached_input, rates.output, model.context_tokens)
