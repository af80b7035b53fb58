"""More ways to credit: automatic top-ups."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.api.billing.auto_topup import set_rule
from tokenbooth.api.parsing import Fields
from tokenbooth.dashboard.filters import price
from tokenbooth.dashboard.views import Form, Visitor, Web, labelled, see_other
from tokenbooth.kit.errors import TokenboothError
from tokenbooth.store.payments import auto_topups

_LABELS: Final = {"threshold": "Below", "amount": "Amount", "monthlyLimit": "At most in a month"}
_NO_CARD: Final = "No card is saved yet. Top up by card once; that saves it."


class CreditPages:
    """The pages of this module."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._management = web.context.management

    def routes(self) -> list[Route]:
        """Where they are."""
        seen, posted = self._web.for_visitors, self._web.posted
        return [
            Route("/dashboard/billing/auto-top-up", seen(self.rule), methods=["GET"]),
            Route("/dashboard/billing/auto-top-up", posted(self.set_rule), methods=["POST"]),
        ]

    async def rule(self, request: Request, visitor: Visitor) -> Response:
        management = self._management
        found = await management.store.read(auto_topups.view, visitor.account_id, now_us=management.clock.now_us())
        rule = found.rule
        return self._web.page(
            request,
            "auto_top_up.html",
            visitor,
            problem=None,
            failure="The last charge was refused, so this was switched off." if found.failure else None,
            enabled=rule.enabled,
            threshold=_typed(rule.threshold_nano),
            amount=_typed(rule.amount_nano),
            monthly_limit=_typed(rule.monthly_limit_nano),
        )

    async def set_rule(self, request: Request, visitor: Visitor, form: Form) -> Response:
        enabled = form.text("enabled") == "on"
        given = form.fields("threshold", "amount", "monthlyLimit")
        try:
            fields = Fields({**given.values, "enabled": enabled})
            await set_rule(self._management, visitor.account_id, fields, actor=visitor.actor)
        except TokenboothError as error:
            said = _NO_CARD if error.code == "no_payment_method" else labelled(error.message, _LABELS)
            return self._web.page(
                request,
                "auto_top_up.html",
                visitor,
                status=error.status,
                problem=said,
                failure=None,
                enabled=enabled,
                threshold=form.text("threshold"),
                amount=form.text("amount"),
                monthly_limit=form.text("monthlyLimit"),
            )
        return see_other("/dashboard/billing?done=auto")


def _typed(amount_nano: int) -> str:
    """An amount as it stands in a field; nothing for none."""
    return price(amount_nano)[1:].replace(",", "") if amount_nano else ""
