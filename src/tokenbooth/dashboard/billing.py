"""Billing: subscribe, change, cancel, resume, top up, the portal; what is active and what is left."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.config.payments import BillingSettings
from tokenbooth.dashboard.filters import iso_day, price
from tokenbooth.dashboard.views import Form, Pages, Visitor, labelled, see_other
from tokenbooth.domain.money import format_usd
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.kit.errors import InvalidRequest, NotFound, ProviderFailed, TokenboothError
from tokenbooth.kit.request_models import CardUsdNano, Id, RequestModel
from tokenbooth.payments.stripe.client import CheckoutCreated
from tokenbooth.services import plan_changes, subscriptions, topups
from tokenbooth.services.checkouts import known_plan
from tokenbooth.services.idempotency import IdempotentAttempt, Outcome, raise_if_refused, replayed, run_idempotent
from tokenbooth.services.subscriptions import billing_status, find_subscription
from tokenbooth.services.topups import check_amount
from tokenbooth.store.accounts import accounts
from tokenbooth.store.accounts.audit_log import Entry
from tokenbooth.store.accounts.idempotency import Answer
from tokenbooth.store.payments.billing import SubscriptionView

T = TypeVar("T")

_LABELS: Final = {"amount": "Amount", "planSlug": "Plan", "subscriptionId": "Subscription"}
_ID_MAX: Final = 100
_SUBSCRIPTION: Final = "/dashboard/billing/subscriptions/{subscription_id}"
_DONE: Final = replayed(Answer(200, ""))
# The API tells these for programs: which call to make next. A person looks for a button.
DASHBOARD_MESSAGES: Final = {
    "authentication_required": "The card's bank wants to ask you first. Pay on the payment page instead.",
    "card_declined": "The saved card was declined. Save another one under “Cards and invoices at Stripe”.",
    "no_payment_method": "No card is saved yet. Pay by card once; that saves it.",
    "too_many_plan_changes": "The plan was changed often enough for today. Try again tomorrow.",
    "subscription_canceling": "The subscription is set to end. Resume it first.",
}


class _Plan(RequestModel):
    plan_slug: Id


class _Amount(RequestModel):
    amount: CardUsdNano


class BillingPages(Pages):
    """Subscriptions and credit."""

    def routes(self) -> list[Route]:
        page, posted = self._web.for_visitors, self._web.posted
        return [
            Route("/dashboard/billing", page(self.show), methods=["GET"]),
            Route("/dashboard/billing/live", page(self.live), methods=["GET"]),
            Route("/dashboard/billing/subscribe", posted(self.subscribe), methods=["POST"]),
            Route("/dashboard/billing/top-up", posted(self.top_up), methods=["POST"]),
            Route("/dashboard/billing/portal", posted(self.portal), methods=["POST"]),
            Route(f"{_SUBSCRIPTION}/cancel", page(self.ask), methods=["GET"]),
            Route(f"{_SUBSCRIPTION}/cancel", posted(self.cancel), methods=["POST"]),
            Route(f"{_SUBSCRIPTION}/resume", posted(self.resume), methods=["POST"]),
            Route(f"{_SUBSCRIPTION}/change", page(self.choose), methods=["GET"]),
            Route(f"{_SUBSCRIPTION}/change", posted(self.change), methods=["POST"]),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        return await self._page(request, visitor)

    async def live(self, request: Request, visitor: Visitor) -> Response:
        """The subscriptions and the credit, for a page that waits for a payment."""
        status = await billing_status(self._services, visitor.account_id, with_keys=False)
        held_nano = self._services.live.held_nano(visitor.account_id)
        return self._web.page(
            request, "billing_live.html", visitor, status_view=status, held_nano=held_nano, waits=True
        )

    async def subscribe(self, request: Request, visitor: Visitor, form: Form) -> Response:
        try:
            plan = known_plan(self._services, form.read(_Plan).plan_slug)
            work = partial(subscriptions.open_checkout, self._services, visitor.account_id, plan)
            entry = self._web.entry(visitor, "checkout.opened", plan.slug)
            url = await self._run(request, visitor, form, work, _checkout_url, entry)
            return self._to_payment(
                request, visitor, url, f"{plan.name}, ${price(plan.price_nano)[1:]} a {plan.interval}"
            )
        except TokenboothError as error:
            return await self._page(request, visitor, error=error)

    async def top_up(self, request: Request, visitor: Visitor, form: Form) -> Response:
        try:
            amount_nano = checked_amount_nano(self._services.settings.billing, form.read(_Amount).amount)
            work = partial(topups.open_checkout, self._services, visitor.account_id, amount_nano)
            entry = self._web.entry(visitor, "checkout.opened", f"{format_usd(amount_nano)} USD of credit")
            url = await self._run(request, visitor, form, work, _checkout_url, entry)
            return self._to_payment(request, visitor, url, f"{price(amount_nano)} of credit")
        except TokenboothError as error:
            return await self._page(request, visitor, error=error, given=form)

    async def portal(self, request: Request, visitor: Visitor, form: Form) -> Response:
        try:
            work = partial(subscriptions.open_portal, self._services, visitor.account_id)
            entry = self._web.entry(visitor, "portal.opened", "cards and invoices at Stripe")
            url = await self._run(request, visitor, form, work, _url, entry)
            return self._to_payment(request, visitor, url, "Your cards and invoices")
        except TokenboothError as error:
            return await self._page(request, visitor, error=error)

    async def ask(self, request: Request, visitor: Visitor) -> Response:
        return self._web.page(request, "cancel.html", visitor, subscription=await self._own(request, visitor))

    async def cancel(self, request: Request, visitor: Visitor, form: Form) -> Response:
        subscription_id = str(request.path_params["subscription_id"])
        work = partial(subscriptions.cancel, self._services, visitor.account_id, subscription_id)
        entry = self._web.entry(visitor, "subscription.canceled", subscription_id)
        return await self._carry_out(request, visitor, form, work, entry, done="canceled")

    async def resume(self, request: Request, visitor: Visitor, form: Form) -> Response:
        subscription_id = str(request.path_params["subscription_id"])
        work = partial(subscriptions.resume, self._services, visitor.account_id, subscription_id)
        entry = self._web.entry(visitor, "subscription.resumed", subscription_id)
        return await self._carry_out(request, visitor, form, work, entry, done="resumed")

    async def choose(self, request: Request, visitor: Visitor) -> Response:
        """The plans that a subscription can move to: those with its interval and window."""
        view = await self._own(request, visitor)
        plans = self._services.catalog().plans
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
        plan = known_plan(self._services, form.text("planSlug")[:_ID_MAX])
        work = partial(plan_changes.change_plan, self._services, visitor.account_id, subscription_id, plan)
        entry = self._web.entry(visitor, "subscription.plan_changed", f"{subscription_id}: {plan.slug}")
        return await self._carry_out(request, visitor, form, work, entry, done="changed")

    async def _carry_out(
        self,
        request: Request,
        visitor: Visitor,
        form: Form,
        work: Callable[[IdempotentAttempt[SubscriptionView]], Awaitable[SubscriptionView]],
        entry: Entry,
        *,
        done: str,
    ) -> Response:
        """Do something with one subscription, then show them all; somebody else's is 404."""
        try:
            await self._run(request, visitor, form, work, lambda _: _DONE, entry)
        except NotFound:
            raise
        except TokenboothError as error:
            return await self._page(request, visitor, error=error)
        return see_other(f"/dashboard/billing?done={done}")

    async def _run(
        self,
        request: Request,
        visitor: Visitor,
        form: Form,
        work: Callable[[IdempotentAttempt[T]], Awaitable[T]],
        render: Callable[[T], Outcome],
        entry: Entry,
    ) -> str:
        """Carry out what a form asks for, once; the text of its outcome, for a form that is sent again as well."""
        claim = form.claim(request, visitor.account_id)
        answer = await run_idempotent(self._services, claim, work, render, entry=entry)
        raise_if_refused(answer)
        return answer.body

    async def _own(self, request: Request, visitor: Visitor) -> SubscriptionView:
        subscription_id = str(request.path_params["subscription_id"])
        return await find_subscription(self._services, visitor.account_id, subscription_id)

    def _to_payment(self, request: Request, visitor: Visitor, url: str, what: str) -> Response:
        """A page that goes on to the payment page by itself. A redirect would not do: the policy that keeps forms on
        this site holds for redirects, too, and where Stripe's page is, is Stripe's to say."""
        if not url.startswith(("https://", "http://")):
            raise ProviderFailed("stripe_error", "The payment page could not be made. Please try again.")
        response = self._web.page(request, "to_payment.html", visitor, url=url, what=what)
        response.headers["refresh"] = f"0; url={url}"
        return response

    async def _page(
        self,
        request: Request,
        visitor: Visitor,
        *,
        error: TokenboothError | None = None,
        given: Form | None = None,
    ) -> Response:
        services = self._services
        status = await billing_status(services, visitor.account_id, with_keys=False)
        limits = services.settings.billing
        now_us = services.clock.now_us()
        rule = await topups.find_auto_top_up(services, visitor.account_id)
        disputed = await services.store.read(accounts.is_disputed, visitor.account_id)
        return self._web.page(
            request,
            "billing.html",
            visitor,
            status=200 if error is None else error.status,
            problem=None if error is None else labelled(DASHBOARD_MESSAGES.get(error.code, error.message), _LABELS),
            status_view=status,
            held_nano=services.live.held_nano(visitor.account_id),
            plans=list(services.catalog().plans.values()),
            ended=SubscriptionStatus.CANCELED,
            takes_cards=services.stripe is not None,
            takes_usdc=services.usdc is not None,
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


def _checkout_url(created: CheckoutCreated) -> Outcome:
    return _url(created.url)


def _url(url: str) -> Outcome:
    return replayed(Answer(200, url))


def checked_amount_nano(limits: BillingSettings, amount_nano: int) -> int:
    """The amount, when that much can be bought, in nano-USD.

    Raises:
        InvalidRequest: it is too little or too much, in the words of a page.
    """
    try:
        check_amount(limits, amount_nano)
    except InvalidRequest as refused:
        least, most = price(limits.min_top_up_nano), price(limits.max_top_up_nano)
        raise InvalidRequest(refused.code, f"A top-up is from {least} to {most}.", param=refused.param) from None
    return amount_nano
