"""The other pages: what they show, to whom, and with which headers."""

import csv
import io
import re
from dataclasses import replace

import pytest
from sqlalchemy import Connection, insert, select, update

from tests.support.billing.billing_rows import DAY_US, add_subscription
from tests.support.dashboard.dashboard import ORIGIN, PASSWORD, Booth, charge, hidden_fields, open_booth, use
from tests.support.gateway.hang_up import hang_up
from tests.support.store import row_counts
from tokenbooth.config.settings import Settings
from tokenbooth.dashboard.reference.data_plane_openapi import data_plane_openapi
from tokenbooth.domain.charges import PoolKind
from tokenbooth.domain.upstreams import UpstreamHealth
from tokenbooth.gateway.service import Gateway
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store.accounts.accounts import find_account_by_email
from tokenbooth.store.engine import Store
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import accounts, audit_log, inbox, sessions, subscriptions

DAY_S = 86_400
PAGES = (
    "/dashboard",
    "/dashboard/keys",
    "/dashboard/keys/management",
    "/dashboard/usage",
    "/dashboard/billing",
    "/dashboard/billing/auto-top-up",
    "/dashboard/account",
)
OPERATOR_PAGES = (
    "/dashboard/operator",
    "/dashboard/operator/inbox",
    "/dashboard/operator/upstreams",
    "/dashboard/operator/audit",
)
PUBLIC_PAGES = ("/", "/login", "/signup", "/reset", "/docs")
SETTINGS = Settings.model_validate(
    {
        "plans": {"gold": {"name": "<Gold>", "price_usd": "99.50", "rpm": 1200, "budget_usd": "1", "window": "1d"}},
        "upstreams": {"one": {"base_url": "http://127.0.0.1:1/v1"}},
        "models": {
            "a/model": {
                "upstreams": [{"name": "one"}],
                "input_usd_per_million": "0.27",
                "output_usd_per_million": "1.1",
                "context_tokens": 65536,
                "max_output_tokens": 8192,
            }
        },
    }
)


def _id_of(booth: Booth, email: str = "ada@example.com") -> str:
    account = booth.store.read_now(find_account_by_email, email)
    assert account is not None
    return account.id


async def test_the_start_page_shows_what_is_offered(store: Store) -> None:
    """Plans and models of the catalog stand on the page, with their prices, escaped."""
    async with open_booth(store, SETTINGS) as booth:
        page = (await booth.browser().get("/")).text
    for text in ("&lt;Gold&gt;", "$99.50", "1,200 requests", "a/model", "$0.27", "$1.10", "65,536", "/openapi.json"):
        assert text in page
    assert "<Gold>" not in page


@pytest.mark.parametrize("path", [*PUBLIC_PAGES, *PAGES, *OPERATOR_PAGES])
async def test_every_page_is_safe_to_show(booth: Booth, path: str) -> None:
    """A strict policy, no inline script or style, nothing from elsewhere, and nothing kept by a browser."""
    browser = booth.browser() if path in PUBLIC_PAGES else await booth.logged_in(is_admin=True)
    page = await browser.get(path)
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert ("default-src 'none'" in policy, "unsafe" in policy) == (True, False)
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-request-id"].startswith("req_")
    assert re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|javascript:", page.text) is None
    sources = re.findall(r'(?:src|href|action)="([^"]+)"', page.text)
    assert [source for source in sources if not source.startswith(("/", "#"))] == []
    tested_once = page.text.count('id="content"')
    assert tested_once == 1


@pytest.mark.parametrize("path", [*PAGES, "/dashboard/live", "/dashboard/usage.csv"])
async def test_pages_are_for_those_who_are_logged_in(booth: Booth, path: str) -> None:
    """Without a log-in every page leads to the log-in; a part that a page asks for makes the whole page go there."""
    answer = await booth.browser().get(path)
    assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/login")
    part = await booth.browser().http.get(path, headers={"hx-request": "true"})
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/login")


