"""Operations chosen by Hypothesis on a real store give what a small model says, on both engines.

Ten sequences of fifty steps in every run; `TOKENBOOTH_TEST_EXAMPLES=200` for ten thousand steps.
"""

import os
from dataclasses import dataclass, field
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import Connection, select

from tests.support.fakes import MARCH_5_2026_US
from tokenbooth.domain.charges import Charge, PoolKind
from tokenbooth.domain.ledger import (
    STRIPE_CLEARING,
    UNCOLLECTED,
    TransferKind,
    credit_of,
    debt_of,
    key_spend,
    window_spend,
)
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store.engine import Store
from tokenbooth.store.ledger import add_credit, balance_nano, balances_nano, grant, take_back
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import usage_events
from tokenbooth.store.usage.settlement import apply_charges

EXAMPLES: Final = int(os.environ.get("TOKENBOOTH_TEST_EXAMPLES", "10"))
STEPS: Final = 50
WINDOW_US: Final = 18_000_000_000


@dataclass(frozen=True, slots=True)
class Call:
    """A call to be charged: whose, by which of its keys, in which window (None: credit), and what it costs."""

    who: int
    key: int
    window: int | None
    model: str
    charged_nano: int
    uncollected_nano: int


WHO = st.integers(0, 2)
REFERENCES = st.integers(0, 20)
AMOUNTS = st.integers(1, 5_000_000)
CALLS = st.builds(
    Call,
    who=WHO,
    key=st.integers(0, 2),
    window=st.none() | st.integers(0, 2),
    model=st.sampled_from(["m1", "m2"]),
    charged_nano=st.integers(0, 2_000_000),
    uncollected_nano=st.sampled_from([0, 0, 0, 7]),
)


@dataclass(slots=True)
class Model:
    """What the store should say, in dictionaries."""

    credit: dict[str, int] = field(default_factory=dict)
    debt: dict[str, int] = field(default_factory=dict)
    window: dict[tuple[str, int], int] = field(default_factory=dict)
    key: dict[str, int] = field(default_factory=dict)
    uncollected: int = 0
    charges: dict[str, int] = field(default_factory=dict)
    references: set[str] = field(default_factory=set)

    def add(self, account: str, reference: str, amount: int) -> bool:
        """Money comes in; an open debt is paid first."""
        if reference in self.references:
            return False
        self.references.add(reference)
        to_debt = min(amount, self.debt.get(account, 0))
        self.debt[account] = self.debt.get(account, 0) - to_debt
        self.credit[account] = self.credit.get(account, 0) + amount - to_debt
        return True

    def take(self, account: str, reference: str, amount: int) -> bool:
        """Money goes back; what is not there is owed."""
        if reference in self.references:
            return False
        self.references.add(reference)
        left = min(amount, self.credit.get(account, 0))
        self.credit[account] = self.credit.get(account, 0) - left
        self.debt[account] = self.debt.get(account, 0) + amount - left
        return True

    def charge(self, charge: Charge) -> None:
        """One answer, once."""
        if charge.request_id in self.charges:
            return
        paid = charge.charged_nano
        if charge.pool is PoolKind.CREDIT:
            paid = min(paid, self.credit.get(charge.account_id, 0))
            self.credit[charge.account_id] = self.credit.get(charge.account_id, 0) - paid
        else:
            pool = (charge.subscription_id, charge.window_start_us)
            self.window[pool] = self.window.get(pool, 0) + paid
        self.charges[charge.request_id] = paid
        self.key[charge.key_id] = self.key.get(charge.key_id, 0) + paid
        self.uncollected += charge.uncollected_nano + charge.charged_nano - paid


