"""The calls about subscriptions: buy one, change, cancel and resume it, see them all, and Stripe's portal."""

from functools import partial
from typing import Annotated, Final, Self

from fastapi import APIRouter
from pydantic import Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from tokenbooth.api.auth import authenticate
from tokenbooth.api.keys import CreatedKey
from tokenbooth.api.openapi import CREDENTIAL, json_body, object_answer, stripe_answer
from tokenbooth.api.parsing import authenticated_body
from tokenbooth.api.responses import long_success, respond, success
from tokenbooth.api.schemas import Instant, Payload, UnsignedUsd
from tokenbooth.domain.keys import Scope
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.kit.errors import Forbidden, InvalidRequest
from tokenbooth.kit.request_models import Id, Label, RequestModel
from tokenbooth.payments.stripe.client import CheckoutCreated
from tokenbooth.services import plan_changes, subscriptions
from tokenbooth.services.checkouts import known_plan
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.idempotency import Outcome, refusal, replayed, run_idempotent
from tokenbooth.services.keys import already_created
from tokenbooth.services.subscriptions import Subscribed
from tokenbooth.store.payments.billing import BillingStatus, BudgetView, SubscriptionView

_DEFAULT_KEY_NAME: Final = "default"

ShownStatus = Annotated[
    SubscriptionStatus,
    WithJsonSchema({"type": "string", "enum": ["active", "past_due", "paused", "canceled"]}),
]
"""A subscription that was never paid is not shown."""


class NewCheckout(RequestModel):
    """The plan to subscribe to."""

    plan_slug: Id = Field(examples=["pro"])


class DirectSubscription(RequestModel):
    """The plan to subscribe to with the saved card, and whether a key is wanted at once."""

    plan_slug: Id = Field(examples=["pro"])
    create_key: bool | None = None
    key_name: Label | None = None

    def wanted_key_name(self) -> str | None:
        """The name of the key that is wanted; None for none."""
        if self.create_key:
            return self.key_name or _DEFAULT_KEY_NAME
        if self.key_name is not None:
            raise InvalidRequest("invalid_value", "`keyName` needs `createKey`: true.", param="keyName")
        return None


class PlanChange(RequestModel):
    """The subscription, and the plan that it moves to."""

    subscription_id: Id
    plan_slug: Id = Field(examples=["pro"])


class ChosenSubscription(RequestModel):
    """The subscription that is to end with its period, or to go on."""

    subscription_id: Id


class Nothing(RequestModel):
    """An empty object."""


class CheckoutPayload(Payload):
    """A page on which to pay."""

    session_url: str
    session_id: str

    @classmethod
    def of(cls, created: CheckoutCreated) -> Self:
        """A checkout page as an answer shows it."""
        return cls(session_url=created.url, session_id=created.session_id)


class SubscribedPayload(Payload):
    """A subscription that was begun with the saved card."""

    subscription_id: str
    plan_slug: str
    status: ShownStatus
    current_period_end: Instant
    key: CreatedKey | None = None

    @classmethod
    def of(cls, begun: Subscribed) -> Self:
        """A subscription just begun as an answer shows it; `key` stands there when one was created."""
        view = begun.subscription
        payload = cls(
            subscription_id=view.id,
            plan_slug=view.plan_slug,
            status=view.status,
            current_period_end=view.current_period_end_us,
        )
        return payload if begun.key is None else payload.model_copy(update={"key": CreatedKey.of(begun.key)})


class PortalPayload(Payload):
    """A page at Stripe to manage cards and subscriptions."""

    url: str


class SubscriptionKey(Payload):
    """A key of a subscription."""

    id: str
    name: str


class WindowBudget(Payload):
    """The budget of the window that is open now."""

    limit: UnsignedUsd
    spent: UnsignedUsd
    resets_at: Instant

    @classmethod
    def of(cls, budget: BudgetView) -> Self:
        """A window's budget as an answer shows it."""
        return cls(limit=budget.limit_nano, spent=budget.spent_nano, resets_at=budget.resets_at_us)


class SubscriptionPayload(Payload):
    """A subscription; `budget` is null when its plan is no longer offered. `pendingPlan` is the slug of the plan that
    counts from `changesAt` on; both are null while none is to follow."""

    id: str
    plan_slug: str
    status: ShownStatus
    current_period_end: Instant
    cancel_at_period_end: bool
    pending_plan: str | None
    changes_at: Instant | None
    key_count: int
    keys: list[SubscriptionKey]
    budget: WindowBudget | None

    @classmethod
    def of(cls, view: SubscriptionView) -> Self:
        """A subscription as an answer shows it."""
        return cls(
            id=view.id,
            plan_slug=view.plan_slug,
            status=view.status,
            current_period_end=view.current_period_end_us,
            cancel_at_period_end=view.cancel_at_period_end,
            pending_plan=None if view.pending is None else view.pending.plan.slug,
            changes_at=None if view.pending is None else view.pending.at_us,
            key_count=view.key_count,
            keys=[SubscriptionKey(id=key.id, name=key.name) for key in view.keys],
            budget=None if view.budget is None else WindowBudget.of(view.budget),
        )


class BillingStatusPayload(Payload):
    """An account's subscriptions and credit."""

    subscriptions: list[SubscriptionPayload]
    credit_balance: UnsignedUsd

    @classmethod
    def of(cls, status: BillingStatus) -> Self:
        """An account's subscriptions and credit as an answer shows them."""
        return cls(
            subscriptions=[SubscriptionPayload.of(view) for view in status.subscriptions],
            credit_balance=status.credit_nano,
        )


