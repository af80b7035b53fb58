"""The management plane and the Stripe sandbox on one real server, and what a test needs to drive both.

The product reaches the sandbox over HTTP with the official SDK, the sandbox posts its webhooks to the product. Only
tests import this.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar, cast

import httpx
from pydantic import SecretStr
from sqlalchemy import Connection, select
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.fakes import FakeClock, FakeLive
from tests.support.servers import serve
from tests.support.store import Customer, new_customer
from tokenbooth.api.app import create_management_app
from tokenbooth.config.catalog import build_catalog
from tokenbooth.config.payments import BillingSettings, StripeSettings
from tokenbooth.config.settings import PlanSettings, Settings
from tokenbooth.domain.money import NANO_PER_CENT
from tokenbooth.jobs.auto_topup import AutoTopUp
from tokenbooth.jobs.inbox import InboxHandler
from tokenbooth.jobs.reconcile import ReconcileFigures, Reconciler, Report
from tokenbooth.payments.stripe.client import StripeClient
from tokenbooth.services.checkouts import caps_of
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.mail import LogMailer, Mailer
from tokenbooth.store.engine import Store
from tokenbooth.store.tables import inbox
from tokenbooth_sandbox.stripe import SandboxConfig, StripeSandbox, create_sandbox

API_KEY = "sk_test_shop"
OLD_SECRET, WEBHOOK_SECRET = "whsec_shop_old", "whsec_shop"
PREFIX = "/_sandbox/stripe"
CARD = "4242424242424242"
DECLINED_CARD = "4000000000000002"
FAILS_LATER_CARD = "4000000000000341"
DELAYED_CARD = "000123456789"

AUTHENTICATED_CARD = "4000002500003155"
DISPUTED_CARD = "4000000000000259"

Json = dict[str, object]
T = TypeVar("T")


class _Late:
    """An application that can only be made once its own address is known."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@dataclass(slots=True)
