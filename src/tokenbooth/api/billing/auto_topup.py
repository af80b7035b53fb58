"""The calls about automatic top-ups: an account's rule, and why it was switched off. A job makes the charges."""

from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from tokenbooth.api.auth import authenticate
from tokenbooth.api.openapi import CREDENTIAL, json_body, object_answer, stripe_answer
from tokenbooth.api.parsing import authenticated_body
from tokenbooth.api.responses import respond, success
from tokenbooth.api.schemas import Instant, Payload, UnsignedUsd
from tokenbooth.domain.keys import Scope
from tokenbooth.kit.request_models import CardUsdNano, RequestModel
from tokenbooth.services import topups
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.topups import RuleChange
from tokenbooth.store.payments.auto_topups import RuleView

OptionalAmount = Annotated[
    CardUsdNano | None,
    Field(description="USD above zero, as a number or a decimal string.", examples=[50, "50.00"]),
]


class AutoTopUpRule(RequestModel):
    """When the available credit falls below `threshold`, `amount` is charged, up to `monthlyLimit` a month."""

    enabled: bool
    threshold: OptionalAmount = None
    amount: OptionalAmount = None
    monthly_limit: OptionalAmount = None

    def change(self) -> RuleChange:
        """What is to be changed; what is not named stays."""
        return RuleChange(self.enabled, self.threshold, self.amount, self.monthly_limit)


class AutoTopUpPayload(Payload):
    """The rule, what it charged this month, and why it was switched off, if it was."""

    enabled: bool
    threshold: UnsignedUsd
    amount: UnsignedUsd
    monthly_limit: UnsignedUsd
    charged_this_month: UnsignedUsd
    failure: str | None
    failed_at: Instant | None

    @classmethod
    def of(cls, found: RuleView) -> Self:
        """The rule as an answer shows it."""
        return cls(
            enabled=found.rule.enabled,
            threshold=found.rule.threshold_nano,
            amount=found.rule.amount_nano,
            monthly_limit=found.rule.monthly_limit_nano,
            charged_this_month=found.charged_this_month_nano,
            failure=found.failure,
            failed_at=found.failed_at_us,
        )


def router(context: ServiceContext) -> APIRouter:
    """Automatic top-ups."""
    routes = APIRouter(prefix="/api/billing", tags=["billing"], dependencies=[CREDENTIAL])

    @routes.get("/auto-topup", responses=object_answer(AutoTopUpPayload))
    async def auto_top_up(request: Request) -> Response:
        """The rule of automatic top-ups."""
        caller = await authenticate(context, request, Scope.BILLING_READ)
        return respond(success(AutoTopUpPayload.of(await topups.find_auto_top_up(context, caller.account_id))))

    @routes.put(
        "/auto-topup",
        responses=stripe_answer(AutoTopUpPayload, 402),
        openapi_extra={"requestBody": json_body(AutoTopUpRule)["requestBody"]},
    )
    async def set_auto_top_up(request: Request) -> Response:
        """Set the rule: below `threshold` the saved card is charged `amount`, up to `monthlyLimit` a month."""
        caller, _, asked = await authenticated_body(context, request, Scope.BILLING_WRITE, AutoTopUpRule)
        changed = await topups.set_auto_top_up(context, caller.account_id, asked.change(), actor=caller.actor)
        return respond(success(AutoTopUpPayload.of(changed)))

    return routes
