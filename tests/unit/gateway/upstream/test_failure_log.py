"""What the operator sees of failed attempts: a line for each, folded, and figures with few kinds."""

from structlog.testing import capture_logs

from tests.support.fakes import FakeClock
from tokenbooth.gateway.upstream.failure_log import FailureLog, Told, kind_of_status


def told(upstream: str = "up", model: str = "m", kind: str = "http_404") -> Told:
    """A failed attempt."""
    return Told("upstream_failed", upstream, model, kind)


def test_the_same_is_told_once_and_counted_always() -> None:
    """Other upstreams, models and kinds have lines of their own."""
    log = FailureLog(FakeClock())
    with capture_logs() as lines:
        for one in [told()] * 5 + [told(upstream="b"), told(model="n"), told(kind="timeout")]:
            log.tell(one, {"request_id": "r"})
    assert [(line["upstream"], line["model"], line["kind"]) for line in lines] == [
        ("up", "m", "http_404"),
        ("b", "m", "http_404"),
        ("up", "n", "http_404"),
        ("up", "m", "timeout"),
    ]
    assert log.counts() == {("up", "http_404"): 6, ("b", "http_404"): 1, ("up", "timeout"): 1}


def test_what_was_folded_is_told_later() -> None:
    """With the next failure of any kind after ten seconds, or at the end."""
    clock = FakeClock()
    log = FailureLog(clock)
    with capture_logs() as lines:
        for _ in range(4):
            log.tell(told(), {})
        clock.advance(10)
        log.tell(told(kind="timeout"), {})
        assert len(lines) == 3
        log.tell(told(kind="timeout"), {})
        log.close()
    folded = [(line["kind"], line["times"]) for line in lines if line["event"] == "upstream_failures_folded"]
    assert folded == [("http_404", 3), ("timeout", 1)]


def test_what_was_folded_is_told_without_another_failure() -> None:
    """A job asks; before ten seconds are over, and twice, there is nothing to tell."""
    clock = FakeClock()
    log = FailureLog(clock)
    with capture_logs() as lines:
        for _ in range(4):
            log.tell(told(), {})
        log.tell_folded()
        assert len(lines) == 1
        clock.advance(10)
        log.tell_folded()
        log.tell_folded()
    assert [line.get("times") for line in lines] == [None, 3]


def test_its_memory_is_bounded() -> None:
    """However many models there are."""
    log = FailureLog(FakeClock())
    with capture_logs() as lines:
        for number in range(2_000):
            log.tell(told(model=str(number)), {})
        log.tell(told(model="0"), {})
    assert len(lines) == 2_001


def test_kinds_are_few() -> None:
    """An upstream may answer any number."""
    kinds = {kind_of_status(status) for status in range(1_000)}
    assert len(kinds) < 50
    assert {kind_of_status(404), kind_of_status(418), kind_of_status(999)} == {"http_404", "http_4xx", "http_other"}