@pytest.mark.parametrize("path", OPERATOR_PAGES)
async def test_operators_pages_are_not_there_for_others(booth: Booth, path: str) -> None:
    """For an account that is no admin's, 404; what such a page would do is not done either."""
    browser = await booth.logged_in()
    assert (await browser.get(path)).status_code == 404
    fields = hidden_fields((await browser.get("/dashboard")).text, "/logout")
    own = _id_of(booth)
    before = row_counts(booth.store)
    for action in (f"accounts/{own}/grant", f"accounts/{own}/suspend", "audit/run", "invite", "inbox/evt_1/retry"):
        answer = await browser.http.post(
            f"/dashboard/operator/{action}", data={**fields, "amount": "5", "reason": "r", "email": "x@example.com"}
        )
        assert answer.status_code == 404
    assert row_counts(booth.store) == before


async def test_what_is_not_there_says_so(booth: Booth) -> None:
    """An unknown address is a page that leads back, an unknown method says so."""
    page = await booth.browser().get("/nothing/here")
    assert (page.status_code, "There is nothing here" in page.text) == (404, True)
    assert (await booth.browser().http.put("/login")).status_code == 405


async def test_files_are_kept_by_browsers(booth: Booth) -> None:
    """A file's address changes with its content, so it may be kept for a year; there is nothing beside the files."""
    page = (await booth.browser().get("/login")).text
    for path in re.findall(r'(?:src|href)="(/dashboard/static/[^"]+)"', page):
        file = await booth.browser().get(path)
        assert (file.status_code, "immutable" in file.headers["cache-control"]) == (200, True)
    assert (await booth.browser().get("/dashboard/static/../web.py")).status_code == 404


async def test_a_payment_leads_back_to_billing(booth: Booth) -> None:
    """Who comes back from a payment and is logged in lands on the billing page; others are thanked."""
    browser = await booth.logged_in()
    back = await browser.get("/?checkout=success")
    assert back.headers["location"] == "/dashboard/billing?checkout=success"
    assert 'hx-get="/dashboard/billing/live"' in (await browser.get(back.headers["location"])).text
    assert "payment is being confirmed" in (await booth.browser().get("/?checkout=success")).text


async def test_without_cards_nothing_is_sold(booth: Booth) -> None:
    """Without Stripe the buttons are off, and who sends the form anyway is told why."""
    browser = await booth.logged_in()
    page = "/dashboard/billing"
    assert "disabled" in (await browser.get(page)).text
    for action, fields in (("subscribe", {"planSlug": "pro"}), ("top-up", {"amount": "50"})):
        fields_of_form = hidden_fields((await browser.get(page)).text, f"{page}/{action}")
        answer = await browser.http.post(f"{page}/{action}", data={**fields_of_form, **fields})
        assert (answer.status_code, "not set up" in answer.text) == (503, True)
    answer = await browser.send(page, f"{page}/top-up", amount="5")
    assert (answer.status_code, "from $10 to $10,000" in answer.text) == (400, True)


async def test_the_overview_moves(booth: Booth) -> None:
    """A request that was charged shows in the live part, which says nothing when nothing changed."""
    browser = await booth.logged_in()
    page = (await browser.get("/dashboard")).text
    live = re.search(r'hx-get="([^"]+)"', page)
    assert live is not None
    assert (await browser.get(live.group(1))).status_code == 204
    use(booth, [charge(_id_of(booth), "key_1", booth.clock.now_us())])
    changed = await browser.get(live.group(1))
    assert (changed.status_code, "$0.00047" in changed.text, "a/model" in changed.text) == (200, True, True)
    assert "<html" not in changed.text


async def test_usage_is_filtered_by_its_address(booth: Booth) -> None:
    """Days, grouping and key are in the address; figures are exact; each request explains its price."""
    browser = await booth.logged_in()
    account_id, now_us = _id_of(booth), booth.clock.now_us()
    answer = await browser.send("/dashboard/keys", "/dashboard/keys", name="=mine", pays="credit")
    assert answer.status_code == 200
    key = re.search(r"key=(key_[0-9a-f]+)", (await browser.get("/dashboard/keys")).text)
    assert key is not None
    use(booth, [charge(account_id, key.group(1), now_us), charge(account_id, "key_gone", now_us - 3 * DAY_S * 10**6)])
    both = (await browser.get("/dashboard/usage")).text
    assert ("$0.00094" in both, both.count('class="request"')) == (True, 2)
    for line in ("900</td>", "$0.000243</td>", "$0.000007</td>", "$0.00022</td>", "rounded up once"):
        assert line in both
    today = (await browser.get("/dashboard/usage?from=2026-03-05&to=2026-03-05&by=key")).text
    assert ("=mine" in today, today.count('class="request"')) == (True, 1)
    mine = (await browser.get(f"/dashboard/usage?key={key.group(1)}&by=model")).text
    assert (mine.count('class="request"'), "Only the key" in mine) == (1, True)
    file = await browser.get("/dashboard/usage.csv?by=key")
    rows = list(csv.reader(io.StringIO(file.text)))
    assert rows[0] == ["key", "name", "requests", "prompt_tokens", "cached_tokens", "completion_tokens", "cost_usd"]
    assert sorted(row[1:3] + row[6:] for row in rows[1:]) == [["", "1", "0.00047"], ["'=mine", "1", "0.00047"]]
    assert "attachment" in file.headers["content-disposition"]


