"""What the model server remembers of the requests that it got, if a test asked it to.

Nothing is recorded otherwise, and never more than the newest few.
"""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["running", "answered", "interrupted", "client_gone"]


@dataclass(slots=True)
class RecordedRequest:
    """One request as it arrived, and what became of it.

    The last two fields change while it is answered: a test waits for them to see that a client's hanging up
    has reached the model.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    outcome: Outcome = "running"
    tokens_sent: int = 0

    def header(self, name: str) -> str | None:
        """The first value of a header, by its name in any letter case; None if it was not sent."""
        wanted = name.lower()
        return next((value for known, value in self.headers if known == wanted), None)
