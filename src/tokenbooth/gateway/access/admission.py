"""The one admission: account, subscription, rates, money, in this order; a refusal consumes nothing.

Every route that can cost money comes through `Admission.admit`. What it returns holds money until `settle` or
`release` of the settler ends it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tokenbooth.config.catalog import Catalog
from tokenbooth.domain.allowance import Allowance, Hold, free_nano, hold
from tokenbooth.domain.charges import PoolKind
from tokenbooth.domain.fair_share import Demand, Share, TooLittle, share
from tokenbooth.domain.plans import Plan
from tokenbooth.domain.pricing import Price, output_cost_nano
from tokenbooth.domain.rates import RequestRate, TokenEntry, TokenRate
from tokenbooth.domain.subscriptions import access_ends_us
from tokenbooth.domain.windows import Window, window_at
from tokenbooth.gateway.access.cache import KeyState, SubscriptionState
from tokenbooth.gateway.access.ceilings import Ceilings, begin_unproven, may_begin
from tokenbooth.gateway.access.prompt_ratio import PromptRatios
from tokenbooth.gateway.access.waiters import Waiters
from tokenbooth.gateway.errors import (
    DELETED_KEY,
    Category,
    Funds,
    Refusal,
    budget_exceeded,
    budget_reserved,
    insufficient_credits,
    invalid_key,
    key_budget_exceeded,
    rate_limited,
    unavailable,
)
from tokenbooth.gateway.formats.base import PricedRequest
from tokenbooth.kit.clock import Clock, iso_ms
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.store.engine import Store
from tokenbooth.store.usage.admission import load_window_spent_nano

_BYTES_PER_TOKEN_AT_ADMISSION: Final = 4
_OUTPUT_TOKENS_AT_ADMISSION: Final = 1_024


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


@dataclass(init=False, slots=True)
class Admitted:
    """A request that may run: its price, its hold, and what has to be corrected at the end.

    Attributes:
        at_risk_nano: what it would cost above its hold without its ceiling, where nobody has seen that kept; else None.
        held_maximum: whether it holds the model's maximum, because no ceiling bounds it.
    """

    key: KeyState
    request: PricedRequest
    price: Price
    pool: Pool
    hold: Hold
    clamped_output_tokens: int | None
    requests: RequestRate | None
    tokens: TokenRate | None
    token_entry: TokenEntry | None
    at_risk_nano: int | None
    held_maximum: bool

    def __init__(
        self,
        key: KeyState,
        request: PricedRequest,
        price: Price,
        pool: Pool,
        hold: Hold,
        clamped_output_tokens: int | None,
        requests: RequestRate | None,
        tokens: TokenRate | None,
        token_entry: TokenEntry | None,
        at_risk_nano: int | None,
        held_maximum: bool,
    ) -> None:
        self.key = key
        self.request = request
        self.price = price
        self.pool = pool
        self.hold = hold
        self.clamped_output_tokens = clamped_output_tokens
        self.requests = requests
        self.tokens = tokens
        self.token_entry = token_entry
        self.at_risk_nano = at_risk_nano
        self.held_maximum = held_maximum


class Admission:
    """Decides about requests, in memory; the store is asked only for a window it has never seen."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        catalog: Callable[[], Catalog],
        ratios: PromptRatios,
        ceilings: Ceilings,
        grace_us: int,
        hold_share_percent: int,
        hold_wait_s: float,
    ) -> None:
        """Args:
        store, clock, catalog, ratios, ceilings: what it decides with.
        grace_us: how long a subscription goes on while its renewal is unpaid, microseconds.
        hold_share_percent: the part of what is free that one call may hold.
        hold_wait_s: how long a call waits for money that is only held.
        """
        self._store = store
        self._clock = clock
        self._catalog = catalog
        self._ratios = ratios
        self._ceilings = ceilings
        self._grace_us = grace_us
        self._hold_share_percent = hold_share_percent
        self._hold_wait_s = hold_wait_s

    def check_access(self, key: KeyState) -> None:
        """Whether the key may call at all, before its body is looked at.

        Raises:
            Refusal: the key was deleted, the account is suspended, or the subscription has ended.
        """
        if key.deleted:
            raise invalid_key(DELETED_KEY)
        subscription = key.subscription
        if subscription is not None:
            plan = self._catalog().plans.get(subscription.plan_at(self._clock.now_us()))
            if plan is not None:
                # Every refusal tells the limits, also one that comes before the first admission.
                _follow_plan(subscription, plan)
        if key.account.suspended:
            raise Refusal(
                403,
                Category.PERMISSION,
                "account_suspended",
                "This account is suspended. Contact the operator.",
            )
        if subscription is not None and not self._is_open(subscription):
            raise Refusal(
                403,
                Category.PERMISSION,
                "subscription_inactive",
                "The subscription of this key has ended or is unpaid. Renew it, or use a key of another subscription.",
            )

    def refuse_at_limit(self, key: KeyState) -> None:
        """Whether a request may count now, before its body is looked at; `admit_now` asks again and counts it.

        Raises:
            Refusal: as many requests as may are counted already.
        """
        requests, _, scope = rates_of(key)
        if requests is not None:
            now_us = self._clock.monotonic_us()
            if wait_us := requests.wait_us(now_us):
                raise rate_limited("requests", scope, requests.used(now_us), requests.limit, wait_us)

    def has_money(self, key: KeyState) -> bool:
        """Whether anything is unspent of the key's credit or window, and of its cap; a window not known yet has."""
        if key.cap is not None and key.cap.spent_nano >= key.cap.limit_nano:
            return False
        if key.subscription is None:
            credit = key.account.credit
            return credit.spent_nano < credit.limit_nano
        pool = self.pool_now(key)
        return pool is None or pool.allowance.unspent_nano() > 0

    def money_spent(self, key: KeyState) -> Refusal | None:
        """The refusal of a key that has no money, whatever a call would cost; None: it has some."""
        pool = None if self.has_money(key) else self.pool_now(key)
        return None if pool is None else self._spent(pool, floor_nano=1)

    async def admit(
        self, key: KeyState, request: PricedRequest, pool: Pool, refuse_busy: Callable[[], None]
    ) -> Admitted:
        """Admit a request, waiting a moment for money that is only held.

        Args:
            key: who asks.
            request: for what.
            pool: what pays now; after a wait it is looked up again.
            refuse_busy: raises a refusal when no upstream could be asked now.

        Raises:
            Refusal: a limit is reached, or the money does not suffice; nothing was consumed.
        """
        give_up_at_us = None
        while True:
            outcome = self.admit_now(key, request, pool, refuse_busy)
            if isinstance(outcome, Admitted):
                return outcome
            now_us = self._clock.monotonic_us()
            if give_up_at_us is None:
                give_up_at_us = now_us + round(self._hold_wait_s * 1_000_000)
            left_us = give_up_at_us - now_us
            if min(a.unspent_nano() for a in pool.allowances) < outcome.floor_nano:
                raise self._spent(pool, outcome.floor_nano)
            if left_us <= 0:
                raise budget_reserved(_tightest_funds(pool))
            await pool.waiters.wait(left_us / 1_000_000)
            # While it waited the key may have ended, or the window.
            self.check_access(key)
            pool = await self.pool(key)

    def admit_now(
        self, key: KeyState, request: PricedRequest, pool: Pool, refuse_busy: Callable[[], None]
    ) -> Admitted | TooLittle:
        """One try, without a pause: rates are asked, money is held, then the rates count it; see `admit`."""
        now_us = self._clock.monotonic_us()
        requests, tokens, scope = rates_of(key)
        price = self._catalog().price_for(request.model, pool.plan)
        counted = _tokens_at_admission(request)
        if requests is not None and (wait_us := requests.wait_us(now_us)):
            raise rate_limited("requests", scope, requests.used(now_us), requests.limit, wait_us)
        if tokens is not None and (wait := tokens.wait_us(now_us, counted)) != 0:
            raise rate_limited("tokens", scope, tokens.used(now_us), tokens.limit, wait)
        standing = self._ceilings.standing(request)
        held_maximum = self._ceilings.must_hold_maximum(request, standing)
        decided = share(
            price,
            self._demand(request, held_maximum),
            free_nano=free_nano(pool.allowances),
            hold_share_percent=self._hold_share_percent,
            tokens_per_byte_bp=self._ratios.basis_points(request.model.name),
        )
        if isinstance(decided, TooLittle):
            return decided
        at_risk_nano = None if standing.proven or held_maximum else _at_risk_nano(request, price, decided)
        if at_risk_nano is not None and not may_begin(key.account, pool.allowances, decided.amount_nano, at_risk_nano):
            return TooLittle(decided.amount_nano)
        # The last question before anything is consumed; from here to the upstream there is no pause.
        refuse_busy()
        held = hold(pool.allowances, decided.amount_nano)
        if held is None:
            return TooLittle(decided.amount_nano)
        if requests is not None:
            requests.admit(now_us)
        key.account.in_use += 1
        if at_risk_nano is not None:
            begin_unproven(key.account, pool.allowances, at_risk_nano)
        return Admitted(
            key=key,
            request=request,
            price=price,
            pool=pool,
            hold=held,
            clamped_output_tokens=decided.clamped_output_tokens,
            requests=requests,
            tokens=tokens,
            token_entry=None if tokens is None else tokens.admit(now_us, counted),
            at_risk_nano=at_risk_nano,
            held_maximum=held_maximum,
        )

    def _demand(self, request: PricedRequest, held_maximum: bool) -> Demand:
        most, extra_tokens = request.model.max_output_tokens, request.extra_tokens
        if request.parts_tokens:
            extra_tokens += self._ceilings.parts_tokens(request) - request.parts_tokens
        return Demand(
            text_bytes=request.text_bytes,
            extra_tokens=extra_tokens,
            context_tokens=request.most_prompt_tokens,
            choices=request.choices,
            output_ceiling=most if held_maximum else request.output_ceiling,
            floor_tokens=most if held_maximum else request.floor_tokens,
        )

    def pool_now(self, key: KeyState) -> Pool | None:
        """See `pool`; None when the store has to be asked first."""
        subscription = key.subscription
        if subscription is None:
            return Pool(PoolKind.CREDIT, key.account.credit, key.cap, key.account.waiters, plan=None, window=None)
        plan, window = self._window_now(subscription)
        if window.start_us not in subscription.windows:
            return None
        return _window_pool(key, subscription, plan, window)

    async def pool(self, key: KeyState) -> Pool:
        """What pays the key's requests now.

        Raises:
            Refusal: the store is away and the window is not known.
        """
        pool, subscription = self.pool_now(key), key.subscription
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
        _follow_plan(subscription, plan)
        return plan, window_at(now_us, plan.window_us)

    async def _load_window(self, subscription: SubscriptionState, window: Window) -> None:
        try:
            spent_nano = await self._store.read(load_window_spent_nano, subscription.subscription_id, window.start_us)
        except StoreUnavailable:
            # A window that just began is taken for unspent then, so that known keys go on.
            return
        # Even a window that just began may be spent: by an earlier run whose clock was ahead.
        subscription.add_window(window.start_us, spent_nano=spent_nano)

    def _is_open(self, subscription: SubscriptionState) -> bool:
        return self._clock.now_us() < access_ends_us(subscription.terms, self._grace_us)

    def _spent(self, pool: Pool, floor_nano: int) -> Refusal:
        """The refusal when the money is spent, not merely held."""
        if pool.allowance.unspent_nano() >= floor_nano and pool.cap is not None:
            return key_budget_exceeded(_funds(pool.cap, "key"))
        funds = _funds(pool.allowance, _scope(pool))
        if pool.window is None or pool.plan is None:
            return insufficient_credits(funds, floor_nano)
        wait_us = max(pool.window.end_us - self._clock.now_us(), 1)
        return budget_exceeded(funds, pool.plan.window, iso_ms(pool.window.end_us), wait_us)


