"""Requests that leave together at the end of a turn."""

import asyncio

from tokenbooth.gateway.upstream.write_batch import WriteBatch


class Letter:
    """Writes down when it was written out."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self._name = name
        self._seen = seen

    def write_out(self) -> None:
        """Write down that it was written."""
        self._seen.append(self._name)


async def test_senders_write_at_the_end_of_the_turn_in_order() -> None:
    """Nothing leaves while others of the turn are still running, and everything leaves before the next one."""
    seen: list[str] = []
    batch = WriteBatch()

    async def send(name: str) -> None:
        batch.add(Letter(name, seen))
        seen.append(f"{name} waits")

    sending = [asyncio.create_task(send(name)) for name in ("one", "two", "three")]
    await asyncio.gather(*sending)
    assert seen == ["one waits", "two waits", "three waits", "one", "two", "three"]


async def test_each_turn_has_its_own_letters() -> None:
    """What was written out is not written again."""
    seen: list[str] = []
    batch = WriteBatch()
    for name in ("one", "two"):
        batch.add(Letter(name, seen))
        await asyncio.sleep(0)
        assert seen[-1] == name
    assert seen == ["one", "two"]
