"""A charge between the charge log and the store."""

from dataclasses import dataclass

from tokenbooth.domain.allowance import Allowance
from tokenbooth.domain.charges import Charge
from tokenbooth.gateway.access.cache import Pin
from tokenbooth.gateway.settlement.charge_log import Segment


@dataclass(init=False, slots=True)
class QueuedCharge:
    """A charge that the store does not know yet, with what memory counted it on.

    Attributes:
        pin: keeps the account that is charged in memory.
        allowances: what it was charged to.
        segment: where its charge is in the log, if it is.
    """

    charge: Charge
    pin: Pin
    allowances: tuple[Allowance, ...]
    segment: Segment | None

    def __init__(self, charge: Charge, pin: Pin, allowances: tuple[Allowance, ...], segment: Segment | None) -> None:
        self.charge = charge
        self.pin = pin
        self.allowances = allowances
        self.segment = segment
