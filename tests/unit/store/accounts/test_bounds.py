"""Which bounds on rows hold for an account."""

from collections.abc import Callable

import pytest
from sqlalchemy import insert

from tests.support.dashboard.dashboard import charge
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import new_customer
from tokenbooth.domain.row_bounds import RowBound
from tokenbooth.store.accounts.bounds import row_limit, was_funded
from tokenbooth.store.engine import Store
from tokenbooth.store.ledger import grant
from tokenbooth.store.tables import subscriptions
from tokenbooth.store.usage.settlement import apply_charges

BOUND = RowBound(funded=100, unfunded=10)


def granted(store: Store, account_id: str) -> None:
    """Give it credit."""
    store.write_now(grant, account_id=account_id, amount_nano=1, reference="g", reason="g", now_us=NOW_US)


def charged(store: Store, account_id: str, charged_nano: int = 1) -> None:
    """Have it spend its last credit."""
    if charged_nano:
        granted(store, account_id)
    call = charge(account_id, "key_1", NOW_US, charged_nano=charged_nano)
    store.write_now(apply_charges, [call], now_us=NOW_US)


def subscribed(store: Store, account_id: str, paid_until_us: int | None = NOW_US) -> None:
    """Give it a subscription."""
    values = {
        "id": "sub_1",
        "account_id": account_id,
        "plan_slug": "pro",
        "price_nano": 1,
        "stripe_subscription_id": "sub_s",
        "status": "canceled",
        "paid_until_us": paid_until_us,
        "created_at_us": NOW_US,
        "updated_at_us": NOW_US,
    }
    store.write_now(lambda conn: conn.execute(insert(subscriptions).values(values)))


@pytest.mark.parametrize("fund", [granted, charged, subscribed])
def test_an_account_that_had_money_has_the_larger_bounds(store: Store, fund: Callable[[Store, str], None]) -> None:
    """Credit, a charge or a paid period tell it; another account gains nothing by it."""
    ada = new_customer(store, now_us=NOW_US)
    eve = new_customer(store, now_us=NOW_US, email="eve@example.com")
    fund(store, ada.account_id)
    assert store.read_now(row_limit, ada.account_id, BOUND) == 100
    assert store.read_now(row_limit, eve.account_id, BOUND) == 10


def test_what_costs_nothing_is_no_money(store: Store) -> None:
    """Calls of free models, and a subscription that was never paid."""
    ada = new_customer(store, now_us=NOW_US)
    charged(store, ada.account_id, charged_nano=0)
    subscribed(store, ada.account_id, paid_until_us=None)
    assert not store.read_now(was_funded, ada.account_id)


def test_no_bound_is_larger_without_money() -> None:
    """An operator who lowers the one need not lower the other."""
    assert RowBound(funded=5, unfunded=10).of(was_funded=False) == 5
