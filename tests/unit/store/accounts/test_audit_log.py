"""Who did what: entries with their address, and failed log-ins, of which strangers can cause only so many."""

import asyncio

import pytest
from sqlalchemy import Connection, select

from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import new_customer
from tokenbooth.kit.errors import RateLimited
from tokenbooth.store.accounts import audit_log
from tokenbooth.store.accounts.audit_log import (
    FAILED_IN_ALL,
    FAILED_OF_STRANGERS,
    FAILED_PER_ACCOUNT,
    LOG_IN_FAILED,
    NOBODY,
    REPEATED_PER_ACCOUNT,
    Actor,
    Entry,
    record_entry,
    record_failed_log_in,
    record_repeatable,
    require_room,
)
from tokenbooth.store.engine import Store
from tokenbooth.store.reports.operator import list_log
from tokenbooth.store.tables import audit_log as rows

HOUR_US = 3_600 * 1_000_000
DAY_US = 24 * HOUR_US


def failed(store: Store) -> list[tuple[str, str | None, str | None, str]]:
    """The failed log-ins that are noted."""

    def read(conn: Connection) -> list[tuple[str, str | None, str | None, str]]:
        found = conn.execute(
            select(rows.c.actor, rows.c.account_id, rows.c.address, rows.c.detail)
            .where(rows.c.action == LOG_IN_FAILED)
            .order_by(rows.c.at_us, rows.c.id)
        )
        return [(row.actor, row.account_id, row.address, row.detail) for row in found]

    return store.read_now(read)


def fail(store: Store, account_id: str | None, times: int, now_us: int = NOW_US) -> list[bool]:
    """Note failed log-ins, one after the other."""
    return [
        store.write_now(record_failed_log_in, account_id, address=f"203.0.113.{number}", now_us=now_us + number)
        for number in range(times)
    ]


def test_an_actor_brings_its_address(store: Store) -> None:
    """What no client asked has none; an actor is its id in every other respect."""
    ada = new_customer(store, now_us=NOW_US)
    for actor in (Actor(ada.account_id, "203.0.113.7"), Actor(ada.account_id, ""), "operator"):
        store.write_now(
            audit_log.record, actor=actor, action="a.b", account_id=ada.account_id, detail="d", now_us=NOW_US
        )
    store.write_now(
        audit_log.record_entry, Entry(Actor("key_1", "2001:db8::1"), "a.b", ada.account_id, "e", NOW_US + 1)
    )
    log = store.read_now(list_log, action="a.b")
    assert {(row.actor, row.address) for row in log} == {
        ("ada@example.com", "203.0.113.7"),
        ("ada@example.com", None),
        ("operator", None),
        ("key_1", "2001:db8::1"),
    }
    assert (Actor("x", "y") == "x", f"{Actor('x', 'y')}", repr(str(Actor("x", "y")))) == (True, "x", "'x'")


def test_failed_log_ins_are_bounded_for_each_account(store: Store) -> None:
    """The last one that is noted says so; an hour later they are noted again, and others are noted meanwhile."""
    ada = new_customer(store, now_us=NOW_US)
    bob = new_customer(store, now_us=NOW_US, email="bob@example.com")
    assert fail(store, ada.account_id, FAILED_PER_ACCOUNT + 3) == [True] * FAILED_PER_ACCOUNT + [False] * 3
    noted = failed(store)
    assert noted[0] == (NOBODY, ada.account_id, "203.0.113.0", "wrong password")
    assert noted[-1][3] == "wrong password; further ones of this hour are not noted"
    assert [row[3] for row in noted[:-1]] == ["wrong password"] * (FAILED_PER_ACCOUNT - 1)
    assert fail(store, bob.account_id, 1) == [True]
    assert fail(store, ada.account_id, 1, NOW_US + HOUR_US + FAILED_PER_ACCOUNT) == [True]


