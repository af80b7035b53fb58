"""How many prompt tokens a byte has made at most, for each model; learned from reported usage."""

from typing import Final

_START_BP: Final = 5_000
_MOST_BP: Final = 10_000
# Repeated text makes a token of many bytes; a prompt like that must not teach that the next one is as cheap.
_LEAST_BP: Final = 3_125
_SAFETY_PERCENT: Final = 125
_SMALLEST_SAMPLE_BYTES: Final = 2_000


class PromptRatios:
    """The highest ratio of prompt tokens to bytes seen for a model, with a margin, in basis points (10,000 = one)."""

    def __init__(self) -> None:
        self._highest_bp: dict[str, int] = {}

    def basis_points(self, model: str) -> int:
        """What to assume for the model's next prompt."""
        highest_bp = self._highest_bp.get(model)
        if highest_bp is None:
            return _START_BP
        return max(_LEAST_BP, min(highest_bp * _SAFETY_PERCENT // 100, _MOST_BP))

    def learn(self, model: str, *, text_bytes: int, prompt_tokens: int) -> None:
        """Take a reported prompt into account; small ones are mostly frame and say little."""
        if text_bytes < _SMALLEST_SAMPLE_BYTES:
            return
        ratio_bp = prompt_tokens * 10_000 // text_bytes
        if ratio_bp > self._highest_bp.get(model, 0):
            self._highest_bp[model] = ratio_bp
