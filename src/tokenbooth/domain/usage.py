"""What an answer consumed, in one shape for every provider.

`prompt_tokens` always includes the cached ones and those written to a cache, as OpenAI counts them; Anthropic's
`input_tokens` exclude both, so its reader adds them. Reasoning tokens are part of the completion.

A count of zero, null, an empty text, an empty object, false and the text "null" all say nothing. The names under which
servers tell their counts are listed with their sources in docs/upstreams.md, "What usage is read".
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

MAX_TOKENS: Final = 100_000_000
"""No answer of any model is near this; a count above it is the upstream's mistake, not a bill."""

PROMPT_NAMES: Final = ("prompt_tokens", "input_tokens")
COMPLETION_NAMES: Final = ("completion_tokens", "output_tokens")
TOTAL_NAME: Final = "total_tokens"
PROMPT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details")
COMPLETION_DETAILS: Final = ("completion_tokens_details", "output_tokens_details")
CACHED_NAMES: Final = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens", "cache_read_tokens")
"""In the prompt's details, else beside the prompt."""
CACHE_WRITE_NAMES: Final = ("cache_creation_input_tokens", "cache_write_tokens", "cache_creation_tokens")
"""In the prompt's details, else beside the prompt."""
CACHE_CREATION: Final = "cache_creation"
"""An object that tells the writes by how long they are kept, where no sum of them is told."""
CACHE_CREATION_NAMES: Final = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
REASONING_NAMES: Final = ("reasoning_tokens", "thinking_tokens")
"""In the completion's details, else beside the completion."""

_NOTHING: Final[Mapping[str, object]] = {}
_OBJECTS: Final = frozenset((*PROMPT_DETAILS, *COMPLETION_DETAILS, CACHE_CREATION))
_COUNTS: Final = frozenset(
    (
        *PROMPT_NAMES,
        *COMPLETION_NAMES,
        TOTAL_NAME,
        *CACHED_NAMES,
        *CACHE_WRITE_NAMES,
        *CACHE_CREATION_NAMES,
        *REASONING_NAMES,
    )
)
# An object with these names alone says what it says in OpenAI's way, and is read without looking for other ways.
_ORDINARY: Final = frozenset(
    ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details")
)
_ORDINARY_PROMPT: Final = frozenset(("cached_tokens", "audio_tokens", "text_tokens", "image_tokens"))
_ORDINARY_COMPLETION: Final = frozenset(
    ("reasoning_tokens", "audio_tokens", "text_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens")
)
_MOST_DIGITS: Final = 9


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
        untold_tokens: what the total has beside the parts that were told; in no other count, and never charged as such.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    untold_tokens: int = 0


def from_openai(reported: Mapping[str, object]) -> Usage:
    """Read a `usage` object of the chat completions, completions, embeddings or responses format.

    The parts that are told win over the total. What servers count beside the prompt or the completion instead of in it
    is added to it: the cache or the reasoning where only so it adds up to the total, or where it is larger than what it
    would be a part of. What the total has beyond all parts is told apart, in `untold_tokens`, if a part is absent.

    Source: OpenAI API reference, "The chat completion object" (`usage`) and "The response object" (`usage`); other
    servers by their names in docs/upstreams.md.

    Raises:
        InvalidUsage: the prompt or the completion is missing where it must be, negative, absurd or not an integer, or
            a part is larger than its whole.
    """
    ordinary = _ordinary(reported)
    return _from_any(reported) if ordinary is None else ordinary


