"""What the model server answers: the same text for the same request, token by token.

Pure functions, no I/O.
"""

from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

import msgspec

from tokenbooth_sandbox.models.chat_request import ChatRequest
from tokenbooth_sandbox.models.tokens import split_tokens

MAX_QUOTE_CHARS = 160

_WRITTEN = "One token after the other is written here and every one of them is counted."
_THOUGHT = "Let me think about what was asked and how to say it well."

TokenKind = Literal["reasoning", "content", "tool_name", "tool_arguments"]
FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer and the part of the message that it belongs to."""

    kind: TokenKind
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice. Every choice of a request is the same."""

    tokens: tuple[Token, ...]
    finish_reason: FinishReason

    def text(self, kind: TokenKind) -> str:
        """All of one part, joined."""
        return "".join(token.text for token in self.tokens if token.kind == kind)

    def count(self, kind: TokenKind) -> int:
        """How many tokens one part has."""
        return sum(token.kind == kind for token in self.tokens)


def compose(request: ChatRequest) -> Answer:
    """The answer to a request: reasoning if it was told to think, then a text or a tool call.

    A stop sequence cuts the text before it, the token ceiling cuts reasoning and text together.
    """
    directives = request.directives
    tokens = [Token("reasoning", text) for text in _words(_THOUGHT, directives.think_tokens)]
    finish_reason: FinishReason = "stop"
    if directives.tool_call:
        arguments = msgspec.json.encode({"query": _quote(request.question)}).decode()
        tokens.append(Token("tool_name", request.tool_name))
        tokens += [Token("tool_arguments", text) for text in split_tokens(arguments)]
        finish_reason = "tool_calls"
    else:
        tokens += [Token("content", text) for text in _content(request)]
    ceiling = request.token_ceiling
    if ceiling is not None and len(tokens) > ceiling:
        return Answer(tuple(tokens[:ceiling]), "length")
    return Answer(tuple(tokens), finish_reason)


def _content(request: ChatRequest) -> list[str]:
    if request.directives.write_tokens is not None:
        pieces = _words(_WRITTEN, request.directives.write_tokens)
    else:
        pieces = split_tokens(_greeting(request.question))
    if not request.stop:
        return pieces
    text = "".join(pieces)
    cuts = [text.find(sequence) for sequence in request.stop if sequence]
    ends = [cut for cut in cuts if cut >= 0]
    return split_tokens(text[: min(ends)]) if ends else pieces


def _greeting(question: str) -> str:
    asked = f'You said: "{_quote(question)}"' if question else "You said nothing yet"
    return (
        f"Hello from the demo model! {asked}. "
        "I answer at once and always the same, so you can watch how every token is counted and paid for."
    )


def _quote(question: str) -> str:
    if len(question) <= MAX_QUOTE_CHARS:
        return question
    return question[: MAX_QUOTE_CHARS - 1].rstrip() + "…"


def _words(sentence: str, count: int) -> list[str]:
    """Exactly `count` tokens: the sentence, repeated as often as it takes."""
    words = islice(cycle(sentence.split(" ")), count)
    return [word if index == 0 else f" {word}" for index, word in enumerate(words)]
