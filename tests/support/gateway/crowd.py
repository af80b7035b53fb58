"""Several customers of one gateway, of whom one wants everything. Only tests import it."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from tests.support.gateway.gateway_rig import CHAT, MoodyStore, Rig, eventually, prompt, run_rig, with_routes
from tests.support.gateway.scripted_upstream import Script, ScriptedUpstream, answer, serve_scripts
from tokenbooth.config.catalog import Catalog
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.http.limits import Bounds

USAGE = {"prompt_tokens": 100, "completion_tokens": 7}


@dataclass(slots=True)
class Call:
    """A call that an upstream works on until the test lets it end, or that was refused."""

    script: Script
    future: "Future[httpx.Response]"

    @property
    def is_open(self) -> bool:
        """Whether the upstream works on it."""
        return self.script.calls > 0 and not self.future.done()

    def end(self) -> httpx.Response:
        """Let it end; returns its answer."""
        self.script.proceed.set()
        return self.future.result(timeout=20)


@dataclass(slots=True)
class Crowd:
    """A gateway with one scripted upstream, and its customers."""

    rig: Rig
    upstream: ScriptedUpstream
    pool: ThreadPoolExecutor
    calls: list[Call] = field(default_factory=list)

    def key(self, credit_usd: str | None = "5") -> str:
        """A key of a new account; None: one without money."""
        return self.rig.credit_key(self.rig.account(credit_usd))

    def body(self, script: Script, **fields: object) -> dict[str, object]:
        """A call that runs a script."""
        return prompt(self.upstream.add(script), max_tokens=10, **fields)

    def begin(self, key: str, *, stream: bool = False) -> Call:
        """Begin a call, and don't wait for anything."""
        script = Script((answer(usage=USAGE),), content_type="application/json", pause_before=0)
        call = Call(script, self.pool.submit(self.rig.post, key, self.body(script, stream=stream)))
        self.calls.append(call)
        return call

    def open(self, key: str, count: int = 1, *, stream: bool = False) -> list[Call]:
        """Begin so many calls one after the other; each is at the upstream, or refused, before the next one begins."""
        return [self._settle(self.begin(key, stream=stream)) for _ in range(count)]

    def ask(self, key: str) -> httpx.Response:
        """A call that is answered at once."""
        script = Script((answer(usage=USAGE),), content_type="application/json")
        return self.rig.post(key, self.body(script))

    def hang_up(self, key: str, script: Script, *, when: Callable[[], bool]) -> None:
        """A client that is gone once something is so."""
        url = urlsplit(self.rig.base_url)
        content = msgspec.json.encode(self.body(script))
        head = (
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        with socket.create_connection((url.hostname, url.port)) as sock:
            sock.sendall(head.encode() + content)
            eventually(when)

    def _settle(self, call: Call) -> Call:
        eventually(lambda: call.is_open or call.future.done())
        return call


def open_ones(calls: list[Call]) -> int:
    """How many of these an upstream works on."""
    return sum(call.is_open for call in calls)


@contextmanager
def run_crowd(
    store: MoodyStore,
    data_dir: Path,
    *,
    settings: GatewaySettings | None = None,
    bounds: Bounds | None = None,
    max_concurrent: int | None = None,
    is_free: bool = False,
) -> Iterator[Crowd]:
    """Run one; what is open at the end is let go.

    Args:
        store, data_dir: of the gateway.
        settings: of the gateway.
        bounds: of what clients may do.
        max_concurrent: the bound of the upstream.
        is_free: whether the model costs nothing, so that accounts without money may call it.
    """

    def changed(catalog: Catalog, url: str) -> Catalog:
        (name,) = catalog.models
        model = with_routes(catalog, url).models[name]
        routes = tuple(replace(r, upstream=replace(r.upstream, max_concurrent=max_concurrent)) for r in model.routes)
        price = model.price
        if is_free:
            price = replace(price, rates=replace(price.rates, input=0, output=0, cached_input=0, cache_write=0))
        return replace(catalog, models={name: replace(model, routes=routes, price=price)})

    with (
        serve_scripts() as (upstream, url),
        run_rig(
            store,
            data_dir,
            gateway_settings=settings,
            bounds=bounds,
            change_catalog=lambda catalog: changed(catalog, url),
        ) as rig,
        ThreadPoolExecutor(64) as pool,
    ):
        crowd = Crowd(rig, upstream, pool)
        try:
            yield crowd
        finally:
            for call in crowd.calls:
                call.script.proceed.set()
