"""A gateway on a real port with a real database, a real charge log and a model server behind real HTTP.

Only tests import it.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar, get_args

import httpx
import msgspec
from openai import AsyncOpenAI, OpenAI
from sqlalchemy import Connection, Engine, insert, select

from tests.support.fakes import FakeClock
from tests.support.servers import serve
from tests.support.store import with_schema
from tokenbooth.config.catalog import Catalog, Route, Upstream, WireFormat, build_catalog
from tokenbooth.config.settings import GatewaySettings, Settings
from tokenbooth.domain.charges import Charge
from tokenbooth.domain.keys import KeyKind, digest, shown_prefix
from tokenbooth.domain.money import parse_usd
from tokenbooth.gateway.service import Gateway
from tokenbooth.gateway.upstream.base import Timeouts
from tokenbooth.gateway.upstream.pool import HttpUpstreams
from tokenbooth.http.limits import Bounds, FastPath, ListenerConfig
from tokenbooth.kit.clock import Clock, SystemClock
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.kit.ids import IdPrefix, new_id, new_key
from tokenbooth.store.accounts.accounts import create_account
from tokenbooth.store.accounts.keys import NewApiKey, create_api_key
from tokenbooth.store.engine import Store, make_engine
from tokenbooth.store.ledger import grant
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import subscriptions, usage_events
from tokenbooth_sandbox.models import ModelServer, create_model_server

MODEL: Final = "deepseek/deepseek-chat-v3-0324"
UPSTREAM_KEY: Final = "upstream-key-for-tests"
GRACE_US: Final = 6 * 3_600_000_000
DAY_US: Final = 86_400_000_000
CHAT: Final = "/v1/chat/completions"

Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
P = ParamSpec("P")
R = TypeVar("R")


def demo_settings(base_url: str, **plans: dict[str, object]) -> Settings:
    """The demo's catalog with an upstream at `base_url`; `plans` replace the default ones."""
    raw: dict[str, object] = {
        "upstreams": {"models": {"base_url": f"{base_url}/v1", "api_key": UPSTREAM_KEY}},
        "models": {
            MODEL: {
                "upstreams": [{"name": "models", "model": "deepseek-chat"}],
                "input_usd_per_million": "0.27",
                "cached_input_usd_per_million": "0.07",
                "output_usd_per_million": "1.10",
                "context_tokens": 65_536,
                "max_output_tokens": 8_192,
            }
        },
    }
    if plans:
        raw["plans"] = plans
    return Settings.model_validate(raw)


class JumpingClock(FakeClock):
    """A clock whose wall time a test can set without the monotonic one."""

    def jump(self, seconds: float) -> None:
        """Set the wall time forward, or back."""
        self._now_us += round(seconds * 1_000_000)


