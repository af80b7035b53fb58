"""axe-core finds nothing to object to on any page, light and dark, on a phone and on a screen."""

from pathlib import Path
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.support.command import answer
from tests.support.dashboard.chromium import Demo, log_in
from tokenbooth_sandbox.demo_texts import MODEL

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
PASSWORD = "a long enough password"
PUBLIC = ("/", "/login", "/signup", "/reset", "/docs", "/signup/unknown", "/nothing")
PAGES = (
    "/dashboard",
    "/dashboard/keys",
    "/dashboard/keys/management",
    "/dashboard/usage",
    "/dashboard/usage?by=key",
    "/dashboard/usage?from=x",
    "/dashboard/billing",
    "/dashboard/billing?checkout=success",
    "/dashboard/billing/auto-top-up",
    "/dashboard/billing/invoices",
    "/dashboard/billing/usdc",
    "/dashboard/account",
    "/dashboard/operator",
    "/dashboard/operator/inbox",
    "/dashboard/operator/upstreams",
    "/dashboard/operator/audit",
)


@pytest.fixture(scope="module")
def admin(demo: Demo) -> str:
    """An operator with a subscription, keys and a request to show."""
    email = "admin@example.com"
    cwd = demo.directory.parent
    (cwd / "password").write_text(PASSWORD, encoding="utf-8")
    made = answer(
        "account", "create", "--email", email, "--admin", "--password-file", "password",
        "--config", "tokenbooth-demo/tokenbooth.toml", cwd=cwd,
    )  # fmt: skip
    key = str(made["managementKey"])
    opened = demo.api("POST", "/api/billing/checkout", key, {"planSlug": "pro"}).json()
    assert httpx.post(opened["sessionUrl"], data={"card": "4242424242424242"}).status_code == 200
    subscription = demo.api("GET", "/api/billing/status", key).json()["subscriptions"][0]["id"]
    api_key = demo.api("POST", "/api/keys/subscription", key, {"name": "app", "subscriptionId": subscription}).json()
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}]}
    assert demo.api("POST", "/v1/chat/completions", api_key["apiKey"], body).status_code == 200
    return email


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_has_a_violation(
    browser: Browser, demo: Demo, admin: str, scheme: Literal["light", "dark"], width: int
) -> None:
    """Every page, and every question that a page asks, passes axe-core whole; none is wider than the screen."""
    context = browser.new_context(base_url=demo.base_url, color_scheme=scheme, viewport={"width": width, "height": 844})
    page = context.new_page()
    found = {path: violations(page, path, width) for path in PUBLIC}
    log_in(page, admin, PASSWORD)
    found |= {path: violations(page, path, width) for path in PAGES}
    for start, name in (
        ("/dashboard/keys", "Delete app"),
        ("/dashboard/keys/management", "Delete first key"),
        ("/dashboard/billing", "Cancel"),
        ("/dashboard/billing", "Change plan"),
        ("/dashboard/operator", admin),
    ):
        page.goto(start)
        page.get_by_role("main").get_by_role("link", name=name, exact=True).click()
        page.wait_for_load_state()
        found[f"{start}: {name}"] = violations(page, None, width)
    page.goto("/dashboard/billing")
    page.get_by_role("button", name="Pay with USDC").click()
    page.wait_for_selector("#pay-address")
    found["paying with USDC"] = violations(page, None, width)
    page.goto("/dashboard/usage")
    page.locator("details.request > summary").first.click()
    found["price of a request"] = violations(page, None, width)
    page.goto("/dashboard/keys")
    page.get_by_label("Name").fill(f"axe {scheme} {width}")
    page.get_by_role("button", name="Create key").click()
    page.wait_for_selector("#new-key")
    found["key created"] = violations(page, None, width)
    context.close()
    assert {where: what for where, what in found.items() if what} == {}


def violations(page: Page, path: str | None, width: int) -> list[str]:
    """What axe-core objects to, and whether the page is wider than the screen."""
    if path is not None:
        page.goto(path)
    # Through the debugger, which the page's policy does not bind.
    page.evaluate(AXE.read_text(encoding="utf-8"))
    result = page.evaluate("async () => await axe.run(document)")
    said = [
        f"{one['id']}: {node['target']} {node.get('failureSummary', '')}"
        for one in result["violations"]
        for node in one["nodes"]
    ]
    wide = page.evaluate("document.documentElement.scrollWidth")
    return [*said, *([f"wider than the screen: {wide}"] if wide > width else [])]
