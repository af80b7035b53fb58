"""Keys on the dashboard: made, shown once, listed, deleted; and never another account's."""

import re

import pytest

from tests.support.dashboard.dashboard import Booth, Browser, hidden_fields, stranger
from tokenbooth.domain.keys import KeyKind, Scope, is_well_formed
from tokenbooth.store.accounts.accounts import find_account_by_email
from tokenbooth.store.accounts.keys import list_api_keys

KEY = re.compile(r"(?:sk_live_|mk_)[0-9A-Za-z]{48}")


async def _created(browser: Browser, **fields: str) -> str:
    answer = await browser.send("/dashboard/keys", "/dashboard/keys", name="prod", pays="credit", **fields)
    assert answer.status_code == 200, answer.text
    found = KEY.search(answer.text)
    assert found is not None
    return found.group(0)


async def test_a_key_is_shown_once(booth: Booth) -> None:
    """The page after creating shows the key with a curl that works; no later page does."""
    browser = await booth.logged_in()
    key = await _created(browser, maxBudget="25", rpm="100", tpm="50,000")
    assert is_well_formed(key, KeyKind.API)
    for path in ("/dashboard", "/dashboard/keys", "/dashboard/usage", "/dashboard/billing", "/dashboard/account"):
        assert KEY.search((await browser.get(path)).text) is None
    page = (await browser.get("/dashboard/keys")).text
    for text in ("prod", key[:12], "of $25", "100 rpm, 50,000 tpm", "never"):
        assert text in page


async def test_a_form_sent_twice_makes_one_key(booth: Booth) -> None:
    """A reload of the answer does not make another key, and does not show the first one again."""
    browser = await booth.logged_in()
    fields = hidden_fields((await browser.get("/dashboard/keys")).text, "/dashboard/keys")
    sent = {**fields, "name": "prod", "pays": "credit"}
    first = await browser.http.post("/dashboard/keys", data=sent)
    again = await browser.http.post("/dashboard/keys", data=sent)
    assert (first.status_code, again.status_code) == (200, 409)
    assert KEY.search(again.text) is None
    assert (await browser.get("/dashboard/keys")).text.count("/delete") == 1


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": ""}, "“Name” is missing"),
        ({"maxBudget": "a lot"}, "“Budget” must be a decimal number"),
        ({"maxBudget": "0"}, "“Budget” must be above zero"),
        ({"rpm": "0"}, "“Requests per minute” must be a whole number"),
        ({"rpm": "1.5"}, "“Requests per minute” must be a whole number"),
        ({"pays": "sub_nothing"}, "There is no subscription"),
        ({"pays": "sub_nothing", "rpm": "5"}, "are for keys that are paid by credit"),
    ],
)
async def test_mistakes_are_said_on_the_form(booth: Booth, fields: dict[str, str], text: str) -> None:
    """A wrong field is named as the page names it, and what was typed stays."""
    browser = await booth.logged_in()
    sent = {"name": "kept name", "pays": "credit", **fields}
    answer = await browser.send("/dashboard/keys", "/dashboard/keys", **sent)
    assert (400 <= answer.status_code < 500, text in answer.text) == (True, True), answer.text
    if fields.get("name") is None:
        assert 'value="kept name"' in answer.text


async def test_a_key_is_deleted_after_a_question(booth: Booth) -> None:
    """The question names the key; the answer deletes it, and asking again finds nothing."""
    browser = await booth.logged_in()
    await _created(browser)
    action = re.search(r'href="(/dashboard/keys/key_[^"]*/delete)"', (await browser.get("/dashboard/keys")).text)
    assert action is not None
    path = action.group(1)
    assert "Delete “prod”?" in (await browser.get(path)).text
    done = await browser.send(path, path)
    assert done.headers["location"] == "/dashboard/keys?done=deleted"
    assert (await browser.get(path)).status_code == 404


