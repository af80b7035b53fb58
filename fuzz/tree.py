"""JSON as a tree that keeps what a decoder would lose: names that stand twice, their order, numbers as written.

Mutations are made on it, so that most of what they make is still JSON, and gets past the first check of any reader.
"""

import json
import random
from dataclasses import dataclass
from typing import Final, TypeAlias

from fuzz.words import MORE_NAMES, MORE_WORDS, NAMES, WORDS

_NUMBERS: Final = (
    *("0", "1", "2", "-1", "5", "128", "129", "1000", "100000000", "100000001", "2147483647", "2147483648"),
    *("9223372036854775808", "1" + "0" * 40, "9" * 4_400, "1.5", "1e2", "1e15", "1e400", "-0", "0.0"),
)
_ALL_NAMES: Final = (*NAMES, *MORE_NAMES)
_ALL_WORDS: Final = (*WORDS, *MORE_WORDS)
_MAX_NODES: Final = 2_000


@dataclass(slots=True)
class Pairs:
    """An object: its names and values in their order, equal names included."""

    items: list[tuple[str, "Tree"]]


class Number(str):
    """A number as it is written."""

    __slots__ = ()


Tree: TypeAlias = "Pairs | list[Tree] | Number | str | bool | None"


def parse(text: bytes) -> Tree:
    """Read JSON.

    Raises:
        ValueError: it is none.
        RecursionError: it is too deep.
    """
    tree: Tree = json.loads(text.decode(), object_pairs_hook=Pairs, parse_int=Number, parse_float=Number)
    return tree


def write(tree: Tree, rng: random.Random) -> bytes:
    """Write JSON, a letter of a name or a word escaped here and there, and a space."""
    return _text(tree, rng).encode("utf-8", "replace")


def mutated(tree: Tree, rng: random.Random) -> Tree:
    """The tree with something changed in it."""
    nodes = _nodes(tree)
    inner = [node for node in nodes if isinstance(node, (Pairs, list))]
    if not inner:
        return value(rng)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        node = rng.choice(inner)
        if isinstance(node, Pairs):
            _change_object(node.items, nodes, rng)
        else:
            _change_list(node, nodes, rng)
    return tree


def value(rng: random.Random, depth: int = 0) -> Tree:
    """Any value."""
    kind = rng.randrange(9 if depth < 3 else 6)
    match kind:
        case 0:
            return rng.choice((None, True, False))
        case 1 | 2:
            return Number(rng.choice(_NUMBERS))
        case 3 | 4:
            return rng.choice(_ALL_WORDS)
        case 5:
            return "".join(rng.choices('ab"\\\n\r:{}[],ü€\U0001f600 ', k=rng.randrange(12)))
        case 6:
            return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
        case _:
            return Pairs([(rng.choice(_ALL_NAMES), value(rng, depth + 1)) for _ in range(rng.randrange(5))])


def _change_object(items: list[tuple[str, Tree]], nodes: list[Tree], rng: random.Random) -> None:
    at = rng.randrange(len(items) + 1)
    if at == len(items) or rng.randrange(5) == 0:
        items.insert(at, (rng.choice(_ALL_NAMES), _some(nodes, rng)))
        return
    name, old = items[at]
    match rng.randrange(5):
        case 0:
            items[at] = (name, _some(nodes, rng))
        case 1:
            # The same name again, with another value.
            items.insert(rng.randrange(len(items) + 1), (name, _some(nodes, rng)))
        case 2:
            items[at] = (rng.choice((name.upper(), name.title(), rng.choice(_ALL_NAMES))), old)
        case 3:
            items[at] = (name, [old])
        case _:
            del items[at]


def _change_list(node: "list[Tree]", nodes: list[Tree], rng: random.Random) -> None:
    at = rng.randrange(len(node) + 1)
    if at == len(node) or rng.randrange(3) == 0:
        node.insert(at, _some(nodes, rng))
    elif rng.randrange(2):
        node[at] = _some(nodes, rng)
    else:
        del node[at]


def _some(nodes: list[Tree], rng: random.Random) -> Tree:
    """A value, made up or taken from elsewhere in the tree; copied, or the tree could become endless."""
    if rng.randrange(3) or len(nodes) > _MAX_NODES:
        return value(rng)
    return _copy(rng.choice(nodes))


def _copy(tree: Tree) -> Tree:
    if isinstance(tree, Pairs):
        return Pairs([(name, _copy(inner)) for name, inner in tree.items])
    if isinstance(tree, list):
        return [_copy(inner) for inner in tree]
    return tree


def _nodes(tree: Tree) -> list[Tree]:
    found: list[Tree] = [tree]
    for node in found:
        if isinstance(node, Pairs):
            found += [inner for _, inner in node.items]
        elif isinstance(node, list):
            found += node
    return found


def _text(tree: Tree, rng: random.Random) -> str:
    space = " " if rng.randrange(20) == 0 else ""
    match tree:
        case Pairs(items):
            inside = ",".join(f"{_quoted(name, rng)}:{space}{_text(inner, rng)}" for name, inner in items)
            return f"{{{inside}}}"
        case list():
            inside = f",{space}".join(_text(inner, rng) for inner in tree)
            return f"[{inside}]"
        case Number():
            return str(tree)
        case str():
            return _quoted(tree, rng)
        case _:
            return json.dumps(tree)


def _quoted(text: str, rng: random.Random) -> str:
    quoted = json.dumps(text, ensure_ascii=rng.randrange(2) == 0)
    if text.isascii() and text.isalnum() and rng.randrange(30) == 0:
        at = rng.randrange(len(text))
        return f'"{text[:at]}\\u{ord(text[at]):04x}{text[at + 1 :]}"'
    return quoted
