"""`GET /api/plans`: what the operator offers; needs no credential."""

from typing import Self

from fastapi import APIRouter
from starlette.responses import Response

from tokenbooth.api.openapi import list_answer
from tokenbooth.api.responses import respond, success
from tokenbooth.api.schemas import Payload, Usd
from tokenbooth.domain.plans import Plan
from tokenbooth.services.context import ServiceContext


class RateLimits(Payload):
    """Requests and tokens per minute of all keys of a subscription together."""

    rpm: int
    tpm: int | None


class Budget(Payload):
    """What may be spent in each window."""

    amount_usd: Usd
    window: str


class PlanPayload(Payload):
    """A plan."""

    slug: str
    name: str
    price_usd: Usd
    interval: str
    rate_limits: RateLimits
    budget: Budget

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """A plan as an answer shows it."""
        return cls(
            slug=plan.slug,
            name=plan.name,
            price_usd=plan.price_nano,
            interval=plan.interval,
            rate_limits=RateLimits(rpm=plan.rpm, tpm=plan.tpm),
            budget=Budget(amount_usd=plan.budget_nano, window=plan.window),
        )


def router(context: ServiceContext) -> APIRouter:
    """Plans."""
    routes = APIRouter(tags=["plans"])

    @routes.get("/api/plans", responses=list_answer(PlanPayload, public=True))
    async def list_plans() -> Response:
        """List the plans."""
        return respond(success([PlanPayload.of(plan) for plan in context.catalog().plans.values()]))

    return routes
