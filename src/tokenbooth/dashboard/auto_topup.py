"""Automatic top-ups: the rule of an account."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.dashboard.filters import plain_amount
from tokenbooth.dashboard.views import Form, Pages, Visitor, labelled, see_other
from tokenbooth.kit.errors import TokenboothError
from tokenbooth.kit.request_models import CardUsdNano, RequestModel
from tokenbooth.services.topups import RuleChange, find_auto_top_up, set_auto_top_up

_PATH: Final = "/dashboard/billing/auto-top-up"
_LABELS: Final = {"threshold": "Below", "amount": "Amount", "monthlyLimit": "At most in a month"}
_NO_CARD: Final = "No card is saved yet. Top up by card once; that saves it."


class _Amounts(RequestModel):
    threshold: CardUsdNano | None = None
    amount: CardUsdNano | None = None
    monthly_limit: CardUsdNano | None = None


class AutoTopUpPages(Pages):
    """The rule of automatic top-ups."""

    def routes(self) -> list[Route]:
        return [
            Route(_PATH, self._web.for_visitors(self.show), methods=["GET"]),
            Route(_PATH, self._web.posted(self.set_rule), methods=["POST"]),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        found = await find_auto_top_up(self._services, visitor.account_id)
        rule = found.rule
        return self._web.page(
            request,
            "auto_top_up.html",
            visitor,
            problem=None,
            failure="The last charge was refused, so this was switched off." if found.failure else None,
            enabled=rule.enabled,
            threshold=plain_amount(rule.threshold_nano),
            amount=plain_amount(rule.amount_nano),
            monthly_limit=plain_amount(rule.monthly_limit_nano),
        )

    async def set_rule(self, request: Request, visitor: Visitor, form: Form) -> Response:
        enabled = form.text("enabled") == "on"
        try:
            given = form.read(_Amounts)
            change = RuleChange(enabled, given.threshold, given.amount, given.monthly_limit)
            await set_auto_top_up(self._services, visitor.account_id, change, actor=visitor.actor)
        except TokenboothError as error:
            return self._web.page(
                request,
                "auto_top_up.html",
                visitor,
                status=error.status,
                problem=_NO_CARD if error.code == "no_payment_method" else labelled(error.message, _LABELS),
                failure=None,
                enabled=enabled,
                threshold=form.text("threshold"),
                amount=form.text("amount"),
                monthly_limit=form.text("monthlyLimit"),
            )
        return see_other("/dashboard/billing?done=auto")
