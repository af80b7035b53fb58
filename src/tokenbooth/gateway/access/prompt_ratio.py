"""How many prompt tokens a byte may make, for each model: what holds are reckoned with. Learned from reported usage."""

from typing import Final

_START_BP: Final = 5_000
_MOST_BP: Final = 10_000
# Repeated text makes a token of many bytes; a prompt like that must not teach that the next one is as cheap.
_LEAST_BP: Final = 3_125
_SAFETY_PERCENT: Final = 125
_SMALLEST_SAMPLE_BYTES: Final = 2_000
_STEP_BP: Final = 50
_ABOVE_ONE_IN: Final = 100
_MOST_SAMPLES: Final = 20_000


class _Ratios:
    """A histogram of ratios with a mark at its 99th percentile, which moves with each sample.

    Attributes:
        mark: the lowest step that at most one in a hundred samples is above.
    """

    __slots__ = ("_above", "_counts", "_total", "mark")

    def __init__(self) -> None:
        self._counts = [0] * (_MOST_BP // _STEP_BP + 1)
        self._total = 0
        self._above = 0
        self.mark = 0

    def add(self, ratio_bp: int) -> None:
        """Take a sample, in basis points; from so many on the older ones lose weight."""
        step = min(-(-ratio_bp // _STEP_BP), len(self._counts) - 1)
        self._counts[step] += 1
        self._total += 1
        if step > self.mark:
            self._above += 1
        if self._total >= _MOST_SAMPLES:
            self._halve()
        self._move()

    def _halve(self) -> None:
        self._counts = [count // 2 for count in self._counts]
        self._total = sum(self._counts)
        self._above = sum(self._counts[self.mark + 1 :])

    def _move(self) -> None:
        while self._above * _ABOVE_ONE_IN > self._total:
            self.mark += 1
            self._above -= self._counts[self.mark]
        while self.mark and (self._above + self._counts[self.mark]) * _ABOVE_ONE_IN <= self._total:
            self._above += self._counts[self.mark]
            self.mark -= 1


class PromptRatios:
    """A high quantile of the ratio of prompt tokens to bytes for each model, with a margin, in basis points.

    Ten thousand basis points are one token a byte. Of fewer than a hundred prompts it is the highest ratio.
    """

    def __init__(self) -> None:
        self._models: dict[str, _Ratios] = {}

    def basis_points(self, model: str) -> int:
        """What to assume for the model's next prompt."""
        ratios = self._models.get(model)
        if ratios is None:
            return _START_BP
        return max(_LEAST_BP, min(ratios.mark * _STEP_BP * _SAFETY_PERCENT // 100, _MOST_BP))

    def learn(self, model: str, *, text_bytes: int, prompt_tokens: int) -> None:
        """Take a reported prompt into account; small ones are mostly frame and say little."""
        if text_bytes < _SMALLEST_SAMPLE_BYTES or not prompt_tokens:
            return
        ratios = self._models.get(model)
        if ratios is None:
            ratios = self._models[model] = _Ratios()
        ratios.add(prompt_tokens * 10_000 // text_bytes)
