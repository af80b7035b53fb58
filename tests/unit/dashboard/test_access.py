"""Getting in and out, and what nobody may learn or do on the way."""

import re

import pytest

from tests.support.dashboard.dashboard import ORIGIN, PASSWORD, Booth, hidden_fields, open_booth
from tests.support.store import row_counts
from tokenbooth.config.settings import Settings
from tokenbooth.store.engine import Store

NEW = "another good one"
FOREIGN = "https://evil.example"

# The headers of a form, and whether a page of ours sent it.
SENDERS = [
    ([("origin", ORIGIN)], True),
    ([("origin", "https://booth.test")], True),
    ([("origin", ORIGIN), ("sec-fetch-site", "same-origin")], True),
    ([("sec-fetch-site", "same-origin")], True),
    ([("sec-fetch-site", "none")], True),
    ([], False),
    ([("origin", FOREIGN)], False),
    ([("origin", "null")], False),
    ([("origin", "")], False),
    ([("origin", "http://[")], False),
    ([("origin", f"{ORIGIN}:81")], False),
    ([("origin", ORIGIN), ("origin", ORIGIN)], False),
    ([("origin", ORIGIN), ("origin", FOREIGN)], False),
    ([("origin", FOREIGN), ("origin", ORIGIN)], False),
    ([("sec-fetch-site", "same-site")], False),
    ([("sec-fetch-site", "cross-site")], False),
    ([("sec-fetch-site", "")], False),
    ([("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], False),
    ([("origin", FOREIGN), ("sec-fetch-site", "same-origin")], False),
    ([("origin", "null"), ("sec-fetch-site", "none")], False),
    ([("origin", ORIGIN), ("sec-fetch-site", "same-site")], False),
    ([("origin", "https://booth.test"), ("sec-fetch-site", "cross-site")], False),
]


async def test_signing_up_goes_through_the_mailbox(booth: Booth) -> None:
    """A link is mailed; behind it a password is chosen, the account exists, and its owner is logged in."""
    browser = booth.browser()
    answer = await browser.http.post("/signup", data={"email": " Ada@Example.com "})
    assert (answer.status_code, "Look in your mailbox" in answer.text) == (200, True)
    path = booth.mailer.path()
    assert (await browser.get(path)).status_code == 200
    done = await browser.http.post(path, data={"password": PASSWORD})
    assert (done.status_code, done.headers["location"]) == (303, "/dashboard")
    assert "ada@example.com" in (await browser.get("/dashboard")).text


async def test_a_link_works_once(booth: Booth) -> None:
    """A link that was used is dead, and so is one that was never mailed."""
    browser = booth.browser()
    await browser.http.post("/signup", data={"email": "ada@example.com"})
    path = booth.mailer.path()
    await browser.http.post(path, data={"password": PASSWORD})
    assert (await browser.http.post(path, data={"password": PASSWORD})).status_code == 404
    assert (await browser.get("/signup/unknown")).status_code == 404
    assert (await browser.get(path.replace("/signup/", "/reset/"))).status_code == 404


@pytest.mark.parametrize(("path", "life_s"), [("/signup", 86_400), ("/reset", 3_600)])
async def test_a_link_runs_out(booth: Booth, path: str, life_s: int) -> None:
    """A link to sign up works for a day, one for a new password for an hour."""
    if path == "/reset":
        booth.account()
    await booth.browser().http.post(path, data={"email": "ada@example.com"})
    booth.clock.advance(life_s - 1)
    assert (await booth.browser().get(booth.mailer.path())).status_code == 200
    booth.clock.advance(1)
    assert (await booth.browser().get(booth.mailer.path())).status_code == 404


@pytest.mark.parametrize("path", ["/signup", "/reset"])
async def test_no_page_tells_whether_an_email_is_known(booth: Booth, path: str) -> None:
    """Signing up and asking for a reset answer the same for an email with an account and for one without."""
    booth.account("known@example.com")
    known = await booth.browser().http.post(path, data={"email": "known@example.com"})
    unknown = await booth.browser().http.post(path, data={"email": "other@example.com"})
    assert known.text.replace("known@", "other@") == unknown.text
    assert (known.status_code, set(known.headers)) == (unknown.status_code, set(unknown.headers))


async def test_who_has_an_account_is_told_in_the_mailbox(booth: Booth) -> None:
    """Signing up again mails a link to log in, and makes no account."""
    booth.account()
    await booth.browser().http.post("/signup", data={"email": "ada@example.com"})
    assert [mail.link for mail in booth.mailer.sent] == [f"{ORIGIN}/login"]
    await booth.browser().http.post("/reset", data={"email": "nobody@example.com"})
    assert len(booth.mailer.sent) == 1


async def test_a_wrong_email_and_a_wrong_password_look_the_same(booth: Booth) -> None:
    """The answers differ in the email that was typed, and in nothing else."""
    booth.account()
    wrong = await booth.browser().log_in("ada@example.com", "not the password")
    unknown = await booth.browser().log_in("eve@example.com", "not the password")
    assert (wrong.status_code, unknown.status_code) == (403, 403)
    assert wrong.text.replace("ada@", "eve@") == unknown.text


async def test_the_cookie_is_the_browsers_alone(booth: Booth) -> None:
    """No script reads it, no other site sends it along, and the store holds only its digest."""
    booth.account()
    browser = booth.browser()
    answer = await browser.log_in("ada@example.com")
    cookie = answer.headers["set-cookie"]
    for part in ("tokenbooth=", "HttpOnly", "SameSite=lax", "Path=/"):
        assert part in cookie
    secret = browser.http.cookies["tokenbooth"]
    with booth.store.engine.connect() as conn:
        rows = conn.exec_driver_sql("SELECT * FROM sessions").all()
    assert secret not in repr(rows)


async def test_with_https_the_cookie_is_for_this_host_only(store: Store) -> None:
    """Behind https the name has the prefix that browsers tie to the host."""
    settings = Settings.model_validate({"server": {"public_url": "https://booth.example"}})
    async with open_booth(store, settings) as booth:
        booth.account()
        browser = booth.browser()
        browser.http.headers["origin"] = "https://booth.example"
        answer = await browser.log_in("ada@example.com")
    assert answer.headers["set-cookie"].startswith("__Host-tokenbooth=")
    assert "Secure" in answer.headers["set-cookie"]


async def test_a_page_asks_to_log_in_and_leads_back(booth: Booth) -> None:
    """Somebody who is not logged in is sent to log in, and afterwards where they wanted to go."""
    booth.account()
    browser = booth.browser()
    sent = await browser.get("/dashboard/usage?by=key")
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/dashboard/usage%3Fby%3Dkey")
    back = await browser.http.post(
        "/login", data={"email": "ada@example.com", "password": PASSWORD, "next": "/dashboard/usage?by=key"}
    )
    assert back.headers["location"] == "/dashboard/usage?by=key"


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "/dashboard\\@evil", ""]
)
async def test_a_log_in_never_leads_elsewhere(booth: Booth, wanted: str) -> None:
    """What a link says is followed only within the dashboard."""
    booth.account()
    answer = await booth.browser().http.post(
        "/login", data={"email": "ada@example.com", "password": PASSWORD, "next": wanted}
    )
    assert answer.headers["location"] == "/dashboard"


async def test_logging_out_ends_the_session(booth: Booth) -> None:
    """After logging out, the cookie opens nothing, also where somebody kept it."""
    browser = await booth.logged_in()
    secret = browser.http.cookies["tokenbooth"]
    out = await browser.send("/dashboard", "/logout")
    assert out.headers["location"] == "/login?done=out"
    thief = booth.browser()
    thief.http.cookies.set("tokenbooth", secret)
    assert (await thief.get("/dashboard")).status_code == 303


async def test_a_session_runs_out(booth: Booth) -> None:
    """A log-in lasts as long as configured."""
    browser = await booth.logged_in()
    booth.clock.advance(30 * 86_400 - 1)
    assert (await browser.get("/dashboard")).status_code == 200
    booth.clock.advance(1)
    assert (await browser.get("/dashboard")).status_code == 303


async def test_a_reset_ends_every_session(booth: Booth) -> None:
    """A new password by link logs everybody out, and the old one is dead."""
    browser = await booth.logged_in()
    await browser.http.post("/reset", data={"email": "ada@example.com"})
    done = await booth.browser().http.post(booth.mailer.path(), data={"password": NEW})
    assert done.headers["location"] == "/login?done=password"
    assert (await browser.get("/dashboard")).status_code == 303
    assert (await browser.log_in("ada@example.com")).status_code == 403
    assert (await browser.log_in("ada@example.com", NEW)).status_code == 303


async def test_a_changed_password_ends_other_sessions(booth: Booth) -> None:
    """Who changes the password stays logged in; every other log-in ends."""
    here = await booth.logged_in()
    there = booth.browser()
    await there.log_in("ada@example.com")
    done = await here.send("/dashboard/account", "/dashboard/account/password", current=PASSWORD, password=NEW)
    assert done.headers["location"] == "/dashboard/account?done=password"
    assert ((await here.get("/dashboard")).status_code, (await there.get("/dashboard")).status_code) == (200, 303)


async def test_a_password_is_changed_only_by_who_knows_it(booth: Booth) -> None:
    """A log-in alone does not change the password."""
    browser = await booth.logged_in()
    done = await browser.send("/dashboard/account", "/dashboard/account/password", current="guess", password=NEW)
    assert (done.status_code, "current password is wrong" in done.text) == (403, True)


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaa", "ada@example.com", "x" * 201])
async def test_poor_passwords_are_refused(booth: Booth, password: str) -> None:
    """Too short, too long, one letter, or the email itself."""
    await booth.browser().http.post("/signup", data={"email": "ada@example.com"})
    answer = await booth.browser().http.post(booth.mailer.path(), data={"password": password})
    assert answer.status_code == 400
    assert (await booth.browser().log_in("ada@example.com", password)).status_code == 403


async def test_sessions_are_listed_and_ended(booth: Booth) -> None:
    """The account's page shows each log-in, and ends the one that is chosen."""
    here = await booth.logged_in()
    booth.clock.advance(1)
    there = booth.browser("198.51.100.9")
    await there.log_in("ada@example.com")
    page = (await here.get("/dashboard/account")).text
    assert ("198.51.100.9" in page, "203.0.113.7" in page) == (True, True)
    action = next(line.split('"')[3] for line in page.splitlines() if "/end" in line and "sessions/ses" in line)
    assert (await here.send("/dashboard/account", action)).status_code == 303
    assert ((await here.get("/dashboard")).status_code, (await there.get("/dashboard")).status_code) == (200, 303)


async def test_an_address_tries_ten_times_a_minute(booth: Booth) -> None:
    """The eleventh attempt of a minute is refused, from this address alone."""
    booth.account()
    for _ in range(10):
        assert (await booth.browser().log_in("ada@example.com", "wrong guess")).status_code == 403
    refused = await booth.browser().log_in("ada@example.com")
    assert (refused.status_code, int(refused.headers["retry-after"]) <= 61) == (429, True)
    assert (await booth.browser("198.51.100.9").log_in("ada@example.com")).status_code == 303
    booth.clock.advance(60)
    assert (await booth.browser().log_in("ada@example.com")).status_code == 303


async def test_addresses_of_one_ipv6_network_count_together(booth: Booth) -> None:
    """Who has a network has its addresses: they are one."""
    for number in range(10):
        await booth.browser(f"2001:db8::{number:x}").log_in("ada@example.com", "wrong guess")
    assert (await booth.browser("2001:db8::ffff").log_in("ada@example.com")).status_code == 429
    assert (await booth.browser("2001:db8:0:1::1").log_in("ada@example.com")).status_code == 403


async def test_ten_times_as_many_tries_come_from_a_whole_site(booth: Booth) -> None:
    """Who has a /48 has 65,536 networks: all of them together get a hundred tries."""
    statuses = [
        (await booth.browser(f"2001:db8:0:{number:x}::1").log_in("ada@example.com", "wrong guess")).status_code
        for number in range(101)
    ]
    assert statuses == [403] * 100 + [429]
    assert (await booth.browser("2001:db8:1::1").log_in("ada@example.com", "wrong guess")).status_code == 403


@pytest.mark.parametrize(("path", "has_account"), [("/signup", False), ("/signup", True), ("/reset", True)])
async def test_a_mailbox_is_not_flooded(booth: Booth, path: str, has_account: bool) -> None:
    """It gets three mails in an hour, whoever asks from wherever and however it is spelled; an account that is there
    already makes no difference, and the page doesn't tell."""
    if has_account:
        booth.account("ada@gmail.com")
    pages = set()
    for number, spelling in enumerate(
        ["ada@gmail.com", "Ada@GMail.com", "ada@gmail.com", "a.da@gmail.com", "ada+1@gmail.com"]
    ):
        email = "ada@gmail.com" if has_account else spelling
        page = await booth.browser(f"198.51.100.{number}").http.post(path, data={"email": email})
        pages.add(page.text.replace(email.lower(), "ada@gmail.com"))
    assert (len(booth.mailer.sent), len(pages)) == (3, 1)
    booth.clock.advance(3_600)
    await booth.browser("198.51.100.9").http.post(path, data={"email": "ada@gmail.com"})
    assert len(booth.mailer.sent) == 4


async def test_a_network_asks_for_so_many_mails_a_day(store: Store) -> None:
    """Beyond that it is told to come back, and nobody is mailed to; others are not held up."""
    settings = Settings.model_validate({"dashboard": {"mails_per_day": 2, "attempts_per_minute": 1_000}})
    async with open_booth(store, settings) as booth:
        for number in range(2):
            await booth.browser().http.post("/signup", data={"email": f"x{number}@example.com"})
        answer = await booth.browser().http.post("/signup", data={"email": "x2@example.com"})
        assert (answer.status_code, "Try again tomorrow" in answer.text) == (429, True)
        answer = await booth.browser().http.post("/reset", data={"email": "x@example.com"})
        assert (answer.status_code, len(booth.mailer.sent)) == (429, 2)
        await booth.browser("198.51.100.9").http.post("/signup", data={"email": "y@example.com"})
        booth.clock.advance(86_400)
        await booth.browser().http.post("/signup", data={"email": "z@example.com"})
    assert len(booth.mailer.sent) == 4


@pytest.mark.parametrize("path", ["/signup", "/reset", "/login"])
async def test_an_address_is_one_address_wherever_it_comes_in(booth: Booth, path: str) -> None:
    """A text that is read as several is refused, makes no row and no mail."""
    before = row_counts(booth.store)
    email = "=?utf-8?q?victim=40bank.example?=,1@evil.example"
    answer = await booth.browser().http.post(path, data={"email": email, "password": PASSWORD})
    assert answer.status_code == (403 if path == "/login" else 400)
    audited = {"audit_log": before["audit_log"] + 1} if path == "/login" else {}
    assert (booth.mailer.sent, row_counts(booth.store)) == ([], {**before, **audited})


async def test_an_invitation_goes_to_one_address(booth: Booth) -> None:
    """The operator's form takes no list either."""
    browser = await booth.logged_in(is_admin=True)
    answer = await browser.send(
        "/dashboard/operator", "/dashboard/operator/invite", email="=?utf-8?q?a=40b.example?=,c@d.example"
    )
    assert (answer.status_code, booth.mailer.sent) == (400, [])


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"origin": "null"}, {"origin": ""}])
async def test_other_sites_cannot_send_our_forms(booth: Booth, headers: dict[str, str]) -> None:
    """A form from another origin, or from none, changes nothing."""
    browser = await booth.logged_in()
    page = (await browser.get("/dashboard/keys")).text
    fields = {**hidden_fields(page, "/dashboard/keys"), "name": "k", "pays": "credit"}
    before = row_counts(booth.store)
    answer = await browser.http.post("/dashboard/keys", data=fields, headers=headers)
    assert (answer.status_code, row_counts(booth.store)) == (403, before)