def _ordinary(reported: Mapping[str, object]) -> Usage | None:
    """The usage of an object in OpenAI's own form that adds up; None for any other."""
    if not isinstance(reported, dict) or not _has_only(reported, _ORDINARY):
        return None
    prompt, completion = reported.get("prompt_tokens"), reported.get("completion_tokens")
    # Not isinstance, for which true is an integer.
    if type(prompt) is not int or type(completion) is not int:
        return None
    if not (0 < prompt <= MAX_TOKENS and 0 < completion <= MAX_TOKENS):
        return None
    total = reported.get("total_tokens")
    if type(total) is not int or total != prompt + completion:
        return None
    cached: object = 0
    reasoning: object = 0
    details = reported.get("prompt_tokens_details")
    if details is not None:
        if not isinstance(details, dict) or not _has_only(details, _ORDINARY_PROMPT):
            return None
        cached = details.get("cached_tokens", 0)
    details = reported.get("completion_tokens_details")
    if details is not None:
        if not isinstance(details, dict) or not _has_only(details, _ORDINARY_COMPLETION):
            return None
        reasoning = details.get("reasoning_tokens", 0)
    if type(cached) is not int or type(reasoning) is not int:
        return None
    if not (0 <= cached <= prompt and 0 <= reasoning <= completion):
        return None
    # What a named tuple's own constructor does, without its function in Python.
    return tuple.__new__(Usage, (prompt, completion, cached, 0, reasoning, 0))


def _has_only(reported: dict[str, object], names: frozenset[str]) -> bool:
    # A loop, because every answer comes here: the frozenset's own comparison makes a set of the names first.
    for name in reported:  # noqa: SIM110
        if name not in names:
            return False
    return True


def _from_any(reported: Mapping[str, object]) -> Usage:
    prompt = _required(reported, PROMPT_NAMES)
    completion = _required(reported, COMPLETION_NAMES)
    total = _optional(reported, (TOTAL_NAME,))
    if not prompt and not total and all(reported.get(name) is None for name in PROMPT_NAMES):
        raise InvalidUsage(f"{PROMPT_NAMES[0]} is missing")
    details = _details(reported, PROMPT_DETAILS)
    cached = _optional(details, CACHED_NAMES) or _optional(reported, CACHED_NAMES)
    written = _optional(details, CACHE_WRITE_NAMES) or _optional(reported, CACHE_WRITE_NAMES)
    written = written or _by_lifetime(details) or _by_lifetime(reported)
    in_completion = _details(reported, COMPLETION_DETAILS)
    reasoning = _optional(in_completion, REASONING_NAMES) or _optional(reported, REASONING_NAMES)
    tells_reasoning = reasoning > 0 or any(
        where.get(name) is not None for where in (in_completion, reported) for name in REASONING_NAMES
    )
    cache = cached + written
    if cache and prompt and _is_cache_beside(reported, prompt, completion, cache, reasoning, total):
        prompt += cache
    if cache > prompt:
        if prompt:
            raise InvalidUsage("more cached tokens than prompt tokens")
        prompt = cache
    if reasoning and (reasoning > completion or total == prompt + completion + reasoning):
        completion += reasoning
    untold = max(total - prompt - completion, 0)
    if tells_reasoning and prompt and completion:
        untold = 0
    return Usage(prompt, completion, cached, written, reasoning, untold)


def _is_cache_beside(
    reported: Mapping[str, object], prompt: int, completion: int, cache: int, reasoning: int, total: int
) -> bool:
    """Whether the cached tokens stand beside the prompt, as in Anthropic's format, and not in it."""
    whole = prompt + cache + completion
    if cache <= prompt and total in (prompt + completion, prompt + completion + reasoning):
        return False
    if total in (whole, whole + reasoning):
        return True
    # In the prompt's details they are a part of it by their place.
    return cache > prompt and not _optional(_details(reported, PROMPT_DETAILS), (*CACHED_NAMES, *CACHE_WRITE_NAMES))


def from_anthropic(reported: Mapping[str, object]) -> Usage:
    """Read a `usage` object of the Messages format, whose `input_tokens` exclude cache reads and writes.

    Source: Anthropic API reference, "Messages" (`usage`), and "Prompt caching".

    Raises:
        InvalidUsage: a count is negative, absurd or not an integer.
    """
    cached = _count("cache_read_input_tokens", reported.get("cache_read_input_tokens"))
    cache_write = _count("cache_creation_input_tokens", reported.get("cache_creation_input_tokens"))
    if not cache_write and CACHE_CREATION in reported:
        cache_write = _by_lifetime(reported)
    fresh = _count("input_tokens", reported.get("input_tokens"))
    completion = _count("output_tokens", reported.get("output_tokens"))
    details = reported.get("output_tokens_details")
    thinking = _optional(details, REASONING_NAMES) if isinstance(details, dict) else 0
    return Usage(
        prompt_tokens=fresh + cached + cache_write,
        completion_tokens=completion,
        cached_tokens=cached,
        cache_write_tokens=cache_write,
        reasoning_tokens=min(thinking, completion),
    )


