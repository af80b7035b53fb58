"""The parts of the soak. Each prints its figures and returns the promises that were broken."""

import asyncio
import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import cycle, islice
from typing import Final

from bench.soak.process import MB, Samples, cpu_s, rss_bytes
from tests.support.gateway.lean_upstream import COMPLETION_TOKENS, PROMPT_TOKENS
from tests.support.gateway.load import Load, drive, get, post
from tests.support.service import INPUT_USD_PER_MILLION, OUTPUT_USD_PER_MILLION, Service
from tokenbooth.domain.keys import KeyKind
from tokenbooth.gateway.access.keys import MAX_UNKNOWN
from tokenbooth.kit.ids import new_key

CONNECTIONS: Final = 64
WARM_UP: Final = 0.1
FLAT_PERCENT: Final = 10
MOST_BYTES_PER_STREAM: Final = 100 * 1024
_REPEATS: Final = 20_000
_COST_NANO: Final = int((INPUT_USD_PER_MILLION * PROMPT_TOKENS + OUTPUT_USD_PER_MILLION * COMPLETION_TOKENS) * 1_000)


def soak_requests(service: Service, count: int) -> list[str]:
    """So many calls through one process: all answered, memory flat after the warm-up, every one charged exactly."""
    keys = service.keys(accounts=5, per_account=4)
    charges_before, nano_before = service.charged()
    samples = Samples(service.pid, count)
    load = Load(islice(cycle([post(key) for key in keys]), count), answered=samples)
    began_s, cpu_before_s = time.monotonic(), cpu_s(service.pid)
    asyncio.run(drive(service.port, load, connections=CONNECTIONS))
    took_s, used_s = time.monotonic() - began_s, cpu_s(service.pid) - cpu_before_s
    _wait_settled(service, charges_before + load.statuses[200])
    charges, nano = service.charged()
    warm, peak, last = samples.after(WARM_UP)[0], max(samples.after(WARM_UP)), samples.by_stage[-1]
    _print("requests", f"{count:,} in {took_s:.0f} s, {count / took_s:,.0f}/s, {used_s / count * 1e6:.0f} us CPU each")
    _print("statuses", str(dict(load.statuses)))
    _print("memory", f"{_mb(warm)} after {WARM_UP:.0%}, at most {_mb(peak)}, {_mb(last)} at the end")
    _print("charged", f"{charges - charges_before:,} calls, {Decimal(nano - nano_before) / 10**9} USD")
    broken = []
    if load.statuses != {200: count}:
        broken.append(f"not every call was answered: {dict(load.statuses)}")
    if peak > warm * (100 + FLAT_PERCENT) // 100:
        broken.append(f"memory grew from {_mb(warm)} to {_mb(peak)}")
    if (charges - charges_before, nano - nano_before) != (count, count * _COST_NANO):
        broken.append(f"{count:,} calls of {_COST_NANO} nano-USD make {count * _COST_NANO}, not {nano - nano_before}")
    return broken


def soak_streams(service: Service, count: int, idle_s: float) -> list[str]:
    """So many streams at once that say nothing for a while: none breaks, all end, each is charged."""
    key = service.keys(accounts=1, per_account=1)[0]
    charges_before, _ = service.charged()
    before = rss_bytes(service.pid)
    asked = time.monotonic()
    opened_s, idle, ended = asyncio.run(_hold_streams(service, post(key, stream=True), count, idle_s))
    _wait_settled(service, charges_before + ended)
    charges, _ = service.charged()
    each = (idle - before) // count
    _print("streams", f"{count:,} open after {opened_s - asked:.1f} s, idle for {idle_s:.0f} s, {ended:,} ended whole")
    _print("memory", f"{_mb(before)} before, {_mb(idle)} with all of them: {each / 1024:.1f} kB a stream")
    broken = []
    if ended != count:
        broken.append(f"{count - ended} of {count} streams broke")
    if charges - charges_before != count:
        broken.append(f"{charges - charges_before} of {count} streams were charged")
    if each > MOST_BYTES_PER_STREAM:
        broken.append(f"a stream takes {each / 1024:.0f} kB, more than {MOST_BYTES_PER_STREAM // 1024}")
    return broken


async def _hold_streams(service: Service, request: bytes, count: int, idle_s: float) -> tuple[float, int, int]:
    """When all streams had begun (monotonic seconds), the server's memory then, and how many ended whole."""
    at_once = asyncio.Semaphore(CONNECTIONS)
    begun = asyncio.Barrier(count + 1)

    async def hold() -> bool:
        async with at_once:
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(request)
            begins_well = b"data: " in await _read_until(reader, b"data: ")
        await begun.wait()
        rest = await _read_until(reader, b"data: [DONE]")
        writer.close()
        return begins_well and b"data: [DONE]" in rest

    held = [asyncio.create_task(hold()) for _ in range(count)]
    await begun.wait()
    opened_s = time.monotonic()
    await asyncio.sleep(idle_s)
    idle_bytes = rss_bytes(service.pid)
    await asyncio.to_thread(service.release_streams)
    return opened_s, idle_bytes, sum(await asyncio.gather(*held))


async def _read_until(reader: asyncio.StreamReader, mark: bytes) -> bytes:
    """What arrives up to a mark; all of it when the connection ends before."""
    try:
        return await reader.readuntil(mark)
    except (asyncio.IncompleteReadError, OSError):
        return b""


def soak_unknown_keys(service: Service, count: int) -> list[str]:
    """So many keys that are nobody's: memory is bounded, and a key that came before costs no look-up."""
    keys = [new_key(KeyKind.API) for _ in range(count)]
    samples = Samples(service.pid, count)
    before = rss_bytes(service.pid)
    broken = _refuse(service, (get(key, "/v1/models") for key in keys), count, samples)
    # What is remembered is full after so many; from then on nothing may grow.
    full = samples.after(min(1.0, MAX_UNKNOWN * 1.1 / count)) or samples.by_stage[-1:]
    _print(
        "unknown keys", f"{count:,}, memory {_mb(before)} before, {_mb(full[0])} when full, {_mb(max(full))} at most"
    )
    if max(full) > full[0] * (100 + FLAT_PERCENT) // 100:
        broken.append(f"memory grew from {_mb(full[0])} to {_mb(max(full))}")
    looked_up = service.figure("tokenbooth_key_lookups")
    again = (get(key, "/v1/models") for key in islice(cycle(keys[-1_000:]), _REPEATS))
    broken += _refuse(service, again, _REPEATS, samples)
    looked_up_again = service.figure("tokenbooth_key_lookups") - looked_up
    _print("repeats", f"{_REPEATS:,} of 1,000 of them, {looked_up_again:.0f} look-ups")
    if looked_up_again:
        broken.append(f"{looked_up_again:.0f} look-ups of keys that were known to be nobody's")
    return broken


def _refuse(service: Service, requests: Iterator[bytes], count: int, samples: Samples) -> list[str]:
    load = Load(requests, answered=samples)
    asyncio.run(drive(service.port, load, connections=CONNECTIONS))
    return [] if load.statuses == {401: count} else [f"not every key was refused: {dict(load.statuses)}"]


def _wait_settled(service: Service, charges: int) -> None:
    """Charges are committed some time after the answer."""
    give_up_s = time.monotonic() + 60
    while service.charged()[0] < charges and time.monotonic() < give_up_s:
        time.sleep(0.5)


def _print(name: str, text: str) -> None:
    print(f"  {name:14} {text}", flush=True)


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / MB:.1f} MB"
