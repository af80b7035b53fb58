"""The fuzzers' targets, each with its seeds and a short run of mutations; `make fuzz` makes a long one of it."""

import random

import pytest

from fuzz.streams import cuts, pieces
from fuzz.targets import TARGETS
from fuzz.tree import Number, Pairs, parse, write

MUTATIONS = {"calls": 3_000}


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_nothing_is_found_at_once(name: str) -> None:
    """What must hold of bytes from strangers holds of the seeds, and of what is made of them."""
    target, seeds = TARGETS[name], TARGETS[name].seeds()
    rng = random.Random(name)
    for seed in seeds:
        target.check(seed)
    for _ in range(MUTATIONS.get(name, 60)):
        mutated = rng.choice(seeds)
        for _ in range(rng.randint(1, 4)):
            mutated = target.mutate(mutated, rng)
        target.check(mutated)


def test_the_same_bytes_are_cut_the_same() -> None:
    """A finding can be repeated, and nothing is lost in a cut."""
    stream = TARGETS["streams"].seeds()[0]

    assert list(cuts(stream)) == list(cuts(stream))
    assert {b"".join(cut) for cut in cuts(stream)} == {stream}
    assert b"".join(pieces(stream, random.Random(5))) == stream


def test_a_tree_keeps_what_a_decoder_loses() -> None:
    """Names that stand twice, and numbers as they are written."""
    text = b'{"n":1e2,"n":[1.50,{}],"a":null}'

    kept = Pairs([("n", Number("1e2")), ("n", [Number("1.50"), Pairs([])]), ("a", None)])

    assert parse(text) == kept
    assert parse(write(kept, random.Random(5))) == kept
