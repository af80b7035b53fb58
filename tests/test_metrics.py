"""Figures for Prometheus."""

from prometheus_client.parser import text_string_to_metric_families

from tokenbooth.domain.upstreams import UpstreamHealth
from tokenbooth.kit.metrics import Metrics


def _samples(metrics: Metrics) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_figures_are_rendered() -> None:
    """What was shown and counted stands in the text, amounts in USD."""
    metrics = Metrics("1.2.3")
    metrics.show_store(is_up=True)
    metrics.show_usage(requests=7, charged_nano=2_500_000_000, uncollected_nano=1)
    metrics.show_inbox({"due": 2, "parked": 1})
    metrics.show_reconcile(last_run_us=1_500_000, differences=2)
    rests = UpstreamHealth("two", "resting", 0, 3, 107.5, "HTTP 503", failed_calls=9)
    upstreams = [UpstreamHealth("one", "up", 4, 0, None, None), rests]
    metrics.show_gateway(open_requests=5, charges_waiting=12, upstreams=upstreams, now_us=100_000_000)
    metrics.show_background([("flusher", 3, True), ("change-feed", 0, False)])
    metrics.show_charge_log(restored=1, lost=2, lost_bytes=478, refused=5, set_aside={"damaged": 1, "refused": 5})
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
        "tokenbooth_charge_files_set_aside damaged": 1.0,
        "tokenbooth_charge_files_set_aside refused": 5.0,
        "tokenbooth_management_responses_total 2xx": 2.0,
        "tokenbooth_management_responses_total 5xx": 1.0,
    }
    assert {name: samples[name] for name in expected} == expected


def test_two_programs_count_apart() -> None:
    """Each has a registry of its own."""
    one, other = Metrics("1"), Metrics("1")
    one.answered(200)
    assert "tokenbooth_management_responses_total 2xx" in _samples(one)
    assert "tokenbooth_management_responses_total 2xx" not in _samples(other)
