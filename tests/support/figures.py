"""A gateway that only has figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from tests.support.fakes import FakeClock
from tokenbooth.domain.upstreams import CeilingHealth, UpstreamHealth
from tokenbooth.gateway.service import Gateway
from tokenbooth.gateway.settlement.charge_replay import ReplayFigures
from tokenbooth.jobs.chain_scan import ScanFigures
from tokenbooth.jobs.reconcile import ReconcileFigures
from tokenbooth.kit.background import Background
from tokenbooth.runtime.metrics import Sources


@dataclass
class GatewayFigures:
    """What a scrape reads of the gateway."""

    open_requests: int = 0
    charges_waiting: int = 0
    charges_refused: int = 0
    key_look_ups: int = 0
    process_is_open: bool = True
    times_database_went_back: int = 0
    replayed: ReplayFigures = field(default_factory=ReplayFigures)
    upstreams: Sequence[UpstreamHealth] = ()
    ceilings: Sequence[CeilingHealth] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def refused_at_bounds(self) -> Mapping[str, int]:
        """By the bound's setting."""
        return self.refused

    def upstream_health(self) -> Sequence[UpstreamHealth]:
        """How upstreams do."""
        return self.upstreams

    def ceiling_health(self) -> Sequence[CeilingHealth]:
        """How they keep their ceilings."""
        return self.ceilings

    def failed_attempts(self) -> Mapping[tuple[str, str], int]:
        """By upstream and kind."""
        return self.failures


def sources_of(gateway: GatewayFigures, data_dir: Path, *, background: Background | None = None) -> Sources:
    """Where a scrape reads, at 100 s after 1970."""
    return Sources(
        gateway=cast("Gateway", gateway),
        background=background or Background(),
        clock=FakeClock(100_000_000),
        data_dir=data_dir,
        refused_at_bounds=gateway.refused_at_bounds,
        reconciled=ReconcileFigures,
        scanned=ScanFigures,
    )
