"""What an answer consumed, in one shape for every provider.

`prompt_tokens` always includes the cached ones and those written to a cache, as OpenAI counts them; Anthropic's
`input_tokens` exclude both, so its reader adds them. Reasoning tokens are part of the completion.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

MAX_TOKENS: Final = 100_000_000
"""No answer of any model is near this; a count above it is the upstream's mistake, not a bill."""


_NOTHING: Final[Mapping[str, object]] = {}


class InvalidUsage(ValueError):
    """The upstream reported counts that cannot be true: negative, absurd, or not integers."""


class Usage(NamedTuple):
    """Token counts of one answer; a tuple, because one is made for every request.

    Attributes:
        prompt_tokens: all input tokens, cached and cache-written ones included.
        cached_tokens: input tokens read from the provider's cache.
        cache_write_tokens: input tokens written to the provider's cache.
        completion_tokens: all output tokens, reasoning included.
        reasoning_tokens: the part of the completion that was reasoning.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


def from_openai(reported: Mapping[str, object]) -> Usage:
    """Read a `usage` object of the chat completions, completions, embeddings or responses format.

    Source: OpenAI API reference, "The chat completion object" (`usage`) and "The response object" (`usage`);
    DeepSeek reports its cache hits as `prompt_cache_hit_tokens` beside it.

    Raises:
        InvalidUsage: a count is missing where it must be, negative, absurd or not an integer.
    """
    prompt = _count(reported, "prompt_tokens", "input_tokens")
    completion = _count(reported, "completion_tokens", "output_tokens", default=0)
    # Thinking that some servers leave out of the completion shows in the total only.
    completion = max(completion, _count(reported, "total_tokens", default=0) - prompt)
    cached, cache_write = _openai_cache(reported)
    if cached + cache_write > prompt:
        raise InvalidUsage("more cached tokens than prompt tokens")
    details = _details(reported, "completion_tokens_details", "output_tokens_details")
    # Some servers count reasoning beside the completion; what we price is the completion that they report.
    reasoning = min(_count(details, "reasoning_tokens", default=0), completion) if details else 0
    return Usage(prompt, completion, cached, cache_write, reasoning)


def _openai_cache(reported: Mapping[str, object]) -> tuple[int, int]:
    """The tokens that were read from the provider's cache, and those that were written to it."""
    details = _details(reported, "prompt_tokens_details", "input_tokens_details")
    if not details:
        return _count(reported, "prompt_cache_hit_tokens", default=0), 0
    cached = _count(details, "cached_tokens", default=-1)
    if cached < 0:
        cached = _count(reported, "prompt_cache_hit_tokens", default=0)
    return cached, _count(details, "cache_write_tokens", "cache_creation_tokens", default=0)


def from_anthropic(reported: Mapping[str, object]) -> Usage:
    """Read a `usage` object of the Messages format, whose `input_tokens` exclude cache reads and writes.

    Source: Anthropic API reference, "Messages" (`usage`), and "Prompt caching".

    Raises:
        InvalidUsage: a count is negative, absurd or not an integer.
    """
    cached = _count(reported, "cache_read_input_tokens", default=0)
    cache_write = _count(reported, "cache_creation_input_tokens", default=0)
    fresh = _count(reported, "input_tokens", default=0)
    completion = _count(reported, "output_tokens", default=0)
    thinking = _count(_details(reported, "output_tokens_details"), "thinking_tokens", default=0)
    return Usage(
        prompt_tokens=fresh + cached + cache_write,
        completion_tokens=completion,
        cached_tokens=cached,
        cache_write_tokens=cache_write,
        reasoning_tokens=min(thinking, completion),
    )


def _details(reported: Mapping[str, object], *names: str) -> Mapping[str, object]:
    for name in names:
        found = reported.get(name)
        if isinstance(found, dict):
            return found
    return _NOTHING


def _count(reported: Mapping[str, object], *names: str, default: int | None = None) -> int:
    for name in names:
        value = reported.get(name)
        if value is None:
            continue
        # Not isinstance, for which true is an integer.
        if type(value) is int and 0 <= value <= MAX_TOKENS:
            return value
        raise InvalidUsage(f"{name} is not a token count")
    if default is None:
        raise InvalidUsage(f"{names[0]} is missing")
    return default