def test_those_of_unknown_emails_are_bounded_together(store: Store) -> None:
    """Nobody's e-mail is kept, and whatever is tried, an hour has so many rows."""
    fail(store, None, FAILED_OF_STRANGERS + 5)
    noted = failed(store)
    assert len(noted) == FAILED_OF_STRANGERS
    assert {row[:2] for row in noted} == {(NOBODY, None)}
    assert {row[3] for row in noted[:-1]} == {"no account has this email"}


def test_all_together_are_bounded(store: Store) -> None:
    """Who knows the e-mail of every customer does not fill the table either."""

    def fill(conn: Connection) -> None:
        for number in range(FAILED_IN_ALL):
            audit_log.record(
                conn, actor=NOBODY, action=LOG_IN_FAILED, account_id=f"acct_{number}", detail="", now_us=NOW_US
            )

    store.write_now(fill)
    assert fail(store, "acct_new", 1) == [False]
    assert fail(store, None, 1) == [False]


def test_old_ones_are_forgotten(store: Store) -> None:
    """Failed log-ins go after their time, what was done stays."""
    ada = new_customer(store, now_us=NOW_US)
    store.write_now(audit_log.record, actor="a", action="a.b", account_id=ada.account_id, detail="", now_us=NOW_US - 9)
    fail(store, None, 3)
    assert store.write_now(audit_log.forget_failed_log_ins, NOW_US + 2) == 2
    assert (len(failed(store)), len(store.read_now(list_log, action="a.b"))) == (1, 1)


async def test_failures_at_once_keep_the_bound(store: Store) -> None:
    """Those that come together are counted together."""
    ada = new_customer(store, now_us=NOW_US)
    fail(store, ada.account_id, FAILED_PER_ACCOUNT - 3)
    tries = [
        store.write(record_failed_log_in, ada.account_id, address="203.0.113.7", now_us=NOW_US + 100) for _ in range(8)
    ]
    assert sum(await asyncio.gather(*tries)) == 3
    assert len(failed(store)) == FAILED_PER_ACCOUNT


def test_an_account_does_so_much_in_a_day(store: Store) -> None:
    """Beyond that its next action is refused until the day of the first one is over; another account is not."""
    ada, bob = (new_customer(store, now_us=NOW_US - DAY_US, email=f"{name}@example.com") for name in ("ada", "bob"))
    for number in range(3):
        entry = Entry("mkey_1", "portal.opened", ada.account_id, "", NOW_US + number)
        store.write_now(record_entry, entry)
    store.write_now(require_room, ada.account_id, 4, now_us=NOW_US + 10)
    store.write_now(require_room, bob.account_id, 3, now_us=NOW_US + 10)
    with pytest.raises(RateLimited) as refused:
        store.write_now(require_room, ada.account_id, 3, now_us=NOW_US + 10)
    assert refused.value.retry_after_s == (DAY_US - 10) / 1e6
    store.write_now(require_room, ada.account_id, 3, now_us=NOW_US + DAY_US)


@pytest.mark.parametrize("action", ["account.logged_in", "subscription.canceled"])
def test_what_is_never_refused_is_noted_so_often(store: Store, action: str) -> None:
    """The last entry of an hour says that there may be more; the next hour notes again."""
    ada = new_customer(store, now_us=NOW_US - DAY_US)

    def note(now_us: int) -> None:
        if action == "subscription.canceled":
            store.write_now(record_entry, Entry("mkey_1", action, ada.account_id, "x", now_us))
            return
        store.write_now(
            record_repeatable, actor="x", action=action, account_id=ada.account_id, detail="x", now_us=now_us
        )

    def noted() -> list[str]:
        query = select(rows.c.detail).where(rows.c.action == action).order_by(rows.c.at_us, rows.c.id)
        return store.read_now(lambda conn: list(conn.execute(query).scalars()))

    for number in range(REPEATED_PER_ACCOUNT + 5):
        note(NOW_US + number)
    assert noted() == ["x"] * (REPEATED_PER_ACCOUNT - 1) + ["x; further ones of this hour are not noted"]
    note(NOW_US + 2 * HOUR_US)
    assert noted()[-1] == "x"
