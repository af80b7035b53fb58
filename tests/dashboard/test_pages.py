"""The pages: what they show, and what a browser may do with them."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

import tokenbooth.dashboard
from tests.support.fakes import FakeClock
from tokenbooth.catalog import build_catalog
from tokenbooth.dashboard import DashboardContext, create_dashboard
from tokenbooth.settings import Settings

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


@pytest.fixture
async def browser() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the pages."""
    catalog = build_catalog(SETTINGS)
    context = DashboardContext(
        catalog=lambda: catalog,
        clock=FakeClock(),
        base_url="https://api.example.com",
        min_top_up_nano=10 * 10**9,
        version="1.2.3",
    )
    transport = httpx.ASGITransport(create_dashboard(context))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_the_start_page_shows_what_is_offered(browser: httpx.AsyncClient) -> None:
    """Plans and models of the catalog stand on the page, with their prices, escaped."""
    page = await browser.get("/")
    assert page.status_code == 200
    for text in ("&lt;Gold&gt;", "$99.50", "1,200 requests", "a/model", "$0.27", "$1.10", "65,536", "/openapi.json"):
        assert text in page.text
    assert "https://api.example.com/v1/chat/completions" in page.text


@pytest.mark.parametrize(
    ("query", "shown"),
    [("?checkout=success", "Thank you"), ("?checkout=cancelled", "cancelled"), ("?checkout=x", None)],
)
async def test_who_comes_back_from_a_payment_is_told(browser: httpx.AsyncClient, query: str, shown: str | None) -> None:
    """The page says how the payment went; other words in the address say nothing."""
    page = await browser.get(f"/{query}")
    assert ('role="status"' in page.text) == (shown is not None)
    assert shown is None or shown in page.text


async def test_an_unknown_page_says_so(browser: httpx.AsyncClient) -> None:
    """A path that nobody owns is a page with status 404."""
    page = await browser.get("/nothing/here")
    assert (page.status_code, "There is no page here" in page.text) == (404, True)


async def test_a_page_takes_no_other_method(browser: httpx.AsyncClient) -> None:
    """A page that is only read refuses to be written, and says what it takes."""
    refused = await browser.post("/")
    assert (refused.status_code, set(refused.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})


@pytest.mark.parametrize("path", ["/", "/nothing", "/dashboard/static/tokenbooth.css"])
async def test_every_answer_protects_the_browser(browser: httpx.AsyncClient, path: str) -> None:
    """Pages may not run scripts, be framed or load from elsewhere, and every answer has our request id."""
    headers = (await browser.get(path)).headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-request-id"].startswith("req_")


async def test_what_a_page_names_is_there(browser: httpx.AsyncClient) -> None:
    """Every file that a page loads exists, and none is inline."""
    page = await browser.get("/")
    loaded = re.findall(r'(?:src|href)="(/dashboard/static/[^"]+)"', page.text)
    assert {(await browser.get(path)).status_code for path in loaded} == {200}
    assert "style=" not in page.text
    assert "<script" not in page.text


async def test_nothing_outside_the_static_files_is_served(browser: httpx.AsyncClient) -> None:
    """A path that climbs out of the directory finds nothing."""
    for path in ("/dashboard/static/../app.py", "/dashboard/static/%2e%2e/app.py", "/dashboard/static/"):
        assert (await browser.get(path)).status_code == 404


def test_pages_load_nothing_from_elsewhere() -> None:
    """No template and no style names another host."""
    root = Path(tokenbooth.dashboard.__file__).parent
    for path in (*root.glob("templates/*.html"), *root.glob("static/*.css")):
        assert "//" not in path.read_text(encoding="utf-8").replace("{{ base_url }}", ""), path