def merged(earlier: Mapping[str, object], later: Mapping[str, object]) -> dict[str, object]:
    """What two reports on one answer say together: of each count the last that says something.

    Neither what says nothing nor what cannot be true replaces a count. A total goes with the parts beside which it was
    told, and so does the reasoning in a completion that is told anew and smaller.

    Args:
        earlier: a report, or what this returned for earlier ones.
        later: the report that came after it.
    """
    together = {name: value for name, value in earlier.items() if name in _COUNTS or name in _OBJECTS}
    said = _meaningful(later)
    if any(name in said for name in (*PROMPT_NAMES, *COMPLETION_NAMES)):
        together.pop(TOTAL_NAME, None)
    completion = _optional(said, COMPLETION_NAMES)
    if completion and completion < _optional(together, COMPLETION_NAMES):
        for name in (*COMPLETION_DETAILS, *REASONING_NAMES):
            together.pop(name, None)
    for name, value in said.items():
        known = together.get(name)
        together[name] = {**known, **value} if isinstance(value, dict) and isinstance(known, dict) else value
    return together


def _meaningful(reported: Mapping[str, object]) -> dict[str, object]:
    """Of a report what says something that can be true, as integers."""
    said: dict[str, object] = {}
    for name, value in reported.items():
        if name in _OBJECTS:
            inner = _meaningful(value) if isinstance(value, dict) else None
            if inner:
                said[name] = inner
        elif name in _COUNTS and (count := _optional(reported, (name,))):
            said[name] = count
    return said


def _details(reported: Mapping[str, object], names: tuple[str, ...]) -> Mapping[str, object]:
    for name in names:
        found = reported.get(name)
        if isinstance(found, dict) and found:
            return found
    return _NOTHING


def _by_lifetime(reported: Mapping[str, object]) -> int:
    """Tokens written to a cache, where only their parts are told."""
    told = _details(reported, (CACHE_CREATION,))
    return sum(_optional(told, (name,)) for name in CACHE_CREATION_NAMES) if told else 0


def _required(reported: Mapping[str, object], names: tuple[str, ...]) -> int:
    """The first of these counts that says something; 0 for none.

    Raises:
        InvalidUsage: none does, and one cannot be true.
    """
    wrong: InvalidUsage | None = None
    for name in names:
        try:
            count = _count(name, reported.get(name))
        except InvalidUsage as mistake:
            wrong = mistake
            continue
        if count:
            return count
    if wrong is not None:
        raise wrong
    return 0


def _optional(reported: Mapping[str, object], names: tuple[str, ...]) -> int:
    """The first of these counts that says something that can be true; 0 for none."""
    for name in names:
        value = reported.get(name)
        if value is None:
            continue
        try:
            count = _count(name, value)
        except InvalidUsage:
            continue
        if count:
            return count
    return 0


def _count(name: str, value: object) -> int:
    """A count of tokens; 0 for a value that says nothing.

    Raises:
        InvalidUsage: it is none.
    """
    if value is None or value is False:
        return 0
    if type(value) is int and 0 <= value <= MAX_TOKENS:
        return value
    if isinstance(value, float) and 0 <= value <= MAX_TOKENS and value.is_integer():
        return int(value)
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in ("", "null", "none"):
            return 0
        if len(text) <= _MOST_DIGITS and text.isascii() and text.isdigit():
            return _count(name, int(text))
    if value in ({}, []):
        return 0
    raise InvalidUsage(f"{name} is not a token count")