async def test_a_management_key_has_the_rights_that_were_ticked(booth: Booth) -> None:
    """It is made with scopes and an end of its day, shown once, listed, and deleted."""
    browser = await booth.logged_in()
    page = "/dashboard/keys/management"
    answer = await browser.send(page, page, name="ci", scopes=["keys:read", "management-keys"], expiresAt="2026-04-01")
    key = KEY.search(answer.text)
    assert key is not None
    assert is_well_formed(key.group(0), KeyKind.MANAGEMENT)
    listed = (await browser.get(page)).text
    assert (KEY.search(listed), "expires" in listed) == (None, True)
    used = await booth.plane.client.get("/api/keys", headers={"authorization": f"Bearer {key.group(0)}"})
    assert used.status_code == 200
    refused = await booth.plane.client.get("/api/usage", headers={"authorization": f"Bearer {key.group(0)}"})
    assert refused.status_code == 403
    path = re.search(r'href="(/dashboard/keys/management/mkey_[^"]*/delete)"', listed)
    assert path is not None
    assert (await browser.send(path.group(1), path.group(1))).status_code == 303
    used = await booth.plane.client.get("/api/keys", headers={"authorization": f"Bearer {key.group(0)}"})
    assert used.status_code == 401


@pytest.mark.parametrize(
    "fields", [{"scopes": []}, {"scopes": ["everything"]}, {"expiresAt": "2020-01-01"}, {"expiresAt": "x"}]
)
async def test_a_management_key_is_refused_for_a_reason(booth: Booth, fields: dict[str, object]) -> None:
    """Without a right, with one that does not exist, or with an end in the past."""
    browser = await booth.logged_in()
    page = "/dashboard/keys/management"
    answer = await browser.send(page, page, **{"name": "ci", "scopes": [str(Scope.KEYS_READ)], **fields})  # type: ignore[arg-type]  # form fields
    assert (answer.status_code, 'role="alert"' in answer.text) == (400, True)


async def test_other_accounts_keys_are_not_there(booth: Booth) -> None:
    """P13: another account's ids in any address are 404, whatever is asked of them."""
    eve = await booth.logged_in("eve@example.com")
    await _created(eve)
    eves = re.search(r"/dashboard/keys/(key_[0-9a-f]+)/delete", (await eve.get("/dashboard/keys")).text)
    assert eves is not None
    customer = stranger(booth).key_id
    browser = await booth.logged_in()
    fields = hidden_fields((await browser.get("/dashboard/keys")).text, "/dashboard/keys")
    for path in (
        f"/dashboard/keys/{eves.group(1)}/delete",
        f"/dashboard/keys/management/{customer}/delete",
        "/dashboard/keys/nonsense/delete",
    ):
        assert (await browser.get(path)).status_code == 404
        assert (await browser.http.post(path, data=fields)).status_code == 404
    assert (await browser.get(f"/dashboard/usage?key={eves.group(1)}")).status_code == 404
    assert len(booth.store.read_now(list_api_keys, _account_of(booth), grace_us=0, now_us=booth.clock.now_us())) == 1


async def test_many_keys_are_paged_and_found(booth: Booth) -> None:
    """Fifty on a page; a search looks through all of them."""
    browser = await booth.logged_in()
    for number in range(52):
        answer = await browser.send("/dashboard/keys", "/dashboard/keys", name=f"key-{number:02}", pays="credit")
        assert answer.status_code == 200
    first, second = await browser.get("/dashboard/keys"), await browser.get("/dashboard/keys?page=2")
    assert (first.text.count("/delete"), second.text.count("/delete")) == (50, 2)
    found = await browser.get("/dashboard/keys?q=KEY-07")
    assert found.text.count("/delete") == 1
    for odd in ("?page=0", "?page=x", "?page=99999999", "?q=%01"):
        assert (await browser.get(f"/dashboard/keys{odd}")).status_code == 200


def _account_of(booth: Booth) -> str:
    account = booth.store.read_now(find_account_by_email, "eve@example.com")
    assert account is not None
    return account.id
