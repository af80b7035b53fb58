"""Billing: subscribe, change, cancel, resume, top up, the portal; what is active and what is left."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.api import checkout, plan_changes, saved_cards
from tokenbooth.api.idempotency import guarded
from tokenbooth.api.responses import success
from tokenbooth.dashboard.amounts import CARD_DECIMALS, top_up_amount_nano
from tokenbooth.dashboard.filters import iso_day, price
from tokenbooth.dashboard.views import Form, Visitor, Web, labelled, payload_of, see_other
from tokenbooth.domain.money import format_usd
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.kit.errors import NotFound, ProviderFailed, TokenboothError
from tokenbooth.store.accounts import accounts
from tokenbooth.store.accounts.audit_log import Entry
from tokenbooth.store.accounts.idempotency import Answer, Attempt
from tokenbooth.store.payments import auto_topups, billing
from tokenbooth.store.payments.billing import BillingStatus, SubscriptionView

_LABELS: Final = {"amount": "Amount", "planSlug": "Plan", "subscriptionId": "Subscription"}
_ID_MAX: Final = 100
_ONE: Final = "/dashboard/billing/subscriptions/{subscription_id}"
# The API tells these for programs: which call to make next. A person looks for a button.
_SAID: Final = {
    "authentication_required": "The card's bank wants to ask you first. Pay on the payment page instead.",
    "card_declined": "The saved card was declined. Save another one under “Cards and invoices at Stripe”.",
    "no_payment_method": "No card is saved yet. Pay by card once; that saves it.",
    "too_many_plan_changes": "The plan was changed often enough for today. Try again tomorrow.",
    "subscription_canceling": "The subscription is set to end. Resume it first.",
}


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
            Route("/dashboard/billing/portal", posted(self.portal), methods=["POST"]),
            Route(f"{_ONE}/cancel", seen(self.ask), methods=["GET"]),
            Route(f"{_ONE}/cancel", posted(self.cancel), methods=["POST"]),
            Route(f"{_ONE}/resume", posted(self.resume), methods=["POST"]),
            Route(f"{_ONE}/change", seen(self.choose), methods=["GET"]),
            Route(f"{_ONE}/change", posted(self.change), methods=["POST"]),
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

            entry = self._web.entry(visitor, "checkout.opened", plan.slug)
            answer = await guarded(self._management, form.claim(request, visitor.account_id), work, entry=entry)
            return self._to_payment(
                request, visitor, answer, f"{plan.name}, ${price(plan.price_nano)[1:]} a {plan.interval}"
            )
        except TokenboothError as error:
            return await self._page(request, visitor, error=error)

    async def top_up(self, request: Request, visitor: Visitor, form: Form) -> Response:
        try:
            amount_nano = top_up_amount_nano(self._management, form, max_decimals=CARD_DECIMALS)
            checkout.configured_stripe(self._management)

            async def work(attempt: Attempt) -> Answer:
                return checkout.checkout_answer(
                    await checkout.sell_credit(self._management, visitor.account_id, amount_nano, attempt)
                )

            entry = self._web.entry(visitor, "checkout.opened", f"{format_usd(amount_nano)} USD of credit")
            answer = await guarded(self._management, form.claim(request, visitor.account_id), work, entry=entry)
            return self._to_payment(request, visitor, answer, f"{price(amount_nano)} of credit")
        except TokenboothError as error:
            return await self._page(request, visitor, error=error, given=form)

    async def ask(self, request: Request, visitor: Visitor) -> Response:
        return self._web.page(request, "cancel.html", visitor, subscription=await self._own(request, visitor))

    async def cancel(self, request: Request, visitor: Visitor, form: Form) -> Response:
        subscription_id = str(request.path_params["subscription_id"])

        async def work(attempt: Attempt) -> Answer:
            view = await checkout.cancel(self._management, visitor.account_id, subscription_id, attempt)
            return success(checkout.subscription_json(view))

        entry = self._web.entry(visitor, "subscription.canceled", subscription_id)
        return await self._carry_out(request, visitor, form, work, entry, done="canceled")

    async def resume(self, request: Request, visitor: Visitor, form: Form) -> Response:
        subscription_id = str(request.path_params["subscription_id"])
        await self._management.live.flush()

        async def work(attempt: Attempt) -> Answer:
            return await saved_cards.resume(self._management, visitor.account_id, subscription_id, attempt)

        entry = self._web.entry(visitor, "subscription.resumed", subscription_id)
        return await self._carry_out(request, visitor, form, work, entry, done="resumed")

    async def choose(self, request: Request, visitor: Visitor) -> Response:
        """The plans that a subscription can move to: those with its interval and window."""
        view = await self._own(request, visitor)
        plans = self._management.catalog().plans
        present = plans.get(view.plan_slug)
        others = [
            plan
            for plan in plans.values()
            if plan.slug != view.plan_slug
            and (view.pending is None or plan.slug != view.pending.plan.slug)
            and (present is None or (plan.interval, plan.window_us) == (present.interval, present.window_us))
        ]
        return self._web.page(request, "change.html", visitor, subscription=view, present=present, plans=others)

    async def change(self, request: Request, visitor: Visitor, form: Form) -> Response:
        subscription_id = str(request.path_params["subscription_id"])
        slug = form.text("planSlug")[:_ID_MAX]
        await self._management.live.flush()

        async def work(attempt: Attempt) -> Answer:
            plan = checkout.known_plan(self._management, slug)
            return await plan_changes.change_plan(self._management, visitor.account_id, subscription_id, plan, attempt)

        entry = self._web.entry(visitor, "subscription.plan_changed", f"{subscription_id}: {slug}")
        return await self._carry_out(request, visitor, form, work, entry, done="changed")

    async def portal(self, request: Request, visitor: Visitor, form: Form) -> Response:
        async def work(attempt: Attempt) -> Answer:
            return await saved_cards.portal(self._management, visitor.account_id, attempt)

        try:
            entry = self._web.entry(visitor, "portal.opened", "cards and invoices at Stripe")
            answer = await guarded(self._management, form.claim(request, visitor.account_id), work, entry=entry)
            return self._to_payment(request, visitor, answer, "Your cards and invoices", name="url")
        except TokenboothError as error:
            return await self._page(request, visitor, error=error)

    async def _carry_out(
        self,
        request: Request,
        visitor: Visitor,
        form: Form,
        work: Callable[[Attempt], Awaitable[Answer]],
        entry: Entry,
        *,
        done: str,
    ) -> Response:
        """Do something with one subscription, then show them all; somebody else's is 404."""
        try:
            claim = form.claim(request, visitor.account_id)
            payload_of(await guarded(self._management, claim, work, entry=entry))
        except NotFound:
            raise
        except TokenboothError as error:
            return await self._page(request, visitor, error=error)
        await self._management.live.refresh()
        return see_other(f"/dashboard/billing?done={done}")

    async def _own(self, request: Request, visitor: Visitor) -> SubscriptionView:
        view = await self._management.store.read(
            billing.subscription_view,
            visitor.account_id,
            str(request.path_params["subscription_id"]),
            self._management.catalog().plans,
            self._management.clock.now_us(),
        )
        if view is None:
            raise NotFound("subscription_not_found", "There is no such subscription.")
        return view

    def _to_payment(
        self, request: Request, visitor: Visitor, answer: Answer, what: str, *, name: str = "sessionUrl"
    ) -> Response:
        """A page that goes on to the payment page by itself. A redirect would not do: the policy that keeps forms on
        this site holds for redirects, too, and where Stripe's page is, is Stripe's to say."""
        url = payload_of(answer).get(name)
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise ProviderFailed("stripe_error", "The payment page could not be made. Please try again.")
        response = self._web.page(request, "to_payment.html", visitor, url=url, what=what)
        response.headers["refresh"] = f"0; url={url}"
        return response

    async def _look(self, visitor: Visitor) -> tuple[BillingStatus, int]:
        management = self._management
        await management.live.flush()
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
        now_us = management.clock.now_us()
        rule = await management.store.read(auto_topups.view, visitor.account_id, now_us=now_us)
        disputed = await management.store.read(accounts.is_disputed, visitor.account_id)
        return self._web.page(
            request,
            "billing.html",
            visitor,
            status=200 if error is None else error.status,
            problem=None if error is None else labelled(_SAID.get(error.code, error.message), _LABELS),
            status_view=status,
            held_nano=held_nano,
            plans=list(management.catalog().plans.values()),
            ended=SubscriptionStatus.CANCELED,
            takes_cards=management.stripe is not None,
            takes_usdc=management.usdc is not None,
            month=iso_day(now_us)[:7],
            auto=rule,
            disputed=disputed,
            min_top_up_nano=limits.min_top_up_nano,
            max_top_up_nano=limits.max_top_up_nano,
            amount=(given or Form({})).text("amount"),
            checkout=request.query_params.get("checkout"),
            waits=request.query_params.get("checkout") == "success",
            done=request.query_params.get("done"),
        )
