"""The routes under /api/billing that use what is there already: the saved card, subscriptions, the portal.

Only reads requests and writes answers; the work is in `saved_cards`. `management.app` includes it.
"""

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tokenbooth.api import checkout, plan_changes, saved_cards
from tokenbooth.api.billing.routes import of_stripe, posted
from tokenbooth.api.billing.schemas import (
    Cancellation,
    DirectSubscription,
    PlanChange,
    PortalPayload,
    SubscribedPayload,
    SubscriptionPayload,
)
from tokenbooth.api.idempotency import guarded
from tokenbooth.api.openapi import CREDENTIAL, RequestBody, json_body
from tokenbooth.api.parsing import Fields
from tokenbooth.api.responses import respond
from tokenbooth.domain.keys import Scope
from tokenbooth.kit.errors import Forbidden, InvalidRequest
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.accounts.idempotency import Answer, Attempt

_ID_MAX: Final = 100
_DEFAULT_KEY_NAME: Final = "default"


class Nothing(RequestBody):
    """An empty object."""


def router(context: ServiceContext) -> APIRouter:
    """The routes, for an application that answers `TokenboothError`."""
    routes = APIRouter(prefix="/api/billing", tags=["billing"], dependencies=[CREDENTIAL])

    @routes.post(
        "/subscribe", responses=of_stripe(SubscribedPayload, 402, 404), openapi_extra=json_body(DirectSubscription)
    )
    async def subscribe(request: Request) -> Response:
        """Subscribe with the saved card, without a browser; with `createKey` a key comes along (scope
        `keys:write`, too)."""
        caller, claim, fields = await posted(context, request, "planSlug", "createKey", "keyName")
        plan = checkout.known_plan(context, fields.text("planSlug", max_length=_ID_MAX))
        key_name = _key_name(fields)
        if key_name is not None and Scope.KEYS_WRITE not in caller.scopes:
            raise Forbidden("missing_scope", f"`createKey` needs the scope `{Scope.KEYS_WRITE}`.", param="createKey")
        checkout.configured_stripe(context)

        async def work(attempt: Attempt) -> Answer:
            return await saved_cards.subscribe(
                context, caller.account_id, plan, attempt, key_name=key_name, actor=caller.actor
            )

        entry = caller.entry(context, "subscription.begun", plan.slug)
        return respond(await guarded(context, claim, work, entry=entry))

    @routes.post(
        "/change", responses=of_stripe(SubscriptionPayload, 402, 404, 422), openapi_extra=json_body(PlanChange)
    )
    async def change(request: Request) -> Response:
        """Move a subscription to another plan: a dearer one now, for the difference to the end of the period; any other
        from `changesAt` on, the end of the paid period. The plan that it has takes back a change that waits."""
        caller, claim, fields = await posted(context, request, "subscriptionId", "planSlug")
        subscription_id = fields.text("subscriptionId", max_length=_ID_MAX)
        plan = checkout.known_plan(context, fields.text("planSlug", max_length=_ID_MAX))
        await context.live.flush()

        async def work(attempt: Attempt) -> Answer:
            return await plan_changes.change_plan(context, caller.account_id, subscription_id, plan, attempt)

        entry = caller.entry(context, "subscription.plan_changed", f"{subscription_id}: {plan.slug}")
        return respond(await guarded(context, claim, work, entry=entry))

    @routes.post("/resume", responses=of_stripe(SubscriptionPayload, 404), openapi_extra=json_body(Cancellation))
    async def resume(request: Request) -> Response:
        """Take back a cancel that has not come about."""
        caller, claim, fields = await posted(context, request, "subscriptionId")
        subscription_id = fields.text("subscriptionId", max_length=_ID_MAX)
        await context.live.flush()

        async def work(attempt: Attempt) -> Answer:
            return await saved_cards.resume(context, caller.account_id, subscription_id, attempt)

        entry = caller.entry(context, "subscription.resumed", subscription_id)
        return respond(await guarded(context, claim, work, entry=entry))

    @routes.post("/portal", responses=of_stripe(PortalPayload), openapi_extra=json_body(Nothing))
    async def portal(request: Request) -> Response:
        """A page at Stripe to change cards, see invoices and cancel."""
        caller, claim, _ = await posted(context, request)
        checkout.configured_stripe(context)

        async def work(attempt: Attempt) -> Answer:
            return await saved_cards.portal(context, caller.account_id, attempt)

        entry = caller.entry(context, "portal.opened", "cards and invoices at Stripe")
        return respond(await guarded(context, claim, work, entry=entry))

    return routes


def _key_name(fields: Fields) -> str | None:
    """The name of the key that is wanted, None for none."""
    named = fields.values.get("keyName") is not None
    if not fields.optional_flag("createKey"):
        if named:
            raise InvalidRequest("invalid_value", "`keyName` needs `createKey`: true.", param="keyName")
        return None
    return fields.label("keyName") if named else _DEFAULT_KEY_NAME
