"""Stripe's webhook endpoint: what it lets in, what it stores, and how long it waits."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import Connection, select, update
from starlette.requests import Request
from starlette.responses import Response

from tests.support.billing.shop import OLD_SECRET, WEBHOOK_SECRET, Shop, running_shop
from tests.support.fakes import FakeClock, FakeLive
from tests.support.store import row_counts
from tokenbooth.api import webhooks
from tokenbooth.api.responses import respond_error
from tokenbooth.config.catalog import build_catalog
from tokenbooth.config.payments import StripeSettings
from tokenbooth.config.settings import Settings
from tokenbooth.kit.errors import TokenboothError
from tokenbooth.payments.stripe.client import StripeClient
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.engine import Store, open_store
from tokenbooth.store.migrate import migrate
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import checkouts, inbox

PATH = "/api/webhooks/stripe"
Handle = Callable[[str], Awaitable[None]]


def event_body(event_type: str = "customer.created", *, livemode: bool = False, event_id: str = "evt_1") -> bytes:
    """An event as Stripe posts it, as far as we read it."""
    subject = {"object": "customer", "id": "cus_1", "email": "ada@example.com"}
    return json.dumps(
        {
            "object": "event",
            "id": event_id,
            "type": event_type,
            "livemode": livemode,
            "created": 1_772_704_800,
            "data": {"object": subject},
        }
    ).encode()


def signed(body: bytes, at_s: int, secret: str = WEBHOOK_SECRET) -> dict[str, str]:
    """The headers of a delivery."""
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return {"stripe-signature": f"t={at_s},v1={digest}", "content-type": "application/json"}


def now_s(clock: FakeClock) -> int:
    """The clock's UTC seconds."""
    return clock.now_us() // 1_000_000


async def ignore(_row_id: str) -> None:
    """Handle an event by doing nothing."""


