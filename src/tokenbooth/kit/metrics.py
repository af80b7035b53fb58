"""Figures for Prometheus, in a registry of their own; nothing is counted at the module's level.

A figure must never name a customer, a key or a prompt. The composition root builds it.
"""

from collections.abc import Iterable, Mapping
from typing import Final, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from tokenbooth.domain.upstreams import CeilingHealth, UpstreamHealth, UpstreamState

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_NANO_PER_USD: Final = 1e9


class _KeptElsewhere(Collector):
    """A counter whose figures somebody else keeps; `name` is without `_total`."""

    def __init__(self, name: str, text: str, *labels: str, registry: CollectorRegistry) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._figures: Mapping[tuple[str, ...], int] = {} if labels else {(): 0}
        registry.register(self)

    def show(self, figures: Mapping[tuple[str, ...], int]) -> None:
        """Set the figures by their labels' values."""
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """The figures now."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, figure in self._figures.items():
            family.add_metric(values, figure)
        return [family]


class Metrics:
    """The figures of one process, and of the store that it shares with others."""

    def __init__(self, version: str) -> None:
        """`version`: of the program, shown as a label."""
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
        self._store_up = self._gauge("tokenbooth_store_up", "1 while the database answers.")
        self._requests = self._gauge("tokenbooth_usage_requests", "Charged requests in the store, ever.")
        self._charged = self._gauge("tokenbooth_usage_charged_usd", "Charged to customers, ever, in USD.")
        self._uncollected = self._gauge(
            "tokenbooth_uncollected_usd",
            "Cost of answers above what their customers could pay, ever, in USD.",
        )
        self._key_look_ups = self._gauge(
            "tokenbooth_key_lookups", "API keys looked up in the database since the start: each once, when it is new."
        )
        self._inbox = Gauge(
            "tokenbooth_inbox_rows",
            "Events of payment processors that are not handled yet.",
            ["status"],
            registry=self._registry,
        )

        self._chain_lag = self._gauge(
            "tokenbooth_usdc_scan_lag_blocks", "Blocks that count and were not scanned for deposits yet."
        )
        self._deposits_pending = self._gauge(
            "tokenbooth_usdc_deposits_pending", "Deposits to the addresses shown last, in blocks that don't count yet."
        )
        self._node_up = self._gauge("tokenbooth_usdc_node_up", "1 while the chain's node answers properly.")

        self._reconciled_at = self._gauge(
            "tokenbooth_reconcile_last_run_seconds",
            "When the books were last held against Stripe's, UTC seconds; 0 before the first time.",
        )
        self._differences = self._gauge(
            "tokenbooth_reconcile_differences", "Differences from Stripe's books that stood twice without repair."
        )

        self._open_requests = self._gauge("tokenbooth_open_requests", "Requests on the data plane now.")
        self._charges_waiting = self._gauge(
            "tokenbooth_charges_waiting", "Charges in the charge log that are not in the database yet."
        )
        self._process_open = self._gauge(
            "tokenbooth_process_open", "1 while this process is registered to take model calls, 0 when it was replaced."
        )
        self._went_back = Counter(
            "tokenbooth_database_went_back",
            "How often the database was found at an earlier state, as after a fail-over.",
            registry=self._registry,
        )
        self._times_went_back = 0
        self._upstream_state = self._upstream_gauge(
            "tokenbooth_upstream_state", "1 for the state that an upstream is in.", "state"
        )
        self._upstream_open = self._upstream_gauge(
            "tokenbooth_upstream_open_calls", "Calls that an upstream works on now."
        )
        self._upstream_failures = self._upstream_gauge(
            "tokenbooth_upstream_failures", "Failed calls of an upstream since the process began."
        )
        self._failed_attempts = self._counter(
            "tokenbooth_upstream_failed_attempts",
            "Failed calls of an upstream by kind: a status, or how it failed without one.",
            "upstream",
            "kind",
        )
        self._upstream_rest = self._upstream_gauge(
            "tokenbooth_upstream_rest_seconds", "How much longer an upstream rests; 0 while it is up."
        )
        self._ceilings_exceeded = self._upstream_gauge(
            "tokenbooth_ceilings_exceeded_total", "Answers that went beyond the output ceiling that was sent.", "model"
        )
        self._ceilings_distrusted = self._upstream_gauge(
            "tokenbooth_ceilings_distrusted", "1 while calls hold the model's maximum because of that.", "model"
        )

        self._deaths = self._counter(
            "tokenbooth_background_deaths", "How often background work died and was restarted.", "work"
        )
        self._down = Gauge(
            "tokenbooth_background_down",
            "1 while background work is down; /readyz says 503 then.",
            ["work"],
            registry=self._registry,
        )
        self._damaged = self._counter(
            "tokenbooth_charge_log_damaged_records",
            "Damaged records that the start found in the charge log, by what became of them.",
            "outcome",
        )
        self._lost_bytes = self._counter(
            "tokenbooth_charge_log_lost_bytes", "Bytes of the charge log that the start could not make anything of."
        )
        self._refused = self._counter(
            "tokenbooth_charges_refused", "Charges that the database refused, and that were set aside."
        )
        self._set_aside = Gauge(
            "tokenbooth_charge_files_set_aside",
            "Files with charges that wait for a person; `tokenbooth charges list` shows them.",
            ["kind"],
            registry=self._registry,
        )

    def show_background(self, works: Iterable[tuple[str, int, bool]]) -> None:
        """Set how background work does: name, deaths since the process began, whether it is down."""
        known = list(works)
        self._deaths.show({(name,): deaths for name, deaths, _ in known})
        for name, _, is_down in known:
            self._down.labels(name).set(is_down)

    def show_charge_log(
        self, *, restored: int, lost: int, lost_bytes: int, refused: int, set_aside: Mapping[str, int]
    ) -> None:
        """Set what became of charges that could not be booked like others; `set_aside` counts files by kind."""
        self._damaged.show({("restored",): restored, ("lost",): lost})
        self._lost_bytes.show({(): lost_bytes})
        self._refused.show({(): refused})
        for kind, files in set_aside.items():
            self._set_aside.labels(kind).set(files)

    def show_gateway(
        self, *, open_requests: int, charges_waiting: int, upstreams: Iterable[UpstreamHealth], now_us: int
    ) -> None:
        """Set the figures of the data plane; `now_us` in UTC microseconds."""
        self._open_requests.set(open_requests)
        self._charges_waiting.set(charges_waiting)
        for health in upstreams:
            for state in get_args(UpstreamState):
                self._upstream_state.labels(health.name, state).set(state == health.state)
            self._upstream_open.labels(health.name).set(health.open_calls)
            self._upstream_failures.labels(health.name).set(health.failed_calls)
            rests_until_s = health.rests_until_s or 0
            self._upstream_rest.labels(health.name).set(max(rests_until_s - now_us / 1_000_000, 0))

    def show_failures(self, attempts: Mapping[tuple[str, str], int]) -> None:
        """Set the failed attempts since the process began, by upstream and kind."""
        self._failed_attempts.show({(upstream, kind): times for (upstream, kind), times in attempts.items()})

    def show_process(self, *, is_open: bool, times_went_back: int) -> None:
        """Set whether this process may take model calls; `times_went_back` of the database, since the start."""
        self._process_open.set(1 if is_open else 0)
        self._went_back.inc(times_went_back - self._times_went_back)
        self._times_went_back = times_went_back

    def show_ceilings(self, ceilings: Iterable[CeilingHealth]) -> None:
        """Set how upstreams keep the output ceilings that they are sent."""
        for health in ceilings:
            self._ceilings_exceeded.labels(health.upstream, health.model).set(health.times_exceeded)
            self._ceilings_distrusted.labels(health.upstream, health.model).set(health.is_distrusted)

    def show_reconcile(self, *, last_run_us: int, differences: int) -> None:
        """Set the figures of the reconciler; `last_run_us` in UTC microseconds."""
        self._reconciled_at.set(last_run_us / 1_000_000)
        self._differences.set(differences)

    def show_chain(self, *, node_is_up: bool, lag_blocks: int, deposits_pending: int) -> None:
        """Set the figures of the chain's scan."""
        self._node_up.set(1 if node_is_up else 0)
        self._chain_lag.set(lag_blocks)
        self._deposits_pending.set(deposits_pending)

    def answered(self, status: int) -> None:
        """Count an answer outside the data plane."""
        self._management.labels(f"{status // 100}xx").inc()

    def show_usage(self, *, requests: int, charged_nano: int, uncollected_nano: int) -> None:
        """Set the figures of usage; amounts in nano-USD. As floats: the books are kept elsewhere."""
        self._requests.set(requests)
        self._charged.set(charged_nano / _NANO_PER_USD)
        self._uncollected.set(uncollected_nano / _NANO_PER_USD)

    def show_key_look_ups(self, count: int) -> None:
        """Set how often the database was asked for an API key."""
        self._key_look_ups.set(count)

    def show_inbox(self, rows_by_status: Mapping[str, int]) -> None:
        """Set how many events wait, by status."""
        for status, rows in rows_by_status.items():
            self._inbox.labels(status).set(rows)

    def show_store(self, *, is_up: bool) -> None:
        """Set whether the database answered just now."""
        self._store_up.set(1 if is_up else 0)

    def render(self) -> bytes:
        """The figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def _upstream_gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, ["upstream", *labels], registry=self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> _KeptElsewhere:
        return _KeptElsewhere(name, text, *labels, registry=self._registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry)