class Books(RuleBasedStateMachine):
    """Grants, top-ups, refunds and charges in any order and company, some of them repeated, on a real database."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.model = Model()
        self.charged: list[Charge] = []
        self.now_us = MARCH_5_2026_US
        # The examples of a test share its database, and each begins with books of its own.
        self.accounts = [new_id(IdPrefix.ACCOUNT, self.now_us) for _ in range(3)]
        self.before_nano = store.read_now(balance_nano, UNCOLLECTED)

    @rule(who=WHO, number=REFERENCES, amount=AMOUNTS)
    def give(self, who: int, number: int, amount: int) -> None:
        """A grant, or its repetition, adds what the model says."""
        account, reference = self.accounts[who], self._reference(number)
        given = _grant(self.store, account, reference, amount, self._later_us())
        assert given == self.model.add(account, reference, amount)

    @rule(who=WHO, number=REFERENCES, amount=AMOUNTS)
    def top_up(self, who: int, number: int, amount: int) -> None:
        """A top-up, or its repetition, adds what the model says."""
        account, reference = self.accounts[who], self._reference(number)
        added = _top_up(self.store, account, reference, amount, self._later_us())
        assert added == self.model.add(account, reference, amount)

    @rule(who=WHO, number=REFERENCES, amount=AMOUNTS)
    def refund(self, who: int, number: int, amount: int) -> None:
        """A refund, or its repetition, takes what the model says."""
        account, reference = self.accounts[who], self._reference(number)
        taken = _refund(self.store, account, reference, amount, self._later_us())
        assert taken == self.model.take(account, reference, amount)

    @rule(made=st.lists(CALLS, min_size=1, max_size=5), again=st.lists(st.integers(0, 50), max_size=3))
    def charge(self, made: list[Call], again: list[int]) -> None:
        """A batch of answers; a replay after a crash brings earlier ones again, in any company."""
        now_us = self._later_us()
        batch = [self._charge(call, now_us) for call in made]
        batch += [self.charged[number % len(self.charged)] for number in again if self.charged]
        fresh = {charge.request_id for charge in batch} - self.model.charges.keys()
        assert self.store.write_now(apply_charges, batch, now_us=now_us).inserted == len(fresh)
        for charge in batch:
            self.model.charge(charge)
        self.charged += batch

    @invariant()
    def figures_are_the_models(self) -> None:
        """Every balance is what the model says; none is below its floor."""
        accounts = [
            *(of(account) for account in self.accounts for of in (credit_of, debt_of)),
            *(window_spend(*pool) for pool in self.model.window),
            *(key_spend(key) for key in self.model.key),
            UNCOLLECTED,
        ]
        stored = {account.id: nano for account, nano in self.store.read_now(balances_nano, accounts).items()}
        stored[UNCOLLECTED.id] -= self.before_nano
        assert stored == _expected(self.model, self.accounts)
        assert all(nano >= 0 for name, nano in stored.items() if name.startswith("credit:"))

    def teardown(self) -> None:
        """Every request is booked once, as the model says, and the audit is clean."""
        assert self.store.read_now(_booked, self.accounts) == self.model.charges
        assert self.store.read_now(audit).differences == ()

    def _later_us(self) -> int:
        self.now_us += 1
        return self.now_us

    def _reference(self, number: int) -> str:
        return f"{self.accounts[0]}:{number}"

    def _charge(self, call: Call, now_us: int) -> Charge:
        account = self.accounts[call.who]
        in_window = call.window is not None
        return Charge(
            request_id=new_id(IdPrefix.REQUEST, now_us),
            account_id=account,
            key_id=f"key_{account}_{call.key}",
            pool=PoolKind.WINDOW if in_window else PoolKind.CREDIT,
            subscription_id=f"sub_{account}" if in_window else "",
            window_start_us=(call.window or 0) * WINDOW_US,
            model=call.model,
            endpoint="chat.completions",
            upstream="u",
            finished_at_us=now_us,
            prompt_tokens=call.charged_nano % 1_000,
            cached_tokens=0,
            cache_write_tokens=0,
            completion_tokens=call.uncollected_nano,
            reasoning_tokens=0,
            input_price=1,
            cached_price=1,
            cache_write_price=1,
            output_price=1,
            per_request_nano=0,
            charged_nano=call.charged_nano,
            uncollected_nano=call.uncollected_nano,
            upstream_cost_nano=call.charged_nano // 2,
            estimated=False,
        )


def test_random_operations_end_where_the_model_says(store: Store) -> None:
    """Scenario 55: whatever is done in whatever order, both engines have the model's figures after every step."""

    class OfThisStore(Books):
        def __init__(self) -> None:
            super().__init__(store)

    run_state_machine_as_test(
        OfThisStore,
        settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None),
    )


def _grant(store: Store, account: str, reference: str, amount: int, now_us: int) -> bool:
    return store.write_now(
        grant, account_id=account, amount_nano=amount, reference=reference, reason="test", now_us=now_us
    )


def _top_up(store: Store, account: str, reference: str, amount: int, now_us: int) -> bool:
    return store.write_now(
        add_credit,
        account_id=account,
        source=STRIPE_CLEARING,
        amount_nano=amount,
        kind=TransferKind.TOP_UP,
        reference=reference,
        note="test",
        now_us=now_us,
    )


def _refund(store: Store, account: str, reference: str, amount: int, now_us: int) -> bool:
    return store.write_now(
        take_back,
        account_id=account,
        target=STRIPE_CLEARING,
        amount_nano=amount,
        kind=TransferKind.REFUND,
        reference=reference,
        note="test",
        now_us=now_us,
    )


def _expected(model: Model, accounts: list[str]) -> dict[str, int]:
    return {
        UNCOLLECTED.id: -model.uncollected,
        **{credit_of(account).id: model.credit.get(account, 0) for account in accounts},
        **{debt_of(account).id: -model.debt.get(account, 0) for account in accounts},
        **{window_spend(*pool).id: spent for pool, spent in model.window.items()},
        **{key_spend(key).id: spent for key, spent in model.key.items()},
    }


def _booked(conn: Connection, accounts: list[str]) -> dict[str, int]:
    columns = usage_events.c
    rows = conn.execute(select(columns.request_id, columns.charged_nano).where(columns.account_id.in_(accounts)))
    return {row.request_id: row.charged_nano for row in rows}
