"""Accounts in the store."""

import pytest
from sqlalchemy import select

from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tokenbooth.kit.errors import Conflict, InvalidRequest, NotFound
from tokenbooth.store import changes
from tokenbooth.store.accounts.accounts import (
    Account,
    create_account,
    find_account,
    find_account_by_email,
    is_disputed,
    set_admin,
    set_password,
    set_stripe_customer,
    suspend,
    unsuspend,
)
from tokenbooth.store.engine import Store
from tokenbooth.store.tables import accounts, audit_log

ADA = Account("acct_1", "ada@example.com", None, None, None, NOW_US)


def test_an_account_is_found_by_id_and_by_any_spelling_of_its_email(store: Store) -> None:
    """The email is stored normalised."""
    created = store.write_now(create_account, "acct_1", " Ada@Example.COM ", None, now_us=NOW_US)
    assert created == ADA
    assert store.read_now(find_account, "acct_1") == ADA
    assert store.read_now(find_account_by_email, "ADA@example.com") == ADA


@pytest.mark.parametrize("email", ["jürgen@example.com", "a!b@example.com"])
def test_an_account_keeps_an_email_that_is_none_any_more(store: Store, email: str) -> None:
    """An earlier version took it for one, so its owner is found by it."""
    store.write_now(create_account, "acct_1", "ada@example.com", None, now_us=NOW_US)
    store.write_now(lambda conn: conn.execute(accounts.update().values(email=email)))
    found = store.read_now(find_account_by_email, f" {email.upper()} ")
    assert found is not None
    assert found.id == "acct_1"


def test_unknown_accounts_are_none(store: Store) -> None:
    """A look-up with anything unknown, or no email at all, finds nothing."""
    assert store.read_now(find_account, "acct_1") is None
    assert store.read_now(find_account_by_email, "ada@example.com") is None
    assert store.read_now(find_account_by_email, "\ud800") is None


def test_two_accounts_never_have_one_email(store: Store) -> None:
    """The second one is a conflict, and the first stays."""
    store.write_now(create_account, "acct_1", "ada@example.com", None, now_us=NOW_US)
    with pytest.raises(Conflict) as refused:
        store.write_now(create_account, "acct_2", "ADA@example.com", None, now_us=NOW_US)
    assert refused.value.code == "email_taken"
    assert store.read_now(find_account, "acct_2") is None


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "a b@example.com",
        "a@b@c",
        "a\x00@b.c",
        f"{'a' * 300}@b.c",
        "=?utf-8?q?a?=@b.c",
    ],
)
def test_what_is_no_email_is_refused(store: Store, email: str) -> None:
    """Nothing is stored for it."""
    with pytest.raises(InvalidRequest) as refused:
        store.write_now(create_account, "acct_1", email, None, now_us=NOW_US)
    assert refused.value.param == "email"


def test_suspending_is_announced_and_noted(store: Store) -> None:
    """Caches learn of it by the change sequence, and the audit log says who did it and why."""
    store.write_now(create_account, "acct_1", "ada@example.com", None, now_us=NOW_US)
    store.write_now(suspend, "acct_1", actor="operator", reason="chargeback", now_us=NOW_US + 1)
    suspended = store.read_now(find_account, "acct_1")
    assert suspended is not None
    assert suspended.suspended_at_us == NOW_US + 1
    store.write_now(unsuspend, "acct_1", actor="operator", reason="paid", now_us=NOW_US + 2)
    assert store.read_now(find_account, "acct_1") == ADA
    told = [(change.topic, change.subject) for change in store.read_now(changes.since, 0)]
    assert told == [(changes.Topic.ACCOUNT, "acct_1")] * 2
    notes = select(audit_log.c.actor, audit_log.c.action, audit_log.c.detail).order_by(audit_log.c.at_us)
    assert store.read_now(lambda conn: [tuple(row) for row in conn.execute(notes)]) == [
        ("operator", "account.suspended", "chargeback"),
        ("operator", "account.unsuspended", "paid"),
    ]


def test_password_and_customer_are_set(store: Store) -> None:
    """Both stand in the account afterwards."""
    store.write_now(create_account, "acct_1", "ada@example.com", None, now_us=NOW_US)
    store.write_now(set_password, "acct_1", "$argon2id$fake")
    store.write_now(set_stripe_customer, "acct_1", "cus_fake")
    found = store.read_now(find_account, "acct_1")
    assert found == Account("acct_1", "ada@example.com", "$argon2id$fake", None, "cus_fake", NOW_US)
    assert "argon2" not in repr(found)


def test_changing_an_unknown_account_is_refused(store: Store) -> None:
    """Nothing is written for an account that is not there."""
    with pytest.raises(NotFound):
        store.write_now(set_stripe_customer, "acct_1", "cus_fake")


def test_an_operator_of_the_pages_is_noted(store: Store) -> None:
    """Whom the operator's pages were opened to stands in the account and in the audit log; nobody unknown is."""
    store.write_now(create_account, "acct_1", "ada@example.com", None, now_us=NOW_US)
    store.write_now(set_admin, "acct_1", actor="operator", now_us=NOW_US)
    admin = store.read_now(find_account, "acct_1")
    assert admin is not None
    assert admin.is_admin
    assert "ada" not in repr(admin)
    actions = select(audit_log.c.action)
    assert store.read_now(lambda conn: list(conn.scalars(actions))) == ["account.made_admin"]
    with pytest.raises(NotFound):
        store.write_now(set_admin, "acct_2", actor="operator", now_us=NOW_US)
    assert not store.read_now(is_disputed, "acct_1")
