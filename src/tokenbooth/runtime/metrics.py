"""Figures for Prometheus, in a registry of their own; nothing is counted at the module's level.

What others keep is read at each scrape. A figure must never name a customer, a key or a prompt.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, get_args

from prometheus_client import CollectorRegistry, Counter, Info, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tokenbooth.domain.upstreams import CeilingHealth, UpstreamHealth, UpstreamState
from tokenbooth.gateway.service import Gateway
from tokenbooth.gateway.settlement.charge_files import count_set_aside
from tokenbooth.jobs.chain_scan import ScanFigures
from tokenbooth.jobs.reconcile import ReconcileFigures
from tokenbooth.kit.background import Background
from tokenbooth.kit.clock import Clock
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.store.engine import Store
from tokenbooth.store.reports.figures import StoreFigures, figures

Samples = Mapping[tuple[str, ...], float]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True, kw_only=True)
class Sources:
    """Where the figures are kept.

    Attributes:
        gateway, background, clock: of this process.
        data_dir: where the charge log is.
        refused_at_bounds: how often somebody found no room, by the bound's setting.
        reconciled, scanned: how Stripe's reconciler and the chain's scan went last.
        store_is_up: whether the database answered just now.
        stored: what the database said when it answered last; None when it never did.
    """

    gateway: Gateway
    background: Background
    clock: Clock
    data_dir: Path
    refused_at_bounds: Callable[[], Mapping[str, int]]
    reconciled: Callable[[], ReconcileFigures]
    scanned: Callable[[], ScanFigures]
    store_is_up: bool = False
    stored: StoreFigures | None = None


class _Family(NamedTuple):
    """A metric: what it is called, and how its samples are read. A counter's name is without `_total`."""

    name: str
    text: str
    read: Callable[[Sources], float | Samples]
    labels: Sequence[str] = ()

    def add(self, metric: GaugeMetricFamily | CounterMetricFamily, sources: Sources) -> Metric:
        """`metric` with the samples as they are now."""
        samples = self.read(sources)
        for values, value in (samples if isinstance(samples, Mapping) else {(): samples}).items():
            metric.add_metric(values, value)
        return metric


def _by_upstream(sources: Sources, read: Callable[[UpstreamHealth], float]) -> Samples:
    return {(health.name, health.model): read(health) for health in sources.gateway.upstream_health()}


def _states(sources: Sources) -> Samples:
    return {
        (health.name, health.model, state): health.state == state
        for health in sources.gateway.upstream_health()
        for state in get_args(UpstreamState)
    }


def _by_model(sources: Sources, read: Callable[[CeilingHealth], float]) -> Samples:
    return {(health.upstream, health.model): read(health) for health in sources.gateway.ceiling_health()}


def _rest_s(sources: Sources) -> Samples:
    now_s = sources.clock.now_us() / 1_000_000
    return _by_upstream(sources, lambda health: max((health.rests_until_s or 0) - now_s, 0))


def _inbox_rows(sources: Sources) -> Samples:
    stored = sources.stored
    return {} if stored is None else {("due",): stored.inbox_due, ("parked",): stored.inbox_parked}


def _failed_attempts(sources: Sources) -> Samples:
    return {(upstream, kind): times for (upstream, kind), times in sources.gateway.failed_attempts().items()}


def _damaged(sources: Sources) -> Samples:
    replayed = sources.gateway.replayed
    return {("restored",): replayed.records_restored, ("lost",): replayed.records_lost}


def _usd(amount_nano: int) -> float:
    """As a float: the books are kept elsewhere."""
    return amount_nano / 1e9


