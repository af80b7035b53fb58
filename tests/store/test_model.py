"""Random operations on a real store give what a small model says, on both engines.

Two thousand operations in every run; `TOKENBOOTH_TEST_OPERATIONS=10000` for more.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Connection, select

from tests.support.fakes import MARCH_5_2026_US
from tests.support.store import store
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
from tokenbooth.store.audit import audit
from tokenbooth.store.engine import Store, open_store
from tokenbooth.store.ledger import add_credit, balances_nano, grant, take_back
from tokenbooth.store.migrate import migrate
from tokenbooth.store.settlement import apply_charges
from tokenbooth.store.tables import usage_events

__all__ = ["store"]

OPERATIONS = int(os.environ.get("TOKENBOOTH_TEST_OPERATIONS", "2000"))
ACCOUNTS = ("acct_a", "acct_b", "acct_c")
WINDOW_US = 18_000_000_000


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


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("store")
        return
    opened = open_store(request.getfixturevalue("postgres_url"))
    migrate(opened.engine)
    yield opened
    opened.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_random_operations_end_where_the_model_says(database: Store, seed: int) -> None:
    """Scenario 55: grants, top-ups, refunds and charges in any order, repeated at random, give the model's figures."""
    rng = random.Random(seed)
    model = Model()
    charged: list[Charge] = []
    for number in range(OPERATIONS // 2):
        now_us = MARCH_5_2026_US + number
        account = rng.choice(ACCOUNTS)
        reference = f"ref_{rng.randrange(OPERATIONS // 4)}"
        amount = rng.randrange(1, 5_000_000)
        match rng.randrange(5):
            case 0:
                assert _grant(database, account, reference, amount, now_us) == model.add(account, reference, amount)
            case 1:
                assert _top_up(database, account, reference, amount, now_us) == model.add(account, reference, amount)
            case 2:
                assert _refund(database, account, reference, amount, now_us) == model.take(account, reference, amount)
            case _:
                batch = [_charge(rng, f"req_{number}_{n}", account, now_us) for n in range(rng.randrange(1, 6))]
                # A replay after a crash brings charges again, in any company.
                batch += rng.choices(charged, k=min(len(charged), rng.randrange(3)))
                _assert_applied(database, batch, model, now_us)
                charged += batch
    assert _figures(database, model) == _expected(model)
    assert database.read_now(_booked) == model.charges
    assert database.read_now(audit).differences == ()


def _assert_applied(store: Store, batch: list[Charge], model: Model, now_us: int) -> None:
    fresh = {charge.request_id for charge in batch} - model.charges.keys()
    assert store.write_now(apply_charges, batch, now_us=now_us).fresh == len(fresh)
    for charge in batch:
        model.charge(charge)


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


def _charge(rng: random.Random, request_id: str, account: str, now_us: int) -> Charge:
    pool = rng.choice(tuple(PoolKind))
    charged_nano = rng.randrange(0, 2_000_000)
    return Charge(
        request_id=request_id,
        account_id=account,
        key_id=f"key_{account}_{rng.randrange(3)}",
        pool=pool,
        subscription_id=f"sub_{account}" if pool is PoolKind.WINDOW else "",
        window_start_us=rng.randrange(3) * WINDOW_US if pool is PoolKind.WINDOW else 0,
        model=rng.choice(("m1", "m2")),
        endpoint="chat.completions",
        upstream="u",
        finished_at_us=now_us,
        prompt_tokens=rng.randrange(1_000),
        cached_tokens=0,
        cache_write_tokens=0,
        completion_tokens=rng.randrange(1_000),
        reasoning_tokens=0,
        input_price=1,
        cached_price=1,
        cache_write_price=1,
        output_price=1,
        per_request_nano=0,
        charged_nano=charged_nano,
        uncollected_nano=rng.choice((0, 0, 0, 7)),
        upstream_cost_nano=charged_nano // 2,
        estimated=False,
    )


def _figures(store: Store, model: Model) -> dict[str, int]:
    accounts = [
        UNCOLLECTED,
        *(of(account) for account in ACCOUNTS for of in (credit_of, debt_of)),
        *(window_spend(*pool) for pool in model.window),
        *(key_spend(key) for key in model.key),
    ]
    return {account.id: nano for account, nano in store.read_now(balances_nano, accounts).items()}


def _expected(model: Model) -> dict[str, int]:
    return {
        UNCOLLECTED.id: -model.uncollected,
        **{credit_of(account).id: model.credit.get(account, 0) for account in ACCOUNTS},
        **{debt_of(account).id: -model.debt.get(account, 0) for account in ACCOUNTS},
        **{window_spend(*pool).id: spent for pool, spent in model.window.items()},
        **{key_spend(key).id: spent for key, spent in model.key.items()},
    }


def _booked(conn: Connection) -> dict[str, int]:
    rows = conn.execute(select(usage_events.c.request_id, usage_events.c.charged_nano))
    return {row.request_id: row.charged_nano for row in rows}
