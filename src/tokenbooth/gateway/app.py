"""The data plane as one ASGI application, with its life: lock, replay, admit, drain.

Only `/v1/*` comes here. A route that can cost money is listed in `Gateway.PAID_ROUTES` and goes through the one
admission.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from traceback import extract_tb
from typing import ClassVar, Final, Protocol, cast
from urllib.parse import unquote

import msgspec
import structlog

from tokenbooth.catalog import Catalog
from tokenbooth.clock import Clock
from tokenbooth.gateway.admission import Admission, Pool
from tokenbooth.gateway.authenticate import MAX_KEYS, Keyring, presented_key
from tokenbooth.gateway.body import decode_fields
from tokenbooth.gateway.changes import ChangeFeed
from tokenbooth.gateway.charge_log import ChargeLog, DirectoryLock, next_number, read_back
from tokenbooth.gateway.chat_request import model_name, read_chat_request
from tokenbooth.gateway.limit_headers import limit_headers
from tokenbooth.gateway.openai import error_body, model_list, model_object
from tokenbooth.gateway.prompt_ratio import PromptRatios
from tokenbooth.gateway.reading import ClientGone, Message, Receive, Scope, read_body
from tokenbooth.gateway.refusals import Category, Refusal, unavailable
from tokenbooth.gateway.relay import Exchange, Relay
from tokenbooth.gateway.settle import Settler
from tokenbooth.gateway.state import KeyState, States
from tokenbooth.gateway.upstreams import Upstreams
from tokenbooth.gateway.usage_answer import usage_answer
from tokenbooth.ids import IdPrefix, new_id
from tokenbooth.settings import GatewaySettings
from tokenbooth.store.engine import Store
from tokenbooth.store.settlement import apply_charges

Send = Callable[[Message], Awaitable[None]]

_MODEL_PATH: Final = "/v1/models/"
_REPLAY_BATCH: Final = 2_000
_FLUSH_AT_STOP_S: Final = 10.0
_FAILED: Final = Refusal(
    500, Category.UPSTREAM, "internal_error", "Something went wrong here. Try again; if it stays, tell the operator."
)
_log = structlog.get_logger(__name__)


class Handler(Protocol):
    """A route of the data plane."""

    async def __call__(self, call: "Call") -> None: ...


class Call:
    """One HTTP request with what the handlers need of it."""

    __slots__ = ("answered", "exchange", "key", "path", "pool", "receive", "request_id", "scope", "send")

    def __init__(self, scope: Message, receive: Receive, send: Send, request_id: str) -> None:
        self.scope = cast("Scope", scope)
        self.path: str = self.scope["path"]
        self.receive = receive
        self.send = send
        self.request_id = request_id
        self.answered = False
        self.exchange: Exchange | None = None
        self.key: KeyState | None = None
        self.pool: Pool | None = None

    @property
    def began(self) -> bool:
        """Whether an answer has begun, so that no other can be sent."""
        return self.answered or (self.exchange is not None and self.exchange.head_sent)

    async def answer(self, status: int, body: bytes, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Send a whole JSON answer."""
        self.answered = True
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", self.request_id.encode()),
            *extra,
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


