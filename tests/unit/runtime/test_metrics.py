"""Figures for Prometheus."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.figures import GatewayFigures, sources_of
from tokenbooth.domain.upstreams import CeilingHealth, UpstreamHealth
from tokenbooth.gateway.settlement.charge_replay import ReplayFigures
from tokenbooth.jobs.chain_scan import ScanFigures
from tokenbooth.jobs.reconcile import ReconcileFigures
from tokenbooth.kit.background import Background, Running
from tokenbooth.runtime.metrics import Metrics
from tokenbooth.store.engine import Store
from tokenbooth.store.reports.operator import StoreFigures


def _samples(metrics: Metrics) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def _died(name: str, times: int) -> Running:
    running = Running(name)
    for _ in range(times):
        running.died(RuntimeError())
    return running


def test_figures_are_rendered(tmp_path: Path) -> None:
    """What others keep and what was counted stands in the text, amounts in USD."""
    rests = UpstreamHealth("two", "resting", 0, 3, 107.5, "HTTP 503", failed_calls=9)
    gateway = GatewayFigures(
        open_requests=5,
        charges_waiting=12,
        charges_refused=5,
        key_look_ups=3,
        times_database_went_back=1,
        refused={"gateway.max_open_requests": 6},
        replayed=ReplayFigures(records_restored=1, records_lost=2, lost_bytes=478),
        upstreams=[UpstreamHealth("one", "up", 4, 0, None, None), rests],
        ceilings=[CeilingHealth("one", "small", 6, is_distrusted=True)],
        failures={("two", "503"): 9},
    )
    charges = tmp_path / "charges"
    charges.mkdir()
    for name in ("1.damaged", "2.refused", "3.refused"):
        (charges / name).touch()
    background = Background()
    background.watch(_died("flusher", 3))
    background.watch(_died("change-feed", 0))
    sources = sources_of(gateway, tmp_path, background=background)
    sources.store_is_up = True
    sources.stored = StoreFigures(
        requests=7, charged_nano=2_500_000_000, uncollected_nano=1, inbox_due=2, inbox_parked=1
    )
    sources.reconciled = lambda: ReconcileFigures(1_500_000, differences=2)
    sources.scanned = lambda: ScanFigures(node_is_up=True, lag_blocks=8, deposits_pending=4)
    metrics = Metrics("1.2.3", sources)
    metrics.answered(200)
    metrics.answered(204)
    metrics.answered(503)
    samples = _samples(metrics)
    expected = {
        "tokenbooth_build_info 1.2.3": 1.0,
        "tokenbooth_store_up": 1.0,
        "tokenbooth_usage_requests": 7.0,
        "tokenbooth_usage_charged_usd": 2.5,
        "tokenbooth_uncollected_usd": 1e-09,
        "tokenbooth_reconcile_last_run_seconds": 1.5,
        "tokenbooth_reconcile_differences": 2.0,
        "tokenbooth_open_requests": 5.0,
        "tokenbooth_charges_waiting": 12.0,
        "tokenbooth_upstream_state up one": 1.0,
        "tokenbooth_upstream_state resting one": 0.0,
        "tokenbooth_upstream_state up two": 0.0,
        "tokenbooth_upstream_state resting two": 1.0,
        "tokenbooth_upstream_state trial two": 0.0,
        "tokenbooth_upstream_open_calls one": 4.0,
        "tokenbooth_upstream_failures two": 9.0,
        "tokenbooth_upstream_rest_seconds one": 0.0,
        "tokenbooth_upstream_rest_seconds two": 7.5,
        "tokenbooth_inbox_rows due": 2.0,
        "tokenbooth_inbox_rows parked": 1.0,
        "tokenbooth_background_deaths_total flusher": 3.0,
        "tokenbooth_background_deaths_total change-feed": 0.0,
        "tokenbooth_background_down flusher": 1.0,
        "tokenbooth_background_down change-feed": 0.0,
        "tokenbooth_charge_log_damaged_records_total restored": 1.0,
        "tokenbooth_charge_log_damaged_records_total lost": 2.0,
        "tokenbooth_charge_log_lost_bytes_total": 478.0,
        "tokenbooth_charges_refused_total": 5.0,
        "tokenbooth_refused_at_bound_total gateway.max_open_requests": 6.0,
        "tokenbooth_charge_files_set_aside damaged": 1.0,
        "tokenbooth_charge_files_set_aside refused": 2.0,
        "tokenbooth_key_lookups": 3.0,
        "tokenbooth_process_open": 1.0,
        "tokenbooth_database_went_back_total": 1.0,
        "tokenbooth_upstream_failed_attempts_total 503 two": 9.0,
        "tokenbooth_ceilings_exceeded_total small one": 6.0,
        "tokenbooth_ceilings_distrusted small one": 1.0,
        "tokenbooth_usdc_node_up": 1.0,
        "tokenbooth_usdc_scan_lag_blocks": 8.0,
        "tokenbooth_usdc_deposits_pending": 4.0,
        "tokenbooth_management_responses_total 2xx": 2.0,
        "tokenbooth_management_responses_total 5xx": 1.0,
    }
    assert {name: samples[name] for name in expected} == expected


def test_two_programs_count_apart(tmp_path: Path) -> None:
    """Each has a registry of its own."""
    one, other = (Metrics("1", sources_of(GatewayFigures(), tmp_path)) for _ in range(2))
    one.answered(200)
    assert "tokenbooth_management_responses_total 2xx" in _samples(one)
    assert "tokenbooth_management_responses_total 2xx" not in _samples(other)


async def test_a_database_that_is_away_leaves_what_it_said_last(store: Store, tmp_path: Path) -> None:
    """The figures of usage stay, and `tokenbooth_store_up` is 0; before its first answer the inbox has none."""
    sources = sources_of(GatewayFigures(), tmp_path)
    metrics = Metrics("1", sources)
    assert "tokenbooth_inbox_rows due" not in _samples(metrics)
    await metrics.scrape(store)
    assert sources.store_is_up
    sources.stored = StoreFigures(requests=7, charged_nano=0, uncollected_nano=0, inbox_due=2, inbox_parked=0)
    store.close()
    await metrics.scrape(store)
    samples = _samples(metrics)
    assert (samples["tokenbooth_store_up"], samples["tokenbooth_usage_requests"]) == (0.0, 7.0)
