"""What a check of `tokenbooth doctor` found, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check; `advice` says what to do, empty when nothing is."""

    check: str
    level: Level
    found: str
    advice: str = ""