class Gateway:
    """The data plane. `start` before the first request, `stop` after the last."""

    PAID_ROUTES: ClassVar[frozenset[tuple[str, str]]] = frozenset((("POST", "/v1/chat/completions"),))

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        settings: GatewaySettings,
        max_body_bytes: int,
        catalog: Callable[[], Catalog],
        data_dir: Path,
        grace_us: int,
        upstreams: Upstreams,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._max_body_bytes = max_body_bytes
        self._catalog = catalog
        self._data_dir = data_dir
        self._upstreams = upstreams
        self._rng = random.Random()  # noqa: S311 - chooses upstreams by weight, nothing secret
        self._states = States(MAX_KEYS)
        self._keyring = Keyring(store, self._states)
        self._feed = ChangeFeed(store, clock, self._states, self._keyring)
        self._ratios = PromptRatios()
        self._admission = Admission(
            store=store,
            clock=clock,
            catalog=catalog,
            ratios=self._ratios,
            grace_us=grace_us,
            hold_share_percent=settings.hold_share_percent,
            hold_wait_s=settings.hold_wait_ms / 1_000,
        )
        self._open = 0
        self._idle = asyncio.Event()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", "/v1/chat/completions"): self._chat_completions,
            ("GET", "/v1/models"): self._models,
            ("GET", "/v1/usage"): self._usage,
        }

    @property
    def routes(self) -> frozenset[tuple[str, str]]:
        """The methods and paths that are served, beside `GET /v1/models/{id}`."""
        return frozenset(self._routes)

    async def start(self) -> None:
        """Own the data directory, replay what an earlier run left, then be ready to admit.

        Raises:
            DataDirectoryLocked: another process runs on the directory.
            StoreUnavailable: the store does not answer.
        """
        self._lock = DirectoryLock(self._data_dir)
        try:
            await self._replay()
        except BaseException:
            self._lock.release()
            raise
        self._charge_log = ChargeLog(self._data_dir, first_number=next_number(self._data_dir))
        self._settler = Settler(
            store=self._store,
            clock=self._clock,
            log=self._charge_log,
            ratios=self._ratios,
            max_unflushed=self._settings.max_unflushed_charges,
        )
        self._relay = Relay(self._upstreams, self._settler, self._rng, self._settings.max_draining)
        await self._feed.start()
        self._tasks = [
            asyncio.create_task(self._settler.run(), name="flusher"),
            asyncio.create_task(self._feed.run(), name="change-feed"),
        ]

    async def stop(self, drain_s: float) -> None:
        """Admit nothing any more, let calls end within `drain_s`, settle, let the data directory go."""
        self._stopping = True
        if self._open:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_s):
                    await self._idle.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not await self._settler.drain(_FLUSH_AT_STOP_S):
            _log.warning("charges_left", note="The database is away; the charge log keeps them for the next start.")
        self._charge_log.close()
        await self._upstreams.close()
        self._lock.release()

    async def settled(self) -> None:
        """See `tokenbooth.live.Live.settled`."""
        await self._settler.settled()

    async def changed(self) -> None:
        """See `tokenbooth.live.Live.changed`."""
        await self._feed.sync()

    def held_nano(self, account_id: str) -> int:
        """See `tokenbooth.live.Live.held_nano`."""
        account = self._states.accounts.get(account_id)
        return 0 if account is None else account.credit.held_nano

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        call = Call(scope, receive, send, new_id(IdPrefix.REQUEST, self._clock.now_us()))
        self._open += 1
        self._idle.clear()
        try:
            await self._serve(call)
        except Refusal as refusal:
            await self._refuse(call, refusal)
        except ClientGone:
            return
        except Exception as failure:
            # The type alone: a message could quote what a customer sent.
            _log.error(
                "gateway_failed",
                request_id=call.request_id,
                path=call.path,
                error=type(failure).__name__,
                where=_where(failure),
                note="A bug: report it with this line. The caller got a 500; the call's hold is released.",
            )
            if not call.began:
                await self._refuse(call, _FAILED)
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    async def _serve(self, call: Call) -> None:
        if self._stopping:
            raise unavailable()
        handler = self._routes.get((call.scope["method"], call.path))
        if handler is None and call.scope["method"] == "GET" and call.path.startswith(_MODEL_PATH):
            handler = self._model
        if handler is None:
            raise self._no_route(call)
        await handler(call)

    async def _authenticate(self, call: Call) -> KeyState:
        presented = presented_key(call.scope["headers"])
        key = self._keyring.known(presented) or await self._keyring.find(presented)
        stale_us = self._clock.monotonic_us() - self._feed.synced_at_us
        if stale_us > self._settings.stale_key_ttl_s * 1_000_000:
            raise unavailable()
        call.key = key
        self._admission.check_access(key)
        return key

    async def _chat_completions(self, call: Call) -> None:
        await self._authenticate(call)
        body = await read_body(call.scope, call.receive, self._max_body_bytes)
        # A body may take minutes to arrive, and the key may have ended meanwhile.
        key = await self._authenticate(call)
        fields = decode_fields(body, self._settings.max_json_depth)
        name = model_name(fields)
        model = self._catalog().models.get(name)
        if model is None:
            raise _unknown_model(name)
        request = read_chat_request(fields, model, len(body))
        if not self._settler.accepts():
            raise unavailable()
        # From here on the key's state must not be dropped from memory, also while the call waits for money.
        key.account.in_use += 1
        try:
            call.pool = await self._admission.pool(key)
            admitted = await self._admission.admit(key, request, call.pool)
            call.pool = admitted.pool
            call.exchange = Exchange(
                request_id=call.request_id,
                admitted=admitted,
                receive=call.receive,
                send=call.send,
                monotonic_us=self._clock.monotonic_us,
            )
            await self._relay.run(call.exchange)
        finally:
            key.account.in_use -= 1

    async def _models(self, call: Call) -> None:
        await self._authenticate(call)
        await call.answer(200, model_list(self._catalog().models.values()))

    async def _model(self, call: Call) -> None:
        await self._authenticate(call)
        name = unquote(call.path.removeprefix(_MODEL_PATH))
        model = self._catalog().models.get(name)
        if model is None:
            raise _unknown_model(name)
        await call.answer(200, msgspec.json.encode(model_object(model)))

    async def _usage(self, call: Call) -> None:
        key = await self._authenticate(call)
        pool = call.pool = await self._admission.pool(key)
        body = usage_answer(key, pool, self._clock.monotonic_us())
        await call.answer(200, body, limit_headers(key, pool, self._clock.monotonic_us()))

    async def _refuse(self, call: Call, refusal: Refusal) -> None:
        headers = refusal.all_headers()
        if call.key is not None:
            headers += limit_headers(call.key, call.pool, self._clock.monotonic_us())
        await call.answer(refusal.status, error_body(refusal), headers)

    def _no_route(self, call: Call) -> Refusal:
        methods = sorted({method for method, path in self._routes if path == call.path})
        if call.path.startswith(_MODEL_PATH):
            methods = ["GET"]
        if methods:
            return Refusal(405, Category.INVALID, "method_not_allowed", f"{call.path} takes {', '.join(methods)} only.")
        return Refusal(404, Category.NOT_FOUND, "not_found", f"There is no {call.scope['method']} {call.path[:200]}.")

    async def _replay(self) -> None:
        left = await asyncio.to_thread(read_back, self._data_dir)
        applied = 0
        for start in range(0, len(left.charges), _REPLAY_BATCH):
            batch = left.charges[start : start + _REPLAY_BATCH]
            applied += (await self._store.write(apply_charges, batch, now_us=self._clock.now_us())).fresh
        left.discard()
        if left.charges or left.torn_bytes:
            _log.info(
                "charge_log_replayed",
                charges=len(left.charges),
                applied=applied,
                torn_bytes=left.torn_bytes,
                note="The last run did not end regularly; its charges are in the store now.",
            )


def _where(failure: BaseException) -> str:
    """The innermost line of ours, for the log."""
    frames = [frame for frame in extract_tb(failure.__traceback__) if "tokenbooth" in frame.filename]
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""


def _unknown_model(name: str) -> Refusal:
    return Refusal(
        404,
        Category.NOT_FOUND,
        "model_not_found",
        f"The model '{name[:200]}' does not exist here. GET /v1/models lists those that do.",
        param="model",
    )
