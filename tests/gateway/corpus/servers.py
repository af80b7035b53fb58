"""All rows of the corpus. Only tests import this."""

from typing import Final

from tests.gateway.corpus import anthropic, deepseek, moonshot, openai
from tests.gateway.corpus.rows import Row

ROWS: Final[tuple[Row, ...]] = (
    *openai.ROWS,
    *anthropic.ROWS,
    *deepseek.ROWS,
    *moonshot.ROWS,
)
