"""API keys in the store."""

import asyncio

import pytest
from sqlalchemy import Connection

from tests.support.billing.billing_rows import DAY_US, HOUR_US, add_subscription, spend_by_key
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import new_customer, row_counts
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.kit.errors import Conflict, NotFound
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store import changes
from tokenbooth.store.accounts.accounts import suspend
from tokenbooth.store.accounts.key_counts import ROWS_PER_LIVE_KEY
from tokenbooth.store.accounts.keys import (
    ApiKeyView,
    NewApiKey,
    create_api_key,
    delete_api_key,
    has_api_key,
    list_api_keys,
)
from tokenbooth.store.engine import Store

GRACE_US = 6 * HOUR_US


def new_key_of(account_id: str, *, subscription_id: str | None = None, name: str = "app") -> NewApiKey:
    """A key that was never there before."""
    key_id = new_id(IdPrefix.API_KEY, NOW_US)
    return NewApiKey(
        id=key_id,
        account_id=account_id,
        name=name,
        digest=key_id.encode().ljust(32, b".")[-32:],
        prefix="sk_live_test",
        subscription_id=subscription_id,
    )


def create(store: Store, new: NewApiKey, *, max_keys: int = 10, now_us: int = NOW_US) -> str:
    """Create it and return its id."""
    store.write_now(create_api_key, new, max_keys=max_keys, grace_us=GRACE_US, actor="mkey_1", now_us=now_us)
    return new.id


def listed(store: Store, account_id: str, *, now_us: int = NOW_US) -> list[ApiKeyView]:
    """What the owner sees."""
    return store.read_now(list_api_keys, account_id, grace_us=GRACE_US, now_us=now_us)


@pytest.fixture
def account_id(store: Store) -> str:
    """An account."""
    return new_customer(store, now_us=NOW_US).account_id


def test_a_created_key_is_listed_and_announced(store: Store, account_id: str) -> None:
    """The gateway learns of it by the change sequence."""
    key_id = create(store, new_key_of(account_id))
    assert [(view.id, view.is_active, view.spent_nano) for view in listed(store, account_id)] == [(key_id, True, 0)]
    told = store.read_now(changes.since, 0)[-1]
    assert (told.topic, told.subject) == (changes.Topic.API_KEY_CREATED, key_id)


def test_spend_comes_from_the_ledger(store: Store, account_id: str) -> None:
    """Each key shows its own."""
    first, second = create(store, new_key_of(account_id)), create(store, new_key_of(account_id))
    store.write_now(spend_by_key, first, 1_500, now_us=NOW_US)
    assert {view.id: view.spent_nano for view in listed(store, account_id)} == {first: 1_500, second: 0}


def test_a_deleted_key_is_gone_from_the_list_and_deletable_once(store: Store, account_id: str) -> None:
    """Its usage can still be asked for."""
    key_id = create(store, new_key_of(account_id))
    store.write_now(delete_api_key, account_id, key_id, actor="mkey_1", now_us=NOW_US)
    assert listed(store, account_id) == []
    assert store.read_now(has_api_key, account_id, key_id) is True
    told = store.read_now(changes.since, 0)[-1]
    assert (told.topic, told.subject) == (changes.Topic.API_KEY, key_id)
    with pytest.raises(NotFound):
        store.write_now(delete_api_key, account_id, key_id, actor="mkey_1", now_us=NOW_US)


async def test_of_many_deletions_at_once_one_succeeds(store: Store, account_id: str) -> None:
    """And one change is announced."""
    key_id = create(store, new_key_of(account_id))
    before = row_counts(store)["changes"]
    outcomes = await asyncio.gather(
        *(store.write(delete_api_key, account_id, key_id, actor="mkey_1", now_us=NOW_US) for _ in range(10)),
        return_exceptions=True,
    )
    assert outcomes.count(None) == 1
    assert row_counts(store)["changes"] == before + 1


def test_another_accounts_key_is_not_there(store: Store, account_id: str) -> None:
    """It is neither listed nor deleted nor known."""
    other = new_customer(store, now_us=NOW_US, email="eve@example.com").account_id
    key_id = create(store, new_key_of(account_id))
    assert listed(store, other) == []
    assert store.read_now(has_api_key, other, key_id) is False
    with pytest.raises(NotFound):
        store.write_now(delete_api_key, other, key_id, actor="mkey_2", now_us=NOW_US)
    assert len(listed(store, account_id)) == 1


