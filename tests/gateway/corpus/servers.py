"""All rows of the corpus. Only tests import this."""

from typing import Final

from tests.gateway.corpus import anthropic, azure, deepseek, glm, minimax, mistral, moonshot, openai, openrouter
from tests.gateway.corpus.rows import Row

ROWS: Final[tuple[Row, ...]] = (
    *openai.ROWS,
    *azure.ROWS,
    *anthropic.ROWS,
    *deepseek.ROWS,
    *moonshot.ROWS,
    *glm.ROWS,
    *minimax.ROWS,
    *mistral.ROWS,
    *openrouter.ROWS,
)
