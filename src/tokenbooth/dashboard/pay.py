"""Billing: subscribe, cancel, top up; what is active and what is left. Only `dashboard.app` imports this."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.dashboard.show import price
from tokenbooth.dashboard.web import Form, Visitor, Web, labelled, payload_of, see_other
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.errors import InvalidRequest, NotFound, ProviderFailed, TokenboothError
from tokenbooth.management import checkout
from tokenbooth.management.envelope import success
from tokenbooth.management.idempotency import guarded
from tokenbooth.store import billing
from tokenbooth.store.billing import BillingStatus
from tokenbooth.store.idempotency import Answer, Attempt

_STRIPE_DECIMALS: Final = 2
_LABELS: Final = {"amount": "Amount", "planSlug": "Plan", "subscriptionId": "Subscription"}
_ID_MAX: Final = 100


class BillingPages:
    """The pages of this module."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._management = web.context.management

    def routes(self) -> list[Route]:
        """Where they are."""
        seen, posted = self._web.for_visitors, self._web.posted
        return [
            Route("/dashboard/billing", seen(self.show), methods=["GET"]),
            Route("/dashboard/billing/live", seen(self.live), methods=["GET"]),
            Route("/dashboard/billing/subscribe", posted(self.subscribe), methods=["POST"]),
            Route("/dashboard/billing/top-up", posted(self.top_up), methods=["POST"]),
            Route("/dashboard/billing/subscriptions/{subscription_id}/cancel", seen(self.ask), methods=["GET"]),
            Route("/dashboard/billing/subscriptions/{subscription_id}/cancel", posted(self.cancel), methods=["POST"]),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        return await self._page(request, visitor)

    async def live(self, request: Request, visitor: Visitor) -> Response:
        """The subscriptions and the credit, for a page that waits for a payment."""
        status, held_nano = await self._look(visitor)
        return self._web.page(
            request, "billing_live.html", visitor, status_view=status, held_nano=held_nano, waits=True
        )

    async def subscribe(self, request: Request, visitor: Visitor, form: Form) -> Response:
        try:
            slug = form.fields("planSlug").text("planSlug", max_length=_ID_MAX)
            plan = checkout.known_plan(self._management, slug)
            checkout.configured_stripe(self._management)

            async def work(attempt: Attempt) -> Answer:
                return checkout.checkout_answer(
                    await checkout.sell_plan(self._management, visitor.account_id, plan, attempt)
                )

            answer = await guarded(self._management, form.claim(request, visitor.account_id), work)
            return self._to_payment(
                request, visitor, answer, f"{plan.name}, ${price(plan.price_nano)[1:]} a {plan.interval}"
            )
        except TokenboothError as error:
            return await self._page(request, visitor, error=error)

    async def top_up(self, request: Request, visitor: Visitor, form: Form) -> Response:
        try:
            amount_nano = self._amount_nano(form)
            checkout.configured_stripe(self._management)

            async def work(attempt: Attempt) -> Answer:
                return checkout.checkout_answer(
                    await checkout.sell_credit(self._management, visitor.account_id, amount_nano, attempt)
                )

            answer = await guarded(self._management, form.claim(request, visitor.account_id), work)
            return self._to_payment(request, visitor, answer, f"{price(amount_nano)} of credit")
        except TokenboothError as error:
            return await self._page(request, visitor, error=error, given=form)

    async def ask(self, request: Request, visitor: Visitor) -> Response:
        view = await self._management.store.read(
            billing.subscription_view,
            visitor.account_id,
            str(request.path_params["subscription_id"]),
            self._management.catalog().plans,
            self._management.clock.now_us(),
        )
        if view is None:
            raise NotFound("subscription_not_found", "There is no such subscription.")
        return self._web.page(request, "cancel.html", visitor, subscription=view)

    async def cancel(self, request: Request, visitor: Visitor, form: Form) -> Response:
        subscription_id = str(request.path_params["subscription_id"])

        async def work(attempt: Attempt) -> Answer:
            view = await checkout.cancel(self._management, visitor.account_id, subscription_id, attempt)
            return success(checkout.subscription_json(view))

        try:
            payload_of(await guarded(self._management, form.claim(request, visitor.account_id), work))
        except NotFound:
            raise
        except TokenboothError as error:
            return await self._page(request, visitor, error=error)
        return see_other("/dashboard/billing?done=canceled")

    def _amount_nano(self, form: Form) -> int:
        amount_nano = form.fields("amount").amount_nano("amount", max_decimals=_STRIPE_DECIMALS)
        limits = self._management.settings.billing
        if not limits.min_top_up_usd <= amount_nano <= limits.max_top_up_usd:
            least, most = price(limits.min_top_up_usd), price(limits.max_top_up_usd)
            raise InvalidRequest("amount_out_of_range", f"A top-up is from {least} to {most}.", param="amount")
        return amount_nano

    def _to_payment(self, request: Request, visitor: Visitor, answer: Answer, what: str) -> Response:
        """A page that goes on to the payment page by itself. A redirect would not do: the policy that keeps forms on
        this site holds for redirects, too, and where Stripe's page is, is Stripe's to say."""
        url = payload_of(answer).get("sessionUrl")
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise ProviderFailed("stripe_error", "The payment page could not be made. Please try again.")
        response = self._web.page(request, "to_payment.html", visitor, url=url, what=what)
        response.headers["refresh"] = f"0; url={url}"
        return response

    async def _look(self, visitor: Visitor) -> tuple[BillingStatus, int]:
        management = self._management
        await management.live.settled()
        status = await management.store.read(
            billing.billing_status, visitor.account_id, management.catalog().plans, management.clock.now_us()
        )
        return status, management.live.held_nano(visitor.account_id)

    async def _page(
        self,
        request: Request,
        visitor: Visitor,
        *,
        error: TokenboothError | None = None,
        given: Form | None = None,
    ) -> Response:
        management = self._management
        status, held_nano = await self._look(visitor)
        limits = management.settings.billing
        return self._web.page(
            request,
            "billing.html",
            visitor,
            status=200 if error is None else error.status,
            problem=None if error is None else labelled(error.message, _LABELS),
            status_view=status,
            held_nano=held_nano,
            plans=list(management.catalog().plans.values()),
            ended=SubscriptionStatus.CANCELED,
            takes_cards=management.stripe is not None,
            min_top_up_nano=limits.min_top_up_usd,
            max_top_up_nano=limits.max_top_up_usd,
            amount=(given or Form({})).text("amount"),
            checkout=request.query_params.get("checkout"),
            waits=request.query_params.get("checkout") == "success",
            done=request.query_params.get("done"),
        )
