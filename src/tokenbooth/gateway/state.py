"""What the gateway knows in memory: keys, accounts, subscriptions, with their live allowances and rates.

Each piece is loaded once with the number of the last change that it contains; later changes are applied on top, in
order. Charges of this process are applied here first and reach the store later, so a piece with charges under way is
never dropped and never loaded again.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from tokenbooth.domain.allowance import Allowance
from tokenbooth.domain.rates import RequestRate, TokenRate
from tokenbooth.domain.subscriptions import SubscriptionTerms
from tokenbooth.domain.windows import Window
from tokenbooth.gateway.waiters import Waiters
from tokenbooth.store.admission import NEVER_US, KeyRow, LoadedKey, SubscriptionRow

_WINDOWS_KEPT: Final = 4
_LOOKED_AT: Final = 64


@dataclass(slots=True)
class AccountState:
    """A customer: the credit, and who waits for it.

    Attributes:
        seq: the last change that `credit` contains.
        subscriptions: the ids of its subscriptions in memory.
        keys: how many keys in memory belong to it.
        in_use: open requests plus charges that are not in the store yet.
        forgotten: whether the store has to be asked again before anything more is admitted; see `States.forget_all`.
        unproven_calls: open calls whose ceiling nobody has seen kept yet.
        draining: answers that are read on although nobody waits for them.
    """

    account_id: str
    seq: int
    suspended: bool
    credit: Allowance
    waiters: Waiters = field(default_factory=Waiters)
    subscriptions: set[str] = field(default_factory=set)
    keys: int = 0
    in_use: int = 0
    forgotten: bool = False
    unproven_calls: int = 0
    draining: int = 0


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

    def refresh(self, row: KeyRow) -> None:
        """Take over what the store says now."""
        if self.cap is not None and row.max_budget_nano is not None:
            self.cap.set_limit(row.max_budget_nano)
        if self.requests is not None and row.rpm is not None:
            self.requests.limit = row.rpm
        if self.tokens is not None and row.tpm is not None:
            self.tokens.limit = row.tpm


class States:
    """All keys, accounts and subscriptions in memory, bounded in number.

    Attributes:
        applied_seq, applied_id: the last change that is applied.
        times_forgotten: how often everything was forgotten.
    """

    def __init__(self, max_keys: int) -> None:
        self._max_keys = max_keys
        self._newest: KeyState | None = None
        # Forgotten accounts whose calls are not over, or whose charges are not stored.
        self._ending: dict[str, AccountState] = {}
        self.applied_seq = 0
        self.applied_id: str | None = None
        self.times_forgotten = 0
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

    def forget_all(self) -> None:
        """Forget everything; what is asked for next is loaded anew.

        An account with calls or charges under way goes on in what it has, admits nothing more, and is loaded again when
        all of that is in the store: until then the store does not know what it spent.
        """
        self.times_forgotten += 1
        known = self._ending | self.accounts
        self._ending = {account_id: account for account_id, account in known.items() if account.in_use}
        for account in self._ending.values():
            account.forgotten = True
            account.waiters.wake()
        self._newest = None
        self.by_digest.clear()
        self.keys.clear()
        self.accounts.clear()
        self.subscriptions.clear()

    def is_ending(self, account_id: str) -> bool:
        """Whether a forgotten account has calls or charges under way."""
        ending = self._ending.get(account_id)
        return ending is not None and ending.in_use > 0

    def has_ended(self, account_id: str) -> bool:
        """Whether a forgotten account had them when it was asked last: what was read then may lack its charges."""
        return self._ending.pop(account_id, None) is not None

    def held_nano(self, account_id: str) -> int:
        """What calls under way hold of an account's credit, in nano-USD."""
        known = (self.accounts.get(account_id), self._ending.get(account_id))
        return sum(account.credit.held_nano for account in known if account is not None)

    def _make_room(self) -> None:
        """Drop what has been idle for long, when there is too much of it; never what was added just now."""
        if len(self.by_digest) > self._max_keys:
            for state in list(islice(self.by_digest.values(), _LOOKED_AT)):
                if not state.account.in_use and state is not self._newest:
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

    def _drop_idle_account(self) -> None:
        for account in list(islice(self.accounts.values(), _LOOKED_AT)):
            if not account.keys and not account.in_use:
                del self.accounts[account.account_id]
                for subscription_id in account.subscriptions:
                    del self.subscriptions[subscription_id]
                return
            self.accounts.move_to_end(account.account_id)


def _limited(limit_nano: int, spent_nano: int) -> Allowance:
    allowance = Allowance(0, spent_nano)
    allowance.set_limit(limit_nano)
    return allowance
