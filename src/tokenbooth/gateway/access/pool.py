"""What pays a key's requests now: a window's budget, or credit; with the key's cap on top, if it has one."""

from collections.abc import Callable
from dataclasses import dataclass

from tokenbooth.config.catalog import Catalog
from tokenbooth.domain.allowance import Allowance
from tokenbooth.domain.charges import PoolKind
from tokenbooth.domain.plans import Plan
from tokenbooth.domain.windows import Window, window_at
from tokenbooth.gateway.access.cache import KeyState, SubscriptionState
from tokenbooth.gateway.access.waiters import Waiters
from tokenbooth.gateway.errors import unavailable
from tokenbooth.kit.clock import Clock
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.store.engine import Store
from tokenbooth.store.usage.admission import load_window_spent_nano


@dataclass(init=False, slots=True)
class Pool:
    """What pays a request: a window's budget, or credit; with the key's cap on top, if it has one.

    Attributes:
        allowances: what a hold is taken on.
    """

    kind: PoolKind
    allowance: Allowance
    cap: Allowance | None
    waiters: Waiters
    plan: Plan | None
    window: Window | None
    allowances: tuple[Allowance, ...]

    def __init__(
        self,
        kind: PoolKind,
        allowance: Allowance,
        cap: Allowance | None,
        waiters: Waiters,
        plan: Plan | None,
        window: Window | None,
    ) -> None:
        self.kind = kind
        self.allowance = allowance
        self.cap = cap
        self.waiters = waiters
        self.plan = plan
        self.window = window
        self.allowances = (allowance,) if cap is None else (allowance, cap)


class Pools:
    """Finds what pays, in memory; the store is asked only for a window it has never seen."""

    def __init__(self, *, store: Store, clock: Clock, catalog: Callable[[], Catalog]) -> None:
        self._store = store
        self._clock = clock
        self._catalog = catalog

    def cached(self, key: KeyState) -> Pool | None:
        """What pays the key's requests now; None when the store has to be asked first.

        Raises:
            Refusal: the subscription's plan is not served here.
        """
        subscription = key.subscription
        if subscription is None:
            return Pool(PoolKind.CREDIT, key.account.credit, key.cap, key.account.waiters, plan=None, window=None)
        plan, window = self._window_now(subscription)
        if window.start_us not in subscription.windows:
            return None
        return _window_pool(key, subscription, plan, window)

    async def lookup(self, key: KeyState) -> Pool:
        """What pays the key's requests now.

        Raises:
            Refusal: the store is away and the window is not known.
        """
        pool, subscription = self.cached(key), key.subscription
        if pool is not None:
            return pool
        assert subscription is not None  # credit is always known
        plan, window = self._window_now(subscription)
        await self._load_window(subscription, window)
        return _window_pool(key, subscription, plan, window)

    def _window_now(self, subscription: SubscriptionState) -> tuple[Plan, Window]:
        now_us = self._clock.now_us()
        plan = self._catalog().plans.get(subscription.plan_at(now_us))
        if plan is None:
            raise unavailable()
        subscription.follow_plan(plan)
        return plan, window_at(now_us, plan.window_us)

    async def _load_window(self, subscription: SubscriptionState, window: Window) -> None:
        try:
            spent_nano = await self._store.read(load_window_spent_nano, subscription.subscription_id, window.start_us)
        except StoreUnavailable:
            # A window that just began is taken for unspent then, so that known keys go on.
            return
        # Even a window that just began may be spent: by an earlier run whose clock was ahead.
        subscription.add_window(window.start_us, spent_nano=spent_nano)


def _window_pool(key: KeyState, subscription: SubscriptionState, plan: Plan, window: Window) -> Pool:
    allowance = subscription.known_window(window, plan.budget_nano)
    if allowance is None:
        raise unavailable()
    return Pool(PoolKind.WINDOW, allowance, key.cap, subscription.waiters, plan, window)