def rates_of(key: KeyState) -> tuple[RequestRate | None, TokenRate | None, str]:
    """The rates that count for a key: its subscription's, shared by all its keys, or its own."""
    if key.subscription is not None:
        return key.subscription.requests, key.subscription.tokens, "subscription"
    return key.requests, key.tokens, "key"


def _window_pool(key: KeyState, subscription: SubscriptionState, plan: Plan, window: Window) -> Pool:
    allowance = subscription.known_window(window, plan.budget_nano)
    if allowance is None:
        raise unavailable()
    return Pool(PoolKind.WINDOW, allowance, key.cap, subscription.waiters, plan, window)


def _follow_plan(subscription: SubscriptionState, plan: Plan) -> None:
    """The plan's limits of today hold from the next admission on."""
    subscription.requests.limit = plan.rpm
    if plan.tpm is None:
        subscription.tokens = None
    elif subscription.tokens is None:
        subscription.tokens = TokenRate(plan.tpm)
    else:
        subscription.tokens.limit = plan.tpm


def _at_risk_nano(request: PricedRequest, price: Price, decided: Share) -> int | None:
    """What a call would cost above its hold if its ceiling were not kept; None for one that has no ceiling to keep."""
    most, clamped = request.model.max_output_tokens, decided.clamped_output_tokens
    ceiling = request.output_ceiling if clamped is None else clamped
    # An embedding has no output at all.
    return output_cost_nano(price, (most - ceiling) * request.choices) if 0 < ceiling < most else None


def _tokens_at_admission(request: PricedRequest) -> int:
    prompt = -(-request.text_bytes // _BYTES_PER_TOKEN_AT_ADMISSION)
    return prompt + min(request.output_ceiling, _OUTPUT_TOKENS_AT_ADMISSION)


def _tightest_funds(pool: Pool) -> Funds:
    tightest = min(pool.allowances, key=lambda allowance: allowance.free_nano())
    return _funds(tightest, "key's maxBudget" if tightest is pool.cap else _scope(pool))


def _scope(pool: Pool) -> str:
    return "subscription's budget" if pool.kind is PoolKind.WINDOW else "account's credit"


def _funds(allowance: Allowance, scope: str) -> Funds:
    return Funds(scope, allowance.spent_nano, allowance.held_nano, allowance.limit_nano)
