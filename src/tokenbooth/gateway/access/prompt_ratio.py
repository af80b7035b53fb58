"""How many prompt tokens a byte may make, for each account and model: what holds are reckoned with when money is short.

Learned from reported usage. What one account sends changes what that account holds and nobody else: its ratio rises at
once to a prompt that is denser than was assumed, and falls again as ordinary prompts are paid, by their tokens. An
account that is new to a model begins with what three of four others stay below, which no single one decides.

A low ratio must not pay for who taught it. So an account also earns how much may be at risk, in tokens: as many as it
paid for in prompts that were no denser than assumed. The first one that is takes all of it away.
It lives in memory, bounded, and starts anew with the process.
"""

from collections import OrderedDict
from itertools import islice
from typing import Final

_START_BP: Final = 5_000
_MOST_BP: Final = 10_000
# Repeated text makes a token of many bytes; a prompt like that must not teach that the next one is as cheap.
LEAST_BP: Final = 3_125
"""The lowest ratio that a prompt is held at, in basis points."""
_MARGIN_PERCENT: Final = 125
_SMALLEST_SAMPLE_BYTES: Final = 2_000
# A prompt of so many tokens makes all that was known before forgotten, a smaller one its part of it.
_FORGOTTEN_TOKENS: Final = 256 * 1_024
_MOST_PROVEN_TOKENS: Final = 1_000_000
_ACCOUNTS_KEPT: Final = 4_096
_ACCOUNTS_ASKED: Final = 64
_ACCOUNTS_NEEDED: Final = 4
_BELOW_PERCENT: Final = 75


class _Known:
    """What is known of one account's prompts for a model.

    Attributes:
        ratio_bp: the highest ratio, older ones with less weight, in basis points.
        proven_tokens: paid for in prompts that were no denser than was assumed.
    """

    __slots__ = ("proven_tokens", "ratio_bp")

    def __init__(self, ratio_bp: int) -> None:
        self.ratio_bp = ratio_bp
        self.proven_tokens = 0

    @property
    def assumed_bp(self) -> int:
        return max(LEAST_BP, min(self.ratio_bp * _MARGIN_PERCENT // 100, _MOST_BP))


_Accounts = OrderedDict[str, _Known]


class PromptRatios:
    """A high ratio of prompt tokens to bytes for each account and model, with a margin, in basis points.

    Ten thousand basis points are one token a byte. Models are those of the catalog.
    """

    def __init__(self) -> None:
        self._models: dict[str, _Accounts] = {}

    def basis_points(self, account_id: str, model: str) -> int:
        """What to assume for the account's next prompt to the model."""
        accounts = self._models.get(model)
        if accounts is None:
            return _START_BP
        known = accounts.get(account_id)
        return _of_most(accounts) if known is None else known.assumed_bp

    def proven_tokens(self, account_id: str, model: str) -> int:
        """How many tokens of the account's prompts to the model may be at risk at once, for what it paid before."""
        accounts = self._models.get(model)
        known = None if accounts is None else accounts.get(account_id)
        return 0 if known is None else known.proven_tokens

    def learn(
        self,
        account_id: str,
        model: str,
        *,
        text_bytes: int,
        prompt_tokens: int,
        cached_tokens: int = 0,
        parts_tokens: int = 0,
    ) -> None:
        """Take a reported prompt into account; small ones are mostly frame and say little.

        Args:
            account_id, model: whose prompt it was, and for what.
            text_bytes: its text.
            prompt_tokens: all its tokens, as reported.
            cached_tokens: those of them that cost less; they prove nothing.
            parts_tokens: the most that parts without bytes may have brought. With them a prompt shows how dense its
                text is at least, and no more.
        """
        from_text = prompt_tokens - parts_tokens
        if text_bytes < _SMALLEST_SAMPLE_BYTES or from_text <= 0:
            return
        ratio_bp = min(from_text * _MOST_BP // text_bytes, _MOST_BP)
        known = self._of(account_id, model)
        if ratio_bp > known.assumed_bp:
            known.ratio_bp = ratio_bp
            known.proven_tokens = 0
            return
        if parts_tokens:
            return
        if ratio_bp >= known.ratio_bp:
            known.ratio_bp = ratio_bp
        else:
            known.ratio_bp -= (known.ratio_bp - ratio_bp) * min(from_text, _FORGOTTEN_TOKENS) // _FORGOTTEN_TOKENS
        known.proven_tokens = min(known.proven_tokens + prompt_tokens - cached_tokens, _MOST_PROVEN_TOKENS)

    def doubt(self, account_id: str, model: str, text_bytes: int) -> None:
        """A prompt of so many bytes was sent of which nobody reported how dense it was: it used up what was proven."""
        accounts = self._models.get(model)
        known = None if accounts is None else accounts.get(account_id)
        if known is not None:
            known.proven_tokens = max(known.proven_tokens - text_bytes, 0)

    def _of(self, account_id: str, model: str) -> _Known:
        """What is known of an account, to be added to."""
        accounts = self._models.get(model)
        if accounts is None:
            accounts = self._models[model] = OrderedDict()
        known = accounts.get(account_id)
        if known is not None:
            accounts.move_to_end(account_id)
            return known
        known = accounts[account_id] = _Known(_of_most(accounts) * 100 // _MARGIN_PERCENT)
        if len(accounts) > _ACCOUNTS_KEPT:
            accounts.popitem(last=False)
        return known


def _of_most(accounts: _Accounts) -> int:
    """What three of four of the accounts that were heard of last stay below; of a few it says nothing."""
    if len(accounts) < _ACCOUNTS_NEEDED:
        return _START_BP
    assumed = sorted(known.assumed_bp for known in islice(reversed(accounts.values()), _ACCOUNTS_ASKED))
    return assumed[-(-len(assumed) * _BELOW_PERCENT // 100) - 1]
