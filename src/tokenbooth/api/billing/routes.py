"""The routes under /api/billing: checkouts, the status of subscriptions, cancelling, top-ups, credit.

Only reads requests and writes answers; the work is in `checkout` and the store. `management.app` includes it.
"""

from functools import partial
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tokenbooth.api import checkout, deposits, saved_cards
from tokenbooth.api.auth import Caller, authenticate
from tokenbooth.api.billing.schemas import (
    BillingStatusPayload,
    Cancellation,
    CheckoutPayload,
    CreditsPayload,
    DepositAddressPayload,
    DepositToVerify,
    NewCheckout,
    NewTopUp,
    PendingDeposit,
    SubscriptionPayload,
    TopUpPayload,
    VerifiedDeposit,
)
from tokenbooth.api.idempotency import guarded, once, read_claim
from tokenbooth.api.openapi import CREDENTIAL, Payload, Responses, either, json_body, object_answer, or_accepted
from tokenbooth.api.parsing import Fields, read_body
from tokenbooth.api.responses import respond, success
from tokenbooth.domain.keys import Scope
from tokenbooth.domain.money import format_usd
from tokenbooth.kit.errors import InvalidRequest
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.accounts.idempotency import Answer, Attempt, Claim
from tokenbooth.store.payments import billing

STRIPE: Final = "stripe"
STRIPE_DIRECT: Final = "stripe_direct"
USDC: Final = "usdc"
METHODS: Final = (STRIPE, STRIPE_DIRECT, USDC)

_STRIPE_DECIMALS: Final = 2
_USDC_DECIMALS: Final = 6
_ID_MAX: Final = 100
_VERIFYING: Final = or_accepted(
    object_answer(VerifiedDeposit, 404, 422, body=True), PendingDeposit, "Not in a block that counts yet."
)


def router(context: ServiceContext) -> APIRouter:
    """The routes, for an application that answers `TokenboothError`."""
    routes = APIRouter(prefix="/api/billing", tags=["billing"], dependencies=[CREDENTIAL])

    @routes.post("/checkout", responses=of_stripe(CheckoutPayload, 404), openapi_extra=json_body(NewCheckout))
    async def begin_checkout(request: Request) -> Response:
        """Start a subscription: open `sessionUrl` in a browser and pay; the subscription is then active."""
        caller, claim, fields = await posted(context, request, "planSlug")
        plan = checkout.known_plan(context, fields.text("planSlug", max_length=_ID_MAX))
        checkout.configured_stripe(context)

        async def work(attempt: Attempt) -> Answer:
            created = await checkout.sell_plan(context, caller.account_id, plan, attempt)
            return checkout.checkout_answer(created)

        entry = caller.entry(context, "checkout.opened", plan.slug)
        return respond(await guarded(context, claim, work, entry=entry))

    @routes.get("/status", responses=object_answer(BillingStatusPayload))
    async def status(request: Request) -> Response:
        """The account's subscriptions, active ones first, and its credit."""
        caller = await authenticate(context, request, Scope.BILLING_READ)
        return respond(await _status(context, caller.account_id))

    @routes.post("/cancel", responses=of_stripe(SubscriptionPayload, 404), openapi_extra=json_body(Cancellation))
    async def cancel(request: Request) -> Response:
        """Let a subscription end with its paid period; until then it can be used as before."""
        caller, claim, fields = await posted(context, request, "subscriptionId")
        subscription_id = fields.text("subscriptionId", max_length=_ID_MAX)
        await context.live.flush()

        async def work(attempt: Attempt) -> Answer:
            view = await checkout.cancel(context, caller.account_id, subscription_id, attempt)
            return success(checkout.subscription_json(view))

        entry = caller.entry(context, "subscription.canceled", subscription_id)
        return respond(await guarded(context, claim, work, entry=entry))

    _add_topups(routes, context)

    @routes.get("/credits", responses=object_answer(CreditsPayload))
    async def credit(request: Request) -> Response:
        """The account's credit: what is left, what calls in flight hold, and the totals so far."""
        caller = await authenticate(context, request, Scope.BILLING_READ)
        return respond(await _credits(context, caller.account_id))

    return routes


