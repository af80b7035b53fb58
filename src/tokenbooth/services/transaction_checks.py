"""How often customers may have the chain's node asked, and what it said that stays so.

A node is paid by the question, and a check of a transaction is several. So an account has a rate of its own for checks,
all accounts together have one, and a transaction that is settled and brings an account nothing is not checked for it
again soon. Deposits are found by the scan, whatever is refused here. Counted per process.
"""

from collections import OrderedDict
from typing import Final

from tokenbooth.domain.deposits import Refusal
from tokenbooth.domain.rates import RequestRate
from tokenbooth.kit.errors import RateLimited
from tokenbooth.kit.keyed_rates import KeyedRates

CHECKS_PER_MINUTE: Final = 120
ALL_CHECKS_PER_MINUTE: Final = 300
REMEMBERED_US: Final = 600 * 1_000_000
_MAX_REMEMBERED: Final = 10_000


class TransactionChecks:
    """The rates of checks against the chain, and the refusals that are remembered."""

    __slots__ = ("_accounts", "_all", "_refused")

    def __init__(self) -> None:
        self._accounts = KeyedRates()
        self._all = RequestRate(ALL_CHECKS_PER_MINUTE)
        self._refused: OrderedDict[tuple[str, str], tuple[Refusal, int]] = OrderedDict()

    def admit(self, account_id: str, *, now_us: int) -> bool:
        """Count a check for an account; False when the node is asked too much by all together, and nothing is counted.

        Args:
            account_id: who asks.
            now_us: monotonic microseconds.

        Raises:
            RateLimited: the account has used its minute up.
        """
        if self._all.wait_us(now_us):
            return False
        wait_s = self._accounts.admit(account_id, limit=CHECKS_PER_MINUTE, now_us=now_us)
        if wait_s:
            raise RateLimited(
                "rate_limit_exceeded",
                f"An account may have {CHECKS_PER_MINUTE} transactions looked up per minute. Wait and try again; a "
                "deposit that arrives is credited by itself.",
                retry_after_s=wait_s,
            )
        self._all.admit(now_us)
        return True

    def refusal(self, account_id: str, tx_hash: str, *, now_us: int) -> Refusal | None:
        """Why a transaction brings an account nothing, as it was found a little while ago; None when it was not."""
        found = self._refused.get((account_id, tx_hash))
        return None if found is None or now_us >= found[1] + REMEMBERED_US else found[0]

    def remember(self, account_id: str, tx_hash: str, reason: Refusal, *, now_us: int) -> None:
        """Keep why a settled transaction brings an account nothing; `now_us` as in `admit`."""
        self._refused[account_id, tx_hash] = (reason, now_us)
        self._refused.move_to_end((account_id, tx_hash))
        if len(self._refused) > _MAX_REMEMBERED:
            self._refused.popitem(last=False)
