"""Calls that begin one after the other while the store is behind: whose turn it is."""

import asyncio

from tokenbooth.gateway.settlement.pacing import BETWEEN_CALLS_S, MOST_WAITING, Pacing
from tokenbooth.kit.places import Caller

A, B = Caller("a", has_money=True), Caller("b", has_money=True)


class Line:
    """Calls in line, and the order in which they began."""

    def __init__(self) -> None:
        self.pacing = Pacing()
        self.began: list[str] = []
        self.waiting: list[asyncio.Task[bool]] = []

    async def add(self, *callers: Caller, is_wanted: bool = True) -> None:
        """Calls of these stand in line, in this order, before the first of them begins."""
        self.waiting += [asyncio.create_task(self._wait(caller, is_wanted)) for caller in callers]
        # Each has run until it waits, or is refused.
        await asyncio.sleep(0)

    async def _wait(self, caller: Caller, is_wanted: bool) -> bool:
        has_begun = await self.pacing.wait(caller, lambda: is_wanted)
        if has_begun:
            self.began.append(caller.account)
        return has_begun

    async def outcomes(self) -> list[bool]:
        """Which of the calls began, when all have ended."""
        return await asyncio.gather(*self.waiting)


async def test_the_turns_of_a_second_are_shared() -> None:
    """A thousand calls of one account leave a quarter of the second, and another account's first call begins next."""
    line = Line()
    await line.add(*[A] * MOST_WAITING, B)
    outcomes = await line.outcomes()

    assert outcomes[:-1].count(True) == MOST_WAITING * 3 // 4
    assert outcomes[-1]
    assert line.began.index("b") <= 1


async def test_accounts_take_turns() -> None:
    """Who has many calls in line does not go before who has few."""
    line = Line()
    await line.add(*[A] * 5, *[B] * 3)
    await line.outcomes()

    assert line.began == ["a", "b", "a", "b", "a", "b", "a", "a"]


async def test_accounts_without_money_are_as_one() -> None:
    """A hundred of them have the turns of one account, and a sixteenth of the line."""
    line = Line()
    await line.add(*(Caller(f"free{number}", has_money=False) for number in range(100)), A, A, A)
    outcomes = await line.outcomes()

    assert outcomes[:100].count(True) == MOST_WAITING // 16
    assert [index for index, account in enumerate(line.began) if account == "a"] == [1, 3, 5]


async def test_who_has_gone_takes_nobodys_turn() -> None:
    """A turn that nobody needs any more takes no time, and a call that was cancelled is passed over."""
    line = Line()
    await line.add(*[A] * 400, is_wanted=False)
    for task in line.waiting[200:]:
        task.cancel()
    line.pacing._next_at_s = asyncio.get_running_loop().time()
    line.pacing._let_go()

    assert not line.pacing._turns
    await asyncio.gather(*line.waiting, return_exceptions=True)
    assert line.began == ["a"] * 200


async def test_calls_begin_apart() -> None:
    """Twenty calls take twenty milliseconds at least, also when the line was empty in between."""
    line = Line()
    loop = asyncio.get_running_loop()
    began_at_s = loop.time()
    for _ in range(2):
        await line.add(*[A] * 10)
        await line.outcomes()

    assert loop.time() - began_at_s >= 20 * BETWEEN_CALLS_S - loop_tick_s()


def loop_tick_s() -> float:
    """How early a timer may fire: the resolution of the loop's clock."""
    return 0.002
