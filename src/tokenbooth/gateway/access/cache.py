"""What the gateway knows in memory: keys, accounts, subscriptions, with their live allowances and rates.

Each piece is loaded once with the number of the last change that it contains; later changes are applied on top, in
order. Charges of this process are applied here first and reach the store later, so a piece with charges under way is
never dropped and never loaded again.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from tokenbooth.domain.allowance import Allowance
from tokenbooth.domain.charges import Charge, PoolKind
from tokenbooth.domain.plans import Plan
from tokenbooth.domain.rates import RequestRate, TokenRate
from tokenbooth.domain.subscriptions import SubscriptionTerms
from tokenbooth.domain.windows import Window
from tokenbooth.gateway.access.waiters import Waiters
from tokenbooth.kit.places import Caller
from tokenbooth.store.usage.admission import NEVER_US, KeyRow, LoadedKey, Reloaded, SubscriptionRow

_WINDOWS_KEPT: Final = 4
_LOOKED_AT: Final = 64


@dataclass(slots=True)
class AccountState:
    """A customer: the credit, and who waits for it.

    Attributes:
        seq: the last change that `credit` contains.
        subscriptions: the ids of its subscriptions in memory.
        keys: how many keys in memory belong to it.
        pins: of open requests, and of charges that are not in the store yet; while there is one, it stays in memory.
        unproven_calls: open calls whose ceiling nobody has seen kept yet.
        unfunded_calls: open calls that began while there was no money.
        callers: for whom its calls take places: without money, and with it.
    """

    account_id: str
    seq: int
    suspended: bool
    credit: Allowance
    waiters: Waiters = field(default_factory=Waiters)
    subscriptions: set[str] = field(default_factory=set)
    keys: int = 0
    pins: int = 0
    unproven_calls: int = 0
    unfunded_calls: int = 0
    callers: tuple[Caller, Caller] = field(init=False)

    def __post_init__(self) -> None:
        """Know once what every request asks for."""
        self.callers = (Caller(self.account_id, False), Caller(self.account_id, True))

    def pin(self) -> "Pin":
        """Keep the account in memory until the pin is released."""
        return Pin(self)


class Pin:
    """Keeps an account in memory, with its keys and subscriptions."""

    __slots__ = ("_account",)

    def __init__(self, account: AccountState) -> None:
        account.pins += 1
        self._account: AccountState | None = account

    def release(self) -> None:
        """Let the account go; a repeated call changes nothing."""
        if self._account is not None:
            self._account.pins -= 1
            self._account = None


@dataclass(slots=True)
class SubscriptionState:
    """A subscription: terms, the shared rates, and the windows that still matter."""

    subscription_id: str
    plan_slug: str
    terms: SubscriptionTerms
    requests: RequestRate
    tokens: TokenRate | None
    next_plan_slug: str | None = None
    plan_changes_at_us: int = NEVER_US
    windows: "OrderedDict[int, Allowance]" = field(default_factory=OrderedDict)
    waiters: Waiters = field(default_factory=Waiters)

    def refresh(self, row: SubscriptionRow) -> None:
        """Take over what the store says now."""
        self.plan_slug = row.plan_slug
        self.terms = row.terms
        self.next_plan_slug = row.next_plan_slug
        self.plan_changes_at_us = row.plan_changes_at_us

    def plan_at(self, now_us: int) -> str:
        """The plan that counts at `now_us` (UTC microseconds); no word of the store is needed for a change to come."""
        if now_us >= self.plan_changes_at_us and self.next_plan_slug is not None:
            return self.next_plan_slug
        return self.plan_slug

    def follow_plan(self, plan: Plan) -> None:
        """The plan's limits of today hold from the next admission on."""
        self.requests.limit = plan.rpm
        if plan.tpm is None:
            self.tokens = None
        elif self.tokens is None:
            self.tokens = TokenRate(plan.tpm)
        else:
            self.tokens.limit = plan.tpm

    def known_window(self, window: Window, budget_nano: int) -> Allowance | None:
        """The allowance of a window; a window later than all known ones has nothing spent yet. None: ask the store."""
        allowance = self.windows.get(window.start_us)
        if allowance is None:
            if not self.windows or window.start_us < max(self.windows):
                return None
            allowance = self.add_window(window.start_us, spent_nano=0)
        if allowance.limit_nano != budget_nano:
            # The plan's limit of today holds for every admission, also after an upgrade in mid-window.
            allowance.set_limit(budget_nano)
        return allowance

    def add_window(self, start_us: int, *, spent_nano: int) -> Allowance:
        """Remember a window; one that was added meanwhile stays."""
        allowance = self.windows.get(start_us)
        if allowance is None:
            allowance = self.windows[start_us] = Allowance(limit_nano=0, spent_nano=spent_nano)
            while len(self.windows) > _WINDOWS_KEPT:
                self.windows.popitem(last=False)
        return allowance


