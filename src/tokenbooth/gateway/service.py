"""The data plane, with its life: lock, replay, admit, drain.

Only `/v1/*` and `/anthropic/*` come here. The routes that can cost money are those of `tokenbooth.gateway.registry`;
all of them go through the one admission.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from traceback import extract_tb
from typing import ClassVar, Final

import structlog

from tokenbooth.config.catalog import Catalog
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.domain.upstreams import CeilingHealth, UpstreamHealth
from tokenbooth.gateway.access.admission import Admission
from tokenbooth.gateway.access.cache import AccountCache
from tokenbooth.gateway.access.ceilings import Ceilings
from tokenbooth.gateway.access.keys import MAX_KEYS, KeyCache
from tokenbooth.gateway.access.open_requests import OpenRequests
from tokenbooth.gateway.access.pool import Pools
from tokenbooth.gateway.access.prompt_ratio import PromptRatios
from tokenbooth.gateway.access.registration import Registration
from tokenbooth.gateway.access.revocations import Revocations
from tokenbooth.gateway.billing import Billing
from tokenbooth.gateway.change_feed import ChangeFeed
from tokenbooth.gateway.drains import Drains
from tokenbooth.gateway.errors import Category, Refusal, no_room_for_body, unavailable
from tokenbooth.gateway.exchange import Exchange
from tokenbooth.gateway.failed_attempts import FailedAttempts
from tokenbooth.gateway.formats.json.body import body_too_large
from tokenbooth.gateway.formats.json.steps import Turns
from tokenbooth.gateway.handlers import PAID_ROUTES, ROUTES, Handlers
from tokenbooth.gateway.late_answers import LateAnswers
from tokenbooth.gateway.relay import Relay
from tokenbooth.gateway.request_reader import RequestReader
from tokenbooth.gateway.settlement.charge_files import next_number
from tokenbooth.gateway.settlement.charge_log import ChargeLog, DirectoryLock
from tokenbooth.gateway.settlement.charge_queue import ChargeQueue
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
_FLUSH_AT_STOP_S: Final = 10.0
_FAILED: Final = Refusal(
    500, Category.UPSTREAM, "internal_error", "Something went wrong here. Try again; if it stays, tell the operator."
)
_log = structlog.get_logger(__name__)


class Gateway:
    """The data plane. `start` before the first request, `stop` after the last."""

    PAID_ROUTES: ClassVar[frozenset[tuple[str, str]]] = PAID_ROUTES

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
        self._catalog = catalog
        self._data_dir = data_dir
        self._upstreams = upstreams
        rng = random.Random()  # noqa: S311 - chooses upstreams by weight, nothing secret
        self._routing = Routing(rest_rules(settings), clock, rng)
        self._accounts = AccountCache(MAX_KEYS)
        self._open_requests = OpenRequests(settings.max_open_requests)
        self._keys = KeyCache(store, self._accounts, self._open_requests)
        self._revocations = Revocations(store, clock, data_dir)
        self._feed = ChangeFeed(
            store, clock, self._accounts, self._keys, self._revocations, lambda: self._flusher, lambda: self._queue
        )
        self._process = Registration(
            store=store,
            clock=clock,
            data_dir=data_dir,
            catalog_hash=lambda: catalog().digest,
            on_database_went_back=self._feed.distrust,
        )
        self._ratios = PromptRatios()
        self._drains = Drains(most=settings.max_draining, most_per_account=settings.max_draining_per_account)
        self._failures = FailureLog(clock)
        self._ceilings = Ceilings(store, clock)
        self._pools = Pools(store=store, clock=clock, catalog=catalog)
        self._admission = Admission(
            clock=clock,
            catalog=catalog,
            pools=self._pools,
            ratios=self._ratios,
            ceilings=self._ceilings,
            grace_us=grace_us,
            hold_share_percent=settings.hold_share_percent,
            hold_wait_s=settings.hold_wait_ms / 1_000,
            may_admit=self._may_admit,
        )
        self._open: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._tasks: list[BackgroundTask] = []
        self.replayed = ReplayFigures()

    @property
    def routes(self) -> frozenset[tuple[str, str]]:
        """The methods and paths that are served, beside `GET /v1/models/{id}`."""
        return frozenset(ROUTES)

    @property
    def open_requests(self) -> int:
        """Requests that are served now."""
        return len(self._open)

    @property
    def charges_waiting(self) -> int:
        """Charges that are in the log, and not in the store yet."""
        return len(self._queue)

    @property
    def charges_refused(self) -> int:
        """Charges that the store refused since the start, those of an earlier run among them."""
        return self.replayed.refused + self._flusher.refused

    @property
    def key_look_ups(self) -> int:
        """How often the store was asked for a key since the start."""
        return self._keys.look_ups

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
        self._queue = ChargeQueue(self._settings.max_unflushed_charges)
        self._flusher = Flusher(
            store=self._store,
            clock=self._clock,
            log=self._charge_log,
            queue=self._queue,
            process=self._process,
            budgets_nano=self._budgets_nano,
        )
        self._settler = Settler(clock=self._clock, log=self._charge_log, ratios=self._ratios, queue=self._queue)
        self._handlers = self._new_handlers()
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

    def _new_handlers(self) -> Handlers:
        settings, turns = self._settings, Turns()
        reader = RequestReader(
            keys=self._keys,
            admission=self._admission,
            catalog=self._catalog,
            settings=settings,
            turns=turns,
            open_requests=self._open_requests,
        )
        billing = Billing(self._settler, self._ceilings, Estimates())
        failed_attempts = FailedAttempts(self._failures)
        late_answers = LateAnswers(billing, self._drains, failed_attempts, read_on_s=settings.whole_answer_timeout_s)
        relay = Relay(
            self._upstreams,
            billing,
            self._ceilings,
            late_answers,
            failed_attempts,
            keep_alive_s=settings.keep_alive_s,
        )
        return Handlers(
            catalog=self._catalog,
            reader=reader,
            turns=turns,
            pools=self._pools,
            admission=self._admission,
            routing=self._routing,
            settler=self._settler,
            relay=relay,
            max_streams_per_key=settings.max_streams_per_key,
        )

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

    async def flush(self) -> None:
        """Return when every charge finished so far is in the store, or after a bounded wait when it is away."""
        await self._flusher.flush()

    async def refresh(self) -> None:
        """Apply what was committed to the change sequence so far, now."""
        await self._feed.sync()

    def held_nano(self, account_id: str) -> int:
        """What calls in flight hold of an account's credit, in nano-USD."""
        return self._accounts.held_nano(account_id)

    def admits(self) -> bool:
        """Whether calls with known keys are admitted."""
        return not self._stopping and self._may_admit() and self._settler.accepts()

    def stores(self) -> bool:
        """Whether the database took what this process last wrote."""
        return not (self._flusher.is_store_away or self._process.last_beat_failed)

    def refused_at_bounds(self) -> dict[str, int]:
        """How often somebody found no room at a bound since the process began, by its setting."""
        return {
            "gateway.max_open_requests": self._open_requests.places.refused,
            "gateway.max_unflushed_charges": self._settler.refused,
            "gateway.max_draining": self._drains.places.refused,
            **self._routing.refused(),
        }

    def upstream_health(self) -> list[UpstreamHealth]:
        """How each upstream that a model uses does now, by name."""
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

    def handles(self, path: str) -> bool:
        """Whether a path belongs to the data plane."""
        return path.startswith(_PREFIXES) or path in _ROOTS

    def serve(self, http: HttpExchange) -> None:
        """Serve one HTTP request, in a task of its own."""
        exchange = Exchange(http, new_id(IdPrefix.REQUEST, self._clock.now_us()), self._clock)
        exchange.task = self._loop.create_task(self._run(exchange))
        self._open.add(exchange.task)

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self._serve(exchange)
        except Refusal as refusal:
            exchange.refuse(refusal)
        except BodyTooLarge as refused:
            exchange.refuse(body_too_large(refused.most_bytes))
        except NoRoomForBody:
            exchange.refuse(no_room_for_body())
        except ClientGone:
            pass
        except asyncio.CancelledError:
            exchange.http.abort()
            raise
        except Exception as failure:
            # The type alone: a message could quote what a customer sent.
            _log.error(
                "gateway_failed",
                request_id=exchange.request_id,
                path=exchange.path,
                error=type(failure).__name__,
                where=_where(failure),
                note="A bug: report it with this line. The caller got a 500; the call's hold is released.",
            )
            if exchange.http.began:
                exchange.http.abort()
            else:
                exchange.refuse(_FAILED)
        finally:
            if exchange.place is not None:
                exchange.place.free()
            if exchange.unfunded is not None:
                exchange.unfunded.unfunded_calls -= 1
            if exchange.task is not None:
                self._open.discard(exchange.task)

    async def _serve(self, exchange: Exchange) -> None:
        if self._stopping:
            raise unavailable()
        await self._handlers.serve(exchange)

    def _may_admit(self) -> bool:
        stale_us = self._clock.monotonic_us() - self._feed.synced_at_us
        if stale_us > self._stale_after_us:
            return False
        return since_boot_us() < self._process.admits_until_us

    def _budgets_nano(self) -> dict[str, int]:
        return {slug: plan.budget_nano for slug, plan in self._catalog().plans.items()}

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
