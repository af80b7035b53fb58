"""Getting in and out stands in the audit log: who, from where, and for strangers no more than that somebody tried."""

import pytest
from sqlalchemy import Connection, select

from tests.support.dashboard.dashboard import PASSWORD, Booth, open_booth
from tests.support.store import row_counts
from tokenbooth.config.settings import Settings
from tokenbooth.store.engine import Store
from tokenbooth.store.tables import audit_log

ADDRESS = "203.0.113.7"
UNLIMITED = Settings.model_validate({"dashboard": {"attempts_per_minute": 1_000_000}})


def noted(booth: Booth) -> list[tuple[str, str, str | None, str | None]]:
    """Actor, action, account and address of every entry, the first one first."""

    def read(conn: Connection) -> list[tuple[str, str, str | None, str | None]]:
        columns = audit_log.c
        found = conn.execute(
            select(columns.actor, columns.action, columns.account_id, columns.address).order_by(
                columns.at_us, columns.id
            )
        )
        return [(row.actor, row.action, row.account_id, row.address) for row in found]

    return booth.store.read_now(read)


def own(account_id: str, *actions: str) -> list[tuple[str, str, str | None, str | None]]:
    """Entries of what an account did itself."""
    return [(account_id, action, account_id, ADDRESS) for action in actions]


async def test_a_visit_is_noted(booth: Booth) -> None:
    """Logging in, ending log-ins, another password, logging out."""
    account_id = booth.account()
    other, browser = booth.browser(), booth.browser()
    await other.log_in("ada@example.com")
    booth.clock.advance(1)
    await browser.log_in("ada@example.com")
    page = "/dashboard/account"
    booth.clock.advance(1)
    assert (await browser.send(page, f"{page}/sessions/end")).status_code == 303
    booth.clock.advance(1)
    changed = await browser.send(page, f"{page}/password", current=PASSWORD, password="another good one")
    assert changed.status_code == 303
    booth.clock.advance(1)
    assert (await browser.send("/dashboard", "/logout")).status_code == 303
    actions = ("logged_in", "logged_in", "log_in_ended", "password_changed", "log_in_ended")
    assert noted(booth) == own(account_id, *(f"account.{action}" for action in actions))


async def test_signing_up_and_a_reset_are_noted(booth: Booth) -> None:
    """With the address that they came from; of a reset also that somebody asked for it."""
    browser = booth.browser()
    await browser.http.post("/signup", data={"email": "ada@example.com"})
    assert (await browser.http.post(booth.mailer.path(), data={"password": PASSWORD})).status_code == 303
    booth.clock.advance(1)
    await browser.http.post("/reset", data={"email": "ada@example.com"})
    booth.clock.advance(1)
    assert (await browser.http.post(booth.mailer.path(), data={"password": "another good one"})).status_code == 303
    entries = noted(booth)
    account_id = entries[0][0]
    # At one instant.
    assert set(entries[:2]) == set(own(account_id, "account.signed_up", "account.logged_in"))
    assert entries[2:] == [
        ("nobody", "account.reset_mailed", account_id, ADDRESS),
        *own(account_id, "account.password_changed"),
    ]


async def test_wrong_passwords_are_noted_at_their_account(booth: Booth) -> None:
    """Of an unknown e-mail only that one was tried; the e-mail itself stands nowhere."""
    account_id = booth.account()
    browser = booth.browser()
    await browser.log_in("ada@example.com", "wrong")
    booth.clock.advance(1)
    await browser.log_in("eve@example.com", "wrong")
    await browser.log_in("what was meant to be a password", "wrong")
    assert noted(booth) == [
        ("nobody", "account.log_in_failed", account_id, ADDRESS),
        ("nobody", "account.log_in_failed", None, ADDRESS),
        ("nobody", "account.log_in_failed", None, ADDRESS),
    ]
    with booth.store.engine.connect() as conn:
        rows = repr(conn.exec_driver_sql("SELECT * FROM audit_log").all())
    assert "eve@" not in rows
    assert "meant to be" not in rows


@pytest.mark.parametrize("email", ["ada@example.com", "eve@example.com"])
async def test_strangers_do_not_fill_the_table(store: Store, email: str) -> None:
    """However often somebody tries, an hour has a bounded number of rows."""
    async with open_booth(store, UNLIMITED) as booth:
        booth.account()
        for number in range(80):
            await booth.browser(f"198.51.100.{number}").log_in(email, "wrong")
        assert row_counts(booth.store)["audit_log"] == (20 if email == "ada@example.com" else 60)
        # The right password is noted all the same.
        booth.clock.advance(1)
        await booth.browser().log_in("ada@example.com")
        assert noted(booth)[-1][1] == "account.logged_in"


async def test_who_is_logged_in_does_not_fill_it_either(store: Store) -> None:
    """Logging in and out is noted sixty times in an hour, and ending others' log-ins where there are some."""
    async with open_booth(store, UNLIMITED) as booth:
        browser = await booth.logged_in()
        for _ in range(3):
            assert (await browser.http.post("/dashboard/account/sessions/end", data={"x": "y"})).status_code == 303
        assert [entry[1] for entry in noted(booth)] == ["account.logged_in"]
        for _ in range(70):
            await booth.browser().log_in("ada@example.com")
        assert row_counts(booth.store)["audit_log"] == 60
        # Fifty of them are still there; the first one is not.
        booth.clock.advance(7_200)
        await browser.log_in("ada@example.com")
        booth.clock.advance(1)
        await browser.send("/dashboard/account", "/dashboard/account/sessions/end")
        assert noted(booth)[-1][1] == "account.log_in_ended"


async def test_what_is_refused_before_a_password_is_looked_at_is_not_noted(booth: Booth) -> None:
    """Too many tries from one address, and forms of other sites."""
    booth.account()
    browser = booth.browser()
    statuses = [(await browser.log_in("ada@example.com", "wrong")).status_code for _ in range(12)]
    browser.http.headers["origin"] = "https://evil.example"
    statuses.append((await browser.log_in("ada@example.com", "wrong")).status_code)
    assert statuses[-3:] == [429, 429, 403]
    assert row_counts(booth.store)["audit_log"] == statuses[:-1].count(403) == 10


async def test_operators_see_where_it_came_from(booth: Booth) -> None:
    """On the page of the audit."""
    admin = await booth.logged_in("op@example.com", is_admin=True)
    await booth.browser("198.51.100.9").log_in("op@example.com", "wrong")
    page = (await admin.get("/dashboard/operator/audit")).text
    assert "account.log_in_failed" in page
    assert "198.51.100.9" in page