class MoodyStore(Store):
    """A store that a test can send away, and that remembers which reads it was asked for."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.reads: list[str] = []
        self.away = False
        self.lost_answers = 0
        """How many of the next writes are done, but reported as failed."""

    async def read(self, fn: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Read, unless the database is away; what reads is listed in `reads`."""
        self.reads.append(str(getattr(fn, "__name__", "")))
        if self.away:
            raise StoreUnavailable
        return await super().read(fn, *args, **kwargs)

    async def write(self, fn: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Write, unless the database is away or its answer is to be lost."""
        if self.away:
            raise StoreUnavailable
        done = await super().write(fn, *args, **kwargs)
        if self.lost_answers:
            self.lost_answers -= 1
            raise StoreUnavailable
        return done


def open_moody_store(path: Path) -> MoodyStore:
    """An empty SQLite database with the whole schema."""
    return with_schema(MoodyStore(make_engine(f"sqlite:///{path}")))


def prompt(text: str, **fields: object) -> dict[str, object]:
    """The body of a call with one user message."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}


def eventually(is_so: Callable[[], bool], timeout_s: float = 10) -> None:
    """Wait until something that happens on another thread has happened."""
    give_up_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up_s, "it did not happen in time"
        time.sleep(0.005)


def events_of(text: str) -> list[str]:
    """The data of each server-sent event."""
    return [event.removeprefix("data: ") for event in text.split("\n\n") if event]


@dataclass(slots=True)
class Rig:
    """What a test talks to."""

    store: Store
    gateway: Gateway
    base_url: str
    models: ModelServer
    clock: Clock
    loop: asyncio.AbstractEventLoop
    http: httpx.Client
    listener: ListenerConfig

    def on_loop(self, work: Coroutine[object, object, R]) -> R:
        """Run something on the gateway's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=20)

    def sync(self) -> None:
        """Let the gateway know of every change, as the management plane does after one."""
        self.on_loop(self.gateway.refresh())

    def settled(self) -> None:
        """Wait until all charges so far are in the store, if it takes any.

        The gateway itself waits for a bounded time only, which a busy disk may exceed.
        """
        give_up_s = time.monotonic() + 60
        self.on_loop(self.gateway.flush())
        while self.gateway.charges_waiting and self.gateway.stores() and time.monotonic() < give_up_s:
            self.on_loop(self.gateway.flush())

    def post(self, key: str, body: Mapping[str, object], **headers: str) -> httpx.Response:
        """A chat completion without the official client."""
        return self.http.post(CHAT, json=body, headers={"authorization": f"Bearer {key}", **headers})

    def charges(self, account_id: str) -> list[Charge]:
        """What the account was charged for, in the order of settlement."""
        self.settled()
        query = (
            # The other column, `transfer_id`, is the store's own.
            select(*(usage_events.c[name] for name in Charge._fields))
            .where(usage_events.c.account_id == account_id)
            .order_by(usage_events.c.finished_at_us, usage_events.c.request_id)
        )

        def read(conn: Connection) -> list[Charge]:
            return [msgspec.convert(tuple(row), Charge) for row in conn.execute(query)]

        return self.store.read_now(read)

    def charged_nano(self, account_id: str) -> int:
        """The sum of the account's charges, in nano-USD."""
        return sum(charge.charged_nano for charge in self.charges(account_id))

    def usage(self, key: str) -> dict[str, object]:
        """What `GET /v1/usage` says of the key's pool."""
        answer = self.http.get("/v1/usage", headers={"authorization": f"Bearer {key}"})
        pool: dict[str, object] = answer.json()["pool"]
        return pool

    def upstream_body(self, position: int = -1) -> dict[str, object]:
        """The body of a request as the model server got it."""
        body: dict[str, object] = msgspec.json.decode(self.models.requests[position].body)
        return body

    def account(self, credit_usd: str | None = None) -> str:
        """A new account, with credit if asked."""
        now_us = self.clock.now_us()
        account_id = new_id(IdPrefix.ACCOUNT, now_us)
        self.store.write_now(create_account, account_id, f"{account_id}@example.com", None, now_us=now_us)
        if credit_usd is not None:
            self.grant(account_id, credit_usd)
        return account_id

    def grant(self, account_id: str, credit_usd: str) -> None:
        """Give credit, as the operator's command does."""
        now_us = self.clock.now_us()
        self.store.write_now(
            grant,
            account_id=account_id,
            amount_nano=parse_usd(credit_usd),
            reference=new_id(IdPrefix.TRANSFER, now_us),
            reason="test",
            now_us=now_us,
        )

    def credit_key(
        self, account_id: str, *, max_budget_usd: str | None = None, rpm: int | None = None, tpm: int | None = None
    ) -> str:
        """A credit key in the clear."""
        return self._key(account_id, None, max_budget_usd, rpm, tpm)

    def subscription_key(self, subscription_id: str, account_id: str) -> str:
        """A key of a subscription in the clear."""
        return self._key(account_id, subscription_id, None, None, None)

    def _key(
        self, account_id: str, subscription_id: str | None, max_budget_usd: str | None, rpm: int | None, tpm: int | None
    ) -> str:
        now_us = self.clock.now_us()
        key = new_key(KeyKind.API)
        new = NewApiKey(
            id=new_id(IdPrefix.API_KEY, now_us),
            account_id=account_id,
            name="test",
            digest=digest(key),
            prefix=shown_prefix(key, KeyKind.API),
            subscription_id=subscription_id,
            max_budget_nano=None if max_budget_usd is None else parse_usd(max_budget_usd),
            rpm=rpm,
            tpm=tpm,
        )
        self.store.write_now(create_api_key, new, max_keys=100_000, grace_us=GRACE_US, actor="test", now_us=now_us)
        return key

    def subscription(
        self,
        account_id: str,
        plan: str = "standard",
        *,
        paid_for_s: int = 30 * 86_400,
        status: str = "active",
        cancel_in_s: int | None = None,
    ) -> str:
        """A subscription that is paid for `paid_for_s` from now on, and set to end in `cancel_in_s` if given."""
        now_us = self.clock.now_us()
        subscription_id = new_id(IdPrefix.SUBSCRIPTION, now_us)

        def create(conn: Connection) -> None:
            conn.execute(
                insert(subscriptions).values(
                    id=subscription_id,
                    account_id=account_id,
                    plan_slug=plan,
                    price_nano=0,
                    stripe_subscription_id=f"sub_of_{subscription_id}",
                    status=status,
                    paid_until_us=now_us + paid_for_s * 1_000_000,
                    cancel_at_us=None if cancel_in_s is None else now_us + cancel_in_s * 1_000_000,
                    created_at_us=now_us,
                    updated_at_us=now_us,
                )
            )

        self.store.write_now(create)
        return subscription_id

    def client(self, key: str, **options: int) -> OpenAI:
        """The official client, which retries nothing."""
        return OpenAI(base_url=f"{self.base_url}/v1", api_key=key, max_retries=options.get("max_retries", 0))

    def async_client(self, key: str, **options: int) -> AsyncOpenAI:
        """The official asynchronous client, which retries nothing."""
        return AsyncOpenAI(base_url=f"{self.base_url}/v1", api_key=key, max_retries=options.get("max_retries", 0))


class _WithLife:
    """The life of a gateway, which is started and stopped with its server."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.loop = asyncio.get_running_loop()
                await self._gateway.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._gateway.stop(drain_s=1)
                await send({"type": "lifespan.shutdown.complete"})
                return


def with_routes(catalog: Catalog, *base_urls: str, bills_after_disconnect: bool = False) -> Catalog:
    """The same catalog with its model on these upstreams, of which an earlier one is all but surely tried first."""
    routes = tuple(
        Route(
            Upstream(f"upstream-{position}", f"{url}/v1", UPSTREAM_KEY, bills_after_disconnect),
            model=f"model-{position}",
            weight=10 ** (12 * (len(base_urls) - position)),
        )
        for position, url in enumerate(base_urls)
    )
    return replace(catalog, models={name: replace(model, routes=routes) for name, model in catalog.models.items()})


EVERY_FORMAT: Final[tuple[WireFormat, ...]] = get_args(WireFormat)


def speaking_only(catalog: Catalog, *formats: WireFormat) -> Catalog:
    """The same catalog with upstreams that speak these formats only."""
    models = {
        name: replace(
            model,
            routes=tuple(
                replace(route, upstream=replace(route.upstream, formats=frozenset(formats))) for route in model.routes
            ),
        )
        for name, model in catalog.models.items()
    }
    return replace(catalog, models=models)


@contextlib.contextmanager
def run_rig(
    store: Store,
    data_dir: Path,
    *,
    clock: Clock | None = None,
    gateway_settings: GatewaySettings | None = None,
    timeouts: Timeouts | None = None,
    bounds: Bounds | None = None,
    change_catalog: Callable[[Catalog], Catalog] = lambda catalog: catalog,
    **plans: dict[str, object],
) -> Iterator[Rig]:
    """Run everything while the block runs; afterwards the ledger is audited."""
    clock = clock or SystemClock()
    models = create_model_server(UPSTREAM_KEY, record=True)
    with serve(models) as upstream_url:
        settings = demo_settings(upstream_url, **plans)
        catalog = change_catalog(build_catalog(settings))
        gateway = Gateway(
            store=store,
            clock=clock,
            settings=gateway_settings or GatewaySettings(),
            catalog=lambda: catalog,
            data_dir=data_dir,
            grace_us=GRACE_US,
            upstreams=HttpUpstreams(timeouts or Timeouts(connect_s=5, first_byte_s=30, idle_s=30)),
        )
        app = _WithLife(gateway)
        fast_path = FastPath(gateway.handles, gateway.serve)
        config = ListenerConfig(fast_path, bounds or Bounds(), lambda: new_id(IdPrefix.REQUEST, clock.now_us()))
        with serve(app, lifespan="on", config=config) as base_url, httpx.Client(base_url=base_url, timeout=60) as http:
            assert app.loop is not None
            yield Rig(store, gateway, base_url, models, clock, app.loop, http, config)
    report = store.read_now(audit)
    assert not report.differences, report
