"""Work in steps: one in a turn of the event loop, the accounts in turn, one large body of an account at a time."""

import asyncio
from collections.abc import Generator
from itertools import pairwise

import pytest

from tokenbooth.gateway.formats.json.steps import STEP_BYTES, Turns, at_once, takes_long


def steps(name: str, count: int, done: list[str]) -> Generator[None, None, str]:
    for _ in range(count):
        done.append(name)
        yield
    return name


def test_all_at_once() -> None:
    """Steps come to the same, whoever runs them."""
    done: list[str] = []

    assert at_once(steps("a", 3, done)) == "a"
    assert done == ["a"] * 3


@pytest.mark.parametrize(
    ("body", "is_long"),
    [
        (b"{}", False),
        (b"x" * STEP_BYTES, False),
        (b"x" * (STEP_BYTES + 1), True),
        (b"[" + b"{}," * 20_000, True),
        (b"{}" * 1_000 + b"x" * 30_000, False),
        (b"{}" * 1_001 + b"x" * 30_000, True),
    ],
)
def test_what_is_read_in_steps(body: bytes, is_long: bool) -> None:
    """What is large, and what is small but has many objects, each of which is looked at in Python."""
    assert takes_long(body) is is_long


async def test_one_step_in_a_turn_of_the_loop() -> None:
    """Between two steps the loop serves everybody else, however many bodies are read."""
    done: list[str] = []
    seen: list[int] = []
    loop = asyncio.get_running_loop()
    turns = Turns()

    def look() -> None:
        seen.append(len(done))
        if len(done) < 30:
            loop.call_soon(look)

    loop.call_soon(look)
    came_to = await asyncio.gather(*(turns.run(name, steps(name, 10, done)) for name in "abc"))

    assert came_to == ["a", "b", "c"]
    assert all(later - earlier <= 1 for earlier, later in pairwise(seen))


async def test_accounts_take_turns() -> None:
    """An account with many bodies does not keep another one's waiting."""
    done: list[str] = []
    turns = Turns()

    await asyncio.gather(
        *(turns.run("many", steps("many", 5, done)) for _ in range(4)), turns.run("one", steps("one", 5, done))
    )

    assert done.index("one") <= 2
    assert done[:10].count("one") == 5


async def test_an_account_reads_one_large_body_at_a_time() -> None:
    """What is made of bodies would fill the memory; the next one begins when the first is read."""
    done: list[str] = []
    turns = Turns()

    await asyncio.gather(*(turns.run("account", steps(name, 4, done)) for name in "abc"))

    assert "".join(done) == "aaaabbbbcccc"


async def test_who_gave_up_does_not_hold_up_the_others() -> None:
    """A call that was cancelled while it waited leaves its turn to the next one."""
    done: list[str] = []
    turns = Turns()
    first = asyncio.create_task(turns.run("account", steps("a", 50, done)))
    second = asyncio.create_task(turns.run("account", steps("b", 50, done)))
    third = asyncio.create_task(turns.run("account", steps("c", 3, done)))
    await asyncio.sleep(0)
    second.cancel()
    first.cancel()

    assert await third == "c"
    assert "b" not in done


async def test_a_step_that_fails_ends_only_its_own_work() -> None:
    """The exception reaches who asked, and the next one goes on."""
    done: list[str] = []
    turns = Turns()

    def failing() -> Generator[None, None, None]:
        yield
        raise ValueError("no")

    failed, fine = await asyncio.gather(
        turns.run("account", failing()), turns.run("account", steps("a", 2, done)), return_exceptions=True
    )

    assert isinstance(failed, ValueError)
    assert fine == "a"


@pytest.mark.parametrize("count", [0, 1])
async def test_few_steps(count: int) -> None:
    """Nothing to do is done at once."""
    assert await Turns().run("account", steps("a", count, [])) == "a"
