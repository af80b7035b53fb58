"""The reference's whole way as a person walks it: from signing up to deleting the key, in a real browser."""

import re

from playwright.sync_api import Browser, Page, expect

from tests.support.command import tokenbooth
from tests.support.dashboard.chromium import Demo, log_in
from tokenbooth_sandbox.demo_texts import MODEL

PASSWORD = "a long enough password"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hello! " * 400}], "max_tokens": 400}


def _sign_up(page: Page, demo: Demo, email: str) -> None:
    page.goto("/")
    page.get_by_role("link", name="Sign up").click()
    page.get_by_label("Email").fill(email)
    page.get_by_role("button", name="Send me a link").click()
    expect(page.get_by_role("heading", name="Look in your mailbox")).to_be_visible()
    page.goto(demo.mailed_link(email))
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Open account").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def _subscribe(page: Page) -> None:
    page.get_by_role("link", name="Billing", exact=True).click()
    page.get_by_role("button", name="Subscribe to Pro").click()
    page.get_by_label("Card number").fill("4242 4242 4242 4242")
    page.get_by_label("Expiry (MM/YY)").fill("12/34")
    page.get_by_label("CVC").fill("123")
    page.get_by_role("button", name="Subscribe").click()
    expect(page.get_by_text("Your payment is being confirmed")).to_be_visible()
    expect(page.locator("#billing-live").get_by_text("active", exact=True)).to_be_visible()


def test_the_whole_reference(browser: Browser, demo: Demo) -> None:
    """Sign up, make a management key, pay, make a key, call, see it arrive without a reload, cancel, delete."""
    context = browser.new_context(base_url=demo.base_url)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    _sign_up(page, demo, "journey@example.com")

    page.get_by_role("link", name="Keys", exact=True).click()
    page.get_by_role("link", name="Management keys").click()
    page.get_by_label("Name").fill("ci")
    page.get_by_role("button", name="Create management key").click()
    management_key = page.locator("#new-key").inner_text().strip()
    assert demo.api("GET", "/api/billing/status", management_key).json()["subscriptions"] == []

    _subscribe(page)
    page.locator("#billing-live").get_by_role("link", name="New key").click()
    page.get_by_label("Name").fill("my-app")
    page.get_by_role("button", name="Create key").click()
    key = page.locator("#new-key").inner_text().strip()
    assert key in page.locator("#try").inner_text()
    page.get_by_role("link", name="See it arrive on the overview").click()
    expect(page.get_by_text("The first request shows up here by itself.")).to_be_visible()
    page.evaluate("window.sameDocument = true")

    answer = demo.api("POST", "/v1/chat/completions", key, CHAT)
    assert answer.status_code == 200, answer.text
    row = page.get_by_role("region", name="Last requests").get_by_role("row").nth(1)
    expect(row).to_contain_text(f"${answer.headers['x-cost-usd']}")
    expect(page.get_by_role("progressbar")).not_to_have_attribute("value", "0")
    expect(page.locator(".chart-bar")).to_have_count(1)
    assert page.evaluate("window.sameDocument") is True

    page.get_by_role("link", name="Billing", exact=True).click()
    page.get_by_role("link", name="Cancel").click()
    page.get_by_role("button", name="Cancel subscription").click()
    expect(page.locator("#billing-live")).to_contain_text("does not renew")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#billing-live")).not_to_contain_text("does not renew")
    page.goto("/dashboard/billing/invoices")
    expect(page.get_by_role("table")).to_contain_text("$")

    page.get_by_role("link", name="Keys", exact=True).click()
    page.get_by_role("link", name="Delete my-app").click()
    page.get_by_role("button", name="Delete key").click()
    expect(page.get_by_text("No key yet.")).to_be_visible()
    assert demo.api("POST", "/v1/chat/completions", key, CHAT).status_code == 401

    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_text("You are logged out.")).to_be_visible()
    assert problems == []
    context.close()