@pytest.mark.parametrize(("headers", "is_ours"), SENDERS)
async def test_every_form_is_taken_from_our_own_pages_only(
    booth: Booth, headers: list[tuple[str, str]], is_ours: bool
) -> None:
    """Each route that takes a form, logging in and out among them, changes nothing for another site's page, nor for a
    sender that does not say where it is."""
    browser = await booth.logged_in(is_admin=True)
    del browser.http.headers["origin"]
    before = row_counts(booth.store)
    for path in _form_paths(booth):
        answer = await browser.http.post(path, data={"email": "ada@example.com", "password": PASSWORD}, headers=headers)
        refused = answer.status_code == 403 and "did not come from a page of this site" in answer.text
        assert refused is not is_ours, path
        if path == "/logout" and is_ours:
            assert "tokenbooth" not in browser.http.cookies
            await browser.http.post(
                "/login", data={"email": "ada@example.com", "password": PASSWORD}, headers={"origin": ORIGIN}
            )
    assert "tokenbooth" in browser.http.cookies
    if not is_ours:
        assert row_counts(booth.store) == before


@pytest.mark.parametrize(("headers", "is_ours"), SENDERS)
async def test_nobody_is_logged_in_by_another_site(booth: Booth, headers: list[tuple[str, str]], is_ours: bool) -> None:
    """A site that knows somebody's password can't make its visitor's browser use that account here."""
    booth.account()
    browser = booth.browser()
    del browser.http.headers["origin"]
    answer = await browser.http.post("/login", data={"email": "ada@example.com", "password": PASSWORD}, headers=headers)
    assert (answer.status_code, "tokenbooth" in browser.http.cookies) == ((303, True) if is_ours else (403, False))


