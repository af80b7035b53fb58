"""Handlers for test clocks: times of their own for some customers, as Stripe's test mode has them.

Stripe advances a clock in the background; here all that falls due has happened when the call answers.
"""

from dataclasses import replace

from tokenbooth_sandbox.stripe.billing import subscriptions
from tokenbooth_sandbox.stripe.billing.passing_time import catch_up
from tokenbooth_sandbox.stripe.billing.records import Subscription
from tokenbooth_sandbox.stripe.calls import Answer, Call
from tokenbooth_sandbox.stripe.checkout import expire
from tokenbooth_sandbox.stripe.http import StripeFailure
from tokenbooth_sandbox.stripe.records import Customer, Price, Session, TestClock
from tokenbooth_sandbox.stripe.world import World

_TWO_YEARS_S = 2 * 366 * 86_400
_DAYS_AT_MOST = {"day": 1, "week": 7, "month": 31, "year": 366}


def create_test_clock(call: Call) -> Answer:
    frozen_time = call.params.opt_int("frozen_time")
    if frozen_time is None:
        message = "Missing required param: frozen_time."
        raise StripeFailure(message, code="parameter_missing", param="frozen_time")
    world = call.world
    name = call.params.opt_text("name")
    clock = world.state.put(TestClock(world.new_id("clock_"), world.real_now(), name, frozen_time))
    world.emit("test_helpers.test_clock.created", clock)
    return world.render(clock)


def advance_test_clock(call: Call) -> Answer:
    world, clock = call.world, _clock(call)
    target = call.params.opt_int("frozen_time") or 0
    if target <= clock.frozen_time:
        raise StripeFailure("frozen_time must be after the clock's present frozen time.", param="frozen_time")
    if target - clock.frozen_time > _furthest_s(world, clock):
        message = "A clock advances by two intervals of its shortest subscription at most, or by two years."
        raise StripeFailure(message, param="frozen_time")
    moved = world.state.put(replace(clock, frozen_time=target))
    world.emit("test_helpers.test_clock.advancing", moved)
    catch_up(world)
    world.emit("test_helpers.test_clock.ready", moved)
    return world.render(moved)


def delete_test_clock(call: Call) -> Answer:
    world, clock = call.world, _clock(call)
    for customer in _customers(world, clock):
        with world.standing_with(customer.id):
            _delete_customer(world, customer)
    world.emit("test_helpers.test_clock.deleted", clock)
    world.state.drop(clock)
    return {"id": clock.id, "object": "test_helpers.test_clock", "deleted": True}


def _clock(call: Call) -> TestClock:
    return call.world.state.get(TestClock, call.ids["id"], what="test_clock")


def _customers(world: World, clock: TestClock) -> list[Customer]:
    return [customer for customer in world.state.newest(Customer) if customer.test_clock == clock.id]


def _subscriptions(world: World, owners: list[Customer]) -> list[Subscription]:
    ids = {owner.id for owner in owners}
    everything = world.state.newest(Subscription)
    return [entry for entry in everything if entry.customer in ids and entry.ended_at is None]


def _furthest_s(world: World, clock: TestClock) -> int:
    intervals_s = []
    for subscription in _subscriptions(world, _customers(world, clock)):
        price = world.state.get(Price, subscription.price)
        intervals_s.append(_DAYS_AT_MOST[price.interval or "month"] * 86_400 * price.interval_count)
    return 2 * min(intervals_s) if intervals_s else _TWO_YEARS_S


def _delete_customer(world: World, customer: Customer) -> None:
    for subscription in _subscriptions(world, [customer]):
        subscriptions.end(world, subscription)
    for session in world.state.newest(Session):
        if session.customer == customer.id and session.status == "open":
            expire(world, session)
    world.emit("customer.deleted", customer)
    world.state.put(replace(customer, deleted=True, test_clock=None))
