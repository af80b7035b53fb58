"""All rows of the corpus. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus import (
    anthropic,
    azure,
    cohere,
    deepseek,
    gemini,
    glm,
    groq,
    litellm,
    llama_cpp,
    lm_studio,
    minimax,
    mistral,
    moonshot,
    ollama,
    openai,
    openrouter,
    perplexity,
    qwen,
    sglang,
    vllm,
    xai,
)
from tests.support.gateway.corpus.rows import Row

ROWS: Final[tuple[Row, ...]] = (
    *openai.ROWS,
    *azure.ROWS,
    *anthropic.ROWS,
    *deepseek.ROWS,
    *moonshot.ROWS,
    *qwen.ROWS,
    *glm.ROWS,
    *minimax.ROWS,
    *mistral.ROWS,
    *groq.ROWS,
    *xai.ROWS,
    *perplexity.ROWS,
    *cohere.ROWS,
    *gemini.ROWS,
    *openrouter.ROWS,
    *vllm.ROWS,
    *sglang.ROWS,
    *llama_cpp.ROWS,
    *ollama.ROWS,
    *lm_studio.ROWS,
    *litellm.ROWS,
)