def _form_paths(booth: Booth) -> list[str]:
    """Where forms are sent to, each path once; what stands for an id is nobody's."""
    paths = [re.sub(r"{\w+}", "x", route.path) for route in booth.routes if "POST" in (route.methods or ())]
    assert len(paths) > 20
    return paths


@pytest.mark.parametrize("registration", ["invitation", "closed"])
async def test_registration_can_be_closed(store: Store, registration: str) -> None:
    """Then signing up is refused and no mail is sent, but what an operator invited still works."""
    settings = Settings.model_validate({"dashboard": {"registration": registration}})
    async with open_booth(store, settings) as booth:
        assert (await booth.browser().http.post("/signup", data={"email": "ada@example.com"})).status_code == 403
        assert booth.mailer.sent == []
        admin = await booth.logged_in("op@example.com", is_admin=True)
        sent = await admin.send("/dashboard/operator", "/dashboard/operator/invite", email="ada@example.com")
        assert sent.headers["location"] == "/dashboard/operator?done=invited"
        done = await booth.browser().http.post(booth.mailer.path(), data={"password": PASSWORD})
        assert done.headers["location"] == "/dashboard"


async def test_links_ignore_what_the_client_says(booth: Booth) -> None:
    """A link is made from the configured address, never from the Host header."""
    browser = booth.browser()
    await browser.http.post("/signup", data={"email": "ada@example.com"}, headers={"host": "evil.example"})
    assert booth.mailer.path().startswith("/signup/")