_GAUGES: Final = (
    _Family("tokenbooth_store_up", "1 while the database answers.", lambda at: at.store_is_up),
    _Family(
        "tokenbooth_usage_requests",
        "Charged requests in the store, ever.",
        lambda at: at.stored.requests if at.stored else 0,
    ),
    _Family(
        "tokenbooth_usage_charged_usd",
        "Charged to customers, ever, in USD.",
        lambda at: _usd(at.stored.charged_nano if at.stored else 0),
    ),
    _Family(
        "tokenbooth_uncollected_usd",
        "Cost of answers above what their customers could pay, ever, in USD.",
        lambda at: _usd(at.stored.uncollected_nano if at.stored else 0),
    ),
    _Family(
        "tokenbooth_key_lookups",
        "API keys looked up in the database since the start: each once, when it is new.",
        lambda at: at.gateway.key_look_ups,
    ),
    _Family("tokenbooth_inbox_rows", "Events of payment processors that are not handled yet.", _inbox_rows, ["status"]),
    _Family(
        "tokenbooth_usdc_scan_lag_blocks",
        "Blocks that count and were not scanned for deposits yet.",
        lambda at: at.scanned().lag_blocks,
    ),
    _Family(
        "tokenbooth_usdc_deposits_pending",
        "Deposits to the addresses shown last, in blocks that don't count yet.",
        lambda at: at.scanned().deposits_pending,
    ),
    _Family(
        "tokenbooth_usdc_node_up", "1 while the chain's node answers properly.", lambda at: at.scanned().node_is_up
    ),
    _Family(
        "tokenbooth_reconcile_last_run_seconds",
        "When the books were last held against Stripe's, UTC seconds; 0 before the first time.",
        lambda at: (at.reconciled().last_run_us or 0) / 1_000_000,
    ),
    _Family(
        "tokenbooth_reconcile_differences",
        "Differences from Stripe's books that stood twice without repair.",
        lambda at: at.reconciled().differences,
    ),
    _Family("tokenbooth_open_requests", "Requests on the data plane now.", lambda at: at.gateway.open_requests),
    _Family(
        "tokenbooth_charges_waiting",
        "Charges in the charge log that are not in the database yet.",
        lambda at: at.gateway.charges_waiting,
    ),
    _Family(
        "tokenbooth_process_open",
        "1 while this process is registered to take model calls, 0 when it was replaced.",
        lambda at: at.gateway.process_is_open,
    ),
    _Family(
        "tokenbooth_upstream_state",
        "1 for the state that a model of an upstream is in.",
        _states,
        ["upstream", "model", "state"],
    ),
    _Family(
        "tokenbooth_upstream_open_calls",
        "Calls for a model that an upstream works on now.",
        lambda at: _by_upstream(at, lambda health: health.open_calls),
        ["upstream", "model"],
    ),
    _Family(
        "tokenbooth_upstream_failures",
        "Failed calls for a model of an upstream since the process began.",
        lambda at: _by_upstream(at, lambda health: health.failed_calls),
        ["upstream", "model"],
    ),
    _Family(
        "tokenbooth_upstream_rest_seconds",
        "How much longer a model of an upstream rests; 0 while it is up.",
        _rest_s,
        ["upstream", "model"],
    ),
    _Family(
        "tokenbooth_ceilings_exceeded_total",
        "Answers that went beyond the output ceiling that was sent.",
        lambda at: _by_model(at, lambda health: health.times_exceeded),
        ["upstream", "model"],
    ),
    _Family(
        "tokenbooth_ceilings_distrusted",
        "1 while calls hold the model's maximum because of that.",
        lambda at: _by_model(at, lambda health: health.is_distrusted),
        ["upstream", "model"],
    ),
    _Family(
        "tokenbooth_background_down",
        "1 while background work is down; /readyz says 503 then.",
        lambda at: {(name,): is_down for name, _, is_down in at.background.report()},
        ["work"],
    ),
    _Family(
        "tokenbooth_charge_files_set_aside",
        "Files with charges that wait for a person; `tokenbooth charges list` shows them.",
        lambda at: {(kind,): files for kind, files in count_set_aside(at.data_dir).items()},
        ["kind"],
    ),
)
_COUNTERS: Final = (
    _Family(
        "tokenbooth_database_went_back",
        "How often the database was found at an earlier state, as after a fail-over.",
        lambda at: at.gateway.times_database_went_back,
    ),
    _Family(
        "tokenbooth_upstream_failed_attempts",
        "Failed calls of an upstream by kind: a status, or how it failed without one.",
        _failed_attempts,
        ["upstream", "kind"],
    ),
    _Family(
        "tokenbooth_background_deaths",
        "How often background work died and was restarted.",
        lambda at: {(name,): deaths for name, deaths, _ in at.background.report()},
        ["work"],
    ),
    _Family(
        "tokenbooth_charge_log_damaged_records",
        "Damaged records that the start found in the charge log, by what became of them.",
        _damaged,
        ["outcome"],
    ),
    _Family(
        "tokenbooth_charge_log_lost_bytes",
        "Bytes of the charge log that the start could not make anything of.",
        lambda at: at.gateway.replayed.lost_bytes,
    ),
    _Family(
        "tokenbooth_refused_at_bound",
        "How often somebody found no room at a bound, or above its share of it.",
        lambda at: {(bound,): refused for bound, refused in at.refused_at_bounds().items()},
        ["bound"],
    ),
    _Family(
        "tokenbooth_charges_refused",
        "Charges that the database refused, and that were set aside.",
        lambda at: at.gateway.charges_refused,
    ),
)


class Metrics(Collector):
    """What a scrape gets."""

    def __init__(self, version: str, sources: Sources) -> None:
        """`version`: of the program, shown as a label."""
        self._sources = sources
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        Info("tokenbooth_build", "The running program.", registry=self._registry).info({"version": version})
        self._management = Counter(
            "tokenbooth_management_responses",
            "Answers outside the data plane, by the class of their status.",
            ["status_class"],
            registry=self._registry,
        )
        self._registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """No names: the registry would read every figure for them."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The figures that are kept elsewhere, as they are now."""
        for family in _GAUGES:
            yield family.add(GaugeMetricFamily(family.name, family.text, labels=family.labels), self._sources)
        for family in _COUNTERS:
            yield family.add(CounterMetricFamily(family.name, family.text, labels=family.labels), self._sources)

    def answered(self, status: int) -> None:
        """Count an answer outside the data plane."""
        self._management.labels(f"{status // 100}xx").inc()

    async def scrape(self, store: Store) -> bytes:
        """Read the database and render; one that is away leaves what it said last."""
        try:
            self._sources.stored = await store.read(figures)
        except StoreUnavailable:
            self._sources.store_is_up = False
        else:
            self._sources.store_is_up = True
        return self.render()

    def render(self) -> bytes:
        """The figures in Prometheus' text format, with what the database said last."""
        return generate_latest(self._registry)
