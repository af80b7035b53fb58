"""What the operator sees of failed attempts: one line for each, repeated ones folded, and a count by kind.

An attempt is one call to one upstream; a request that is passed on to another upstream has several. Lines name the
upstream, the model, the kind and status of the failure, and whose call it was; never a prompt or an answer, and of the
upstream's words only a short reason without secrets.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import structlog

from tokenbooth.kit.clock import Clock

FOLD_US: Final = 10 * 1_000_000
"""For so long the same failure is told once; what comes meanwhile is counted, in microseconds."""
_MOST_FOLDED: Final = 512
# Statuses that are told apart in the figures; the others are one kind, so that an upstream cannot add any number.
_STATUSES: Final = frozenset(
    (
        *(301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415, 421, 422, 424, 429, 451),
        *(500, 501, 502, 503, 504, 520, 522, 524, 529),
    )
)
_log = structlog.get_logger(__name__)

FailureEvent = Literal[
    "upstream_failed", "stream_broken", "upstream_timed_out", "late_answer_lost", "upstream_refused_request"
]
"""What a line tells; the last one, of a request that was refused as wrong, is no failure of the upstream."""


def kind_of_status(status: int) -> str:
    """The kind of a failure that an upstream told with a status."""
    if status in _STATUSES:
        return f"http_{status}"
    return f"http_{status // 100}xx" if 100 <= status < 600 else "http_other"


class Told(NamedTuple):
    """What lines have in common that are folded into one."""

    event: FailureEvent
    upstream: str
    model: str
    kind: str


class _Folded:
    """How often the same happened since it was told."""

    __slots__ = ("since_us", "times")

    def __init__(self, since_us: int) -> None:
        self.since_us = since_us
        self.times = 0


class FailureLog:
    """Tells and counts failed attempts of one process. Nothing here does I/O but for log lines."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._recent: OrderedDict[Told, _Folded] = OrderedDict()
        self._counts: dict[tuple[str, str], int] = {}

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Failed attempts since the process began, by upstream and kind."""
        return self._counts

    def tell(self, told: Told, fields: Mapping[str, object], *, counts: bool = True) -> None:
        """Count a failed attempt, and tell it unless the same was told a moment ago.

        Args:
            told: what it is folded by.
            fields: the rest of the line.
            counts: False for a second line about an attempt; a refused request never counts.
        """
        if counts and told.event != "upstream_refused_request":
            name = (told.upstream, told.kind)
            self._counts[name] = self._counts.get(name, 0) + 1
        if not self._is_due(told):
            return
        line = {"upstream": told.upstream, "model": told.model, "kind": told.kind, **fields}
        match told.event:
            case "upstream_failed":
                _log.warning("upstream_failed", **line)
            case "stream_broken":
                _log.warning("stream_broken", **line)
            case "upstream_timed_out":
                _log.warning("upstream_timed_out", **line)
            case "late_answer_lost":
                _log.warning("late_answer_lost", **line)
            case "upstream_refused_request":
                _log.info("upstream_refused_request", **line)

    def tell_folded(self) -> None:
        """Say how often what was told happened again, where that is due; a job runs it, for failures that stopped."""
        self._tell_folded(self._clock.monotonic_us())

    def _is_due(self, told: Told) -> bool:
        now_us = self._clock.monotonic_us()
        self._tell_folded(now_us)
        folded = self._recent.get(told)
        if folded is not None:
            folded.times += 1
            return False
        if len(self._recent) >= _MOST_FOLDED:
            self._tell_oldest()
        self._recent[told] = _Folded(now_us)
        return True

    def _tell_folded(self, now_us: int) -> None:
        """Say how often what was told happened again; the oldest come first."""
        while self._recent and next(iter(self._recent.values())).since_us + FOLD_US <= now_us:
            self._tell_oldest()

    def _tell_oldest(self) -> None:
        told, folded = self._recent.popitem(last=False)
        if folded.times:
            _log.warning(
                "upstream_failures_folded",
                of=told.event,
                upstream=told.upstream,
                model=told.model,
                kind=told.kind,
                times=folded.times,
                note="So often the same happened again since the line that told it.",
            )

    def close(self) -> None:
        """Tell what was folded and not told yet; for the end of the process."""
        while self._recent:
            self._tell_oldest()