async def test_a_log_in_is_a_credential_of_the_api(booth: Booth) -> None:
    """Pages of this origin may call the API with the cookie; other sites may not, not even to read."""
    browser = await booth.logged_in()
    api = booth.plane.client
    api.cookies.set("tokenbooth", browser.http.cookies["tokenbooth"])
    body = {"name": "from a page"}
    base = {"origin": "http://127.0.0.1:8080"}
    cases = [
        (await api.post("/api/keys/credit", json=body, headers=base), 200),
        (await api.get("/api/keys"), 200),
        (await api.get("/api/keys", headers={"sec-fetch-site": "same-origin"}), 200),
        (await api.post("/api/keys/credit", json=body), 403),
        (await api.post("/api/keys/credit", json=body, headers={"origin": "https://evil.example"}), 403),
        (await api.get("/api/keys", headers={"origin": "https://evil.example"}), 403),
        (await api.get("/api/keys", headers={"sec-fetch-site": "cross-site"}), 403),
        (await api.post("/api/keys/credit", content="name=x", headers={**base, "content-type": "text/plain"}), 415),
        (await api.get("/api/keys", headers={"authorization": "Bearer mk_wrong"}), 401),
    ]
    assert [answer.status_code for answer, _ in cases] == [status for _, status in cases]
