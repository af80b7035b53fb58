"""Prepaid credit and the rule of automatic top-ups, as use cases."""

import pytest
from sqlalchemy import Connection

from tests.support.management import management_plane
from tests.support.store import Customer, new_customer
from tokenbooth.config.payments import BillingSettings
from tokenbooth.config.settings import ManagementSettings
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.kit.errors import InvalidRequest, RateLimited, Unavailable
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.topups import RuleChange, check_amount, find_auto_top_up, set_auto_top_up
from tokenbooth.store.accounts.audit_log import Actor
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import auto_topups
from tokenbooth.store.payments.auto_topups import Rule

USD = NANO_PER_USD
ACTOR = Actor("mk_1", "203.0.113.7")


@pytest.mark.parametrize(
    ("amount_nano", "is_sold"), [(10 * USD - 1, False), (10 * USD, True), (10**4 * USD, True), (10**4 * USD + 1, False)]
)
def test_a_top_up_is_within_the_bounds(amount_nano: int, is_sold: bool) -> None:
    """Both bounds included; the refusal names them."""
    limits = BillingSettings()
    if is_sold:
        check_amount(limits, amount_nano)
        return
    with pytest.raises(InvalidRequest, match=r"from 10\.00 to 10000\.00 USD") as refused:
        check_amount(limits, amount_nano)
    assert (refused.value.code, refused.value.param) == ("amount_out_of_range", "amount")


async def test_a_rule_that_is_off_keeps_its_amounts(context: ServiceContext, customer: Customer) -> None:
    """It may have any, needs no card, and what is not named stays."""
    first = RuleChange(False, threshold_nano=5 * USD, amount_nano=1 * USD)
    await set_auto_top_up(context, customer.account_id, first, actor=ACTOR)
    second = RuleChange(False, monthly_limit_nano=50 * USD)
    changed = await set_auto_top_up(context, customer.account_id, second, actor=ACTOR)
    rule = changed.rule
    assert (rule.enabled, rule.threshold_nano, rule.amount_nano, rule.monthly_limit_nano) == (
        False,
        5 * USD,
        1 * USD,
        50 * USD,
    )
    assert await find_auto_top_up(context, customer.account_id) == changed


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        (RuleChange(True), "missing_parameter", "threshold"),
        (RuleChange(True, threshold_nano=USD), "missing_parameter", "amount"),
        (RuleChange(True, threshold_nano=USD, amount_nano=20 * USD), "missing_parameter", "monthlyLimit"),
        (RuleChange(True, USD, USD, 50 * USD), "amount_out_of_range", "amount"),
        (RuleChange(True, USD, 20 * USD, 20 * USD - 1), "invalid_value", "monthlyLimit"),
    ],
)
async def test_a_rule_that_is_on_is_whole(
    context: ServiceContext, customer: Customer, change: RuleChange, code: str, param: str
) -> None:
    """Each amount is there and makes sense; nothing is stored otherwise."""
    before = await find_auto_top_up(context, customer.account_id)
    with pytest.raises(InvalidRequest) as refused:
        await set_auto_top_up(context, customer.account_id, change, actor=ACTOR)
    assert (refused.value.code, refused.value.param) == (code, param)
    assert await find_auto_top_up(context, customer.account_id) == before


async def test_a_rule_needs_a_way_to_charge(context: ServiceContext, customer: Customer) -> None:
    """Without Stripe it cannot be switched on."""
    with pytest.raises(Unavailable):
        await set_auto_top_up(context, customer.account_id, RuleChange(True, USD, 20 * USD, 20 * USD), actor=ACTOR)


async def test_a_rule_is_changed_so_often_in_a_day_and_switched_off_whenever(store: Store) -> None:
    """Each change is noted, and so their number is bounded; a flood of them keeps nobody from ending the charges."""
    async with management_plane(store, ManagementSettings(max_unfunded_actions_per_day=2)) as plane:
        now_us = plane.clock.now_us()
        account_id = new_customer(store, now_us=now_us).account_id

        def switch_on(conn: Connection) -> None:
            auto_topups.put(conn, account_id, Rule(True, USD, 20 * USD, 50 * USD), actor=ACTOR, now_us=now_us)

        store.write_now(switch_on)
        off = await set_auto_top_up(plane.context, account_id, RuleChange(False), actor=ACTOR)
        with pytest.raises(RateLimited) as refused:
            await set_auto_top_up(plane.context, account_id, RuleChange(False, threshold_nano=2 * USD), actor=ACTOR)
        assert (refused.value.code, off.rule.enabled) == ("too_many_actions", False)
        assert await find_auto_top_up(plane.context, account_id) == off