class Shop:
    """A running product with a customer.

    Attributes:
        origin: where both are served.
        http: a client at `origin`, with the customer's management key.
        bare: a client at `origin` without a credential.
        store, clock, live: what the product was given.
        ada: the customer.
        inbox: what carries out the product's events.
        settings: what the product was built from.
    """

    origin: str
    http: httpx.Client
    bare: httpx.Client
    store: Store
    clock: FakeClock
    live: FakeLive
    ada: Customer
    inbox: InboxHandler = field(repr=False)
    settings: Settings = field(repr=False)
    collects_tax: bool = False

    def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        """Call the product."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(f"/api/billing/{path}", json=body, headers=sent)

    def data(self, path: str) -> Json:
        """The payload of a GET that must succeed."""
        answer = self.http.get(f"/api/billing/{path}")
        assert answer.status_code == 200, answer.text
        payload: Json = answer.json()["data"]
        return payload

    def subscriptions(self) -> list[Json]:
        """The customer's subscriptions."""
        found = self.data("status")["subscriptions"]
        assert isinstance(found, list)
        return found

    def open_page(self, path: str, body: object) -> tuple[str, str]:
        """Open a checkout; its page and its session."""
        answer = self.post(path, body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["sessionUrl"]), str(answer.json()["sessionId"])

    def pay(self, url: str, card: str = CARD) -> httpx.Response:
        """Submit a checkout page as a script does."""
        return self.bare.post(url, data={"card": card})

    def subscribe(self, plan: str = "pro", card: str = CARD) -> Json:
        """Buy a plan; the newest subscription."""
        url, _ = self.open_page("checkout", {"planSlug": plan})
        assert self.pay(url, card).status_code == 200
        return self.subscriptions()[0]

    def control(self, name: str, **body: object) -> Json:
        """A control call of the sandbox, which answers after its webhooks were answered."""
        answer = self.bare.post(f"{PREFIX}/_control/{name}", json=body)
        assert answer.status_code == 200, answer.text
        state: Json = answer.json()
        return state

    def advance(self, seconds: int) -> None:
        """Let time pass in both worlds; returns when what fell due at Stripe was told here."""
        # What is still being told of the past must not be the call that makes the future happen, unwaited for.
        self.control("wait")
        self.clock.advance(seconds)
        self.control("advance", seconds=0)
        self.control("wait")

    def reconcile(self) -> Report:
        """Hold the product's books against Stripe's, as the job does."""
        return asyncio.run(self._with_stripe(self._reconcile))

    def top_up_automatically(self) -> None:
        """Run the job of automatic top-ups once."""
        asyncio.run(self.run_auto_top_up(LogMailer()))

    async def run_auto_top_up(self, mailer: Mailer) -> None:
        """The same, with mail by `mailer`."""
        caps = caps_of(self.settings.billing)

        async def run(client: StripeClient) -> None:
            job = AutoTopUp(
                self.store,
                client,
                self.clock,
                caps,
                self.live.held_nano,
                mailer=mailer,
                billing_url=f"{self.origin}/dashboard/billing",
            )
            await job.run()

        await self._with_stripe(run)

    async def _with_stripe(self, work: Callable[[StripeClient], Awaitable[T]]) -> T:
        client = StripeClient(
            API_KEY, api_base=self.origin + PREFIX, max_network_retries=0, collects_tax=self.collects_tax
        )
        try:
            return await work(client)
        finally:
            await client.aclose()

    def watch_books(self, times: int) -> ReconcileFigures:
        """Run the reconciler's job some times; what it shows afterwards."""

        async def run(client: StripeClient) -> ReconcileFigures:
            handler = InboxHandler(self.store, client, self.clock)
            job = Reconciler(self.store, client, self.clock, handle=handler.handle, refresh=handler.refresh)
            for _ in range(times):
                await job.run()
            return job.figures

        return asyncio.run(self._with_stripe(run))

    async def _reconcile(self, client: StripeClient) -> Report:
        handler = InboxHandler(self.store, client, self.clock)
        reconciler = Reconciler(self.store, client, self.clock, handle=handler.handle, refresh=handler.refresh)
        return await reconciler.reconcile()

    def handle_due(self) -> None:
        """Handle every stored event that is due, as the job does."""

        async def run(client: StripeClient) -> None:
            await InboxHandler(self.store, client, self.clock).run_due()

        asyncio.run(self._with_stripe(run))

    def lose_webhooks(self) -> None:
        """Let Stripe's webhooks go nowhere from now on."""
        self.control("delivery", mode="drop")

    def send_webhooks(self) -> None:
        """Let them arrive again."""
        self.control("delivery", mode="normal")

    def balance_nano(self) -> int:
        """What Stripe holds, by the sandbox's balance."""
        shown = self.stripe("balance")
        parts = [*cast("list[Json]", shown["available"]), *cast("list[Json]", shown["pending"])]
        return sum(cast("int", part["amount"]) for part in parts) * NANO_PER_CENT

    def paid_intent(self) -> str:
        """The newest payment at Stripe."""
        return self.stripe_ids("payment_intents")[0]

    def stripe_post(self, path: str, **form: str) -> Json:
        """Call the sandbox's API as an operator does in Stripe's dashboard; webhooks go out at once."""
        answer = self.bare.post(f"{PREFIX}/v1/{path}", data=form, headers={"authorization": f"Bearer {API_KEY}"})
        assert answer.status_code == 200, answer.text
        self.control("wait")
        found: Json = answer.json()
        return found

    def credit(self) -> str:
        """The customer's credit."""
        return str(self.data("credits")["balance"])

    def top_up(self, amount: int = 50, card: str = CARD) -> str:
        """Buy credit on a page, which saves the card; the payment."""
        url, _ = self.open_page("topup", {"amount": amount, "method": "stripe"})
        assert self.pay(url, card).status_code == 200
        return self.paid_intent()

    def stripe(self, path: str) -> Json:
        """Read from the sandbox's API."""
        answer = self.bare.get(f"{PREFIX}/v1/{path}", headers={"authorization": f"Bearer {API_KEY}"})
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def stripe_ids(self, path: str) -> list[str]:
        """The ids of a list of the sandbox's API, newest first."""
        data = self.stripe(path)["data"]
        assert isinstance(data, list)
        return [str(entry["id"]) for entry in data]

    def event_ids(self, event_type: str) -> list[str]:
        """The ids of the sandbox's events of a type, newest first."""
        return self.stripe_ids(f"events?limit=100&type={event_type}")

    def inbox_errors(self) -> list[str]:
        """Why stored events are not handled yet."""

        def read(conn: Connection) -> list[str]:
            rows = conn.execute(select(inbox).where(inbox.c.status != "handled"))
            return [f"{row.type} {row.status} {row.attempts} {row.error}" for row in rows]

        return self.store.read_now(read)

    def inbox_rows(self) -> list[tuple[str, str]]:
        """Type and status of every stored event, oldest first."""

        def read(conn: Connection) -> list[tuple[str, str]]:
            rows = conn.execute(select(inbox.c.type, inbox.c.status).order_by(inbox.c.id))
            return [(row.type, row.status) for row in rows]

        return self.store.read_now(read)


