"""The dashboard over a real database, and a browser that is only a client with cookies. Only tests import it."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import httpx
from argon2 import PasswordHasher
from starlette.routing import Route
from starlette.types import ASGIApp

from tests.support.fakes import FakeClock, FakeLive
from tests.support.management import Plane, management_plane
from tests.support.store import Customer, new_customer
from tokenbooth.config.catalog import build_catalog
from tokenbooth.config.settings import Settings
from tokenbooth.dashboard import DashboardContext, create_dashboard
from tokenbooth.dashboard.app import page_routes
from tokenbooth.dashboard.views import Web
from tokenbooth.domain.charges import Charge, PoolKind
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.services.context import UsdcDeps
from tokenbooth.services.mail import Mail
from tokenbooth.services.passwords import Passwords
from tokenbooth.store.accounts.accounts import create_account, set_admin
from tokenbooth.store.engine import Store
from tokenbooth.store.usage.settlement import apply_charges

ORIGIN = "http://booth.test"
PASSWORD = "correct horse battery"
# Argon2 at its cheapest: what it costs is not what these tests are about.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass(slots=True)
class FakeMailer:
    """A mailer that keeps what it was given."""

    is_mailed: bool = True
    sent: list[Mail] = field(default_factory=list)

    async def send(self, mail: Mail) -> None:
        """Keep the mail."""
        self.sent.append(mail)

    def path(self) -> str:
        """The path of the link that was mailed last."""
        link = self.sent[-1].link
        assert link is not None
        assert link.startswith(ORIGIN)
        return link.removeprefix(ORIGIN)


@dataclass(frozen=True, slots=True)
class Booth:
    """A dashboard and what it was built from."""

    plane: Plane
    mailer: FakeMailer
    app: ASGIApp = field(repr=False)
    routes: list[Route] = field(repr=False)

    @property
    def store(self) -> Store:
        """The database."""
        return self.plane.context.store

    @property
    def clock(self) -> FakeClock:
        """The time."""
        return self.plane.clock

    @property
    def live(self) -> FakeLive:
        """The gateway."""
        return self.plane.live

    def browser(self, address: str = "203.0.113.7") -> "Browser":
        """A browser that nobody used yet."""
        transport = httpx.ASGITransport(self.app, client=(address, 5_000))
        # Browsers name the media type of a form that has no fields, too.
        headers = {"origin": ORIGIN, "content-type": "application/x-www-form-urlencoded"}
        return Browser(httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers))

    def account(self, email: str = "ada@example.com", *, is_admin: bool = False) -> str:
        """An account with the password of these tests."""
        now_us = self.clock.now_us()
        account_id = new_id(IdPrefix.ACCOUNT, now_us)
        self.store.write_now(create_account, account_id, email, CHEAP.hash(PASSWORD), now_us=now_us)
        if is_admin:
            self.store.write_now(set_admin, account_id, actor="test", now_us=now_us)
        return account_id

    async def logged_in(self, email: str = "ada@example.com", *, is_admin: bool = False) -> "Browser":
        """A browser of a new account."""
        self.account(email, is_admin=is_admin)
        browser = self.browser()
        await browser.log_in(email)
        return browser


@dataclass(frozen=True, slots=True)
class Browser:
    """A client that keeps cookies and sends forms as pages do."""

    http: httpx.AsyncClient

    async def get(self, path: str) -> httpx.Response:
        """Open a page; redirects are not followed."""
        return await self.http.get(path)

    async def log_in(self, email: str, password: str = PASSWORD) -> httpx.Response:
        """Send the log-in form."""
        return await self.http.post("/login", data={"email": email, "password": password})

    async def send(self, page: str, action: str, **fields: str | Sequence[str]) -> httpx.Response:
        """Send a form of a page, with the hidden fields that stand in it."""
        shown = await self.http.get(page)
        assert shown.status_code == 200, shown.text
        return await self.http.post(action, data={**hidden_fields(shown.text, action), **fields})


def hidden_fields(page: str, action: str) -> dict[str, str]:
    """The hidden fields of the form with this action."""
    form = re.search(rf'<form[^>]*method="post" action="{re.escape(action)}".*?</form>', page, re.DOTALL)
    assert form is not None, f"no form sends to {action}"
    return dict(re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', form.group(0)))


@asynccontextmanager
async def open_booth(
    store: Store, settings: Settings | None = None, usdc: UsdcDeps | None = None
) -> AsyncIterator[Booth]:
    """A dashboard over `store`; `settings` are those to be tried, `usdc` is a way to a chain."""
    async with management_plane(store) as plane:
        chosen = settings or Settings()
        chosen = chosen.model_copy(
            update={"server": chosen.server.model_copy(update={"public_url": chosen.server.public_url or ORIGIN})}
        )
        catalog = build_catalog(chosen)
        context = replace(plane.context, settings=chosen, catalog=lambda: catalog, usdc=usdc)
        mailer = FakeMailer()
        dashboard = DashboardContext(
            services=context,
            mailer=mailer,
            version="1.2.3",
            management_openapi=plane.app.openapi,
            passwords=Passwords(CHEAP),
        )
        yield Booth(plane, mailer, create_dashboard(dashboard), page_routes(Web(dashboard)))


def charge(account_id: str, key_id: str, finished_at_us: int, **changed: object) -> Charge:
    """A charge of 1,000 tokens in (100 of them cached) and 200 out, at the reference's prices."""
    made = Charge(
        request_id=new_id(IdPrefix.REQUEST, finished_at_us),
        account_id=account_id,
        key_id=key_id,
        pool=PoolKind.WINDOW,
        subscription_id="sub_1",
        window_start_us=0,
        model="a/model",
        endpoint="/v1/chat/completions",
        upstream="one",
        finished_at_us=finished_at_us,
        prompt_tokens=1_000,
        cached_tokens=100,
        cache_write_tokens=0,
        completion_tokens=200,
        reasoning_tokens=0,
        input_price=270_000_000,
        cached_price=70_000_000,
        cache_write_price=270_000_000,
        output_price=1_100_000_000,
        per_request_nano=0,
        charged_nano=470_000,
        uncollected_nano=0,
        upstream_cost_nano=300_000,
        estimated=False,
    )
    return made._replace(**changed)  # type: ignore[arg-type]  # names of its fields


def use(booth: Booth, charges: Sequence[Charge]) -> None:
    """Have charges in the store."""
    booth.store.write_now(apply_charges, charges, now_us=booth.clock.now_us())


def stranger(booth: Booth) -> Customer:
    """Another account, with a management key."""
    return new_customer(booth.store, now_us=booth.clock.now_us(), email="mallory@example.com")
