"""The one admission: account, subscription, rates, money, in this order; a refusal consumes nothing.

Every route that can cost money comes through `Admission.decide`. What it returns holds nothing until `commit`, and then
until the settler's `settle` or `release`.
"""

from collections.abc import Callable
from typing import Final

from tokenbooth.config.catalog import Catalog
from tokenbooth.domain.allowance import Allowance, free_nano, hold
from tokenbooth.domain.charges import PoolKind
from tokenbooth.domain.fair_share import Demand, Share, TooLittle, learned_share, sure_share
from tokenbooth.domain.pricing import Price, output_cost_nano
from tokenbooth.domain.rates import RequestRate, TokenEntry, TokenRate
from tokenbooth.domain.subscriptions import access_ends_us
from tokenbooth.gateway.access import prompt_risk
from tokenbooth.gateway.access.cache import KeyState, SubscriptionState
from tokenbooth.gateway.access.ceilings import Ceilings
from tokenbooth.gateway.access.pool import Pool, Pools
from tokenbooth.gateway.access.prompt_ratio import PromptRatios
from tokenbooth.gateway.access.unproven import begin_unproven, end_unproven, may_begin
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
from tokenbooth.gateway.formats.base import PricedRequest, estimated_tokens
from tokenbooth.kit.clock import Clock, iso_ms

_OUTPUT_TOKENS_AT_ADMISSION: Final = 1_024


class Admitted:
    """A request that may run: its price, what it holds, and what has to be corrected at the end.

    Attributes:
        amount_nano: what it holds on each allowance of the pool.
        requests, tokens: the rates that count it.
        counted_tokens: what it counts for, until the true number is known.
        decided_at_us: monotonic microseconds.
        at_risk_nano: what it would cost above its hold without its ceiling, where nobody has seen that kept; else None.
        held_maximum: whether it holds the model's maximum, because no ceiling bounds it.
        prompt_risk_nano: what its prompt may cost above its part of the hold; 0 for one that was held in full.
        hold, token_entry: there once it is committed.
    """

    __slots__ = (
        "amount_nano",
        "at_risk_nano",
        "clamped_output_tokens",
        "counted_tokens",
        "decided_at_us",
        "held_maximum",
        "hold",
        "key",
        "pool",
        "price",
        "prompt_risk_nano",
        "request",
        "requests",
        "token_entry",
        "tokens",
    )

    def __init__(
        self,
        key: KeyState,
        request: PricedRequest,
        price: Price,
        pool: Pool,
        amount_nano: int,
        clamped_output_tokens: int | None = None,
        requests: RequestRate | None = None,
        tokens: TokenRate | None = None,
        counted_tokens: int = 0,
        decided_at_us: int = 0,
        at_risk_nano: int | None = None,
        held_maximum: bool = False,
        prompt_risk_nano: int = 0,
    ) -> None:
        self.key = key
        self.request = request
        self.price = price
        self.pool = pool
        self.amount_nano = amount_nano
        self.clamped_output_tokens = clamped_output_tokens
        self.requests = requests
        self.tokens = tokens
        self.counted_tokens = counted_tokens
        self.decided_at_us = decided_at_us
        self.at_risk_nano = at_risk_nano
        self.held_maximum = held_maximum
        self.prompt_risk_nano = prompt_risk_nano
        self.token_entry: TokenEntry | None = None

    def commit(self) -> None:
        """Hold the money and count the request. Nothing else may have run since it was decided."""
        allowances = self.pool.allowances
        held = hold(allowances, self.amount_nano)
        assert held is not None, "something was held between the decision and the hold"
        self.hold = held
        if self.requests is not None:
            self.requests.admit(self.decided_at_us)
        if self.tokens is not None:
            self.token_entry = self.tokens.admit(self.decided_at_us, self.counted_tokens)
        if self.at_risk_nano is not None:
            begin_unproven(self.key.account, allowances, self.at_risk_nano)
        if self.prompt_risk_nano:
            prompt_risk.begin(self.key.account, allowances, self.prompt_risk_nano)

    def end_risk(self) -> None:
        """The call has ended, so it can't cost more than it did; a repeated call changes nothing."""
        if self.at_risk_nano is not None:
            end_unproven(self.key.account, self.pool.allowances, self.at_risk_nano)
            self.at_risk_nano = None
        if self.prompt_risk_nano:
            prompt_risk.end(self.key.account, self.pool.allowances, self.prompt_risk_nano)
            self.prompt_risk_nano = 0


