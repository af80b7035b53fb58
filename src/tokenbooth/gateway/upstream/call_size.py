"""Whether an upstream refused a call for the call's own size. Such a refusal says nothing of other calls. Pure.

Providers answer 429 (OpenAI, Azure, Anthropic: a single call above the limit of tokens per minute, or a long context
that the plan does not have), 402 (OpenRouter: more output than the credit pays) and 503 or 529 for it, with the same
code and `retry-after` as for a limit that all calls together have reached. What tells them apart is in the words.
"""

import re
from typing import Final, NamedTuple

from tokenbooth.gateway.upstream.base import AnswerHead
from tokenbooth.gateway.upstream.error_bodies import read_error

_MAX_READ: Final = 4_000
# "Limit 30000, Requested 45000" is one call; "Limit 30000, Used 29000, Requested 2000" is all of them.
_REQUESTED: Final = re.compile(r"\blimit\D{0,20}(\d[\d,]*).{0,60}?\brequested\D{0,20}(\d[\d,]*)", re.IGNORECASE)
_LIMIT: Final = re.compile(
    r"\blimit(?:\b[^.]{0,120}?\bof| is|:)? (\d[\d,]*) (input |prompt |output |completion )?tokens\b", re.IGNORECASE
)
_TOO_LARGE: Final = re.compile(
    r"""
      \b(?:request|prompt|input|message|payload|context|conversation|body)s?\b
        [\w\ ,()'"`-]{0,60}\btoo\ (?:large|long|big)\b
    | \brequest_too_large\b | \btoo\ (?:large|long|big)\ (?:a\ )?(?:request|prompt|input|context)\b
    | \bcontext_length_exceeded\b | \b(?:maximum|exceed\w*|over)\ (?:the\ )?(?:model'?s\ )?(?:maximum\ )?context\b
    | \blong[\ -]context\b
    | \bfewer\ (?:max_)?tokens\b | \bcan\ only\ afford\b
    | \b(?:tokens|length|size)\ must\ be\ reduced\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_ADVICE: Final = re.compile(
    r"\b(?:reduce|shorten|decrease|lower)\b[\w '\"`-]{0,40}"
    r"\b(?:length|size|prompt|input|messages?|context|max_\w*tokens)\b",
    re.IGNORECASE,
)
_LATER: Final = re.compile(r"\btry again\b|\blater\b|\bwait\b|\bretry\b", re.IGNORECASE)
_PROMPT_LIMITS: Final = ("anthropic-ratelimit-input-tokens-limit",)
_OUTPUT_LIMITS: Final = ("anthropic-ratelimit-output-tokens-limit",)
_LIMITS: Final = ("x-ratelimit-limit-tokens", "anthropic-ratelimit-tokens-limit")


class CallSize(NamedTuple):
    """About what an upstream counts a call for before it answers, in tokens.

    Attributes:
        prompt_tokens: by its bytes, and the most of its other parts.
        output_tokens: the ceiling that it was sent, for all choices; 0 for none.
    """

    prompt_tokens: int
    output_tokens: int

    @property
    def tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.output_tokens


def is_too_large(size: CallSize, body: bytes, head: AnswerHead | None = None) -> bool:
    """Whether a refusal concerns the call's own size.

    Where the upstream names its limit, the call is compared with that, whatever the words are.

    Args:
        size: the call's.
        body: what the upstream said, as the body of an error or as an event of a stream.
        head: of the answer, whose headers may name the limit; None for an event.
    """
    text = _text(body)
    if (told := _REQUESTED.search(text)) is not None:
        return _number(told[2]) > _number(told[1])
    if (told := _LIMIT.search(text)) is not None:
        return _of_kind(size, told[2] or "") > _number(told[1])
    if head is not None and _is_above_header(size, head):
        return True
    if _TOO_LARGE.search(text) is not None:
        return True
    # "Reduce the prompt or try again later" is what any limit says.
    return _ADVICE.search(text) is not None and _LATER.search(text) is None


def _text(body: bytes) -> str:
    told = read_error(body)
    words = f"{told.message} {told.code} {told.kind}"
    # An event is no JSON, but its words stand in it.
    return (words if words.strip() else body[:_MAX_READ].decode("utf-8", "replace"))[:_MAX_READ]


def _of_kind(size: CallSize, kind: str) -> int:
    match kind.strip().lower():
        case "input" | "prompt":
            return size.prompt_tokens
        case "output" | "completion":
            return size.output_tokens
        case _:
            return size.tokens


def _is_above_header(size: CallSize, head: AnswerHead) -> bool:
    return (
        _is_above(size.tokens, head, _LIMITS)
        or _is_above(size.prompt_tokens, head, _PROMPT_LIMITS)
        or _is_above(size.output_tokens, head, _OUTPUT_LIMITS)
    )


def _is_above(tokens: int, head: AnswerHead, names: tuple[str, ...]) -> bool:
    limits = [head.header(name) for name in names]
    return any(limit is not None and limit.isdecimal() and tokens > int(limit[:12]) > 0 for limit in limits)


def _number(text: str) -> int:
    return int(text.replace(",", "")[:12])
