"""The charge matrix of docs/billing.md, cell by cell, and how each is played through a running gateway.

The page is the only place that says what is charged. Only tests import this.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Final

import httpx
import msgspec
from sqlalchemy import select

from tests.support.gateway.gateway_rig import CHAT, UPSTREAM_KEY, MoodyStore, Rig, open_moody_store, run_rig
from tests.support.gateway.scripted_upstream import DONE, Script, ScriptedUpstream, answer, chunk, serve_scripts
from tests.system.docs.pages import read, rows, section
from tokenbooth.config.catalog import Catalog, Route, Upstream
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.domain.charges import Charge
from tokenbooth.gateway.upstream.base import Timeouts
from tokenbooth.store.tables import usage_events

INPUT_NANO: Final = 270
OUTPUT_NANO: Final = 1_100
PROMPT_TOKENS: Final = 1_000
THINKING_TOKENS: Final = 400
WORDS: Final = ("abcd", "abcd", "abcd")
SOME_WORDS: Final = 2
ANSWER_TOKENS: Final = THINKING_TOKENS + len(WORDS)
PARTIAL: Final = {"prompt_tokens": 900, "completion_tokens": 1}
ZERO: Final = {"prompt_tokens": 0, "completion_tokens": 0}
COLUMNS: Final = (("plain", True), ("reasons", True), ("bills", True), ("reasons", False), ("bills", False))
NOTHING, SOME, ALL, WHOLE = "nothing", "some", "all", "in one piece"
GONE, ERROR, TIME_OUT, STOP = "client gone", "upstream error", "time-out", "our stop"
SECTION: Final = "When a call does not end well"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the matrix.

    Attributes:
        delivered, ending, usage: its row, as the page words it.
        model: its column, as a name in the catalogue; with `has_room` for reading answers on.
        words: what the page says is charged.
    """

    delivered: str
    ending: str
    usage: str
    model: str
    has_room: bool
    words: str

    def __str__(self) -> str:
        return "-".join((self.delivered, self.ending, self.usage, self.model, "room" if self.has_room else "no room"))

    @property
    def is_read_on(self) -> bool:
        """Whether the upstream goes on after the ending."""
        stops = self.model == "plain" and self.delivered in (NOTHING, SOME) and self.ending == GONE
        return self.has_room and not stops and (self.ending == GONE or self.ending_is_late)

    @property
    def ending_is_late(self) -> bool:
        """Whether it is a time-out before the answer."""
        return self.ending == TIME_OUT and self.delivered in (NOTHING, WHOLE)

    @property
    def final_usage(self) -> object:
        """What the upstream reports at its end."""
        return {"reported": reported(self.model), "zero": ZERO}.get(self.usage)

    def expected_nano(self, body_bytes: int) -> int:
        """What the customer pays by the page's words."""
        if self.words == NOTHING:
            return 0
        if self.words == "reported":
            return PROMPT_TOKENS * INPUT_NANO + ANSWER_TOKENS * OUTPUT_NANO
        goes_on = self.is_read_on and self.usage != "partial"
        heard = len(WORDS) if goes_on or self.delivered in (ALL, WHOLE) else SOME_WORDS
        thinking = THINKING_TOKENS if self.model == "reasons" else 0
        output = {
            "prompt": 0,
            "prompt + text": heard,
            "prompt + thinking": thinking,
            "prompt + text + thinking": heard + thinking,
            "prompt + answer": ANSWER_TOKENS,
        }[self.words]
        prompt = -(-body_bytes // 4)
        if self.usage == "partial":
            prompt, output = max(prompt, PARTIAL["prompt_tokens"]), max(output, PARTIAL["completion_tokens"])
        return prompt * INPUT_NANO + output * OUTPUT_NANO


def reported(model: str) -> dict[str, object]:
    """The usage that a model's upstream reports."""
    details = {"completion_tokens_details": {"reasoning_tokens": THINKING_TOKENS}} if model == "reasons" else {}
    return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": ANSWER_TOKENS, **details}


def cells() -> list[Cell]:
    """All that the page has."""
    return list(_cells())


def _cells() -> Iterator[Cell]:
    for row in rows(section(read("billing.md"), SECTION)):
        if len(row) != 3 + len(COLUMNS) or row[0] == "delivered":
            continue
        for usage, ((model, has_room), words) in product(row[2].split(", "), zip(COLUMNS, row[3:], strict=True)):
            yield Cell(row[0], row[1], usage, model, has_room, words)


@dataclass(slots=True)
class Played:
    """A cell that was played.

    Attributes:
        body: what the client sent.
        status: of the answer that it got; 0 when it did not wait for one.
        charges: what the account was charged.
    """

    cell: Cell
    account: str
    key: str
    script: Script
    body: bytes
    status: int = 0
    charges: list[Charge] = field(default_factory=list)

    @property
    def charged_nano(self) -> int:
        """The sum, in nano-USD."""
        return sum(charge.charged_nano for charge in self.charges)


def play(directory: Path) -> dict[Cell, Played]:
    """Play all cells, many at once: those with room, those without, and those that end with the process."""
    found: dict[Cell, Played] = {}
    for number, (has_room, stops) in enumerate(product((True, False), repeat=2)):
        chosen = [cell for cell in cells() if cell.has_room is has_room and (cell.ending == STOP) is stops]
        place = directory / str(number)
        place.mkdir()
        found |= _play(place, chosen, has_room=has_room, stops=stops)
    return found


def _play(directory: Path, chosen: list[Cell], *, has_room: bool, stops: bool) -> dict[Cell, Played]:
    store = open_moody_store(directory / "tokenbooth.db")
    late_s = 30.0 if stops else 1.5
    with serve_scripts() as (upstream, url):
        with run_rig(
            store,
            directory,
            timeouts=Timeouts(connect_s=5, first_byte_s=late_s, idle_s=late_s, whole_answer_s=late_s),
            gateway_settings=GatewaySettings(max_draining_per_account=16 if has_room else 0, rest_after_failures=1_000),
            change_catalog=lambda catalog: _models(catalog, url),
        ) as rig:
            _teach(rig, upstream)
            played = [_prepare(rig, upstream, cell) for cell in chosen]
            ready = threading.Event()
            clients = threading.Thread(target=lambda: asyncio.run(_run(rig, played, ready)))
            clients.start()
            assert ready.wait(60)
        clients.join(20)
        # The process has ended, with everything that was open.
        for one in played:
            one.charges = _charges(store, one.account)
    store.close()
    return {one.cell: one for one in played}


def _models(catalog: Catalog, url: str) -> Catalog:
    (base,) = catalog.models.values()

    def model(name: str) -> tuple[Route, ...]:
        return (Route(Upstream(f"up-{name}", f"{url}/v1", UPSTREAM_KEY, name == "bills"), name, 1),)

    names = ("plain", "reasons", "bills")
    return replace(
        catalog,
        models={n: replace(base, name=n, routes=model(n), reasoning=n == "reasons") for n in names},
    )


def _teach(rig: Rig, upstream: ScriptedUpstream) -> None:
    """One call of each model whose usage is told, so that there is something learned."""
    key = rig.credit_key(rig.account("50"))
    for model in ("plain", "reasons", "bills"):
        script = Script((*map(chunk, WORDS), chunk(finish=True), chunk(usage=reported(model), choices=False), DONE))
        body = _body(upstream.add(script), model, stream=True)
        rig.http.post(CHAT, content=body, headers=_headers(key)).raise_for_status()


def _prepare(rig: Rig, upstream: ScriptedUpstream, cell: Cell) -> Played:
    account = rig.account("50")
    script = _script(cell)
    body = _body(upstream.add(script), cell.model, stream=cell.delivered != WHOLE)
    return Played(cell, account, rig.credit_key(account), script, body)


def _body(name: str, model: str, *, stream: bool) -> bytes:
    return msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": name}], "stream": stream})


def _headers(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "content-type": "application/json"}


def _script(cell: Cell) -> Script:
    """What the upstream does: what it delivers before the ending, and after a pause what comes behind it."""
    usage = cell.final_usage
    behind: tuple[bytes, ...] = () if usage is None else (chunk(usage=usage, choices=False),)
    if cell.delivered == WHOLE:
        body = answer("".join(WORDS), usage=usage)
        if cell.ending == ERROR:
            return Script((body[:30],), "cut", content_type="application/json")
        return Script((body,), content_type="application/json", pause_before=0)
    partial = PARTIAL if cell.usage == "partial" else None
    words = (*map(chunk, WORDS[:SOME_WORDS]), chunk(WORDS[SOME_WORDS]))
    if partial is not None:
        words = (words[0], chunk(WORDS[1], usage=partial), words[2])
    before = {NOTHING: 0, SOME: SOME_WORDS, ALL: len(WORDS) + 1}[cell.delivered]
    pieces = (*words, chunk(finish=True), *behind, DONE)
    if cell.ending in (GONE, STOP) or cell.ending_is_late:
        if cell.usage == "reported" and cell.ending == STOP:
            return Script(pieces[:-1], "hang")
        if cell.ending == STOP:
            return Script(pieces[:before], "hang", headless=cell.delivered == NOTHING)
        if cell.usage == "partial":
            return Script((*pieces[:before], b": still here\n\n"), "cut", pause_before=before)
        return Script(pieces, pause_before=before)
    shown = pieces[: before + len(behind)] if cell.delivered == ALL else pieces[:before]
    return Script(shown, "cut" if cell.ending == ERROR else "hang", headless=cell.delivered == NOTHING)


async def _run(rig: Rig, played: list[Played], ready: threading.Event) -> None:
    """Play all; `ready` says that nothing is left to do but for the end of the process."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=rig.base_url, timeout=60, limits=limits) as http:
        open_calls = await asyncio.gather(*(_one(rig, http, one) for one in played))
        ready.set()
        await asyncio.gather(*(call for call in open_calls if call is not None), return_exceptions=True)


async def _one(rig: Rig, http: httpx.AsyncClient, one: Played) -> "asyncio.Task[None] | None":
    """Play one; returns its call if the end of the process is what ends it."""
    cell = one.cell
    asked = asyncio.create_task(_ask(http, one))
    if cell.ending in (GONE, STOP):
        await _until(lambda: one.script.calls > 0 and (cell.delivered in (NOTHING, WHOLE) or one.status < 0))
        if cell.ending == STOP:
            return asked
        asked.cancel()
        await asyncio.wait((asked,))
    else:
        await asked
    if not cell.is_read_on:
        # It is charged without what comes behind.
        await _until(lambda: _is_over(rig, one))
    one.script.proceed.set()
    await _until(lambda: _is_over(rig, one))
    return None


async def _ask(http: httpx.AsyncClient, one: Played) -> None:
    """Read the answer; a negative status says that all has been delivered that comes before the ending."""
    enough = {NOTHING: 0, SOME: SOME_WORDS, ALL: len(WORDS), WHOLE: 0}[one.cell.delivered]
    async with http.stream("POST", CHAT, content=one.body, headers=_headers(one.key)) as response:
        read = ""
        async for piece in response.aiter_text():
            read += piece
            finished = one.cell.delivered != ALL or '"stop"' in read
            if read.count(WORDS[0]) >= enough and finished:
                one.status = -response.status_code
        one.status = response.status_code


def _charges(store: MoodyStore, account: str) -> list[Charge]:
    query = select(*(usage_events.c[name] for name in Charge._fields)).where(usage_events.c.account_id == account)
    return store.read_now(lambda conn: [msgspec.convert(tuple(row), Charge) for row in conn.execute(query)])


def _is_over(rig: Rig, one: Played) -> bool:
    return rig.gateway.held_nano(one.account) == 0


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 - it becomes so in another thread
            await asyncio.sleep(0.01)
