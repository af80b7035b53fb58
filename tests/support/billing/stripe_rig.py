"""A sandbox with a webhook endpoint beside it on one real server, and what a test needs to drive both."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import stripe
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.servers import serve
from tokenbooth.payments.stripe.client import StripeClient
from tokenbooth.payments.stripe.webhooks import WebhookEvent, WebhookVerifier
from tokenbooth_sandbox.stripe import SandboxConfig, StripeSandbox, create_sandbox

API_KEY = "sk_test_sandbox"
WEBHOOK_SECRET = "whsec_sandbox"
PREFIX = "/_sandbox/stripe"
CARD = "4242424242424242"
DECLINED_CARD = "4000000000000002"
FAILS_LATER_CARD = "4000000000000341"
DELAYED_CARD = "000123456789"
JANUARY_31 = 1_801_396_800
"""2027-01-31 12:00 UTC."""
DAY_S = 86_400


@dataclass(slots=True)
class ManualClock:
    """A clock that stands until a test moves it, UTC seconds."""

    now_s: float = JANUARY_31

    def __call__(self) -> float:
        return self.now_s


@dataclass(slots=True)
class Received:
    """One webhook as it arrived."""

    raw: bytes
    signature: str

    @property
    def type(self) -> str:
        return str(json.loads(self.raw)["type"])

    @property
    def id(self) -> str:
        return str(json.loads(self.raw)["id"])


class _Mounted:
    """The sandbox, which can only be made once its own address is known."""

    def __init__(self) -> None:
        self.sandbox: StripeSandbox | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.sandbox is not None
        await self.sandbox(scope, receive, send)


@dataclass(slots=True)
class Rig:
    """A running sandbox. `answers` are the statuses of the next webhook answers; then it is 200."""

    base_url: str
    clock: ManualClock
    webhooks: list[Received] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    @property
    def client(self) -> stripe.StripeClient:
        """The official SDK, set at the sandbox."""
        return stripe.StripeClient(API_KEY, base_addresses={"api": self.base_url}, http_client=stripe.RequestsClient())

    def our_client(self) -> StripeClient:
        """Our client, set at the sandbox."""
        return StripeClient(API_KEY, api_base=self.base_url, max_network_retries=0)

    def types(self) -> list[str]:
        """The types of the webhooks that arrived, in order of arrival."""
        return [received.type for received in self.webhooks]

    def verified(self, received: Received) -> WebhookEvent:
        """A webhook that arrived, as our endpoint would read it."""
        verifier = WebhookVerifier((WEBHOOK_SECRET,))
        return verifier.verify(received.raw, received.signature, now_s=self.clock())

    def control(self, name: str, **body: object) -> dict[str, object]:
        """A control call that must succeed."""
        answer = httpx.post(f"{self.base_url}/_control/{name}", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        state: dict[str, object] = answer.json()
        return state

    def pay(self, url: str, card: str = CARD) -> httpx.Response:
        """Submit a checkout page as a script does."""
        return httpx.post(url, data={"card": card}, timeout=30)

    def raw_call(self, method: str, path: str, body: str = "", **headers: str) -> httpx.Response:
        """A call of the API without the SDK, with the right key unless `headers` say otherwise."""
        sent = {"authorization": f"Bearer {API_KEY}", "content-type": "application/x-www-form-urlencoded"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.request(method, self.base_url + path, content=body, headers=sent)


@contextmanager
def running_sandbox(
    *,
    state_file: Path | None = None,
    clock: ManualClock | None = None,
    around: Callable[[ASGIApp], ASGIApp] = lambda sandbox: sandbox,
) -> Iterator[Rig]:
    """A sandbox under the demo's prefix, and its webhook endpoint. `around`: what stands between a client and the
    sandbox, to watch, lose or delay answers."""
    mounted = _Mounted()
    rig = Rig("", clock or ManualClock())

    async def receive_webhook(request: Request) -> Response:
        rig.webhooks.append(Received(await request.body(), request.headers["stripe-signature"]))
        await asyncio.sleep(0)
        return Response(status_code=rig.answers.pop(0) if rig.answers else 200)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        if mounted.sandbox is not None:
            await mounted.sandbox.aclose()

    host = Starlette(
        routes=[Route("/hook", receive_webhook, methods=["POST"]), Mount(PREFIX, app=around(mounted))],
        lifespan=lifespan,
    )
    with serve(host) as origin:
        rig.base_url = origin + PREFIX
        mounted.sandbox = create_sandbox(
            SandboxConfig(
                api_key=API_KEY,
                webhook_secret=WEBHOOK_SECRET,
                webhook_url=f"{origin}/hook",
                public_url=rig.base_url,
                state_file=state_file,
                clock=rig.clock,
                retry_delays_s=(0.01, 0.01),
            )
        )
        yield rig


def open_subscription_checkout(rig: Rig, *, cents: int = 2000) -> stripe.checkout.Session:
    """A subscription checkout of ours, made with the SDK alone."""
    client = rig.client
    customer = client.v1.customers.create({"email": "ada@example.com"})
    marks = {"account_id": "acct_1", "plan_slug": "standard", "checkout_id": "chk_1"}
    return client.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "customer": customer.id,
            "client_reference_id": "chk_1",
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": cents,
                        "recurring": {"interval": "month"},
                        "product_data": {"name": "Standard"},
                    },
                }
            ],
            "metadata": marks,
            "subscription_data": {"metadata": marks},
            "success_url": "https://shop.example/done?session={CHECKOUT_SESSION_ID}",
            "cancel_url": "https://shop.example/back",
        }
    )


def open_topup_checkout(rig: Rig, *, cents: int = 5000, saves_card: bool = True) -> stripe.checkout.Session:
    """A top-up checkout of ours, made with the SDK alone."""
    client = rig.client
    customer = client.v1.customers.create({"email": "ada@example.com"})
    marks = {"account_id": "acct_1", "checkout_id": "chk_2"}
    params: stripe.params.checkout.SessionCreateParams = {
        "mode": "payment",
        "customer": customer.id,
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": "usd",
                    "unit_amount": cents,
                    "product_data": {"name": "Prepaid credit"},
                },
            }
        ],
        "metadata": marks,
        "success_url": "https://shop.example/done",
    }
    if saves_card:
        params["payment_intent_data"] = {"metadata": marks, "setup_future_usage": "off_session"}
    return client.v1.checkout.sessions.create(params)


def paid_subscription(rig: Rig, card: str = CARD) -> str:
    """The id of a subscription that was just paid for at the page."""
    session = open_subscription_checkout(rig)
    answer = rig.pay(url_of(session), card)
    assert answer.status_code == 200, answer.text
    done = rig.client.v1.checkout.sessions.retrieve(session.id)
    assert isinstance(done.subscription, str)
    return done.subscription


def url_of(session: stripe.checkout.Session) -> str:
    """The address of an open session's page."""
    assert session.url is not None
    return session.url