def test_topping_up_with_usdc(browser: Browser, demo: Demo) -> None:
    """Say how much, pay to the address that is shown, and see the balance rise without a reload."""
    context = browser.new_context(base_url=demo.base_url)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    _sign_up(page, demo, "usdc@example.com")
    page.get_by_role("link", name="Billing", exact=True).click()
    page.get_by_label("Amount (USD)").fill("50")
    page.get_by_role("button", name="Pay with USDC").click()
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    expect(page.get_by_text("Waiting for your transfer.")).to_be_visible()
    address = page.locator("#pay-address").inner_text().strip()
    link = page.get_by_role("link", name="Open in a wallet").get_attribute("href")
    assert re.fullmatch(rf"ethereum:0x[0-9a-fA-F]{{40}}@8453/transfer\?address={address}&uint256=50000000", link or "")
    page.evaluate("window.sameDocument = true")

    sent = tokenbooth("sandbox", "send-usdc", "--to", address, "--amount", "50", cwd=demo.directory.parent)
    assert sent.returncode == 0, sent.stderr
    expect(page.get_by_role("region", name="Credit").get_by_text("$50.00")).to_be_visible()
    expect(page.get_by_role("region", name="Deposits")).to_contain_text(sent.stdout.strip())
    expect(page.get_by_text("credited", exact=True)).to_be_visible()
    expect(page.get_by_role("img", name="QR code")).to_have_count(0)
    assert page.evaluate("window.sameDocument") is True

    page.get_by_label("Transaction hash").fill(sent.stdout.strip())
    page.get_by_role("button", name="Look now").click()
    expect(page.get_by_text("The deposit is credited.")).to_be_visible()
    page.get_by_role("link", name="Overview", exact=True).click()
    expect(page.get_by_role("region", name="Now").get_by_text("$50.00")).to_be_visible()
    assert problems == []
    context.close()


def test_with_the_keyboard_only(browser: Browser, demo: Demo) -> None:
    """Log in, make a key, open the price of a request and log out, without a pointer."""
    context = browser.new_context(base_url=demo.base_url)
    page = context.new_page()
    page.goto("/login")
    # The email has the focus when the page opens.
    page.keyboard.type(demo.email)
    page.keyboard.press("Tab")
    page.keyboard.type(demo.password)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#content"
    _tab_to(page, "Keys", back=True)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Keys", exact=True)).to_be_visible()
    _tab_to(page, "Name")
    page.keyboard.type("typed")
    _tab_to(page, "Create key")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Copy it now")).to_be_visible()
    key = page.locator("#new-key").inner_text().strip()
    assert re.fullmatch(r"sk_live_[0-9A-Za-z]{48}", key)
    _tab_to(page, "Log out")
    page.keyboard.press("Enter")
    expect(page.get_by_text("You are logged out.")).to_be_visible()
    context.close()


def test_without_javascript(browser: Browser, demo: Demo) -> None:
    """Everything but the live update works where no script runs."""
    context = browser.new_context(base_url=demo.base_url, java_script_enabled=False)
    page = context.new_page()
    log_in(page, demo.email, demo.password)
    page.get_by_role("link", name="Keys", exact=True).click()
    page.get_by_label("Name").fill("plain")
    page.get_by_label("Paid by").select_option("credit")
    page.get_by_role("button", name="Create key").click()
    expect(page.locator("#new-key")).to_contain_text("sk_live_")
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    page.goto("/dashboard/usage")
    page.get_by_role("combobox").select_option("model")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("heading", name="By model")).to_be_visible()
    page.goto("/dashboard/billing")
    page.get_by_label("Amount (USD)").fill("25")
    page.get_by_role("button", name="Pay by card").click()
    page.get_by_label("Card number").fill("4242424242424242")
    page.get_by_label("Expiry (MM/YY)").fill("12/34")
    page.get_by_label("CVC").fill("123")
    page.get_by_role("button", name="Pay").click()
    expect(page.locator("#billing-live")).to_contain_text("$25.00")
    page.get_by_label("Amount (USD)").fill("12.5")
    page.get_by_role("button", name="Pay with USDC").click()
    address = page.locator("#pay-address").inner_text().strip()
    sent = tokenbooth("sandbox", "send-usdc", "--to", address, "--amount", "12.5", cwd=demo.directory.parent)
    page.get_by_label("Transaction hash").fill(sent.stdout.strip())
    page.get_by_role("button", name="Look now").click()
    expect(page.get_by_role("region", name="Credit").get_by_text("$37.50")).to_be_visible()
    page.goto("/dashboard/keys")
    page.get_by_role("link", name="Delete plain").click()
    page.get_by_role("button", name="Delete key").click()
    expect(page.get_by_text("The key is deleted")).to_be_visible()
    context.close()


def _tab_to(page: Page, name: str, *, back: bool = False) -> None:
    """Press Tab until what is called `name` has the focus."""
    for _ in range(80):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        focused = page.evaluate(
            "() => (document.activeElement.labels?.[0]?.firstChild ?? document.activeElement).textContent.trim()"
        )
        if focused == name:
            return
    raise AssertionError(f"Tab never comes to {name}")
