"""Management keys in the store."""

import pytest
from sqlalchemy import select

from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import another_key, new_customer
from tokenbooth.domain.keys import DEFAULT_SCOPES, Scope, digest
from tokenbooth.kit.errors import Conflict, NotFound
from tokenbooth.store.accounts.management_keys import (
    NewManagementKey,
    create_management_key,
    delete_management_key,
    find_management_key,
    list_management_keys,
    touch_management_key,
)
from tokenbooth.store.engine import Store
from tokenbooth.store.tables import audit_log, management_keys


def test_a_key_is_found_by_its_digest_only(store: Store) -> None:
    """With its scopes and its account's state."""
    customer = new_customer(store, now_us=NOW_US, scopes=DEFAULT_SCOPES, expires_at_us=NOW_US + 5)
    found = store.read_now(find_management_key, digest(customer.management_key))
    assert found is not None
    assert (found.id, found.account_id) == (customer.key_id, customer.account_id)
    assert found.scopes == frozenset(DEFAULT_SCOPES)
    assert found.expires_at_us == NOW_US + 5
    assert found.account_suspended is False
    assert store.read_now(find_management_key, b"\0" * 32) is None


def test_the_clear_text_is_stored_nowhere(store: Store) -> None:
    """No column of the row holds it."""
    customer = new_customer(store, now_us=NOW_US)
    row = store.read_now(lambda conn: tuple(conn.execute(select(management_keys)).one()))
    assert not any(customer.management_key in str(value) for value in row)


def test_a_deleted_key_is_gone(store: Store) -> None:
    """It is not found, not listed, and cannot be deleted again."""
    customer = new_customer(store, now_us=NOW_US)
    arguments = (customer.account_id, customer.key_id)
    store.write_now(delete_management_key, *arguments, actor="mkey_1", now_us=NOW_US)
    assert store.read_now(find_management_key, digest(customer.management_key)) is None
    assert store.read_now(list_management_keys, customer.account_id) == []
    with pytest.raises(NotFound):
        store.write_now(delete_management_key, *arguments, actor="mkey_1", now_us=NOW_US)
    actions = select(audit_log.c.action, audit_log.c.detail).order_by(audit_log.c.action)
    assert store.read_now(lambda conn: [tuple(row) for row in conn.execute(actions)]) == [
        ("management_key.created", customer.key_id),
        ("management_key.deleted", customer.key_id),
    ]


def test_use_is_noted_once_a_minute(store: Store) -> None:
    """A note within the minute changes nothing."""
    customer = new_customer(store, now_us=NOW_US)

    def last_used_at_us() -> int | None:
        return store.read_now(list_management_keys, customer.account_id)[0].last_used_at_us

    assert last_used_at_us() is None
    store.write_now(touch_management_key, customer.key_id, now_us=NOW_US)
    store.write_now(touch_management_key, customer.key_id, now_us=NOW_US + 59_999_999)
    assert last_used_at_us() == NOW_US
    store.write_now(touch_management_key, customer.key_id, now_us=NOW_US + 60_000_000)
    assert last_used_at_us() == NOW_US + 60_000_000


def test_keys_are_bounded(store: Store) -> None:
    """One more than allowed is a conflict."""
    customer = new_customer(store, now_us=NOW_US)
    another_key(store, customer.account_id, customer.email, now_us=NOW_US)
    new = NewManagementKey("mkey_3", customer.account_id, "third", b"\x03" * 32, "mk_test", (Scope.KEYS_READ,), None)
    with pytest.raises(Conflict) as refused:
        store.write_now(create_management_key, new, max_keys=2, actor="operator", now_us=NOW_US)
    assert refused.value.code == "too_many_keys"
    assert repr(new) == "NewManagementKey('mkey_3')"
