"""The least rate of a transfer: neither a body that arrives nor an answer that is read may take for ever."""

from math import inf


class MinRate:
    """When a transfer is too slow.

    It may pause for `pause_s`. A second uses one of these up, and bytes give back the time that they take at the least
    rate, never more than was used: a fast beginning pays for no slow end. In all a transfer has `total_s`.

    A least rate with a grace is what Apache's mod_reqtimeout (`MinRate`) and Kestrel (`MinRequestBodyDataRate`,
    `MinResponseDataRate`) ask for. nginx only counts the time between two parts.

    Attributes:
        late_at_s: when it is too slow unless something moves before, on the loop's clock.
    """

    __slots__ = ("_bytes_per_s", "_ends_at_s", "_pause_s", "_total_s", "late_at_s")

    def __init__(self, pause_s: float, bytes_per_s: float, total_s: float) -> None:
        """Nothing moves yet.

        Args:
            pause_s: how long a transfer may pause, and how long it has at least, in seconds.
            bytes_per_s: the least rate.
            total_s: what a transfer may take in all, in seconds.
        """
        self._pause_s = pause_s
        self._bytes_per_s = bytes_per_s
        self._total_s = total_s
        self._ends_at_s = inf
        self.late_at_s = inf

    def begin(self, now_s: float) -> None:
        """A transfer begins."""
        self._ends_at_s = now_s + self._total_s
        self.late_at_s = min(now_s + self._pause_s, self._ends_at_s)

    def moved(self, now_s: float, size: int) -> None:
        """So many bytes have moved since it was asked last."""
        late_at_s = self.late_at_s + size / self._bytes_per_s
        self.late_at_s = min(late_at_s, now_s + self._pause_s, self._ends_at_s)

    def put_off(self, waited_s: float) -> None:
        """For so many seconds the other side did not let anything move; they don't count."""
        self._ends_at_s += waited_s
        self.late_at_s += waited_s

    def begin_again(self, now_s: float, rested_s: float) -> None:
        """The next of several transfers begins, so many seconds after the last one ended.

        What that one used up is made up for by the time in between only, so that a slow client gains nothing by many.
        """
        self._ends_at_s = now_s + self._total_s
        made_up_s = self.late_at_s + 2 * rested_s
        self.late_at_s = min(made_up_s, now_s + self._pause_s, self._ends_at_s)