@pytest.mark.parametrize(
    "query", ["from=x", "from=2026-03-06&to=2026-03-05", "by=colour", "after=%21", "to=9999-01-01"]
)
async def test_filters_that_make_no_sense_are_said(booth: Booth, query: str) -> None:
    """A wrong filter is a message on the page, not a failure."""
    browser = await booth.logged_in()
    page = await browser.get(f"/dashboard/usage?{query}")
    assert (page.status_code, 'role="alert"' in page.text) == (400, True)
    assert (await browser.get(f"/dashboard/usage.csv?{query}")).status_code == 400


async def test_requests_are_paged(booth: Booth) -> None:
    """Twenty-five on a page, and a link to the older ones that keeps the filters."""
    browser = await booth.logged_in()
    account_id, now_us = _id_of(booth), booth.clock.now_us()
    use(booth, [charge(account_id, "key_1", now_us - number * 1_000) for number in range(30)])
    page = (await browser.get("/dashboard/usage?by=model")).text
    older = re.search(r'href="(/dashboard/usage\?[^"]*after=[^"#]*)#', page)
    assert older is not None
    second = (await browser.get(older.group(1).replace("&amp;", "&"))).text
    assert (page.count('class="request"'), second.count('class="request"')) == (25, 5)


async def test_an_operator_sees_margins(booth: Booth) -> None:
    """Accounts are found by email, with spend and margin, and in all by plan, model and key."""
    admin = await booth.logged_in("op@example.com", is_admin=True)
    account_id = booth.account()
    use(booth, [charge(account_id, "key_1", booth.clock.now_us(), subscription_id="", pool=PoolKind.WINDOW)])
    found = (await admin.get("/dashboard/operator?q=ADA")).text
    for text in ("ada@example.com", "$0.0004", "$0.0001"):
        assert text in found
    assert "op@example.com</a>" not in found
    assert "No account matches" in (await admin.get("/dashboard/operator?q=%25_%25")).text
    page = (await admin.get(f"/dashboard/operator/accounts/{account_id}")).text
    assert ("a/model" in page, "key_1" in page) == (True, True)
    for path in ("accounts/acct_unknown", f"accounts/{account_id}0"):
        assert (await admin.get(f"/dashboard/operator/{path}")).status_code == 404


async def test_an_operators_actions_are_written_down(booth: Booth) -> None:
    """Suspending, letting go on and granting each take a reason, take effect, and stand in the log with their actor."""
    admin = await booth.logged_in("op@example.com", is_admin=True)
    account_id = booth.account()
    page = f"/dashboard/operator/accounts/{account_id}"
    customer = booth.browser()
    await customer.log_in("ada@example.com")
    assert (await admin.send(page, f"{page}/suspend", reason="")).status_code == 400
    assert (await admin.send(page, f"{page}/suspend", reason="fraud?")).status_code == 303
    assert "suspended" in (await customer.get("/dashboard")).text
    refused = await customer.send("/dashboard/keys", "/dashboard/keys", name="k", pays="credit")
    assert refused.status_code == 403
    assert (await admin.send(page, f"{page}/unsuspend", reason="fine")).status_code == 303
    fields = hidden_fields((await admin.get(page)).text, f"{page}/grant")
    for _ in range(2):
        sent = await admin.http.post(f"{page}/grant", data={**fields, "amount": "12.5", "reason": "sorry"})
        assert sent.status_code == 303
    assert "$12.50" in (await customer.get("/dashboard/billing")).text

    def log(conn: Connection) -> list[tuple[str, str]]:
        rows = conn.execute(select(audit_log.c.actor, audit_log.c.action).where(audit_log.c.account_id == account_id))
        return [(row.actor, row.action) for row in rows]

    by = _id_of(booth, "op@example.com")
    assert booth.store.read_now(log) == [
        (account_id, "account.logged_in"),
        (by, "account.suspended"),
        (by, "account.unsuspended"),
        (by, "credit.grant"),
    ]
    assert booth.store.read_now(audit).clean
    assert "op@example.com" in (await admin.get("/dashboard/operator/audit")).text


