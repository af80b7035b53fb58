"""Streams of chat completions in the spellings of many servers, with what they mean. Only tests import it.

What is generated has one plain meaning: calls whose pieces are mixed are told apart by numbers or ids, and those that
are not come one after the other.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from hypothesis import strategies as st

Json = dict[str, object]
Draw = st.DrawFn

# A delta, and the call that it is a piece of; None for words.
Delta = tuple[int | None, Json]


@dataclass(frozen=True, slots=True)
class MeantCall:
    """A call of a tool.

    Attributes:
        call_id: as the client is to see it; empty where the server tells none.
    """

    name: str
    call_id: str
    arguments: Json


@dataclass(frozen=True, slots=True)
class Meant:
    """What a server means to say.

    Attributes:
        finish: OpenAI's word for why it ended.
        prompt_tokens: cached ones included.
    """

    thought: str
    text: str
    calls: tuple[MeantCall, ...]
    finish: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """A stream of it.

    Attributes:
        pieces: its bytes, cut anywhere.
    """

    meant: Meant
    pieces: tuple[bytes, ...]

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)


THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "parts")
TEXTS: Final = ("content", "parts", "refusal")
# How the pieces of calls are told apart: by a number on each, by an id on each, or by coming one after the other.
Identity = Literal["numbers", "numbers without ids", "ids", "turns", "turns without ids"]
IDENTITIES: Final[tuple[Identity, ...]] = ("numbers", "numbers without ids", "ids", "turns", "turns without ids")
# How a call is told: in pieces, at once, its arguments as an object, its name or id behind the first piece or in each.
SHAPES: Final = ("plain", "whole", "object", "late name", "late id", "repeated")
MIXED: Final = ("numbers", "numbers without ids", "ids")
NAMES: Final = ("look", "go_on", "f", "mcp__files__read")

_words = st.text(st.sampled_from('ab{}[]":,\\\n \x00é中\U0001f600\U0001f680'), max_size=8)
_values: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=5,
)
_inputs: st.SearchStrategy[Json] = st.dictionaries(_words, _values, max_size=3)


@st.composite
def chat_streams(draw: Draw, *, plain: bool = False) -> Spoken:
    """A stream and its meaning.

    Args:
        draw: hypothesis's.
        plain: only in OpenAI's own spelling.
    """
    deltas, meant_calls = draw(_calls(plain=plain))
    thoughts = [] if plain else draw(st.lists(_words, max_size=2))
    texts = draw(st.lists(_words, max_size=3))
    thought_field = draw(st.sampled_from(THOUGHTS))
    text_field = "content" if plain else draw(st.sampled_from(TEXTS))
    said = [(False, words) for words in texts]
    # Models think before they speak, and some once more in between.
    for words in thoughts:
        said.insert(draw(st.integers(0, len(said))), (True, words))
    events: list[Json] = [{"role": "assistant", "content": ""}] if draw(st.booleans()) else []
    places = sorted(draw(st.integers(0, len(deltas))) for _ in said) if draw(st.booleans()) else [0] * len(said)
    for position in range(len(deltas) + 1):
        for place, (is_thought, words) in zip(places, said, strict=True):
            if place == position:
                events += [
                    _thought(thought_field, piece) if is_thought else _text(text_field, piece)
                    for piece in draw(_cut(words, in_characters=not plain))
                ]
        if position < len(deltas):
            events.append(deltas[position])
    finish = draw(st.sampled_from(("stop", "length", "content_filter", *(("tool_calls",) if meant_calls else ()))))
    prompt_tokens, completion_tokens = draw(st.integers(1, 900)), draw(st.integers(1, 900))
    meant = Meant(
        "".join(words for is_thought, words in said if is_thought),
        "".join(words for is_thought, words in said if not is_thought),
        meant_calls,
        finish,
        prompt_tokens,
        draw(st.integers(0, prompt_tokens)),
        completion_tokens,
    )
    body = b"".join(draw(_events(events, meant, plain=plain)))
    cuts = sorted({0, len(body), *draw(st.lists(st.integers(0, len(body)), max_size=6))})
    return Spoken(meant, tuple(body[start:end] for start, end in pairwise(cuts)))


@st.composite
def _events(draw: Draw, deltas: list[Json], meant: Meant, *, plain: bool) -> list[bytes]:
    """The events for some deltas, the end and the usage."""
    going_on = [{"finish_reason": None}] if plain else [{"finish_reason": None}, {"finish_reason": ""}, {}]
    usage = {
        "prompt_tokens": meant.prompt_tokens,
        "completion_tokens": meant.completion_tokens,
        "total_tokens": meant.prompt_tokens + meant.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": meant.cached_tokens},
    }
    has_ascii = draw(st.booleans())
    chunks: list[Json] = [
        {"choices": [{"index": 0, "delta": delta, **draw(st.sampled_from(going_on))}]} for delta in deltas
    ]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": meant.finish}]})
    where = "behind" if plain else draw(st.sampled_from(("behind", "in the last", "in both")))
    if where != "behind":
        chunks[-1]["usage"] = usage
    if where != "in the last":
        chunks.append({"choices": [], "usage": usage})
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events = []
    for chunk in chunks:
        text = json.dumps({**common, **chunk}, ensure_ascii=True)
        whole = json.dumps({**common, **chunk}, ensure_ascii=False)
        # Half a character has no other form than an escape.
        is_whole = not any("\ud800" <= character <= "\udfff" for character in whole)
        events.append(f"data: {whole if is_whole and not has_ascii else text}\n\n".encode())
    return [*events, b"data: [DONE]\n\n"]


def _thought(field: str, words: str) -> Json:
    match field:
        case "reasoning_details":
            return {field: [{"type": "reasoning.text", "text": words}]}
        case "parts":
            return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": words}]}]}
        case _:
            return {field: words, "content": None}


def _text(field: str, words: str) -> Json:
    return {"content": [{"type": "text", "text": words}]} if field == "parts" else {field: words}


@st.composite
def _cut(draw: Draw, text: str, *, in_characters: bool) -> list[str]:
    """Pieces of a text; a cut may go through a character, as it does where a model's tokens are bytes."""
    if not in_characters:
        places = sorted({0, len(text), *draw(st.lists(st.integers(0, len(text)), max_size=3))})
        return [text[start:end] for start, end in pairwise(places)] or [""]
    units = text.encode("utf-16-le", "surrogatepass")
    at = sorted({0, len(units) // 2, *draw(st.lists(st.integers(0, len(units) // 2), max_size=3))})
    return [units[2 * start : 2 * end].decode("utf-16-le", "surrogatepass") for start, end in pairwise(at)] or [""]


@st.composite
def _calls(draw: Draw, *, plain: bool) -> tuple[list[Json], tuple[MeantCall, ...]]:
    """The deltas of some calls, and what they mean."""
    inputs = draw(st.lists(_inputs, max_size=3))
    identity: Identity = "numbers" if plain else draw(st.sampled_from(IDENTITIES))
    numeric = not plain and draw(st.booleans())
    is_mixed = identity in MIXED and draw(st.booleans())
    left: list[list[Json]] = []
    meant: list[MeantCall] = []
    for number, given in enumerate(inputs):
        name = draw(st.sampled_from(NAMES))
        call_id: object = "" if identity.endswith("without ids") else 7_000 + number if numeric else f"call_{number}"
        meant.append(MeantCall(name, str(call_id), given))
        shapes = ["plain"] if plain else [*SHAPES]
        if is_mixed and identity == "ids":
            # Some servers give each piece an id of its own: one that says nothing else is no beginning.
            shapes.remove("late name")
        left.append(
            draw(_pieces(identity, number, name, call_id, given, shape=draw(st.sampled_from(shapes)), plain=plain))
        )
    deltas: list[Json] = []
    if is_mixed:
        # Calls begin in the order of their numbers.
        deltas = [{"tool_calls": [group.pop(0)]} for group in left]
        while any(left):
            deltas.append({"tool_calls": [draw(st.sampled_from([group for group in left if group])).pop(0)]})
    else:
        deltas = [{"tool_calls": [piece]} for group in left for piece in group]
    return deltas, tuple(meant)


@st.composite
def _pieces(
    draw: Draw, identity: Identity, number: int, name: str, call_id: object, given: Json, *, shape: str, plain: bool
) -> list[Json]:
    """The pieces of a call, of which the first names it, or begins to."""
    in_turn = identity.startswith("turns")
    numbered = identity.startswith("numbers")
    index: Json = {"index": number if plain or draw(st.booleans()) else str(number)}
    if not numbered:
        index = draw(st.sampled_from([{"index": 0}, {"index": None}, {}]))
    ident: Json = {} if call_id == "" else {"id": call_id}
    if identity == "turns without ids":
        ident = {"id": ""}
    written = json.dumps(given, ensure_ascii=draw(st.booleans()))
    arguments = [piece for piece in draw(_cut(written, in_characters=not plain)) if piece]
    first: Json = {**index, **ident, "type": "function", "function": {"name": name, "arguments": ""}}
    if shape == "whole" or (in_turn and shape not in ("plain", "object")):
        return [{**first, "function": {"name": name, "arguments": written}}]
    if shape == "object":
        return [{**first, "function": {"name": name, "arguments": given}}]
    every: Json = {**index, **(ident if identity == "ids" or (shape == "repeated" and not in_turn) else {})}
    pieces: list[Json] = [{**every, "function": {"arguments": piece}} for piece in arguments]
    if shape == "late name":
        # An id or a number comes first.
        return [{**index, **ident, "type": "function"}, {**every, "function": {"name": name}}, *pieces]
    if shape == "late id" and identity == "numbers":
        return [{**index, "function": {"name": name}}, {**index, **ident, "function": {"arguments": ""}}, *pieces]
    if shape == "repeated" and identity == "numbers":
        pieces = [{**piece, "function": {"name": name, **_function(piece)}} for piece in pieces]
    return [first, *pieces]


def _function(piece: Json) -> Json:
    held = piece["function"]
    assert isinstance(held, dict)
    return held
