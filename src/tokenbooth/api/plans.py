"""`GET /api/plans`: what the operator offers; needs no credential."""

from fastapi import APIRouter
from starlette.responses import Response

from tokenbooth.api.openapi import Payload, list_answer
from tokenbooth.api.responses import Json, respond, success
from tokenbooth.domain.money import format_usd
from tokenbooth.domain.plans import Plan
from tokenbooth.services.context import ServiceContext


class RateLimits(Payload):
    """Requests and tokens per minute of all keys of a subscription together."""

    rpm: int
    tpm: int | None


class Budget(Payload):
    """What may be spent in each window."""

    amount_usd: str
    window: str


class PlanPayload(Payload):
    """A plan."""

    slug: str
    name: str
    price_usd: str
    interval: str
    rate_limits: RateLimits
    budget: Budget


def plan_payload(plan: Plan) -> dict[str, Json]:
    """A plan as an answer shows it."""
    return {
        "slug": plan.slug,
        "name": plan.name,
        "priceUsd": format_usd(plan.price_nano),
        "interval": str(plan.interval),
        "rateLimits": {"rpm": plan.rpm, "tpm": plan.tpm},
        "budget": {"amountUsd": format_usd(plan.budget_nano), "window": plan.window},
    }


def router(context: ServiceContext) -> APIRouter:
    """The routes of this module."""
    routes = APIRouter(tags=["plans"])

    @routes.get("/api/plans", responses=list_answer(PlanPayload, public=True))
    async def list_plans() -> Response:
        """List the plans."""
        return respond(success([plan_payload(plan) for plan in context.catalog().plans.values()]))

    return routes