def checkout_outcome(created: CheckoutCreated) -> Outcome:
    """What a request for a checkout page is answered."""
    return replayed(success(CheckoutPayload.of(created)))


def router(context: ServiceContext) -> APIRouter:
    """Subscriptions."""
    routes = APIRouter(prefix="/api/billing", tags=["billing"], dependencies=[CREDENTIAL])
    _add_purchases(routes, context)

    @routes.get("/status", responses=object_answer(BillingStatusPayload))
    async def status(request: Request) -> Response:
        """The account's subscriptions, active ones first, and its credit."""
        caller = await authenticate(context, request, Scope.BILLING_READ)
        found = await subscriptions.billing_status(context, caller.account_id)
        return respond(await long_success(lambda: BillingStatusPayload.of(found)))

    @routes.post(
        "/cancel", responses=stripe_answer(SubscriptionPayload, 404), openapi_extra=json_body(ChosenSubscription)
    )
    async def cancel(request: Request) -> Response:
        """Let a subscription end with its paid period; until then it can be used as before."""
        caller, claim, asked = await authenticated_body(context, request, Scope.BILLING_WRITE, ChosenSubscription)
        work = partial(subscriptions.cancel, context, caller.account_id, asked.subscription_id)
        entry = caller.entry(context, "subscription.canceled", asked.subscription_id)
        return respond(await run_idempotent(context, claim, work, _subscription_outcome, entry=entry))

    @routes.post(
        "/resume", responses=stripe_answer(SubscriptionPayload, 404), openapi_extra=json_body(ChosenSubscription)
    )
    async def resume(request: Request) -> Response:
        """Take back a cancel that has not come about."""
        caller, claim, asked = await authenticated_body(context, request, Scope.BILLING_WRITE, ChosenSubscription)
        work = partial(subscriptions.resume, context, caller.account_id, asked.subscription_id)
        entry = caller.entry(context, "subscription.resumed", asked.subscription_id)
        return respond(await run_idempotent(context, claim, work, _subscription_outcome, entry=entry))

    @routes.post(
        "/change", responses=stripe_answer(SubscriptionPayload, 402, 404, 422), openapi_extra=json_body(PlanChange)
    )
    async def change(request: Request) -> Response:
        """Move a subscription to another plan: a dearer one now, for the difference to the end of the period; any other
        from `changesAt` on, the end of the paid period. The plan that it has takes back a change that waits."""
        caller, claim, asked = await authenticated_body(context, request, Scope.BILLING_WRITE, PlanChange)
        plan = known_plan(context, asked.plan_slug)
        work = partial(plan_changes.change_plan, context, caller.account_id, asked.subscription_id, plan)
        entry = caller.entry(context, "subscription.plan_changed", f"{asked.subscription_id}: {plan.slug}")
        return respond(await run_idempotent(context, claim, work, _subscription_outcome, entry=entry))

    @routes.post("/portal", responses=stripe_answer(PortalPayload), openapi_extra=json_body(Nothing))
    async def portal(request: Request) -> Response:
        """A page at Stripe to change cards, see invoices and cancel."""
        caller, claim, _ = await authenticated_body(context, request, Scope.BILLING_WRITE, Nothing)
        work = partial(subscriptions.open_portal, context, caller.account_id)
        entry = caller.entry(context, "portal.opened", "cards and invoices at Stripe")
        return respond(await run_idempotent(context, claim, work, _portal_outcome, entry=entry))

    return routes


def _add_purchases(routes: APIRouter, context: ServiceContext) -> None:
    @routes.post("/checkout", responses=stripe_answer(CheckoutPayload, 404), openapi_extra=json_body(NewCheckout))
    async def begin_checkout(request: Request) -> Response:
        """Start a subscription: open `sessionUrl` in a browser and pay; the subscription is then active."""
        caller, claim, asked = await authenticated_body(context, request, Scope.BILLING_WRITE, NewCheckout)
        plan = known_plan(context, asked.plan_slug)
        work = partial(subscriptions.open_checkout, context, caller.account_id, plan)
        entry = caller.entry(context, "checkout.opened", plan.slug)
        return respond(await run_idempotent(context, claim, work, checkout_outcome, entry=entry))

    @routes.post(
        "/subscribe", responses=stripe_answer(SubscribedPayload, 402, 404), openapi_extra=json_body(DirectSubscription)
    )
    async def subscribe(request: Request) -> Response:
        """Subscribe with the saved card, without a browser; with `createKey` a key comes along (scope
        `keys:write`, too)."""
        caller, claim, asked = await authenticated_body(context, request, Scope.BILLING_WRITE, DirectSubscription)
        plan, key_name = known_plan(context, asked.plan_slug), asked.wanted_key_name()
        if key_name is not None and Scope.KEYS_WRITE not in caller.scopes:
            raise Forbidden("missing_scope", f"`createKey` needs the scope `{Scope.KEYS_WRITE}`.", param="createKey")
        work = partial(subscriptions.subscribe, context, caller.account_id, plan, key_name=key_name, actor=caller.actor)
        entry = caller.entry(context, "subscription.begun", plan.slug)
        return respond(await run_idempotent(context, claim, work, _subscribed_outcome, entry=entry))


def _subscription_outcome(view: SubscriptionView) -> Outcome:
    return replayed(success(SubscriptionPayload.of(view)))


def _subscribed_outcome(begun: Subscribed) -> Outcome:
    answer = success(SubscribedPayload.of(begun))
    return replayed(answer) if begun.key is None else Outcome(answer, replay=refusal(already_created(begun.key.id)))


def _portal_outcome(url: str) -> Outcome:
    return replayed(success(PortalPayload(url=url)))