@pytest.mark.parametrize(
    ("status", "paid_until", "cancel_at", "ended_at", "active", "shown"),
    [
        (SubscriptionStatus.ACTIVE, DAY_US, None, None, True, SubscriptionStatus.ACTIVE),
        (SubscriptionStatus.ACTIVE, DAY_US, DAY_US, None, True, SubscriptionStatus.ACTIVE),
        (SubscriptionStatus.PAST_DUE, -HOUR_US, None, None, True, SubscriptionStatus.PAST_DUE),
        (SubscriptionStatus.PAST_DUE, -GRACE_US, None, None, False, SubscriptionStatus.PAST_DUE),
        (SubscriptionStatus.ACTIVE, -HOUR_US, -HOUR_US, None, False, SubscriptionStatus.CANCELED),
        (SubscriptionStatus.CANCELED, DAY_US, None, -HOUR_US, False, SubscriptionStatus.CANCELED),
        (SubscriptionStatus.INCOMPLETE, None, None, None, False, SubscriptionStatus.INCOMPLETE),
    ],
)
def test_a_subscriptions_key_is_active_while_it_has_access(
    store: Store,
    account_id: str,
    status: SubscriptionStatus,
    paid_until: int | None,
    cancel_at: int | None,
    ended_at: int | None,
    active: bool,
    shown: SubscriptionStatus,
) -> None:
    """And it takes new keys exactly that long; times are given relative to now."""

    def at(offset_us: int | None) -> int | None:
        return None if offset_us is None else NOW_US + offset_us

    def make(conn: Connection, /, **terms: int | None) -> str:
        return add_subscription(conn, account_id, now_us=NOW_US, status=status, **terms)

    subscription_id = store.write_now(
        make, paid_until_us=at(paid_until), cancel_at_us=at(cancel_at), ended_at_us=at(ended_at)
    )
    long_ago_us = 0
    new = new_key_of(account_id, subscription_id=subscription_id)
    if active:
        create(store, new)
    else:
        with pytest.raises(Conflict) as refused:
            create(store, new)
        assert refused.value.code == "subscription_inactive"
        if shown is SubscriptionStatus.INCOMPLETE:
            return
        create(store, new, now_us=long_ago_us)
    view = listed(store, account_id)[0]
    assert (view.is_active, view.subscription_status, view.plan_slug) == (active, shown, "pro")


def test_no_key_is_active_in_a_suspended_account(store: Store, account_id: str) -> None:
    """Also one of prepaid credit."""
    create(store, new_key_of(account_id))
    store.write_now(suspend, account_id, actor="operator", reason="test", now_us=NOW_US)
    assert [view.is_active for view in listed(store, account_id)] == [False]


def test_another_accounts_subscription_takes_no_key(store: Store, account_id: str) -> None:
    """It is as if it were not there."""
    other = new_customer(store, now_us=NOW_US, email="eve@example.com").account_id
    subscription_id = store.write_now(add_subscription, other, now_us=NOW_US, paid_until_us=NOW_US + DAY_US)
    with pytest.raises(NotFound):
        create(store, new_key_of(account_id, subscription_id=subscription_id))


async def test_an_account_never_has_more_keys_than_allowed(store: Store, account_id: str) -> None:
    """Of ten creations at once three succeed; a deletion makes room for one."""
    outcomes = await asyncio.gather(
        *(
            store.write(
                create_api_key,
                new_key_of(account_id),
                max_keys=3,
                grace_us=GRACE_US,
                actor="mkey_1",
                now_us=NOW_US,
            )
            for _ in range(10)
        ),
        return_exceptions=True,
    )
    assert outcomes.count(None) == 3
    gone = listed(store, account_id)[0].id
    store.write_now(delete_api_key, account_id, gone, actor="mkey_1", now_us=NOW_US)
    create(store, new_key_of(account_id), max_keys=3)
    with pytest.raises(Conflict):
        create(store, new_key_of(account_id), max_keys=3)


def test_rows_of_deleted_keys_are_bounded_too(store: Store, account_id: str) -> None:
    """Creating and deleting for ever does not fill the database."""
    for _ in range(ROWS_PER_LIVE_KEY):
        key_id = create(store, new_key_of(account_id), max_keys=1)
        store.write_now(delete_api_key, account_id, key_id, actor="mkey_1", now_us=NOW_US)
    with pytest.raises(Conflict) as refused:
        create(store, new_key_of(account_id), max_keys=1)
    assert refused.value.code == "too_many_keys"


def test_no_digest_is_shown(account_id: str) -> None:
    """P12: what is to be stored of a key does not show its digest where it is printed."""
    new = new_key_of(account_id)
    assert repr(new) == f"NewApiKey({new.id!r})"
