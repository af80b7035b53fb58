"""The routes of automatic top-ups: an account's rule, and why it was switched off.

The charges are made by a job. `management.app` includes it.
"""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tokenbooth.api import checkout, saved_cards
from tokenbooth.api.auth import authenticate
from tokenbooth.api.billing.routes import of_stripe, posted
from tokenbooth.api.billing.schemas import AutoTopUpPayload, AutoTopUpRule
from tokenbooth.api.openapi import CREDENTIAL, json_body, object_answer
from tokenbooth.api.parsing import Fields
from tokenbooth.api.responses import Json, respond, success
from tokenbooth.domain.keys import Scope
from tokenbooth.domain.money import NANO_PER_CENT, format_usd
from tokenbooth.kit.clock import iso_ms
from tokenbooth.kit.errors import InvalidRequest
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.accounts.audit_log import Actor
from tokenbooth.store.payments import auto_topups
from tokenbooth.store.payments.auto_topups import Rule, RuleView


def router(context: ServiceContext) -> APIRouter:
    """The routes, for an application that answers `TokenboothError`."""
    routes = APIRouter(prefix="/api/billing", tags=["billing"], dependencies=[CREDENTIAL])

    @routes.get("/auto-topup", responses=object_answer(AutoTopUpPayload))
    async def auto_top_up(request: Request) -> Response:
        """The rule of automatic top-ups."""
        caller = await authenticate(context, request, Scope.BILLING_READ)
        found = await context.store.read(auto_topups.view, caller.account_id, now_us=context.clock.now_us())
        return respond(success(_rule_json(found)))

    @routes.put(
        "/auto-topup",
        responses=of_stripe(AutoTopUpPayload, 402),
        openapi_extra={"requestBody": json_body(AutoTopUpRule)["requestBody"]},
    )
    async def set_auto_top_up(request: Request) -> Response:
        """Set the rule: below `threshold` the saved card is charged `amount`, up to `monthlyLimit` a month."""
        caller, _, fields = await posted(context, request, "enabled", "threshold", "amount", "monthlyLimit")
        changed = await set_rule(context, caller.account_id, fields, actor=caller.actor)
        return respond(success(_rule_json(changed)))

    return routes


async def set_rule(context: ServiceContext, account_id: str, fields: Fields, *, actor: Actor) -> RuleView:
    """Set an account's rule to `enabled`, `threshold`, `amount` and `monthlyLimit`; what is not named stays.

    Raises:
        InvalidRequest: a value is missing or out of its range.
        PaymentRequired: no card is saved.
        ProviderFailed, ProviderTimeout: Stripe did not say whether one is.
        Unavailable: Stripe is not configured.
    """
    present = await context.store.read(auto_topups.view, account_id, now_us=context.clock.now_us())
    rule = _rule(context, fields, present.rule)
    if rule.enabled:
        stripe = checkout.configured_stripe(context)
        customer_id = await checkout.customer(context, stripe, account_id)
        await saved_cards.saved_card(
            context, stripe, customer_id, instead='POST /api/billing/topup with method "stripe"'
        )
    return await context.store.write(auto_topups.put, account_id, rule, actor=actor, now_us=context.clock.now_us())


def _rule(context: ServiceContext, fields: Fields, present: Rule) -> Rule:
    """The rule that is asked for; what is not named stays."""
    enabled = fields.optional_flag("enabled")
    if enabled is None:
        raise InvalidRequest("missing_parameter", "`enabled` is missing.", param="enabled")

    def amount_nano(name: str, former_nano: int) -> int:
        if fields.values.get(name) is None and (former_nano or not enabled):
            return former_nano
        return fields.amount_nano(name, max_decimals=2)

    rule = Rule(
        enabled=enabled,
        threshold_nano=amount_nano("threshold", present.threshold_nano),
        amount_nano=amount_nano("amount", present.amount_nano),
        monthly_limit_nano=amount_nano("monthlyLimit", present.monthly_limit_nano),
    )
    if not enabled:
        return rule
    limits = context.settings.billing
    if not limits.min_top_up_usd <= rule.amount_nano <= limits.max_top_up_usd or rule.amount_nano % NANO_PER_CENT:
        least, most = format_usd(limits.min_top_up_usd), format_usd(limits.max_top_up_usd)
        raise InvalidRequest("amount_out_of_range", f"`amount` must be from {least} to {most} USD.", param="amount")
    if rule.monthly_limit_nano < rule.amount_nano:
        raise InvalidRequest("invalid_value", "`monthlyLimit` must be at least `amount`.", param="monthlyLimit")
    return rule


def _rule_json(found: RuleView) -> dict[str, Json]:
    return {
        "enabled": found.rule.enabled,
        "threshold": format_usd(found.rule.threshold_nano),
        "amount": format_usd(found.rule.amount_nano),
        "monthlyLimit": format_usd(found.rule.monthly_limit_nano),
        "chargedThisMonth": format_usd(found.charged_this_month_nano),
        "failure": found.failure,
        "failedAt": None if found.failed_at_us is None else iso_ms(found.failed_at_us),
    }