class Admission:
    """Decides about requests, in memory."""

    def __init__(
        self,
        *,
        clock: Clock,
        catalog: Callable[[], Catalog],
        pools: Pools,
        ratios: PromptRatios,
        ceilings: Ceilings,
        grace_us: int,
        hold_share_percent: int,
        hold_wait_s: float,
        may_admit: Callable[[], bool],
    ) -> None:
        """Take what it decides with.

        Args:
            clock, catalog, pools, ratios, ceilings: what it asks.
            grace_us: how long a subscription goes on while its renewal is unpaid, microseconds.
            hold_share_percent: the part of what is free that one call may hold.
            hold_wait_s: how long a call waits for money that is only held.
            may_admit: whether what is known of keys is fresh enough, and this process may admit calls.
        """
        self._clock = clock
        self._catalog = catalog
        self._pools = pools
        self._ratios = ratios
        self._ceilings = ceilings
        self._grace_us = grace_us
        self._hold_share_percent = hold_share_percent
        self._hold_wait_s = hold_wait_s
        self._may_admit = may_admit

    def check_access(self, key: KeyState) -> None:
        """Whether the key may call now at all; asked before its body is looked at, and again after each wait.

        Raises:
            Refusal: the key was deleted, the account is suspended, the subscription has ended, or nobody may call now.
        """
        if not self._may_admit():
            raise unavailable()
        if key.deleted:
            raise invalid_key(DELETED_KEY)
        subscription = key.subscription
        if subscription is not None:
            plan = self._catalog().plans.get(subscription.plan_at(self._clock.now_us()))
            if plan is not None:
                # Every refusal tells the limits, also one that comes before the first admission.
                subscription.follow_plan(plan)
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
        """Whether a request may count now, before its body is looked at; `decide` asks again and counts it.

        Raises:
            Refusal: as many requests as may are counted already.
        """
        requests, _, scope = key.rates()
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
        pool = self._pools.cached(key)
        return pool is None or pool.allowance.unspent_nano() > 0

    def money_spent(self, key: KeyState) -> Refusal | None:
        """The refusal of a key that has no money, whatever a call would cost; None: it has some."""
        pool = None if self.has_money(key) else self._pools.cached(key)
        return None if pool is None else self._spent(pool, floor_nano=1)

    async def decide(self, key: KeyState, request: PricedRequest, pool: Pool) -> Admitted:
        """Decide about a request, waiting a moment for money that is only held; nothing is consumed before `commit`.

        Args:
            key: who asks.
            request: for what.
            pool: what pays now; after a wait it is looked up again.

        Raises:
            Refusal: a limit is reached, or the money does not suffice.
        """
        give_up_at_us = None
        while True:
            outcome = self._decide_now(key, request, pool)
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
            pool = await self._pools.lookup(key)
            # While it waited the key may have ended, or this process may have been replaced.
            self.check_access(key)

    def _decide_now(self, key: KeyState, request: PricedRequest, pool: Pool) -> Admitted | TooLittle:
        now_us = self._clock.monotonic_us()
        requests, tokens, scope = key.rates()
        price = self._catalog().price_for(request.model, pool.plan)
        counted_tokens = _tokens_at_admission(request)
        if requests is not None and (wait_us := requests.wait_us(now_us)):
            raise rate_limited("requests", scope, requests.used(now_us), requests.limit, wait_us)
        if tokens is not None and (wait := tokens.wait_us(now_us, counted_tokens)) != 0:
            raise rate_limited("tokens", scope, tokens.used(now_us), tokens.limit, wait)
        standing = self._ceilings.standing(request)
        held_maximum = self._ceilings.must_hold_maximum(request, standing)
        left_nano = free_nano(pool.allowances)
        demand = self._demand(request, held_maximum)
        decided = sure_share(price, demand, free_nano=left_nano, hold_share_percent=self._hold_share_percent)
        risk_nano = 0
        if decided is None:
            ratio_bp = self._ratios.basis_points(key.account.account_id, request.model.name)
            shared = learned_share(
                price,
                demand,
                free_nano=left_nano,
                hold_share_percent=self._hold_share_percent,
                tokens_per_byte_bp=ratio_bp,
            )
            if isinstance(shared, TooLittle):
                return shared
            decided = shared
            risk_nano = prompt_risk.prompt_risk_nano(price, demand, ratio_bp)
        amount_nano = decided.amount_nano
        at_risk_nano = None if standing.proven or held_maximum else _at_risk_nano(request, price, decided)
        if at_risk_nano is not None and not may_begin(key.account, pool.allowances, amount_nano, at_risk_nano):
            return TooLittle(amount_nano)
        if risk_nano and not self._may_risk(key, request, price, pool, amount_nano + risk_nano + (at_risk_nano or 0)):
            return TooLittle(amount_nano)
        if left_nano < amount_nano:
            # What costs nothing needs an allowance that is not overdrawn all the same.
            return TooLittle(amount_nano)
        return Admitted(
            key,
            request,
            price,
            pool,
            amount_nano,
            clamped_output_tokens=decided.clamped_output_tokens,
            requests=requests,
            tokens=tokens,
            counted_tokens=counted_tokens,
            decided_at_us=now_us,
            at_risk_nano=at_risk_nano,
            held_maximum=held_maximum,
            prompt_risk_nano=risk_nano,
        )

    def _may_risk(self, key: KeyState, request: PricedRequest, price: Price, pool: Pool, most_nano: int) -> bool:
        """Whether a call may begin that costs so much at most, of which it holds less for its prompt."""
        account_id, model = key.account.account_id, request.model
        tolerated_nano = prompt_risk.most_tolerated_nano(
            price,
            pool.allowances,
            context_tokens=model.context_tokens,
            proven_tokens=self._ratios.proven_tokens(account_id, model.name),
        )
        return prompt_risk.may_begin(key.account, pool.allowances, most_nano, tolerated_nano)

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


def _at_risk_nano(request: PricedRequest, price: Price, decided: Share) -> int | None:
    """What a call would cost above its hold if its ceiling were not kept; None for one that has no ceiling to keep."""
    most, clamped = request.model.max_output_tokens, decided.clamped_output_tokens
    ceiling = request.output_ceiling if clamped is None else clamped
    # An embedding has no output at all.
    return output_cost_nano(price, (most - ceiling) * request.choices) if 0 < ceiling < most else None


def _tokens_at_admission(request: PricedRequest) -> int:
    return estimated_tokens(request.text_bytes) + min(request.output_ceiling, _OUTPUT_TOKENS_AT_ADMISSION)


def _tightest_funds(pool: Pool) -> Funds:
    tightest = min(pool.allowances, key=lambda allowance: allowance.free_nano())
    return _funds(tightest, "key's maxBudget" if tightest is pool.cap else _scope(pool))


def _scope(pool: Pool) -> str:
    return "subscription's budget" if pool.kind is PoolKind.WINDOW else "account's credit"


def _funds(allowance: Allowance, scope: str) -> Funds:
    return Funds(scope, allowance.spent_nano, allowance.held_nano, allowance.limit_nano)
