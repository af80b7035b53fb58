"""Handlers for subscription schedules."""

from tokenbooth_sandbox.stripe.api.catalog import INTERVALS
from tokenbooth_sandbox.stripe.billing import schedules
from tokenbooth_sandbox.stripe.billing.periods import period_start
from tokenbooth_sandbox.stripe.billing.records import SchedulePhase, Subscription, SubscriptionSchedule
from tokenbooth_sandbox.stripe.calls import Answer, Call
from tokenbooth_sandbox.stripe.forms import Params
from tokenbooth_sandbox.stripe.http import StripeFailure
from tokenbooth_sandbox.stripe.records import Price
from tokenbooth_sandbox.stripe.world import World

_PRORATIONS = ("none", "create_prorations", "always_invoice")


def create_schedule(call: Call) -> Answer:
    """Only from a subscription that is there."""
    subscription = call.world.state.get(Subscription, call.params.text("from_subscription"), param="from_subscription")
    return call.world.render(schedules.begin(call.world, subscription))


def retrieve_schedule(call: Call) -> Answer:
    return call.world.render(_schedule(call))


def update_schedule(call: Call) -> Answer:
    """The present phase as it is, and one more from the end of the period on."""
    world, params = call.world, call.params
    schedule = _schedule(call)
    params.opt_choice("end_behavior", ("release",))
    params.opt_choice("proration_behavior", _PRORATIONS)
    wanted = params.children("phases")
    if len(wanted) != 2:
        raise StripeFailure("The sandbox's schedules have two phases.", param="phases")
    subscription = world.state.get(Subscription, schedule.subscription or "", param="id")
    present = _phase(world, wanted[0], subscription)
    if (present.start, present.end) != (subscription.period_start, subscription.period_end):
        raise StripeFailure("The sandbox's first phase is the present period.", param="phases[0]")
    if (present.price, present.quantity) != (subscription.price, subscription.quantity):
        raise StripeFailure("The sandbox's first phase is the subscription as it is.", param="phases[0][items]")
    following = _phase(world, wanted[1], subscription)
    if following.start != present.end:
        message = "The `end_date` of one phase will always equal the `start_date` of the next phase."
        raise StripeFailure(message, param="phases[1][start_date]")
    return world.render(schedules.set_phases(world, schedule, (present, following), params.metadata()))


def release_schedule(call: Call) -> Answer:
    call.params.opt_flag("preserve_cancel_date")
    return call.world.render(schedules.release(call.world, _schedule(call)))


def _schedule(call: Call) -> SubscriptionSchedule:
    return call.world.state.get(SubscriptionSchedule, call.ids["id"], what="subscription_schedule")


def _phase(world: World, params: Params, subscription: Subscription) -> SchedulePhase:
    items = params.children("items")
    if len(items) != 1:
        raise StripeFailure("The sandbox's subscriptions have exactly one item.", param=params.name_of("items"))
    price = world.state.get(Price, items[0].text("price"), param=items[0].name_of("price"))
    if price.interval is None:
        raise StripeFailure("The price specified is of type `one_time`.", param=items[0].name_of("price"))
    start = params.opt_int("start_date")
    if start is None:
        start = subscription.period_end
    return SchedulePhase(
        start=start,
        end=_end(params, start, subscription),
        price=price.id,
        quantity=items[0].opt_int("quantity", low=1, high=999_999) or 1,
        proration_behavior=params.opt_choice("proration_behavior", _PRORATIONS) or "create_prorations",
        metadata=params.metadata(),
    )


def _end(params: Params, start: int, subscription: Subscription) -> int:
    """A phase says when it ends, or how long it lasts."""
    end = params.opt_int("end_date")
    if params.has("duration"):
        if end is not None:
            raise StripeFailure("A phase has an `end_date` or a `duration`.", param=params.name_of("duration"))
        duration = params.child("duration")
        interval = duration.choice("interval", INTERVALS)
        count = duration.opt_int("interval_count", low=1, high=36) or 1
        if start == subscription.period_end and count == 1:
            return period_start(subscription.anchor, interval, 1, subscription.period_index + 2)
        return period_start(start, interval, count, 1)
    if end is None:
        path = params.name_of("end_date")
        raise StripeFailure(f"Missing required param: {path}.", code="parameter_missing", param=path)
    return end