@asynccontextmanager
async def endpoint(
    store: Store,
    clock: FakeClock,
    *,
    handle: Handle = ignore,
    configured: bool = True,
    within_s: float = webhooks.HANDLE_WITHIN_S,
    live: FakeLive | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    """The webhook's route alone, with what handles its events."""
    stripe = StripeSettings(secret_key=SecretStr("sk_test_hook"), webhook_secrets=[SecretStr(WEBHOOK_SECRET)])
    settings = Settings(stripe=stripe if configured else None)
    catalog = build_catalog(settings)
    ours = StripeClient("sk_test_hook", api_base="http://127.0.0.1:9")
    context = ServiceContext(
        store=store,
        clock=clock,
        settings=settings,
        catalog=lambda: catalog,
        live=live or FakeLive(),
        stripe=ours if configured else None,
        handle_event=handle,
    )
    app = FastAPI()
    app.include_router(webhooks.router(context, handle_within_s=within_s))

    @app.exception_handler(TokenboothError)
    async def render(_request: Request, error: TokenboothError) -> Response:
        return respond_error(error)

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client
    await ours.aclose()


@pytest.fixture
def clock() -> FakeClock:
    """A clock of the test's own."""
    return FakeClock()


@pytest.fixture
def shop(store: Store, clock: FakeClock) -> Iterator[Shop]:
    """A running product with its sandbox."""
    with running_shop(store, clock) as running:
        yield running


async def test_a_signed_event_is_stored_and_handled(store: Store, clock: FakeClock) -> None:
    """P6: what is answered with 2xx is stored, was handed on, and is seen by this process's caches."""
    handed: list[str] = []
    live = FakeLive()

    async def handle(row_id: str) -> None:
        handed.append(row_id)

    async with endpoint(store, clock, handle=handle, live=live) as client:
        body = event_body()
        answer = await client.post(PATH, content=body, headers=signed(body, now_s(clock)))
    assert (answer.status_code, answer.json()["received"]) == (200, True)
    assert len(handed) == 1
    assert row_counts(store)["inbox"] == 1
    assert live.changed_calls == 1


@pytest.mark.parametrize(
    "case", ["one byte changed", "another secret", "old", "missing", "malformed", "empty", "not an event"]
)
async def test_what_stripe_did_not_sign_leaves_no_trace(store: Store, clock: FakeClock, case: str) -> None:
    """6: a bad, old or missing signature is a 400, and nothing is stored."""
    body = event_body()
    headers = signed(body, now_s(clock))
    match case:
        case "one byte changed":
            body = body.replace(b"evt_1", b"evt_2")
        case "another secret":
            headers = signed(body, now_s(clock), "whsec_other")
        case "old":
            headers = signed(body, now_s(clock) - 301)
        case "missing":
            del headers["stripe-signature"]
        case "malformed":
            headers["stripe-signature"] = "v1=00"
        case "empty":
            body = b""
        case "not an event":
            body = b'{"object":"customer"}'
            headers = signed(body, now_s(clock))
    async with endpoint(store, clock) as client:
        answer = await client.post(PATH, content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_signature")
    assert row_counts(store)["inbox"] == 0


async def test_a_body_above_the_bound_is_refused(store: Store, clock: FakeClock) -> None:
    """A body of more than a mebibyte is not read to its end, whoever signed it."""
    body = b" " * (webhooks.MAX_BODY_BYTES + 1)
    async with endpoint(store, clock) as client:
        answer = await client.post(PATH, content=body, headers=signed(body, now_s(clock)))
    assert answer.status_code == 413
    assert row_counts(store)["inbox"] == 0


async def test_without_stripe_there_is_no_endpoint(store: Store, clock: FakeClock) -> None:
    """Without [stripe] the endpoint says that it is not configured."""
    async with endpoint(store, clock, configured=False) as client:
        answer = await client.post(PATH, content=b"{}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stripe_not_configured")


async def test_a_store_that_is_away_is_503(store: Store, clock: FakeClock) -> None:
    """P6: without the store nothing is promised, so Stripe delivers again."""
    store.close()
    async with endpoint(store, clock) as client:
        body = event_body()
        answer = await client.post(PATH, content=body, headers=signed(body, now_s(clock)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "temporarily_unavailable")
    assert answer.headers["retry-after"] == "2"


async def test_the_answer_does_not_wait_for_ever(store: Store, clock: FakeClock) -> None:
    """The wait for the effects is bounded, and the handling goes on behind the answer."""
    gate, done = asyncio.Event(), asyncio.Event()

    async def slow(_row_id: str) -> None:
        await gate.wait()
        done.set()

    async with endpoint(store, clock, handle=slow, within_s=0.01) as client:
        body = event_body()
        answer = await client.post(PATH, content=body, headers=signed(body, now_s(clock)))
        assert answer.status_code == 200
        assert not done.is_set()
        gate.set()
        await done.wait()


async def test_a_handler_that_fails_does_not_lose_the_event(store: Store, clock: FakeClock) -> None:
    """P6: the event is stored and due, so Stripe need not deliver it again."""

    async def broken(_row_id: str) -> None:
        raise RuntimeError("meant by the test")

    async with endpoint(store, clock, handle=broken) as client:
        body = event_body()
        answer = await client.post(PATH, content=body, headers=signed(body, now_s(clock)))
    assert answer.status_code == 200
    assert row_counts(store)["inbox"] == 1


async def test_what_is_stored_holds_no_personal_data(store: Store, clock: FakeClock) -> None:
    """P12: of an event only its type and the id of its object are kept."""
    async with endpoint(store, clock) as client:
        body = event_body()
        await client.post(PATH, content=body, headers=signed(body, now_s(clock)))

    def payload(conn: Connection) -> bytes:
        return bytes(conn.execute(select(inbox.c.payload)).scalar_one())

    assert json.loads(store.read_now(payload)) == {
        "object": "event",
        "id": "evt_1",
        "type": "customer.created",
        "livemode": False,
        "created": 1_772_704_800,
        "data": {"object": {"object": "customer", "id": "cus_1"}},
    }


@pytest.mark.parametrize("secret", [OLD_SECRET, WEBHOOK_SECRET])
def test_both_secrets_of_a_rotation_are_accepted(shop: Shop, secret: str) -> None:
    """7: while a secret is rotated, deliveries signed with either one are let in."""
    body = event_body()
    answer = shop.bare.post(PATH, content=body, headers=signed(body, now_s(shop.clock), secret))
    assert answer.status_code == 200
    assert shop.inbox_rows() == [("customer.created", "handled")]


@pytest.mark.parametrize(
    ("event_type", "livemode"), [("customer.created", False), ("invoice.paid", True), ("made.up", False)]
)
def test_what_is_not_for_us_is_accepted_without_effect(shop: Shop, event_type: str, livemode: bool) -> None:
    """8: another mode and unknown types are answered with 2xx and change nothing but the inbox."""
    before = row_counts(shop.store)
    body = event_body(event_type, livemode=livemode)
    answer = shop.bare.post(PATH, content=body, headers=signed(body, now_s(shop.clock)))
    assert answer.status_code == 200
    assert shop.inbox_rows() == [(event_type, "handled")]
    assert row_counts(shop.store) == {**before, "inbox": 1}


def test_twenty_deliveries_at_once_have_one_effect(shop: Shop) -> None:
    """1: an event that arrives 20 times in parallel is applied once, and every delivery is answered 2xx."""
    shop.control("delivery", mode="hold")
    url, _ = shop.open_page("topup", {"amount": 40, "method": "stripe"})
    assert shop.pay(url).status_code == 200
    (event_id,) = shop.event_ids("checkout.session.completed")
    shop.control("delivery", mode="normal")
    shop.control("resend", event=event_id, copies=20)
    assert shop.data("credits")["balance"] == "40.00"
    attempts = shop.bare.get("/_sandbox/stripe/_control/deliveries").json()["attempts"]
    delivered = [attempt["status"] for attempt in attempts if attempt["outcome"] != "held"]
    assert delivered == [200] * 20


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_hundred_deliveries_at_once_credit_once(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    """P5: one event, a hundred times in parallel, on both databases: one credit, every answer 2xx."""
    url = request.getfixturevalue("postgres_url") if database == "postgresql" else f"sqlite:///{tmp_path / 'a.db'}"
    store = open_store(url)
    migrate(store.engine)
    with running_shop(store) as shop:
        shop.lose_webhooks()
        shop.top_up(40)
        (event_id,) = shop.event_ids("checkout.session.completed")
        shop.send_webhooks()
        shop.control("resend", event=event_id, copies=100)
        assert shop.credit() == "40.00"
        attempts = shop.bare.get("/_sandbox/stripe/_control/deliveries").json()["attempts"]
        assert [attempt["status"] for attempt in attempts if attempt["event"] == event_id][-100:] == [200] * 100
        assert row_counts(store)["payments"] == 1
        assert store.read_now(audit).differences == ()
    store.close()


def test_every_event_of_a_purchase_many_times_at_once(shop: Shop) -> None:
    """1, 2: each event of a subscription delivered thrice leaves one subscription, paid for once."""
    shop.control("delivery", mode="normal", copies=3)
    assert shop.subscribe()["status"] == "active"
    counts = row_counts(shop.store)
    assert (counts["subscriptions"], counts["subscription_periods"]) == (1, 1)
    assert {status for _, status in shop.inbox_rows()} == {"handled"}


def test_a_payment_of_another_amount_is_parked(shop: Shop) -> None:
    """5: when our record says another amount than was paid, nothing is credited and a person is asked."""
    url, _ = shop.open_page("topup", {"amount": 40, "method": "stripe"})

    def tamper(conn: Connection) -> None:
        conn.execute(update(checkouts).values(amount_nano=50_000_000_000))

    shop.store.write_now(tamper)
    assert shop.pay(url).status_code == 200
    assert shop.data("credits")["balance"] == "0.00"
    assert ("checkout.session.completed", "parked") in shop.inbox_rows()


def test_a_foreign_object_of_a_shared_account_has_no_effect(shop: Shop) -> None:
    """8: a checkout that somebody else made in the same Stripe account is none of ours."""
    made = shop.bare.post(
        "/_sandbox/stripe/v1/checkout/sessions",
        content=(
            "mode=payment&success_url=https://other.example&line_items[0][quantity]=1"
            "&line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=5000"
            "&line_items[0][price_data][product_data][name]=Book"
        ),
        headers={"authorization": "Bearer sk_test_shop", "content-type": "application/x-www-form-urlencoded"},
    )
    assert shop.pay(made.json()["url"]).status_code == 200
    assert ("checkout.session.completed", "handled") in shop.inbox_rows()
    assert row_counts(shop.store)["ledger_transfers"] == 0
