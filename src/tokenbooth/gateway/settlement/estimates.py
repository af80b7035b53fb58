"""What the calls of a model consumed so far, for those whose usage nobody tells: what an estimate charges.

Learned from complete reports alone, never from estimates or from calls that were cut. A customer who teaches it with
many cheap calls gains little for a dear one: ratios are means by bytes, bounded, and never below half of everybody's;
in figures over all accounts each account counts once, or with its latest answers, however much it calls, and answers of
few tokens don't push out those of many.
Learning costs the same whatever was learned before. It lives in memory, bounded, and starts anew with the process.
"""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import Final

_ONE_BP: Final = 10_000
_LEAST_BP: Final = 1_250
_START_BP: Final = 2_500
# What a model's mean begins with, as so many accounts of the usual ratio: the first ones don't decide alone.
_START_ACCOUNTS: Final = 4
_ENOUGH_BYTES: Final = 2_000
_MOST_BYTES: Final = 8 * 1024 * 1024
_ACCOUNTS_KEPT: Final = 4_096
_ACCOUNTS_ASKED: Final = 64
_LATEST: Final = 16
_QUANTILE_PERCENT: Final = 90
_TEXTS_ONE_IN: Final = 32
# Of small calls, which are most, every eighth one teaches as much as all of them; of dear ones each counts.
_SMALL_ONE_IN: Final = 8
_SMALL_ANSWER_TOKENS: Final = 1_000


