"""The management plane and the scan over a chain and a database, and what a test needs to drive them.

The product reaches the chain over HTTP as it reaches Base; between them stands a `Meddler`, with which a test makes
the node fail. Only tests import this.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from tests.support.fakes import FakeClock, FakeLive
from tests.support.store import Customer, new_customer
from tests.support.usdc.chains import SAFE_BLOCKS, USDC, DrivenChain
from tokenbooth.api.app import create_management_app
from tokenbooth.config.catalog import build_catalog
from tokenbooth.config.chains import BASE
from tokenbooth.config.settings import Settings
from tokenbooth.jobs.chain_scan import ChainScan, ScanSettings
from tokenbooth.payments.usdc.addresses import AddressBook
from tokenbooth.payments.usdc.node import ChainNode, Tag
from tokenbooth.payments.usdc.rpc import HttpRpc, Json, NodeError, NodeTrouble
from tokenbooth.services.context import ServiceContext, UsdcDeps
from tokenbooth.store.engine import Store
from tokenbooth_sandbox.chain.wallet import new_extended_public_key

USD = 10**9
UNITS = 10**6

Meddle = Callable[[Sequence[Json], Json], Json]


@dataclass(slots=True)
class Meddler:
    """Passes calls on, and lets a test change or fail their answers.

    Attributes:
        rpc: the node.
        answers: by method, what becomes of an answer, given the parameters and what the node really answered.
        asked: every call so far.
        cancel_at: at the call with this number whoever asks is cancelled, as when the server stops.
    """

    rpc: HttpRpc
    answers: dict[str, Meddle] = field(default_factory=dict)
    asked: list[tuple[str, Sequence[Json]]] = field(default_factory=list)
    cancel_at: int | None = None

    async def call(self, method: str, params: Sequence[Json]) -> Json:
        """Ask the node."""
        self.asked.append((method, params))
        if self.cancel_at is not None and len(self.asked) >= self.cancel_at:
            raise asyncio.CancelledError
        answer = await self.rpc.call(method, params)
        meddle = self.answers.get(method)
        return answer if meddle is None else meddle(params, answer)

    async def aclose(self) -> None:
        """Close every connection."""
        await self.rpc.aclose()

    def fail(self, method: str, *, times: int, trouble: NodeTrouble = NodeTrouble.TIMED_OUT, after: int = 0) -> None:
        """Let a method fail so many times, after it worked so many times."""
        calls = iter(range(after + times))

        def meddle(_: Sequence[Json], answer: Json) -> Json:
            number = next(calls, None)
            if number is not None and number >= after:
                raise NodeError(trouble, "a test said so")
            return answer

        self.answers[method] = meddle

    def count(self, method: str) -> int:
        """How often a method was called."""
        return sum(1 for asked, _ in self.asked if asked == method)


@dataclass(slots=True)
class Booth:
    """A running product on a chain.

    Attributes:
        client: without a credential.
        ada, bob: two customers.
    """

    store: Store
    chain: DrivenChain
    clock: FakeClock
    node: Meddler
    scan: ChainScan
    client: httpx.AsyncClient
    book: AddressBook
    ada: Customer
    bob: Customer

    async def post(self, who: Customer, path: str, body: object, **headers: str) -> httpx.Response:
        """Call the billing API as a customer."""
        sent = {**who.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return await self.client.post(f"/api/billing/{path}", json=body, headers=sent)

    async def address(self, who: Customer, amount: int | str = 50) -> str:
        """Announce a top-up; where to pay."""
        answer = await self.post(who, "topup", {"amount": amount, "method": "usdc"})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["address"])

    async def verify(self, who: Customer, tx_hash: str, amount: int | str = 50, **headers: str) -> httpx.Response:
        """Say that a transaction was sent."""
        return await self.post(who, "verify-topup", {"txHash": tx_hash, "amount": amount}, **headers)

    async def told(self, who: Customer, tx_hash: str, amount: int | str = 50) -> tuple[int, str]:
        """The status of `verify`, and where the deposit stands or why it is refused."""
        answer = await self.verify(who, tx_hash, amount)
        body = answer.json()
        return answer.status_code, str(body["status"] if answer.is_success else body["error"]["code"])

    async def balance(self, who: Customer) -> str:
        """A customer's credit."""
        answer = await self.client.get("/api/billing/credits", headers=who.headers)
        return str(answer.json()["balance"])

    async def run_scan(self) -> None:
        """Let the scan run, as if its time had come; a minute passes, so no back-off holds it up."""
        self.clock.advance(61)
        await self.scan.run()

    def settle(self) -> None:
        """Make everything mined so far safe."""
        self.chain.mine(SAFE_BLOCKS)


@asynccontextmanager
async def running_booth(
    store: Store,
    chain: DrivenChain,
    *,
    counts_at: Tag = "safe",
    max_range_blocks: int = 500,
    full_scan_s: float = 0,
    timeout_s: float = 10,
) -> AsyncIterator[Booth]:
    """A product with two customers on a chain, until the block ends."""
    clock = FakeClock()
    meddler = Meddler(HttpRpc(chain.url, timeout_s=timeout_s))
    node = ChainNode(meddler, chain_id=BASE, token=USDC)
    scan_settings = ScanSettings(counts_at=counts_at, max_range_blocks=max_range_blocks, full_scan_s=full_scan_s)
    scan = ChainScan(store, node, clock, scan_settings)
    book = AddressBook(new_extended_public_key())
    settings = Settings()
    catalog = build_catalog(settings)
    context = ServiceContext(
        store=store,
        clock=clock,
        settings=settings,
        catalog=lambda: catalog,
        live=FakeLive(),
        stripe=None,
        handle_event=_no_events,
        usdc=UsdcDeps(node=node, book=book, counts_at=counts_at, pending=lambda: scan.pending),
    )
    transport = httpx.ASGITransport(app=create_management_app(context), raise_app_exceptions=True)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://booth.test") as client:
            ada = new_customer(store, now_us=clock.now_us(), email="ada@example.com")
            bob = new_customer(store, now_us=clock.now_us(), email="bob@example.com")
            yield Booth(store, chain, clock, meddler, scan, client, book, ada, bob)
    finally:
        await node.aclose()


async def _no_events(_row_id: str) -> None:
    raise AssertionError("no event was expected")