async def test_an_operator_does_not_lock_itself_out(booth: Booth) -> None:
    """The own account cannot be suspended."""
    admin = await booth.logged_in("op@example.com", is_admin=True)
    page = f"/dashboard/operator/accounts/{_id_of(booth, 'op@example.com')}"
    assert (await admin.send(page, f"{page}/suspend", reason="oops")).status_code == 409


async def test_an_operator_sees_how_upstreams_do(store: Store) -> None:
    """Each model of an upstream with its state and last failure; the first page warns of one that rests."""
    async with open_booth(store, SETTINGS) as booth:
        admin = await booth.logged_in("op@example.com", is_admin=True)
        assert "left alone after failures" not in (await admin.get("/dashboard/operator")).text
        booth.live.health = [UpstreamHealth("one", "a/model", "up", 2, 0, None, None, 7)]
        page = (await admin.get("/dashboard/operator/upstreams")).text
        assert (">up</span>" in page, "Sold as a/model" in page, "Last failure" in page) == (True, True, False)
        live = re.search(r'hx-get="([^"]+)"', page)
        assert live is not None
        assert (await admin.get(live.group(1))).status_code == 204
        until_s = booth.clock.now_us() / 10**6 + 30
        resting = UpstreamHealth("one", "a/model", "resting", 0, 5, until_s, "HTTP 500 <b>", 12)
        booth.live.health = [resting]
        changed = (await admin.get(live.group(1))).text
        assert (">resting</span>" in changed, "HTTP 500 &lt;b&gt;" in changed) == (True, True)
        assert ("10:00:30" in changed, "accounts/acct_1" in changed) == (True, False)
        booth.live.health = [replace(resting, rests_for="acct_1")]
        assert "accounts/acct_1" in (await admin.get(live.group(1))).text
        assert "one (a/model) is left alone after failures" in (await admin.get("/dashboard/operator")).text


async def test_the_audit_runs_from_its_page(booth: Booth) -> None:
    """It says that it never ran, runs, and then shows its result."""
    admin = await booth.logged_in("op@example.com", is_admin=True)
    page = "/dashboard/operator/audit"
    assert "never ran" in (await admin.get(page)).text
    assert (await admin.send(page, f"{page}/run")).status_code == 303
    assert ">clean</span>" in (await admin.get(page)).text


async def test_a_parked_event_is_shown_with_its_reason(booth: Booth) -> None:
    """What waits for a person stands on a page, not its content; an unknown event is not retried."""

    def park(conn: Connection) -> None:
        now_us = booth.clock.now_us()
        conn.execute(
            insert(inbox).values(
                id=new_id(IdPrefix.EVENT, now_us),
                source="stripe",
                external_id="evt_outside",
                type="invoice.paid",
                payload=b"the content",
                status="parked",
                attempts=5,
                due_at_us=now_us,
                error="The amount differs.",
                received_at_us=now_us,
            )
        )

    booth.store.write_now(park)
    admin = await booth.logged_in("op@example.com", is_admin=True)
    page = (await admin.get("/dashboard/operator/inbox")).text
    for text in ("invoice.paid", "evt_outside", "The amount differs.", "5 attempts"):
        assert text in page
    assert "the content" not in page
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert (await admin.http.post("/dashboard/operator/inbox/evt_none/retry", headers=form)).status_code == 404


