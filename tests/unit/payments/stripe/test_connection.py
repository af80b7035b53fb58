"""How calls to Stripe are made, over real HTTP: at once, repeated, given up, cut off, through a proxy, and closed."""

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import stripe
import trustme
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.support.billing.stripe_rig import API_KEY, Rig, paid_subscription, running_sandbox
from tests.support.raw_server import raw_server
from tokenbooth.payments.stripe.client import PaymentProviderError, PlanPrice, StripeClient

STANDARD = PlanPrice("standard", "Standard", 20_000_000_000, "month")
SMALL = PlanPrice("small", "Small", 10_000_000_000, "month")
LIST = b'{"object": "list", "data": [], "has_more": false, "url": "/v1/events"}'
EMPTY_PAGE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(LIST) + LIST


@dataclass(slots=True)
class Line:
    """What stands between client and sandbox: it notes every request, and holds answers back.

    Attributes:
        requests: method and path of each, in order, with its headers.
        delays_s: by how much each of the next answers comes late, in seconds; the sandbox has done its work by then.
        refusals: statuses with which the next requests are answered instead, and the headers of those answers.
        most: how many were open at once at most.
    """

    delay_s: float = 0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    open: int = 0
    most: int = 0

    def around(self, sandbox: ASGIApp) -> ASGIApp:
        """The line to a sandbox."""

        async def pass_on(scope: Scope, receive: Receive, send: Send) -> None:
            path = str(scope["path"])
            if "/v1/" not in path:
                await sandbox(scope, receive, send)
                return
            sent = {name.decode(): value.decode() for name, value in scope["headers"]}
            self.requests.append((f"{scope['method']} {path[path.index('/v1/') :]}", sent))
            self.open += 1
            self.most = max(self.most, self.open)
            try:
                await self._answer(sandbox, scope, receive, send)
            finally:
                self.open -= 1

        return pass_on

    async def _answer(self, sandbox: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if self.refusals:
            status, headers = self.refusals.pop(0)
            await send(
                {
                    "type": "http.response.start",
                    "status": status,
                    "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
                }
            )
            body = json.dumps({"error": {"type": "invalid_request_error", "message": "Slow down.", "code": "lock"}})
            await send({"type": "http.response.body", "body": body.encode()})
            return
        answer: list[Message] = []

        async def hold(message: Message) -> None:
            answer.append(message)

        await sandbox(scope, receive, hold)
        await asyncio.sleep(self.delays_s.pop(0) if self.delays_s else self.delay_s)
        for message in answer:
            await send(message)

    def keys(self, request: str) -> list[str]:
        """The idempotency keys that a request came with, each time."""
        return [headers["idempotency-key"] for made, headers in self.requests if made == request]


@pytest.fixture
def line() -> Line:
    """A line without disturbance."""
    return Line()


@pytest.fixture
def rig(line: Line) -> Iterator[Rig]:
    """A fresh sandbox at the end of the line."""
    with running_sandbox(around=line.around) as running:
        yield running


async def test_eight_calls_at_once(rig: Rig, line: Line) -> None:
    """Of many calls eight are under way; the others wait and are made then."""
    line.delay_s = 0.1
    client = rig.our_client()
    pages = await asyncio.gather(*(client.list_events(created_from_us=0) for _ in range(20)))
    await client.aclose()
    assert [page.events for page in pages] == [()] * 20
    assert (line.most, len(line.requests)) == (8, 20)


async def test_calls_within_calls_take_no_place(rig: Rig, line: Line) -> None:
    """Many checkouts at once, each of which needs its price made first, do not wait for each other for ever."""
    client = rig.our_client()
    customer_id = await client.customers.ensure("acct_1", "ada@example.com", None, "key-1")
    async with asyncio.timeout(30):
        pages = await asyncio.gather(
            *(
                client.checkouts.create_subscription(
                    customer_id=customer_id,
                    price=STANDARD,
                    account_id="acct_1",
                    checkout_id=f"chk_{number}",
                    success_url="https://shop.example/done",
                    cancel_url="https://shop.example/back",
                    idempotency_key=f"key-page-{number}",
                )
                for number in range(12)
            )
        )
    await client.aclose()
    assert len({page.session_id for page in pages}) == 12
    assert len(set(line.keys("POST /v1/prices"))) == 1


async def test_late_answer_is_asked_for_again_with_the_same_key(rig: Rig, line: Line) -> None:
    """A time-out is per attempt; the repetition of what Stripe has done already is answered with what it did."""
    line.delays_s = [1.5]
    client = StripeClient(API_KEY, api_base=rig.base_url, max_network_retries=1, timeout_s=0.4)
    customer_id = await client.customers.ensure("acct_1", "ada@example.com", None, "key-1")
    assert line.keys("POST /v1/customers") == ["key-1", "key-1"]
    assert await client.customers.ensure("acct_1", "ada@example.com", None, "key-1") == customer_id
    await client.aclose()


async def test_time_outs_end(rig: Rig, line: Line) -> None:
    """When no attempt is answered in time, Stripe is away; what has no key of ours has one that stays the same."""
    line.delay_s = 1
    client = StripeClient(API_KEY, api_base=rig.base_url, max_network_retries=1, timeout_s=0.2)
    with pytest.raises(PaymentProviderError) as raised:
        await client.setup.create_endpoint("https://shop.example/hook")
    await client.aclose()
    assert raised.value.kind == "unavailable"
    first, second = line.keys("POST /v1/webhook_endpoints")
    assert first == second


async def test_refused_connections_are_tried_again() -> None:
    """Nobody listens: each attempt fails at once, and the failure says no address and no key."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        client = StripeClient(API_KEY, api_base=f"http://127.0.0.1:{port}", max_network_retries=1, timeout_s=2)
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(PaymentProviderError) as raised:
            await client.fetch_invoice("in_1")
        await client.aclose()
    told = f"{raised.value!r} {raised.value.__cause__!r} {raised.value.__context__!r}"
    assert (raised.value.kind, API_KEY in told, str(port) in told) == ("unavailable", False, False)
    # The SDK waits half a second before it tries again.
    assert asyncio.get_running_loop().time() - began_s >= 0.5


@pytest.mark.parametrize(("headers", "attempts"), [({"stripe-should-retry": "true"}, 2), ({}, 1)])
async def test_too_many_requests(rig: Rig, line: Line, headers: dict[str, str], attempts: int) -> None:
    """429 is repeated where Stripe says so, and is otherwise to be tried later."""
    line.refusals = [(429, headers)]
    client = StripeClient(API_KEY, api_base=rig.base_url, max_network_retries=2)
    kinds = []
    try:
        await client.customers.ensure("acct_1", "ada@example.com", None, "key-1")
    except PaymentProviderError as failure:
        kinds.append((failure.kind, failure.provider_code))
    await client.aclose()
    assert line.keys("POST /v1/customers") == ["key-1"] * attempts
    assert kinds == ([] if attempts > 1 else [("unavailable", None)])


async def test_call_that_its_caller_gave_up_runs_to_its_end(rig: Rig, line: Line) -> None:
    """A change of several requests is not left half-done at Stripe: closing waits for it."""
    subscription_id = await asyncio.to_thread(paid_subscription, rig)
    line.delay_s = 0.1
    line.requests.clear()
    client = rig.our_client()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.25):
            await client.subscriptions.schedule_plan(subscription_id, STANDARD, SMALL, "chk_9")
    begun = len(line.requests)
    await client.aclose()
    assert 0 < begun < len(line.requests)
    fresh = rig.our_client()
    snapshot = await fresh.subscriptions.fetch(subscription_id)
    await fresh.aclose()
    assert snapshot.following is not None
    assert snapshot.following.checkout_id == "chk_9"


async def test_call_that_was_given_up_before_it_began_is_not_made(rig: Rig, line: Line) -> None:
    """Who waits for a place and is cancelled leaves nothing at Stripe."""
    line.delay_s = 0.3
    client = rig.our_client()
    under_way = [asyncio.create_task(client.list_events(created_from_us=0)) for _ in range(8)]
    waiting = asyncio.create_task(client.customers.ensure("acct_1", "ada@example.com", None, "key-1"))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.gather(*under_way)
    await client.aclose()
    assert waiting.cancelled()
    assert [made for made, _ in line.requests] == ["GET /v1/events"] * 8


async def test_failure_that_nobody_waits_for_is_no_stray_error(rig: Rig, line: Line) -> None:
    """A call whose caller is gone fails in silence."""
    line.delay_s = 0.1
    strays: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: strays.append(context))
    client = rig.our_client()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.fetch_invoice("in_gone")
    await client.aclose()
    assert (strays, len(line.requests)) == ([], 1)


async def test_closing_lets_calls_end_and_refuses_others(rig: Rig, line: Line) -> None:
    """What is under way is answered; what waits, or comes later, is told that Stripe is away."""
    line.delay_s = 0.2
    client = rig.our_client()
    calls = [asyncio.create_task(client.list_events(created_from_us=0)) for _ in range(9)]
    await asyncio.sleep(0.1)
    await client.aclose()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(outcome, PaymentProviderError) for outcome in outcomes] == [False] * 8 + [True]
    with pytest.raises(PaymentProviderError):
        await client.list_events(created_from_us=0)
    assert len(line.requests) == 8


async def test_stripe_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy is used for what is not on this machine."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(EMPTY_PAGE)
        await writer.drain()

    async with raw_server(answer) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "")
        client = StripeClient(API_KEY, api_base="http://stripe.example", max_network_retries=0, timeout_s=5)
        page = await client.list_events(created_from_us=0)
        await client.aclose()
    assert (page.events, proxy.connections) == ((), 1)


async def test_certificate_must_be_vouched_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A twin whose certificate neither the SDK's list nor the system knows is not spoken to."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusted = tmp_path / "trusted.pem"
    authority.cert_pem.write_to_path(str(trusted))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(EMPTY_PAGE)
        await writer.drain()

    async with raw_server(answer, tls=context) as server:
        base = f"https://127.0.0.1:{server.port}"
        stranger = StripeClient(API_KEY, api_base=base, max_network_retries=0, timeout_s=5)
        with pytest.raises(PaymentProviderError) as raised:
            await stranger.list_events(created_from_us=0)
        await stranger.aclose()
        monkeypatch.setattr(stripe, "ca_bundle_path", str(trusted))
        client = StripeClient(API_KEY, api_base=base, max_network_retries=0, timeout_s=5)
        page = await client.list_events(created_from_us=0)
        await client.aclose()
    assert (raised.value.kind, page.events) == ("unavailable", ())


async def test_stripe_is_told_nothing_about_earlier_requests(rig: Rig, line: Line) -> None:
    """The SDK's telemetry is off."""
    client = rig.our_client()
    for _ in range(2):
        await client.list_events(created_from_us=0)
    await client.aclose()
    assert [name for _, headers in line.requests for name in headers if "telemetry" in name] == []
