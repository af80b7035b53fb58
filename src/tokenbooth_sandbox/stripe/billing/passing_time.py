"""What time alone brings: renewals, drafts that are charged, retries, endings, sessions that run out.

Effects are replayed in the order of their moments, each with the test clock standing there.
"""

from collections.abc import Callable
from functools import partial

from tokenbooth_sandbox.stripe import checkout
from tokenbooth_sandbox.stripe.billing import invoices, renewals, subscriptions
from tokenbooth_sandbox.stripe.billing.records import Invoice, Subscription
from tokenbooth_sandbox.stripe.records import KeptAnswer, Session
from tokenbooth_sandbox.stripe.world import World

_KEPT_ANSWER_S = 86_400
_MAX_STEPS = 10_000

Due = tuple[int, int, Callable[[], object]]


def catch_up(world: World) -> None:
    """Bring everything to the present, each customer to its own, within a transaction of the caller's."""
    try:
        for _ in range(_MAX_STEPS):
            due = min(_all_due(world), key=lambda entry: entry[:2], default=None)
            if due is None:
                break
            world.replay_at(due[0])
            due[2]()
    finally:
        world.replay_at(None)
    for kept in world.state.newest(KeptAnswer):
        if kept.created < world.real_now() - _KEPT_ANSWER_S:
            world.state.drop(kept)


def _all_due(world: World) -> list[Due]:
    """Moment, rank among equal moments, effect, of what is due. Invoices come before the turn of the next period."""
    found: list[Due] = []
    for invoice in world.state.newest(Invoice):
        at = invoice.finalizes_at or invoice.next_attempt_at
        if at is not None and at <= world.now_of(invoice.customer):
            found.append((at, 0, partial(invoices.work_on_invoice, world, invoice)))
    for subscription in world.state.newest(Subscription):
        at = subscriptions.next_due(world, subscription)
        if at is not None and at <= world.now_of(subscription.customer):
            found.append((at, 1, partial(renewals.turn_period, world, subscription)))
    found += [
        (session.expires_at, 2, partial(checkout.expire, world, session))
        for session in world.state.newest(Session)
        if session.status == "open" and session.expires_at <= world.now_of(session.customer)
    ]
    return found