async def test_what_is_another_accounts_is_not_there(booth: Booth) -> None:
    """P13: every address that has an id in it, opened and sent with another account's, is 404 and does nothing."""
    eve = await booth.logged_in("eve@example.com", is_admin=True)
    account_id, now_us = _id_of(booth, "eve@example.com"), booth.clock.now_us()
    await eve.send("/dashboard/keys", "/dashboard/keys", name="eve's", pays="credit")
    await eve.send("/dashboard/keys/management", "/dashboard/keys/management", name="eve's", scopes="keys:read")
    shown = (await eve.get("/dashboard/keys")).text + (await eve.get("/dashboard/keys/management")).text
    key_ids = re.findall(r"/(m?key_[0-9a-f]+)/delete", shown)
    subscription_id = booth.store.write_now(add_subscription, account_id, now_us=now_us, paid_until_us=now_us + 10**12)
    session_id = booth.store.read_now(lambda conn: conn.execute(select(sessions.c.id)).scalar_one())
    foreign = {
        "key_id": key_ids,
        "subscription_id": [subscription_id],
        "session_id": [session_id],
        "account_id": [account_id],
        "row_id": ["evt_1"],
        "secret": ["unknown"],
    }
    addresses = [
        (method, re.sub(r"\{\w+\}", one, route.path))
        for route in booth.routes
        for method in (route.methods or set()) - {"HEAD"}
        for name in route.param_convertors
        for one in foreign[name]
    ]
    assert (len(key_ids), len(addresses) > 20) == (2, True)
    browser = await booth.logged_in()
    fields = hidden_fields((await browser.get("/dashboard")).text, "/logout")
    fields |= {"planSlug": "pro", "amount": "5", "reason": "r", "password": PASSWORD}
    before = row_counts(booth.store)
    for method, path in addresses:
        answer = await browser.http.request(method, path, data=fields if method == "POST" else None)
        assert (method, path, answer.status_code) == (method, path, 404)
    assert row_counts(booth.store) == before


async def test_no_page_shows_a_secret(booth: Booth) -> None:
    """After their one showing neither keys nor the log-in's cookie stand in any page, the operator's among them."""
    browser = await booth.logged_in(is_admin=True)
    await browser.send("/dashboard/keys", "/dashboard/keys", name="one", pays="credit")
    await browser.send("/dashboard/keys/management", "/dashboard/keys/management", name="two", scopes="keys:read")
    cookie = browser.http.cookies["tokenbooth"]
    paths = {route.path for route in booth.routes if not route.param_convertors and "GET" in (route.methods or ())}
    paths |= {f"/dashboard/operator/accounts/{_id_of(booth)}", "/dashboard/usage?by=key"}
    assert len(paths) > 20
    for path in sorted(paths):
        page = (await browser.get(path)).text
        assert (path, re.findall(r"(?:sk_live_|mk_)[0-9A-Za-z]{48}", page), cookie in page) == (path, [], False)


async def test_a_statement_comes_as_a_file(booth: Booth) -> None:
    """The month that is picked comes as CSV; what is no month is refused."""
    browser = await booth.logged_in()
    got = await browser.get("/dashboard/billing/statement")
    assert got.status_code == 200
    assert "attachment" in got.headers["content-disposition"]
    assert next(csv.reader(io.StringIO(got.text))) == ["at", "kind", "reference", "note", "amount", "balance"]
    assert (await browser.get("/dashboard/billing/statement?month=x")).status_code == 400


async def test_an_automatic_top_up_needs_a_card(booth: Booth) -> None:
    """Without a saved card the rule is not switched on; the page says so and keeps what was typed."""
    browser = await booth.logged_in()
    page = "/dashboard/billing/auto-top-up"
    got = await browser.send(page, page, enabled="on", threshold="5", amount="20", monthlyLimit="10")
    assert got.status_code == 400
    assert "“At most in a month”" in got.text
    got = await browser.send(page, page, enabled="on", threshold="5", amount="20", monthlyLimit="100")
    assert got.status_code in (402, 503)
    assert 'value="100"' in got.text
    off = await browser.send(page, page, threshold="5", amount="20", monthlyLimit="100")
    assert off.headers["location"] == "/dashboard/billing?done=auto"


async def test_a_disputed_payment_is_told(booth: Booth) -> None:
    """While a dispute pauses the keys, the billing page says why."""
    browser = await booth.logged_in()
    assert "is disputed" not in (await browser.get("/dashboard/billing")).text

    def dispute(conn: Connection) -> None:
        conn.execute(update(accounts).values(disputed_at_us=1))

    booth.store.write_now(dispute)
    assert "is disputed at the bank" in (await browser.get("/dashboard/billing")).text


