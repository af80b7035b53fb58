"""Log-ins and mailed links in the store: only until they run out, links only once."""

import pytest

from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import Customer, new_customer, row_counts
from tokenbooth.kit.errors import NotFound
from tokenbooth.store.accounts import sessions
from tokenbooth.store.accounts.accounts import set_admin, suspend
from tokenbooth.store.accounts.sessions import MAX_LINKS_PER_HOUR, NewSession, Purpose, secret_digest
from tokenbooth.store.engine import Store

HOUR_US = 3_600 * 1_000_000


@pytest.fixture
def ada(store: Store) -> Customer:
    """A customer."""
    return new_customer(store, now_us=NOW_US)


def log_in(store: Store, customer: Customer, name: str, *, now_us: int = NOW_US, for_us: int = HOUR_US) -> bytes:
    """Log in; returns the cookie's digest."""
    new = NewSession(name, customer.account_id, secret_digest(name), now_us + for_us, "127.0.0.1", "a browser")
    assert repr(new) == f"NewSession({name!r})"
    store.write_now(sessions.create_session, new, now_us=now_us)
    return new.digest


def mail_link(store: Store, name: str, *, now_us: int = NOW_US, purpose: Purpose = Purpose.RESET) -> bool:
    """Store a link that runs out after an hour."""
    return store.write_now(
        sessions.create_link,
        secret_digest(name),
        purpose=purpose,
        email="ada@example.com",
        expires_at_us=now_us + HOUR_US,
        now_us=now_us,
    )


def listed(store: Store, customer: Customer, *, now_us: int = NOW_US) -> list[str]:
    """The ids of an account's log-ins."""
    return [view.id for view in store.read_now(sessions.list_sessions, customer.account_id, now_us=now_us)]


def test_a_log_in_is_found_until_it_runs_out(store: Store, ada: Customer) -> None:
    """Who is logged in, with what decides about the pages; nobody a microsecond too late, or with another cookie."""
    digest = log_in(store, ada, "one")
    store.write_now(set_admin, ada.account_id, actor="test", now_us=NOW_US)
    store.write_now(suspend, ada.account_id, actor="test", reason="test", now_us=NOW_US)
    owner = store.read_now(sessions.find_session, digest, now_us=NOW_US + HOUR_US - 1)
    assert owner is not None
    assert (owner.session_id, owner.email, owner.is_admin, owner.is_suspended) == ("one", ada.email, True, True)
    assert store.read_now(sessions.find_session, digest, now_us=NOW_US + HOUR_US) is None
    assert store.read_now(sessions.find_session, secret_digest("two"), now_us=NOW_US) is None


def test_use_is_noted_now_and_then(store: Store, ada: Customer) -> None:
    """Once a minute suffices, and the last used log-in is listed first."""
    digest = log_in(store, ada, "one")
    log_in(store, ada, "two", now_us=NOW_US + 1)
    owner = store.read_now(sessions.find_session, digest, now_us=NOW_US)
    assert owner is not None
    assert not sessions.is_due_to_touch(owner, NOW_US + 59_999_999)
    assert sessions.is_due_to_touch(owner, NOW_US + 60_000_000)
    assert listed(store, ada) == ["two", "one"]
    store.write_now(sessions.touch_session, "one", now_us=NOW_US + 60_000_000)
    assert listed(store, ada) == ["one", "two"]


def test_a_log_in_is_ended_by_its_owner_only(store: Store, ada: Customer) -> None:
    """P13: another account's log-in is not there, nor is one that ended before."""
    bob = new_customer(store, now_us=NOW_US, email="bob@example.com")
    log_in(store, ada, "one")
    with pytest.raises(NotFound):
        store.write_now(sessions.end_session, bob.account_id, "one")
    store.write_now(sessions.end_session, ada.account_id, "one")
    with pytest.raises(NotFound):
        store.write_now(sessions.end_session, ada.account_id, "one")


def test_all_log_ins_end_at_once_but_perhaps_one(store: Store, ada: Customer) -> None:
    """After a change of the password only the one that changed it goes on."""
    for name in ("one", "two", "three"):
        log_in(store, ada, name)
    store.write_now(sessions.end_sessions, ada.account_id, but="two")
    assert listed(store, ada) == ["two"]
    store.write_now(sessions.end_sessions, ada.account_id)
    assert listed(store, ada) == []


def test_the_oldest_of_very_many_log_ins_end(store: Store, ada: Customer) -> None:
    """An account's log-ins are bounded."""
    for number in range(52):
        log_in(store, ada, f"s{number:02}", now_us=NOW_US + number)
    assert listed(store, ada)[-1] == "s02"
    assert row_counts(store)["sessions"] == 50


def test_a_link_works_once_and_takes_the_others_with_it(store: Store) -> None:
    """The links of one purpose for one email are used up together; another purpose's stay."""
    mail_link(store, "one")
    mail_link(store, "two")
    mail_link(store, "three", purpose=Purpose.SIGN_UP)
    assert store.read_now(sessions.find_link, secret_digest("one"), purpose=Purpose.SIGN_UP, now_us=NOW_US) is None
    used = store.write_now(sessions.use_link, secret_digest("one"), purpose=Purpose.RESET, now_us=NOW_US)
    assert used == "ada@example.com"
    for name in ("one", "two"):
        with pytest.raises(NotFound):
            store.write_now(sessions.use_link, secret_digest(name), purpose=Purpose.RESET, now_us=NOW_US)
    assert store.read_now(sessions.find_link, secret_digest("three"), purpose=Purpose.SIGN_UP, now_us=NOW_US) == used


def test_links_are_bounded_by_the_hour_and_run_out(store: Store) -> None:
    """A mailbox cannot be flooded; after an hour there may be more, and the first one is of no use."""
    made = [mail_link(store, f"link {number}") for number in range(MAX_LINKS_PER_HOUR + 1)]
    assert made == [True] * MAX_LINKS_PER_HOUR + [False]
    later_us = NOW_US + HOUR_US
    assert mail_link(store, "later", now_us=later_us)
    assert store.read_now(sessions.find_link, secret_digest("link 0"), purpose=Purpose.RESET, now_us=later_us) is None


def test_what_ran_out_is_forgotten(store: Store, ada: Customer) -> None:
    """Log-ins go at once, links when they no longer count against their email."""
    log_in(store, ada, "one")
    mail_link(store, "one")
    assert store.write_now(sessions.forget_expired, now_us=NOW_US + HOUR_US - 1) == 0
    assert store.write_now(sessions.forget_expired, now_us=NOW_US + HOUR_US) == 2