@contextmanager
def running_shop(
    store: Store,
    clock: FakeClock | None = None,
    *,
    max_pending: int = 100,
    stripe_timeout_s: float = 20,
    collects_tax: bool = False,
    billing: BillingSettings | None = None,
    plans: Mapping[str, PlanSettings] | None = None,
    around_stripe: Callable[[ASGIApp], ASGIApp] = lambda sandbox: sandbox,
) -> Iterator[Shop]:
    """A product with its sandbox and a customer, until the block ends.

    Args:
        store: an empty database.
        clock: the time in both worlds.
        max_pending: how many unpaid checkouts an account may have.
        stripe_timeout_s: how long the product waits for Stripe, in seconds.
        collects_tax: whether Stripe adds tax, which is a tenth in the sandbox.
        billing: the rules of payments; the ordinary ones if None.
        plans: further plans.
        around_stripe: what stands between the product and the sandbox, to lose or delay answers.
    """
    clock = clock or FakeClock()
    product, sandbox_at = _Late(), _Late()
    made: list[StripeSandbox] = []
    handlers: list[InboxHandler] = []
    clients: list[StripeClient] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        for sandbox in made:
            await sandbox.aclose()
        for handler in handlers:
            await handler.drained()
        for client in clients:
            await client.aclose()

    host = Starlette(routes=[Mount(PREFIX, app=sandbox_at), Mount("", app=product)], lifespan=lifespan)
    with serve(host) as origin:
        sandbox = create_sandbox(_sandbox_config(origin, clock))
        made.append(sandbox)
        sandbox_at.app = around_stripe(sandbox)
        settings = _settings(origin, max_pending, stripe_timeout_s, billing or BillingSettings(), plans or {})
        client = StripeClient(API_KEY, api_base=origin + PREFIX, max_network_retries=0, collects_tax=collects_tax)
        clients.append(client)
        catalog = build_catalog(settings)
        handler = InboxHandler(store, client, clock, lambda: catalog.plans)
        handlers.append(handler)
        live = FakeLive()
        product.app = create_management_app(
            ServiceContext(
                store=store,
                clock=clock,
                settings=settings,
                catalog=lambda: catalog,
                live=live,
                stripe=client,
                handle_event=handler.handle,
            )
        )
        ada = new_customer(store, now_us=clock.now_us())
        with httpx.Client(base_url=origin, timeout=60) as bare, httpx.Client(base_url=origin, timeout=60) as http:
            http.headers.update(ada.headers)
            yield Shop(origin, http, bare, store, clock, live, ada, handler, settings, collects_tax)


def _sandbox_config(origin: str, clock: FakeClock) -> SandboxConfig:
    return SandboxConfig(
        api_key=API_KEY,
        webhook_secret=WEBHOOK_SECRET,
        webhook_url=f"{origin}/api/webhooks/stripe",
        public_url=origin + PREFIX,
        clock=lambda: clock.now_us() / 1_000_000,
        retry_delays_s=(0.01, 0.01),
    )


def _settings(
    origin: str, max_pending: int, timeout_s: float, billing: BillingSettings, plans: Mapping[str, PlanSettings]
) -> Settings:
    settings = Settings(
        stripe=StripeSettings(
            secret_key=SecretStr(API_KEY),
            webhook_secrets=[SecretStr(OLD_SECRET), SecretStr(WEBHOOK_SECRET)],
            api_base=origin + PREFIX,
            timeout_s=timeout_s,
        )
    )
    return settings.model_copy(
        update={
            "server": settings.server.model_copy(update={"public_url": origin}),
            "billing": billing,
            "plans": {**settings.plans, **plans},
            "management": settings.management.model_copy(update={"max_pending_checkouts": max_pending}),
        }
    )
