"""The data plane, with its life: lock, replay, admit, drain.

Only `/v1/*` and `/anthropic/*` come here. The routes that can cost money are those of `tokenbooth.gateway.registry`;
all of them go through the one admission.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from traceback import extract_tb
from typing import ClassVar, Final, Protocol
from urllib.parse import unquote

import msgspec
import structlog

from tokenbooth.config.catalog import Catalog, Model
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.domain.upstreams import CeilingHealth, UpstreamHealth
from tokenbooth.gateway.access.admission import Admission, Admitted
from tokenbooth.gateway.access.cache import KeyState, States
from tokenbooth.gateway.access.ceilings import Ceilings
from tokenbooth.gateway.access.keys import MAX_KEYS, Keyring, presented_key
from tokenbooth.gateway.access.prompt_ratio import PromptRatios
from tokenbooth.gateway.access.registration import Registration
from tokenbooth.gateway.access.revocations import Revocations
from tokenbooth.gateway.access.stream_limit import StreamSlot
from tokenbooth.gateway.call import Call
from tokenbooth.gateway.change_feed import ChangeFeed
from tokenbooth.gateway.drains import Drains
from tokenbooth.gateway.errors import (
    Category,
    Refusal,
    bounded_without_money,
    invalid_request,
    no_room_for_body,
    too_many_requests,
    unavailable,
)
from tokenbooth.gateway.exchange import Exchange
from tokenbooth.gateway.formats.anthropic.count_tokens import count_tokens_steps
from tokenbooth.gateway.formats.base import PricedRequest
from tokenbooth.gateway.formats.json.body import (
    Fields,
    body_too_large,
    decode_fields,
    decode_top,
    refuse_compressed,
    release_body,
)
from tokenbooth.gateway.formats.json.scan import JsonBounds, JsonScan
from tokenbooth.gateway.formats.json.split import LARGE_BYTES, top_in_steps
from tokenbooth.gateway.formats.json.steps import STEP_BYTES, Turns, at_once, takes_long
from tokenbooth.gateway.formats.openai.chat import model_name
from tokenbooth.gateway.registry import ANTHROPIC_PREFIX, ENDPOINTS, TOKEN_ID_PATHS, style_of
from tokenbooth.gateway.relay import Relay
from tokenbooth.gateway.replies import anthropic, openai
from tokenbooth.gateway.replies.usage import usage_answer
from tokenbooth.gateway.settlement.charge_files import next_number
from tokenbooth.gateway.settlement.charge_log import ChargeLog, DirectoryLock
from tokenbooth.gateway.settlement.charge_replay import ReplayFigures, replay
from tokenbooth.gateway.settlement.estimates import Estimates
from tokenbooth.gateway.settlement.flusher import Flusher
from tokenbooth.gateway.settlement.settle import Settler
from tokenbooth.gateway.upstream.base import Upstreams
from tokenbooth.gateway.upstream.failure_log import FailureLog
from tokenbooth.gateway.upstream.routing import Routing, rest_rules
from tokenbooth.http.exchange import BodyTooLarge, ClientGone, HttpExchange, NoRoomForBody
from tokenbooth.kit.background import Background, BackgroundTask
from tokenbooth.kit.clock import Clock, since_boot_us
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store.engine import Store

_PREFIXES: Final = ("/v1/", "/anthropic/")
_ROOTS: Final = ("/v1", "/anthropic")
_MODEL_PATHS: Final = ("/v1/models/", "/anthropic/v1/models/")
_COUNT_TOKENS: Final = "/anthropic/v1/messages/count_tokens"
_FLUSH_AT_STOP_S: Final = 10.0
_FAILED: Final = Refusal(
    500, Category.UPSTREAM, "internal_error", "Something went wrong here. Try again; if it stays, tell the operator."
)
_log = structlog.get_logger(__name__)


class Handler(Protocol):
    """A route of the data plane."""

    async def __call__(self, call: Call) -> None: ...


class Gateway:
    """The data plane. `start` before the first request, `stop` after the last."""

    PAID_ROUTES: ClassVar[frozenset[tuple[str, str]]] = frozenset(("POST", path) for path in ENDPOINTS)

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        settings: GatewaySettings,
        catalog: Callable[[], Catalog],
        data_dir: Path,
        grace_us: int,
        upstreams: Upstreams,
        background: Background | None = None,
    ) -> None:
        self._background = background or Background()
        self._store = store
        self._clock = clock
        self._settings = settings
        self._stale_after_us = settings.stale_key_ttl_s * 1_000_000
        # Every request asks for these, and a validated model tells its attributes slowly.
        self._max_open_requests = settings.max_open_requests
        self._max_json_depth = settings.max_json_depth
        self._max_streams_per_key = settings.max_streams_per_key
        self._catalog = catalog
        self._data_dir = data_dir
        self._upstreams = upstreams
        rng = random.Random()  # noqa: S311 - chooses upstreams by weight, nothing secret
        self._routing = Routing(rest_rules(settings), clock, rng)
        self._states = States(MAX_KEYS)
        self._keyring = Keyring(store, self._states)
        self._revocations = Revocations(store, clock, data_dir)
        self._feed = ChangeFeed(store, clock, self._states, self._keyring, self._revocations, lambda: self._flusher)
        self._process = Registration(
            store=store,
            clock=clock,
            data_dir=data_dir,
            catalog_hash=lambda: catalog().digest,
            on_database_went_back=self._feed.distrust,
        )
        self._ratios = PromptRatios()
        self._failures = FailureLog(clock)
        self._ceilings = Ceilings(store, clock)
        self._admission = Admission(
            store=store,
            clock=clock,
            catalog=catalog,
            ratios=self._ratios,
            ceilings=self._ceilings,
            grace_us=grace_us,
            hold_share_percent=settings.hold_share_percent,
            hold_wait_s=settings.hold_wait_ms / 1_000,
        )
        bounds = JsonBounds(
            settings.max_json_depth, settings.max_json_values, settings.max_json_names, settings.max_json_containers
        )
        of_ids = replace(bounds, values=max(settings.max_json_values, settings.max_token_ids))
        self._bounds = {path: of_ids if path in TOKEN_ID_PATHS else bounds for _, path in self.PAID_ROUTES}
        self._bounds[_COUNT_TOKENS] = bounds
        self._turns = Turns()
        self._open: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._tasks: list[BackgroundTask] = []
        self.replayed = ReplayFigures()
        self._routes: dict[tuple[str, str], Handler] = {
            **dict.fromkeys(self.PAID_ROUTES, self._paid),
            ("POST", _COUNT_TOKENS): self._count_tokens,
            ("GET", "/v1/models"): self._models,
            ("GET", "/anthropic/v1/models"): self._models,
            ("GET", "/v1/usage"): self._usage,
        }

    @property
    def routes(self) -> frozenset[tuple[str, str]]:
        """The methods and paths that are served, beside `GET /v1/models/{id}`."""
        return frozenset(self._routes)

    @property
    def open_requests(self) -> int:
        """Requests that are served now."""
        return len(self._open)

    @property
    def charges_waiting(self) -> int:
        """Charges that are in the log, and not in the store yet."""
        return self._flusher.waiting

    @property
    def charges_refused(self) -> int:
        """Charges that the store refused since the start, those of an earlier run among them."""
        return self.replayed.refused + self._flusher.refused

    @property
    def key_look_ups(self) -> int:
        """How often the store was asked for a key since the start."""
        return self._keyring.look_ups

    @property
    def epoch(self) -> str:
        """The id of this run."""
        return self._process.epoch

    @property
    def process_is_open(self) -> bool:
        """Whether this run's row is open, as far as is known."""
        return self._process.is_open

    @property
    def times_database_went_back(self) -> int:
        """How often the database was found at an earlier state since the start."""
        return self._feed.times_went_back

    async def start(self) -> None:
        """Own the data directory and the database, replay what an earlier run left, then be ready to admit.

        Raises:
            DataDirectoryLocked: another process runs on the directory.
            AnotherProcess: another process takes model calls on the database.
            StoreUnavailable: the store does not answer.
        """
        self._loop = asyncio.get_running_loop()
        self._lock = DirectoryLock(self._data_dir)
        try:
            await self._process.begin(self._prepare)
        except BaseException:
            self._lock.release()
            raise
        self._charge_log = ChargeLog(self._data_dir, first_number=next_number(self._data_dir), epoch=self.epoch)
        self._flusher = Flusher(
            store=self._store,
            clock=self._clock,
            log=self._charge_log,
            max_unflushed=self._settings.max_unflushed_charges,
            process=self._process,
            budgets_nano=self._budgets_nano,
        )
        self._settler = Settler(clock=self._clock, log=self._charge_log, ratios=self._ratios, flusher=self._flusher)
        self._relay = Relay(
            self._upstreams,
            self._settler,
            self._ceilings,
            Estimates(),
            Drains(most=self._settings.max_draining, most_per_account=self._settings.max_draining_per_account),
            self._failures,
            read_on_s=self._settings.whole_answer_timeout_s,
            keep_alive_s=self._settings.keep_alive_s,
        )
        await self._feed.start()
        self._tasks = [
            BackgroundTask("flusher", self._flusher.run, after_death=self._flusher.note_death),
            BackgroundTask("change-feed", self._feed.run),
        ]
        # Apart, because it goes on until the last charge is stored.
        self._beat = BackgroundTask("process-beat", self._process.run)
        works = [*self._tasks, self._beat]
        for running in (self._charge_log.syncer.running, *(work.running for work in works)):
            self._background.watch(running)
        for work in works:
            work.start()

    async def stop(self, drain_s: float) -> None:
        """Admit nothing any more, let calls end within `drain_s`, settle, let the data directory go."""
        self._stopping = True
        await self._process.drain()
        await self._end_calls(drain_s)
        for task in self._tasks:
            await task.stop()
        everything_stored = await self._flusher.drain(_FLUSH_AT_STOP_S)
        if not everything_stored:
            _log.warning("charges_left", note="The database is away; the charge log keeps them for the next start.")
        with contextlib.suppress(StoreUnavailable):
            await self._ceilings.save()
        await self._beat.stop()
        await self._process.end(everything_stored=everything_stored)
        try:
            self._charge_log.close()
        except OSError as failure:
            _log.error("charge_log_not_closed", error=str(failure), note="The next start replays what is in it, once.")
        self._failures.close()
        await self._upstreams.close()
        self._lock.release()

    async def _end_calls(self, drain_s: float) -> None:
        """Let calls end; cut off what has not ended in time, charging for what was delivered."""
        if self._open:
            _, late = await asyncio.wait(self._open, timeout=drain_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def settled(self) -> None:
        """See `tokenbooth.services.live.Live.settled`."""
        await self._flusher.settled()

    async def changed(self) -> None:
        """See `tokenbooth.services.live.Live.changed`."""
        await self._feed.sync()

    def held_nano(self, account_id: str) -> int:
        """See `tokenbooth.services.live.Live.held_nano`."""
        return self._states.held_nano(account_id)

    def admits(self) -> bool:
        """See `tokenbooth.services.live.Live.admits`."""
        return not self._stopping and self._may_admit() and self._settler.accepts()

    def stores(self) -> bool:
        """See `tokenbooth.services.live.Live.stores`."""
        return not (self._flusher.is_store_away or self._process.last_beat_failed)

    def upstream_health(self) -> list[UpstreamHealth]:
        """See `tokenbooth.services.live.Live.upstream_health`."""
        return self._routing.report(self._catalog().models.values())

    def failed_attempts(self) -> Mapping[tuple[str, str], int]:
        """Failed attempts since the process began, by upstream and kind."""
        return self._failures.counts()

    async def tell_folded_failures(self) -> None:
        """Log how often failed attempts were repeated lately; a job runs it."""
        self._failures.tell_folded()

    def ceiling_health(self) -> list[CeilingHealth]:
        """How each upstream keeps the output ceilings of its models."""
        return self._ceilings.report()

    async def sync_ceilings(self) -> None:
        """Write down what was seen of ceilings, and learn what others saw; a job runs it. Nothing is forgotten."""
        with contextlib.suppress(StoreUnavailable):
            await self._ceilings.save()
            await self._ceilings.load()

    def takes(self, path: str) -> bool:
        """Whether a path belongs to the data plane."""
        return path.startswith(_PREFIXES) or path in _ROOTS

    def serve(self, exchange: HttpExchange) -> None:
        """Serve one HTTP request, in a task of its own."""
        call = Call(exchange, new_id(IdPrefix.REQUEST, self._clock.now_us()))
        call.task = self._loop.create_task(self._run(call))
        self._open.add(call.task)

    async def _run(self, call: Call) -> None:
        try:
            await self._serve(call)
        except Refusal as refusal:
            self._refuse(call, refusal)
        except BodyTooLarge as refused:
            self._refuse(call, body_too_large(refused.most_bytes))
        except NoRoomForBody:
            self._refuse(call, no_room_for_body())
        except ClientGone:
            pass
        except asyncio.CancelledError:
            call.http.abort()
            raise
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
            if call.http.began:
                call.http.abort()
            else:
                self._refuse(call, _FAILED)
        finally:
            if call.unfunded is not None:
                call.unfunded.unfunded_calls -= 1
            if call.task is not None:
                self._open.discard(call.task)

    async def _serve(self, call: Call) -> None:
        if self._stopping:
            raise unavailable()
        if len(self._open) > self._max_open_requests:
            raise too_many_requests(len(self._open) - 1, self._max_open_requests)
        handler = self._routes.get((call.http.method, call.path))
        await (handler or self._unlisted(call))(call)

    def _unlisted(self, call: Call) -> Callable[[Call], Awaitable[None]]:
        """What serves a path that is not in the table: a model by its name.

        Raises:
            Refusal: nothing does.
        """
        if "\0" in unquote(call.path):
            raise invalid_request("invalid_path", "The path holds a NUL.", None)
        if call.http.method == "GET" and call.path.startswith(_MODEL_PATHS):
            return self._model
        raise self._no_route(call)

    async def _authenticate(self, call: Call) -> KeyState:
        presented = presented_key(call.http.headers)
        key = self._keyring.known(presented) or await self._keyring.find(presented)
        self._let_in(call, key)
        return key

    def _let_in(self, call: Call, key: KeyState) -> None:
        if not self._may_admit():
            raise unavailable()
        call.key = key
        self._admission.check_access(key)

    def _may_admit(self) -> bool:
        stale_us = self._clock.monotonic_us() - self._feed.synced_at_us
        if stale_us > self._stale_after_us:
            return False
        return since_boot_us() < self._process.admits_until_us

    def _budgets_nano(self) -> dict[str, int]:
        return {slug: plan.budget_nano for slug, plan in self._catalog().plans.items()}

    async def _read(self, call: Call) -> tuple[KeyState, Fields, Model, int]:
        """The key, the top level of the body, the model that it names, and the size of the body in bytes."""
        headers, http = call.http.headers, call.http
        presented = presented_key(headers)
        known = self._keyring.known(presented)
        key = await self._keyring.find(presented) if known is None else known
        self._let_in(call, key)
        refuse_compressed(headers)
        small = http.small_body(STEP_BYTES)
        if small is not None:
            body = small
            if not self._admission.has_money(key):
                self._bound_unfunded(call, key, len(body))
            fields = decode_fields(body, self._max_json_depth)
        else:
            await self._read_in_parts(call, key)
            # A body may take minutes to arrive, and the key may have ended meanwhile.
            key = await self._authenticate(call)
            if http.received_bytes > LARGE_BYTES:
                return await self._read_large(call, key)
            body = http.whole()
            if len(body) > STEP_BYTES:
                await self._turns.next(key.account.account_id)
                fields = decode_top(body)
            else:
                fields = decode_fields(body, self._max_json_depth)
        call.in_steps = takes_long(body)
        return key, fields, self._model_named(fields), len(body)

    async def _read_large(self, call: Call, key: KeyState) -> tuple[KeyState, Fields, Model, int]:
        """See `_read`; of a complete body that is decoded in steps."""
        body = call.http.kept()
        fields = await self._turns.run(key.account.account_id, top_in_steps(body))
        call.in_steps = True
        return key, fields, self._model_named(fields), len(body)

    def _model_named(self, fields: Fields) -> Model:
        """The model that a body names.

        Raises:
            Refusal: it names none, or one that is not served.
        """
        name = model_name(fields)
        model = self._catalog().models.get(name)
        if model is None:
            raise _unknown_model(name)
        return model

    async def _read_in_parts(self, call: Call, key: KeyState) -> None:
        """Count the body part by part as it arrives. A large one is not read for a key at its limit of requests.

        Raises:
            Refusal: it is not UTF-8, or above a bound, or the key may not send so much.
        """
        http, announced_bytes = call.http, call.http.announced_bytes()
        if announced_bytes > STEP_BYTES:
            self._admission.refuse_at_limit(key)
        if not self._admission.has_money(key):
            self._bound_unfunded(call, key, announced_bytes)
        if announced_bytes <= STEP_BYTES and call.unfunded is None:
            part = await http.part(0, STEP_BYTES)
            if len(part) < STEP_BYTES:
                # All of it has come, and it is small: decoding counts it.
                return
        scan, start = JsonScan(self._bounds[call.path]), 0
        while part := await http.part(start, STEP_BYTES):
            if start:
                await self._turns.next(key.account.account_id)
            scan.take(part)
            start += len(part)
            if start == STEP_BYTES and announced_bytes <= STEP_BYTES:
                self._admission.refuse_at_limit(key)
            if call.unfunded is not None and start > self._settings.max_unfunded_body_bytes:
                self._refuse_unfunded(call)
        scan.end()
        if start > STEP_BYTES:
            await self._turns.next(key.account.account_id)

    def _bound_unfunded(self, call: Call, key: KeyState, body_bytes: int) -> None:
        """A key without money is served what costs nothing, with smaller bodies and few calls of its account at once.

        Raises:
            Refusal: the body is larger, or as many calls are open.
        """
        account, settings = key.account, self._settings
        is_large = body_bytes > settings.max_unfunded_body_bytes
        if is_large or account.unfunded_calls >= settings.max_unfunded_calls:
            self._refuse_unfunded(call)
        account.unfunded_calls += 1
        call.unfunded = account

    def _refuse_unfunded(self, call: Call) -> None:
        """Refuse, unless money has come meanwhile."""
        spent = None if call.key is None else self._admission.money_spent(call.key)
        if spent is not None:
            settings = self._settings
            raise bounded_without_money(spent, settings.max_unfunded_body_bytes, settings.max_unfunded_calls)

    async def _paid(self, call: Call) -> None:
        key, fields, model, body_bytes = await self._read(call)
        endpoint = ENDPOINTS[call.path]
        headers = call.http.headers
        request: PricedRequest
        if not call.in_steps:
            request = endpoint.read(fields, model, body_bytes, headers)
        else:
            account_id = key.account.account_id
            request = await self._turns.run(account_id, endpoint.steps(fields, model, body_bytes, headers))
            release_body(request.fields)
            await self._turns.next(account_id)
            # Others had their turns meanwhile: the key may have ended, or have left memory.
            key = await self._authenticate(call)
        attempt = self._routing.attempt(request)
        if not self._settler.accepts():
            raise unavailable()
        limit = self._max_streams_per_key
        slot = StreamSlot(key, limit) if limit is not None and request.stream else None
        # From here on the key's state must not be dropped from memory, also while the call waits for money.
        key.account.in_use += 1
        try:
            pool = call.pool = self._admission.pool_now(key) or await self._admission.pool(key)
            admitted = self._admission.admit_now(key, request, pool, attempt.refuse_busy)
            if not isinstance(admitted, Admitted):
                admitted = await self._admission.admit(key, request, pool, attempt.refuse_busy)
                call.pool = admitted.pool
            await self._relay.run(
                Exchange(
                    request_id=call.request_id,
                    admitted=admitted,
                    http=call.http,
                    attempt=attempt,
                    endpoint=endpoint,
                    clock=self._clock,
                    stream_slot=slot,
                )
            )
        finally:
            if slot is not None:
                slot.free()
            key.account.in_use -= 1

    async def _count_tokens(self, call: Call) -> None:
        key, fields, model, body_bytes = await self._read(call)
        steps = count_tokens_steps(fields, model, body_bytes, call.http.headers)
        call.answer(200, await self._turns.run(key.account.account_id, steps) if call.in_steps else at_once(steps))

    async def _models(self, call: Call) -> None:
        await self._authenticate(call)
        models = self._catalog().models.values()
        shown = anthropic.model_list(models) if call.path.startswith(ANTHROPIC_PREFIX) else openai.model_list(models)
        call.answer(200, shown)

    async def _model(self, call: Call) -> None:
        await self._authenticate(call)
        name = unquote(call.path.partition("/models/")[2])
        model = self._catalog().models.get(name)
        if model is None:
            raise _unknown_model(name)
        shape = anthropic.model_object if call.path.startswith(ANTHROPIC_PREFIX) else openai.model_object
        call.answer(200, msgspec.json.encode(shape(model)))

    async def _usage(self, call: Call) -> None:
        key = await self._authenticate(call)
        pool = call.pool = await self._admission.pool(key)
        body = usage_answer(key, pool, self._clock.monotonic_us())
        call.answer(200, body, style_of(call.path).limit_lines(key, pool, self._clock))

    def _refuse(self, call: Call, refusal: Refusal) -> None:
        style = style_of(call.path)
        lines = refusal.header_lines()
        if call.key is not None:
            lines += style.limit_lines(call.key, call.pool, self._clock)
        status, body = style.error(refusal, call.request_id)
        call.answer(status, body, lines)

    def _no_route(self, call: Call) -> Refusal:
        methods = sorted({method for method, path in self._routes if path == call.path})
        if call.path.startswith(_MODEL_PATHS):
            methods = ["GET"]
        if methods:
            allowed = ", ".join(methods)
            refusal = Refusal(405, Category.INVALID, "method_not_allowed", f"{call.path} takes {allowed} only.")
            refusal.extra_lines = b"allow: %b\r\n" % allowed.encode()
            return refusal
        return Refusal(404, Category.NOT_FOUND, "not_found", f"There is no {call.http.method} {call.path[:200]}.")

    async def _prepare(self) -> None:
        """Bring memory and store to one state, before the first call is admitted."""
        await self._ceilings.load()
        self.replayed = await replay(
            self._store, self._clock, self._data_dir, epoch=self.epoch, budgets_nano=self._budgets_nano()
        )
        await self._revocations.enforce()


def _where(failure: BaseException) -> str:
    """The innermost line of ours, for the log."""
    frames = [frame for frame in extract_tb(failure.__traceback__) if "tokenbooth" in frame.filename]
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""


def _unknown_model(name: str) -> Refusal:
    if "\0" in name:
        return invalid_request("invalid_parameter", "'model' holds a NUL.", "model")
    return Refusal(
        404,
        Category.NOT_FOUND,
        "model_not_found",
        f"The model '{name[:200]}' does not exist here. GET /v1/models lists those that do.",
        param="model",
    )
