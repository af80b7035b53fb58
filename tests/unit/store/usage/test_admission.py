"""What the gateway reads of a key: everything that decides about it, as of one change number."""

import pytest
from sqlalchemy import Connection, delete

from tests.support.billing.billing_rows import add_subscription, by_window, charge
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import Customer, new_customer, unchecked
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.store import changes, ledger
from tokenbooth.store.accounts.accounts import suspend
from tokenbooth.store.accounts.key_counts import KeyCount, KeysOf, count
from tokenbooth.store.accounts.keys import (
    NewApiKey,
    create_api_key,
    delete_api_key,
    has_api_key,
    key_names,
)
from tokenbooth.store.changes import ChangesForgotten
from tokenbooth.store.engine import Store
from tokenbooth.store.tables import changes as change_rows
from tokenbooth.store.usage.admission import (
    AccountRow,
    KeyRow,
    load_account,
    load_key,
    load_key_row,
    load_subscription,
    load_window_spent_nano,
)
from tokenbooth.store.usage.settlement import apply_charges

DIGEST = b"d" * 32


@pytest.fixture
def ada(store: Store) -> Customer:
    """A customer, whose management key was change 1."""
    return new_customer(store, now_us=NOW_US)


def create(store: Store, customer: Customer, *, subscription_id: str | None = None) -> KeyRow:
    """A key of the customer's with every limit; as the gateway should read it."""
    new = NewApiKey("key_1", customer.account_id, "app", DIGEST, "sk_live_", subscription_id, 5_000, 60, 9_000)
    store.write_now(create_api_key, new, max_keys=10, grace_us=0, actor="test", now_us=NOW_US)
    return KeyRow("key_1", customer.account_id, DIGEST, subscription_id, 5_000, 60, 9_000)


def test_a_credit_key_is_read_with_its_account_and_spend(store: Store, ada: Customer) -> None:
    """One look-up, at the number of the last change; by digest and by id the same."""
    key = create(store, ada)
    store.write_now(
        ledger.grant, account_id=ada.account_id, amount_nano=9_000, reference="g", reason="test", now_us=NOW_US
    )
    used = charge(ada.account_id, finished_at_us=NOW_US, key_id="key_1", cost_nano=1_000)
    store.write_now(apply_charges, [used], now_us=NOW_US)
    seq, loaded = store.read_now(load_key, DIGEST)
    assert loaded is not None
    assert (seq, loaded.seq) == (3, 3)
    assert (loaded.key, loaded.subscription, loaded.spent_nano) == (key, None, 1_000)
    assert loaded.account == AccountRow(ada.account_id, suspended=False, balance_nano=8_000)
    assert store.read_now(load_key_row, "key_1") == key
    store.write_now(suspend, ada.account_id, actor="test", reason="test", now_us=NOW_US)
    assert store.read_now(load_account, ada.account_id) == AccountRow(ada.account_id, True, 8_000)


def test_a_subscriptions_key_is_read_with_its_terms(store: Store, ada: Customer) -> None:
    """And what was charged in a window, of each window its own."""
    subscription_id = store.write_now(add_subscription, ada.account_id, now_us=NOW_US, paid_until_us=NOW_US + 5)
    create(store, ada, subscription_id=subscription_id)
    _, loaded = store.read_now(load_key, DIGEST)
    assert loaded is not None
    assert loaded.subscription is not None
    assert (loaded.subscription.plan_slug, loaded.subscription.terms.status) == ("pro", SubscriptionStatus.ACTIVE)
    assert loaded.subscription == store.read_now(load_subscription, subscription_id)
    used = by_window(charge(ada.account_id, finished_at_us=NOW_US, key_id="key_1", cost_nano=70), subscription_id)
    store.write_now(apply_charges, [used], now_us=NOW_US)
    spent = [store.read_now(load_window_spent_nano, subscription_id, start_us) for start_us in (0, NOW_US)]
    assert spent == [70, 0]


def test_what_is_not_there_is_none(store: Store, ada: Customer) -> None:
    """A key that is unknown or deleted, one whose account a damaged file lost, and an unknown subscription."""
    assert store.read_now(load_key, DIGEST) == (1, None)
    create(store, ada)
    unchecked(store, "DELETE FROM accounts")
    assert store.read_now(load_key, DIGEST) == (2, None)
    assert store.read_now(load_account, ada.account_id) is None
    store.write_now(delete_api_key, ada.account_id, "key_1", actor="test", now_us=NOW_US)
    assert store.read_now(load_key, DIGEST) == (3, None)
    assert store.read_now(load_key_row, "key_1") is None
    assert store.read_now(load_subscription, "sub_unknown") is None


def test_a_deleted_key_keeps_its_name_and_owner(store: Store, ada: Customer) -> None:
    """Reports name it still, though it no longer counts; another account never owned it."""
    create(store, ada)
    assert store.read_now(count, KeysOf.API, ada.account_id) == KeyCount(live=1, created=1)
    store.write_now(delete_api_key, ada.account_id, "key_1", actor="test", now_us=NOW_US)
    assert store.read_now(count, KeysOf.API, ada.account_id) == KeyCount(live=0, created=1)
    many = [f"key_{number}" for number in range(2_000)]
    for ids in (["key_1"], many):
        assert store.read_now(key_names, ada.account_id, ids) == {"key_1": "app"}
    assert store.read_now(has_api_key, ada.account_id, "key_1")
    assert not store.read_now(has_api_key, "acct_other", "key_1")


def test_changes_that_are_gone_are_never_passed_over(store: Store, ada: Customer) -> None:
    """A reader that was away for longer than changes are kept is told to forget what it knows."""
    create(store, ada)
    store.write_now(delete_api_key, ada.account_id, "key_1", actor="test", now_us=NOW_US + 10)
    assert [change.seq for change in store.read_now(changes.since, 0)] == [1, 2, 3]
    assert store.write_now(changes.forget_before, NOW_US + 1) == 2
    assert [change.seq for change in store.read_now(changes.since, 2)] == [3]
    with pytest.raises(ChangesForgotten):
        store.read_now(changes.since, 1)

    def forget_all(conn: Connection) -> None:
        conn.execute(delete(change_rows))

    store.write_now(forget_all)
    assert store.read_now(changes.since, 3) == []
    with pytest.raises(ChangesForgotten):
        store.read_now(changes.since, 2)