@dataclass(slots=True)
class KeyState:
    """An API key that may call, with its account and, for a subscription key, its subscription.

    Attributes:
        open_streams: streamed calls of it that have not ended, counted while there is a limit.
    """

    key_id: str
    digest: bytes
    account: AccountState
    subscription: SubscriptionState | None
    cap: Allowance | None
    requests: RequestRate | None
    tokens: TokenRate | None
    deleted: bool = False
    open_streams: int = 0

    def rates(self) -> tuple[RequestRate | None, TokenRate | None, str]:
        """The rates that count for it, and whose they are: its subscription's, shared by all its keys, or its own."""
        if self.subscription is not None:
            return self.subscription.requests, self.subscription.tokens, "subscription"
        return self.requests, self.tokens, "key"

    def refresh(self, row: KeyRow) -> None:
        """Take over what the store says now."""
        if self.cap is not None and row.max_budget_nano is not None:
            self.cap.set_limit(row.max_budget_nano)
        if self.requests is not None and row.rpm is not None:
            self.requests.limit = row.rpm
        if self.tokens is not None and row.tpm is not None:
            self.tokens.limit = row.tpm


class AccountCache:
    """All keys, accounts and subscriptions in memory, bounded in number.

    Attributes:
        applied_seq, applied_id: the last change that is applied.
        times_reloaded: how often everything was loaded anew.
    """

    def __init__(self, max_keys: int) -> None:
        self._max_keys = max_keys
        self._newest: KeyState | None = None
        self.applied_seq = 0
        self.applied_id: str | None = None
        self.times_reloaded = 0
        self.by_digest: OrderedDict[bytes, KeyState] = OrderedDict()
        self.keys: dict[str, KeyState] = {}
        self.accounts: OrderedDict[str, AccountState] = OrderedDict()
        self.subscriptions: dict[str, SubscriptionState] = {}

    def add(self, loaded: LoadedKey) -> KeyState:
        """Take over a loaded key; parts that are here already stay, they know more."""
        row = loaded.key
        known = self.keys.get(row.key_id)
        if known is not None:
            self.by_digest[row.digest] = known
            return known
        account = self._account(loaded)
        state = KeyState(
            key_id=row.key_id,
            digest=row.digest,
            account=account,
            subscription=self._subscription(loaded, account),
            cap=None if row.max_budget_nano is None else _limited(row.max_budget_nano, loaded.spent_nano),
            requests=None if row.rpm is None else RequestRate(row.rpm),
            tokens=None if row.tpm is None else TokenRate(row.tpm),
        )
        self._newest = state
        state.account.keys += 1
        self.keys[row.key_id] = state
        self.by_digest[row.digest] = state
        self._make_room()
        return state

    def _account(self, loaded: LoadedKey) -> AccountState:
        row = loaded.account
        state = self.accounts.get(row.account_id)
        if state is None:
            state = AccountState(row.account_id, loaded.seq, row.suspended, credit=Allowance(row.balance_nano))
            self.accounts[row.account_id] = state
        return state

    def _subscription(self, loaded: LoadedKey, account: AccountState) -> SubscriptionState | None:
        row = loaded.subscription
        if row is None:
            return None
        state = self.subscriptions.get(row.subscription_id)
        if state is None:
            state = SubscriptionState(
                row.subscription_id, row.plan_slug, row.terms, requests=RequestRate(0), tokens=None
            )
            state.refresh(row)
            self.subscriptions[row.subscription_id] = state
            account.subscriptions.add(row.subscription_id)
        return state

    def forget_key(self, key_id: str) -> KeyState | None:
        """A key was deleted: no request finds it any more; what is in flight ends as it began."""
        state = self.keys.get(key_id)
        if state is not None:
            state.deleted = True
            self._drop(state)
        return state

    def forget_idle(self) -> None:
        """Forget all accounts without a call under way; what is asked for next is loaded anew."""
        self._newest = None
        for state in list(self.keys.values()):
            if not state.account.pins:
                self._drop(state)
        for account in list(self.accounts.values()):
            if not account.pins:
                self._drop_account(account)

    def take_over(self, reloaded: Reloaded, waiting: Iterable[Charge]) -> None:
        """Take over what the store says of what is left.

        What calls hold stays held, and what was charged of credit and is not stored stays spent. Windows and caps are
        spent by this process alone, so it knows them best. What was loaded while the store was asked is forgotten.

        Args:
            reloaded: what the store says.
            waiting: the charges that were not stored when it was asked, and those that came since.
        """
        self.forget_idle()
        self.times_reloaded += 1
        unstored_nano: dict[str, int] = {}
        for charge in waiting:
            if charge.pool is PoolKind.CREDIT and charge.request_id not in reloaded.stored:
                unstored_nano[charge.account_id] = unstored_nano.get(charge.account_id, 0) + charge.charged_nano
        for account in self.accounts.values():
            if (row := reloaded.accounts.get(account.account_id)) is None:
                continue
            account.seq = reloaded.position.seq
            account.suspended = row.suspended
            left_nano = row.balance_nano - unstored_nano.get(account.account_id, 0)
            account.credit.limit_nano = account.credit.spent_nano + left_nano
            account.waiters.wake()
        for subscription_id, subscription in self.subscriptions.items():
            if (terms := reloaded.subscriptions.get(subscription_id)) is not None:
                subscription.refresh(terms)
                subscription.waiters.wake()
        for key_id, key in list(self.keys.items()):
            if (limits := reloaded.keys.get(key_id)) is not None:
                key.refresh(limits)
            elif key_id in reloaded.keys:
                self.forget_key(key_id)
            else:
                self._drop(key)
        self.applied_seq, self.applied_id = reloaded.position.seq, reloaded.position.id

    def held_nano(self, account_id: str) -> int:
        """What calls under way hold of an account's credit, in nano-USD."""
        account = self.accounts.get(account_id)
        return 0 if account is None else account.credit.held_nano

    def _make_room(self) -> None:
        """Drop what has been idle for long, when there is too much of it; never what was added just now."""
        if len(self.by_digest) > self._max_keys:
            for state in list(islice(self.by_digest.values(), _LOOKED_AT)):
                if not state.account.pins and state is not self._newest:
                    self._drop(state)
                    break
                self.by_digest.move_to_end(state.digest)
        if len(self.accounts) > self._max_keys:
            self._drop_idle_account()

    def _drop(self, state: KeyState) -> None:
        # The account and the subscription stay: a deleted key must not take the rates of the others with it, nor
        # charges that the store does not know yet.
        del self.keys[state.key_id]
        self.by_digest.pop(state.digest, None)
        state.account.keys -= 1

    def _drop_account(self, account: AccountState) -> None:
        del self.accounts[account.account_id]
        for subscription_id in account.subscriptions:
            del self.subscriptions[subscription_id]

    def _drop_idle_account(self) -> None:
        for account in list(islice(self.accounts.values(), _LOOKED_AT)):
            if not account.keys and not account.pins:
                self._drop_account(account)
                return
            self.accounts.move_to_end(account.account_id)


def _limited(limit_nano: int, spent_nano: int) -> Allowance:
    allowance = Allowance(0, spent_nano)
    allowance.set_limit(limit_nano)
    return allowance