class _Mean:
    """Tokens to bytes, later ones with more weight; `bp` is None until there is enough of it."""

    __slots__ = ("_bytes", "_tokens", "bp")

    def __init__(self) -> None:
        self._tokens = 0
        self._bytes = 0
        self.bp: int | None = None

    def add(self, tokens: int, size_bytes: int) -> None:
        self._tokens += tokens
        self._bytes += size_bytes
        if self._bytes > _MOST_BYTES:
            self._tokens //= 2
            self._bytes //= 2
        if self._bytes >= _ENOUGH_BYTES:
            self.bp = min(self._tokens * _ONE_BP // self._bytes, _ONE_BP)


class _Latest:
    """The latest numbers of a series, of which small ones don't push out large ones.

    A number takes the place of the oldest as often as it holds the mean of those that are kept: many answers of few
    tokens count for no more than the tokens that they cost.
    """

    __slots__ = ("_next", "_saved", "_sum", "numbers")

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._next = 0
        self._sum = 0
        self._saved = 0

    def add(self, number: int) -> None:
        if len(self.numbers) < _LATEST:
            self.numbers.append(number)
            self._sum += number
            return
        self._saved += number * _LATEST
        if self._saved < self._sum:
            return
        self._saved = min(self._saved - self._sum, self._sum)
        self._sum += number - self.numbers[self._next]
        self.numbers[self._next] = number
        self._next = (self._next + 1) % _LATEST


class _AccountFigures:
    """What one account's calls of a model consumed."""

    __slots__ = ("answers", "prompts", "texts", "thinking")

    def __init__(self) -> None:
        self.prompts = _Mean()
        self.texts = _Mean()
        self.answers: dict[str, _Latest] = {}
        self.thinking: dict[str, _Latest] = {}

    def is_enough(self, effort: str, text_bytes: int, answer_tokens: int) -> bool:
        """Whether a call is so small, and so much is known of such ones, that it need not be learned from."""
        if text_bytes >= _ENOUGH_BYTES or answer_tokens >= _SMALL_ANSWER_TOKENS:
            return False
        answers = self.answers.get(effort)
        return answers is not None and len(answers.numbers) == _LATEST and self.prompts.bp is not None


class _Everybody:
    """The mean of the accounts' means, each counted once."""

    __slots__ = ("_accounts", "_sum_bp")

    def __init__(self) -> None:
        self._accounts = _START_ACCOUNTS
        self._sum_bp = _START_ACCOUNTS * _START_BP

    def replace(self, before_bp: int | None, after_bp: int | None) -> None:
        """An account's mean has changed; None is none."""
        self._accounts += (after_bp is not None) - (before_bp is not None)
        self._sum_bp += (after_bp or 0) - (before_bp or 0)

    @property
    def bp(self) -> int:
        return self._sum_bp // self._accounts

    def bounded(self, own_bp: int | None) -> int:
        """The ratio to estimate with, for an account whose own mean is this."""
        mean_bp = self.bp
        return max(mean_bp if own_bp is None else own_bp, mean_bp // 2, _LEAST_BP)


class _ModelFigures:
    """What all accounts' calls of a model consumed; the accounts that were heard of last come last."""

    __slots__ = ("accounts", "prompts", "reasons", "texts")

    def __init__(self) -> None:
        self.accounts: OrderedDict[str, _AccountFigures] = OrderedDict()
        self.prompts = _Everybody()
        self.texts = _Everybody()
        self.reasons = False

    def of(self, account_id: str) -> _AccountFigures:
        """An account's figures, to be added to."""
        figures = self.accounts.get(account_id)
        if figures is not None:
            self.accounts.move_to_end(account_id)
            return figures
        figures = self.accounts[account_id] = _AccountFigures()
        if len(self.accounts) > _ACCOUNTS_KEPT:
            _, oldest = self.accounts.popitem(last=False)
            self.prompts.replace(oldest.prompts.bp, None)
            self.texts.replace(oldest.texts.bp, None)
        return figures


class Estimates:
    """What to assume of calls whose usage is not known. Models are those of the catalogue."""

    def __init__(self) -> None:
        self._models: dict[str, _ModelFigures] = {}
        self._calls = 0

    def is_texts_turn(self) -> bool:
        """Whether the text of this answer should be counted to learn from it: counting all of them would cost much."""
        self._calls = (self._calls + 1) % _TEXTS_ONE_IN
        return self._calls == 0

    def learn(
        self, account_id: str, model: str, effort: str, *, text_bytes: int, prompt_tokens: int, answer_tokens: int
    ) -> None:
        """Take a complete report into account.

        Args:
            account_id: whose call it was.
            model: the model.
            effort: how hard it was asked to think.
            text_bytes: the prompt; 0 when there were other parts, which bring tokens without bytes.
            prompt_tokens: what was reported of it.
            answer_tokens: the output of one choice.
        """
        known = self._models.get(model)
        if known is None:
            known = self._models[model] = _ModelFigures()
        learned = known.accounts.get(account_id)
        if learned is not None and learned.is_enough(effort, text_bytes, answer_tokens) and self._calls % _SMALL_ONE_IN:
            return
        figures = known.of(account_id)
        if text_bytes and prompt_tokens:
            mean = figures.prompts
            before_bp = mean.bp
            mean.add(prompt_tokens, text_bytes)
            if mean.bp != before_bp:
                known.prompts.replace(before_bp, mean.bp)
        answers = figures.answers.get(effort)
        if answers is None:
            answers = figures.answers[effort] = _Latest()
        answers.add(answer_tokens)

    def learn_text(self, account_id: str, model: str, *, text_bytes: int, tokens: int) -> None:
        """Take the text of an answer into account, all of whose tokens could be seen."""
        known = self._models.setdefault(model, _ModelFigures())
        mean = known.of(account_id).texts
        before_bp = mean.bp
        mean.add(tokens, text_bytes)
        known.texts.replace(before_bp, mean.bp)

    def learn_thinking(self, account_id: str, model: str, effort: str, tokens: int) -> None:
        """Take the output of one choice into account that could not be seen."""
        known = self._models.setdefault(model, _ModelFigures())
        known.reasons = known.reasons or tokens > 0
        known.of(account_id).thinking.setdefault(effort, _Latest()).add(tokens)

    def reasons(self, model: str) -> bool:
        """Whether some answer of the model had output that could not be seen."""
        known = self._models.get(model)
        return known is not None and known.reasons

    def prompt_tokens(self, account_id: str, model: str, text_bytes: int) -> int:
        """The tokens of a prompt, by the account's own mean for the model within its bounds."""
        known = self._models.get(model) or _NOTHING
        figures = known.accounts.get(account_id)
        return _tokens(text_bytes, known.prompts.bounded(None if figures is None else figures.prompts.bp))

    def text_tokens(self, account_id: str, model: str, text_bytes: int) -> int:
        """The tokens of an answer's text, in the same way."""
        known = self._models.get(model) or _NOTHING
        figures = known.accounts.get(account_id)
        return _tokens(text_bytes, known.texts.bounded(None if figures is None else figures.texts.bp))

    def thinking_tokens(self, model: str, effort: str) -> int | None:
        """The 90th percentile of what one choice thought unseen, over all accounts; None when nothing was learned.

        Where nothing was learned of this effort, every other one counts.
        """
        known = self._models.get(model) or _NOTHING
        accounts = known.accounts.values()
        at_effort = _quantile(figures.thinking.get(effort) for figures in reversed(accounts))
        if at_effort is not None:
            return at_effort
        return _quantile(latest for figures in reversed(accounts) for latest in figures.thinking.values())

    def answer_tokens(self, model: str, effort: str) -> int | None:
        """The 90th percentile of one choice's whole output, over all accounts; None when nothing was learned."""
        known = self._models.get(model) or _NOTHING
        return _quantile(figures.answers.get(effort) for figures in reversed(known.accounts.values()))


_NOTHING: Final = _ModelFigures()


def _tokens(text_bytes: int, ratio_bp: int) -> int:
    return -(-text_bytes * ratio_bp // _ONE_BP)


def _quantile(series: Iterable[_Latest | None]) -> int | None:
    asked = islice((latest.numbers for latest in series if latest is not None), _ACCOUNTS_ASKED)
    numbers = sorted(number for latest in asked for number in latest)
    if not numbers:
        return None
    return numbers[-(-len(numbers) * _QUANTILE_PERCENT // 100) - 1]