async def test_the_reference_shows_every_call(booth: Booth) -> None:
    """Each operation of both descriptions stands on the page with a curl."""
    page = (await booth.browser().get("/docs")).text
    documents = (booth.plane.app.openapi(), (await booth.browser().get("/docs/data-plane.json")).json())
    calls = [(method.upper(), path) for one in documents for path, item in one["paths"].items() for method in item]
    assert len(calls) > 20
    for method, path in calls:
        assert f'aria-label="Example of {method} {path}"' in page


def test_the_models_plane_is_described_whole() -> None:
    """Every call that can cost money is in the description of the data plane."""
    paths = data_plane_openapi("http://booth.test", "a/model", "1")["paths"]
    assert isinstance(paths, dict)
    assert [path for _, path in Gateway.PAID_ROUTES if path not in paths] == []


async def test_a_plan_that_is_to_follow_is_shown_and_can_be_given_up(booth: Booth) -> None:
    """Billing says which plan begins when; the page of changes offers to stay, and not the same change again."""
    browser = await booth.logged_in()
    now_us = booth.clock.now_us()
    account_id = _id_of(booth, "ada@example.com")
    own_id = booth.store.write_now(add_subscription, account_id, now_us=now_us, paid_until_us=now_us + 3 * DAY_US)

    def follow_with_standard(conn: Connection) -> None:
        conn.execute(
            update(subscriptions).values(
                pending_plan_slug="standard",
                pending_price_nano=20_000_000_000,
                plan_changes_at_us=now_us + 3 * DAY_US,
            )
        )

    booth.store.write_now(follow_with_standard)
    page = (await browser.get("/dashboard/billing")).text
    assert "changes to Standard" in page
    choices = (await browser.get(f"/dashboard/billing/subscriptions/{own_id}/change")).text
    assert ("Stay with Pro" in choices, "Change to Standard" in choices) == (True, False)
    booth.clock.advance(3 * DAY_S)
    page = (await browser.get("/dashboard/billing")).text
    assert ("changes to" in page, ">Standard " in page) == (False, True)


async def test_a_cancel_waits_for_the_charges_that_are_under_way(booth: Booth) -> None:
    """What is decided on and shown counts every call that has finished, as it does with the API's cancel."""
    browser = await booth.logged_in()
    now_us = booth.clock.now_us()
    account_id = _id_of(booth, "ada@example.com")
    until_us = now_us + 3 * DAY_US
    own_id = booth.store.write_now(add_subscription, account_id, now_us=now_us, paid_until_us=until_us)

    def end_with_its_period(conn: Connection) -> None:
        conn.execute(update(subscriptions).values(cancel_at_us=until_us))

    # It is to end already, so that Stripe is not asked.
    booth.store.write_now(end_with_its_period)
    page = f"/dashboard/billing/subscriptions/{own_id}/cancel"
    fields = hidden_fields((await browser.get(page)).text, page)
    waited = booth.live.settled_calls
    answer = await browser.http.post(page, data=fields)
    assert answer.headers["location"] == "/dashboard/billing?done=canceled"
    assert booth.live.settled_calls == waited + 1


async def test_a_hang_up_is_no_failure(booth: Booth, capsys: pytest.CaptureFixture[str]) -> None:
    """Anybody can hang up as often as he likes, and the log's errors are there for bugs."""
    form = {"content-type": "application/x-www-form-urlencoded", "content-length": "100", "origin": ORIGIN}
    await hang_up(booth.app, "/login", {"host": "booth.test", **form})
    logged = capsys.readouterr()
    assert "failed" not in logged.out + logged.err


async def test_an_unexpected_failure_is_told_without_details(booth: Booth, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody above gets it, who would write its text into the log."""
    ada = await booth.logged_in()
    canary = "mk_" + "9" * 48
    booth.live.fail_with = RuntimeError(canary)
    capsys.readouterr()
    answer = await ada.get("/dashboard/keys")
    booth.live.fail_with = None
    logged = capsys.readouterr()
    assert answer.status_code == 500
    assert "page_failed" in logged.out
    assert canary not in answer.text + logged.out + logged.err