def _add_topups(routes: APIRouter, context: ServiceContext) -> None:
    @routes.post(
        "/topup",
        responses=either(of_stripe(TopUpPayload, 402, 422), object_answer(DepositAddressPayload)),
        openapi_extra=json_body(NewTopUp),
    )
    async def top_up(request: Request) -> Response:
        """Buy prepaid credit: with `stripe`, open `sessionUrl` in a browser and pay; `stripe_direct` charges the saved
        card at once; with `usdc`, send USDC on Base to `address`, which is this account's own."""
        caller, claim, fields = await posted(context, request, "amount", "method")
        method, amount_nano = _topup_amount_nano(context, fields)
        if method == USDC:
            effect = partial(
                deposits.announce,
                desk=deposits.configured(context),
                account_id=caller.account_id,
                amount_nano=amount_nano,
                now_us=context.clock.now_us(),
            )
            return respond(await once(context, claim, effect))
        checkout.configured_stripe(context)

        async def work(attempt: Attempt) -> Answer:
            if fields.text("method") == STRIPE_DIRECT:
                return await saved_cards.top_up(context, caller.account_id, amount_nano, attempt)
            created = await checkout.sell_credit(context, caller.account_id, amount_nano, attempt)
            return checkout.checkout_answer(created)

        action = "credit.bought" if method == STRIPE_DIRECT else "checkout.opened"
        entry = caller.entry(context, action, f"{format_usd(amount_nano)} USD of credit")
        return respond(await guarded(context, claim, work, entry=entry))

    @routes.post("/verify-topup", responses=_VERIFYING, openapi_extra=json_body(DepositToVerify))
    async def verify_topup(request: Request) -> Response:
        """Have a USDC deposit looked up now. Deposits are credited without this, too, a little later."""
        caller, claim, fields = await posted(context, request, "txHash", "amount")
        tx_hash = fields.text("txHash", max_length=_ID_MAX)
        amount_nano = fields.amount_nano("amount", max_decimals=_USDC_DECIMALS)
        desk = deposits.configured(context)
        said = deposits.claimed(tx_hash, amount_nano)

        async def work(attempt: Attempt) -> Answer:
            return await deposits.verify(context, desk, caller.account_id, said, attempt)

        return respond(await guarded(context, claim, work))


def of_stripe(payload: type[Payload], *errors: int) -> Responses:
    """The documented responses of a route that asks Stripe."""
    return object_answer(payload, *errors, 502, 504, body=True)


async def posted(context: ServiceContext, request: Request, *names: str) -> tuple[Caller, Claim | None, Fields]:
    """The caller, the claim and the fields of a request that writes."""
    caller = await authenticate(context, request, Scope.BILLING_WRITE)
    body = await read_body(request, max_bytes=context.settings.management.max_body_bytes)
    return caller, read_claim(request, caller.account_id, body.raw), body.only(*names)


def _topup_amount_nano(context: ServiceContext, fields: Fields) -> tuple[str, int]:
    """The method, and the credit that is asked for, when that much can be bought by it."""
    method = fields.text("method", max_length=_ID_MAX)
    if method not in METHODS:
        names = ", ".join(f"`{name}`" for name in METHODS)
        raise InvalidRequest("unsupported_method", f"`method` must be one of: {names}.", param="method")
    decimals = _USDC_DECIMALS if method == USDC else _STRIPE_DECIMALS
    amount_nano = fields.amount_nano("amount", max_decimals=decimals)
    limits = context.settings.billing
    if not limits.min_top_up_nano <= amount_nano <= limits.max_top_up_nano:
        least, most = format_usd(limits.min_top_up_nano), format_usd(limits.max_top_up_nano)
        raise InvalidRequest("amount_out_of_range", f"`amount` must be from {least} to {most} USD.", param="amount")
    return method, amount_nano


async def _status(context: ServiceContext, account_id: str) -> Answer:
    await context.live.flush()
    status = await context.store.read(
        billing.billing_status, account_id, context.catalog().plans, context.clock.now_us()
    )
    return success(
        {
            "subscriptions": [checkout.subscription_json(view) for view in status.subscriptions],
            "creditBalance": format_usd(status.credit_nano),
        }
    )


async def _credits(context: ServiceContext, account_id: str) -> Answer:
    await context.live.flush()
    view = await context.store.read(billing.credits_view, account_id)
    held_nano = context.live.held_nano(account_id)
    return success(
        {
            "balance": format_usd(view.balance_nano),
            "held": format_usd(held_nano),
            # A hold that was settled between the two reads is in neither or in both figures.
            "available": format_usd(max(view.balance_nano - held_nano, 0)),
            "totalTopUp": format_usd(view.total_topup_nano),
            "totalSpent": format_usd(view.total_spent_nano),
        }
    )
