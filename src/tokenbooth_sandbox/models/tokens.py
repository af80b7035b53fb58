"""How the model server counts: what a token is, what a prompt has, what is cached, what is reported.

- One output token is one word with the white space before it.
- A prompt has `ceil(bytes / 4)` tokens, where `bytes` is the UTF-8 length of the text of all messages plus
  that of the JSON of `tools`; plus 4 for every message and 85 for every part that is not text.
- The cached part is counted in blocks of 256 bytes (64 tokens) from the prompt's start, as long as each
  block and all before it were seen with the same model. A shorter prompt is never cached.

It keeps digests of prompts in bounded memory and never their text.
"""

import hashlib
import re
from collections import OrderedDict
from dataclasses import dataclass

import msgspec

from tokenbooth_sandbox.models.chat_request import ChatRequest
from tokenbooth_sandbox.models.directives import ReportedUsage

BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
TOKENS_PER_MEDIA_PART = 85
CACHE_BLOCK_BYTES = 256
# A prompt beyond this is cached in its first MiB only, which bounds the work that one prompt can ask for.
MAX_CACHED_BLOCKS = 4_096

_PIECE = re.compile(r"\s*\S+|\s+$")


def split_tokens(text: str) -> list[str]:
    """The tokens of an answer; joined they are the text again."""
    return _PIECE.findall(text)


def count_prompt_tokens(request: ChatRequest) -> int:
    """The size of a request's prompt in tokens, by the rule in the module's docstring."""
    text_bytes = request.tools_bytes + sum(len(message.text.encode()) for message in request.messages)
    media_parts = sum(message.media_parts for message in request.messages)
    return (
        -(-text_bytes // BYTES_PER_TOKEN)
        + TOKENS_PER_MESSAGE * len(request.messages)
        + TOKENS_PER_MEDIA_PART * media_parts
    )


class PrefixCache:
    """Which beginnings of prompts were seen lately.

    Args:
        max_blocks: how many blocks are remembered; the one unused for longest is forgotten first.
    """

    def __init__(self, max_blocks: int) -> None:
        self._max_blocks = max_blocks
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def look_up_and_remember(self, request: ChatRequest) -> int:
        """The number of the prompt's tokens that were seen before; from now on all of them are."""
        prompt = "".join(f"{message.role}\x1f{message.text}\x1e" for message in request.messages).encode()
        digest = hashlib.blake2b(request.model.encode(), digest_size=16).digest()
        hit_blocks = 0
        unbroken = True
        for number in range(min(len(prompt) // CACHE_BLOCK_BYTES, MAX_CACHED_BLOCKS)):
            block = prompt[number * CACHE_BLOCK_BYTES : (number + 1) * CACHE_BLOCK_BYTES]
            digest = hashlib.blake2b(digest + block, digest_size=16).digest()
            unbroken = unbroken and digest in self._seen
            hit_blocks += unbroken
            self._seen[digest] = None
            self._seen.move_to_end(digest)
        while len(self._seen) > self._max_blocks:
            self._seen.popitem(last=False)
        return min(hit_blocks * CACHE_BLOCK_BYTES // BYTES_PER_TOKEN, count_prompt_tokens(request))


class _PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: int
    audio_tokens: int = 0


class _CompletionDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int
    audio_tokens: int = 0


class UsageObject(msgspec.Struct, frozen=True):
    """The `usage` of an answer, as it goes over the wire."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _PromptDetails
    completion_tokens_details: _CompletionDetails


@dataclass(frozen=True, slots=True)
class Usage:
    """True token counts; the prompt's include the cached ones, the completion's the reasoning ones."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int

    def wire(self, reported: ReportedUsage) -> UsageObject:
        """The usage object, with the numbers that a directive put in place of the true ones."""
        prompt_tokens = _first(reported.prompt_tokens, self.prompt_tokens)
        completion_tokens = _first(reported.completion_tokens, self.completion_tokens)
        return UsageObject(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            prompt_tokens_details=_PromptDetails(_first(reported.cached_tokens, self.cached_tokens)),
            completion_tokens_details=_CompletionDetails(_first(reported.reasoning_tokens, self.reasoning_tokens)),
        )


def _first(reported: int | None, true: int) -> int:
    return true if reported is None else reported
