"""A gateway on a real port with a real database, a real charge log and a model server behind real HTTP.

Only tests import it.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from openai import AsyncOpenAI, OpenAI
from sqlalchemy import insert

from tests.support.servers import serve
from tokenbooth.catalog import Catalog, build_catalog
from tokenbooth.clock import Clock, SystemClock
from tokenbooth.domain.keys import KeyKind, digest, shown_prefix
from tokenbooth.domain.money import parse_usd
from tokenbooth.gateway.app import Gateway
from tokenbooth.gateway.upstreams import PyreqwestUpstreams, Timeouts
from tokenbooth.ids import IdPrefix, new_id, new_key
from tokenbooth.sandbox.model_server import ModelServer, create_model_server
from tokenbooth.settings import GatewaySettings, Settings
from tokenbooth.store.accounts import create_account
from tokenbooth.store.audit import audit
from tokenbooth.store.engine import Store
from tokenbooth.store.keys import NewApiKey, create_api_key
from tokenbooth.store.ledger import grant
from tokenbooth.store.tables import subscriptions

MODEL: Final = "deepseek/deepseek-chat-v3-0324"
UPSTREAM_KEY: Final = "upstream-key-for-tests"
GRACE_US: Final = 6 * 3_600_000_000
DAY_US: Final = 86_400_000_000

Asgi = Callable[
    [
        MutableMapping[str, object],
        Callable[[], Awaitable[MutableMapping[str, object]]],
        Callable[[MutableMapping[str, object]], Awaitable[None]],
    ],
    Awaitable[None],
]


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


@dataclass(slots=True)
class Rig:
    """What a test talks to."""

    store: Store
    gateway: Gateway
    base_url: str
    models: ModelServer
    clock: Clock
    emails: int = field(default=0)

    def account(self, credit_usd: str | None = None) -> str:
        """A new account, with credit if asked."""
        self.emails += 1
        now_us = self.clock.now_us()
        account_id = new_id(IdPrefix.ACCOUNT, now_us)
        self.store.write_now(create_account, account_id, f"c{self.emails}@example.com", None, now_us=now_us)
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

    def subscription(self, account_id: str, plan: str = "standard") -> str:
        """A subscription that is paid for a month."""
        now_us = self.clock.now_us()
        subscription_id = new_id(IdPrefix.SUBSCRIPTION, now_us)
        paid_until_us = now_us + 30 * DAY_US

        def create(conn: object) -> None:
            conn.execute(  # type: ignore[attr-defined]
                insert(subscriptions).values(
                    id=subscription_id,
                    account_id=account_id,
                    plan_slug=plan,
                    price_nano=0,
                    stripe_subscription_id=f"sub_of_{subscription_id}",
                    status="active",
                    paid_until_us=paid_until_us,
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
    """The gateway as an application of its own, started and stopped with its server."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        if scope["type"] == "http":
            await self._gateway(scope, receive, send)
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._gateway.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._gateway.stop(drain_s=1)
                await send({"type": "lifespan.shutdown.complete"})
                return


@contextlib.contextmanager
def run_rig(
    store: Store,
    data_dir: Path,
    *,
    clock: Clock | None = None,
    gateway_settings: GatewaySettings | None = None,
    timeouts: Timeouts | None = None,
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
            max_body_bytes=settings.server.max_body_bytes,
            catalog=lambda: catalog,
            data_dir=data_dir,
            grace_us=GRACE_US,
            upstreams=PyreqwestUpstreams(timeouts or Timeouts(connect_s=5, first_byte_s=30, idle_s=30)),
        )
        with serve(_WithLife(gateway), lifespan="on") as base_url:
            yield Rig(store=store, gateway=gateway, base_url=base_url, models=models, clock=clock)
    report = store.read_now(audit)
    assert not report.differences, report


