"""What a call is charged that ends badly, lies, or is left; the matrix of docs/billing.md has a file of its own."""

import asyncio
from pathlib import Path
from typing import Literal

import httpx
import msgspec
import pytest
from sqlalchemy import select

from tests.support.gateway.gateway_rig import CHAT, MoodyStore, Rig, eventually, prompt, run_rig, with_routes
from tests.support.gateway.scripted_upstream import DONE, Ending, Script, ScriptedUpstream, answer, chunk
from tokenbooth.domain.ledger import PROMOTION, TransferKind, credit_of
from tokenbooth.gateway.upstream.base import Timeouts
from tokenbooth.store.ledger import balance_nano, take_back
from tokenbooth.store.tables import usage_events

Usage = Literal["present", "absent", "zero"]
Scripts = tuple[ScriptedUpstream, str]

INPUT_NANO, OUTPUT_NANO = 270, 1_100
REPORTED = {"prompt_tokens": 100, "completion_tokens": 7}
ZERO = {"prompt_tokens": 0, "completion_tokens": 0}
REPORTED_NANO = 100 * INPUT_NANO + 7 * OUTPUT_NANO
WORDS = ("abcd", "abcd", "abcd")


def expected_nano(usage: Usage, body_bytes: int) -> int:
    """What is paid for a whole answer of three words."""
    if usage == "present":
        return REPORTED_NANO
    return -(-body_bytes // 4) * INPUT_NANO + len(WORDS) * OUTPUT_NANO


def encoded(text: str, **fields: object) -> bytes:
    """A body as bytes, whose number decides about an estimate."""
    return msgspec.json.encode(prompt(text, **fields))


def bearer(rig: Rig, account: str) -> dict[str, str]:
    """The headers of a key of the account."""
    return {"authorization": f"Bearer {rig.credit_key(account)}", "content-type": "application/json"}


def charge_once(rig: Rig, account: str) -> int:
    """Wait for the account's one charge; returns it in nano-USD. Nothing stays held."""
    eventually(lambda: len(rig.charges(account)) == 1)
    assert rig.gateway.held_nano(account) == 0
    return rig.charged_nano(account)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("script", "status"),
    [
        (Script(ending="cut", headless=True), 502),
        (Script(status=500, pieces=(b"{}",)), 502),
        (Script(status=503, pieces=(b"{}",)), 503),
        (Script(status=400, pieces=(b"{}",)), 400),
        (Script(status=504, pieces=(b"{}",)), 504),
        (Script(status=524, pieces=(b"{}",)), 504),
        (Script(), 502),
    ],
    ids=["cut", "500", "503", "400", "504", "524", "empty"],
)
def test_trouble_before_the_first_byte_costs_nothing(
    scripted: Rig, scripts: Scripts, stream: bool, script: Script, status: int
) -> None:
    """Where no byte of an answer came, the client gets an error and the hold is let go (38)."""
    account = scripted.account("5")
    body = prompt(scripts[0].add(script), stream=stream)
    response = scripted.http.post(CHAT, json=body, headers=bearer(scripted, account))
    assert response.status_code == status
    assert scripted.charges(account) == []
    assert scripted.gateway.held_nano(account) == 0


@pytest.mark.parametrize("ending", ["cut", "hang"])
def test_half_an_answer_that_is_not_streamed_costs_nothing(scripted: Rig, scripts: Scripts, ending: Ending) -> None:
    """A whole answer of which only a part came is never delivered and never charged; silence is booked as a loss."""
    account = scripted.account("5")
    half = answer(usage=REPORTED)[:40]
    name = scripts[0].add(Script((half,), ending, content_type="application/json"))
    response = scripted.http.post(CHAT, json=prompt(name), headers=bearer(scripted, account))
    assert response.status_code == {"cut": 502, "hang": 504}[ending]
    assert scripted.charged_nano(account) == 0
    assert [charge.uncollected_nano > 0 for charge in scripted.charges(account)] == [True] * (ending == "hang")
    assert scripted.gateway.held_nano(account) == 0


@pytest.mark.parametrize("usage", ["present", "absent", "zero"])
def test_an_answer_that_is_not_streamed_is_charged_by_usage_or_counted(
    scripted: Rig, scripts: Scripts, usage: Usage
) -> None:
    """Without a usage object the answer's text is counted and marked estimated (40)."""
    account = scripted.account("5")
    reported = {"present": REPORTED, "absent": None, "zero": ZERO}[usage]
    name = scripts[0].add(Script((answer(usage=reported),), content_type="application/json"))
    body = encoded(name)
    response = scripted.http.post(CHAT, content=body, headers=bearer(scripted, account))
    assert response.status_code == 200
    assert charge_once(scripted, account) == expected_nano(usage, len(body))
    assert scripted.charges(account)[0].estimated == (usage != "present")


def test_a_client_that_leaves_before_a_whole_answer_still_pays(shared: Rig) -> None:
    """A call that is not streamed ends and is charged, also when nobody waits for it any more."""
    account = shared.account("5")
    body = prompt("[[delay 0.4]] [[usage prompt=100 completion=7]]")
    with pytest.raises(httpx.ReadTimeout):
        shared.http.post(CHAT, json=body, headers=bearer(shared, account), timeout=0.1)
    assert charge_once(shared, account) == REPORTED_NANO


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_before_the_first_byte_lets_go_of_its_hold(shared: Rig, stream: bool) -> None:
    """Whatever is charged for it, a call whose client left early ends, once, and holds nothing."""
    account = shared.account("5")
    body = prompt("[[delay 0.3]] [[write 3]]", stream=stream)
    with pytest.raises(httpx.ReadTimeout):
        shared.http.post(CHAT, json=body, headers=bearer(shared, account), timeout=0.1)
    assert 0 < charge_once(shared, account) < 100_000


def test_hanging_up_in_mid_stream_stops_the_upstream(shared: Rig) -> None:
    """The model server sees that its client went away and writes no more tokens (39)."""
    account = shared.account("5")
    body = encoded("[[write 2000]] [[token-delay 0.01]]", stream=True)
    with shared.http.stream("POST", CHAT, content=body, headers=bearer(shared, account)) as response:
        pieces = response.iter_text()
        read = ""
        while "token" not in read:
            read += next(pieces)
    eventually(lambda: shared.models.requests[-1].outcome == "client_gone")
    sent = shared.models.requests[-1].tokens_sent
    prompt_nano = -(-len(body) // 4) * INPUT_NANO
    charged = charge_once(shared, account)
    assert prompt_nano + 2 * OUTPUT_NANO <= charged <= prompt_nano + 2 * sent * OUTPUT_NANO
    assert sent < 1_000


async def test_hang_ups_at_any_moment_leave_nothing_held(shared: Rig) -> None:
    """Forty clients that hang up after any number of bytes are each charged once, and nothing stays held."""
    account = shared.account("5")
    headers = bearer(shared, account)
    body = prompt("[[write 30]] [[token-delay 0.002]]", stream=True)

    async def hang_up_after(http: httpx.AsyncClient, read_bytes: int) -> None:
        async with http.stream("POST", CHAT, json=body, headers=headers) as response:
            read = 0
            async for piece in response.aiter_raw():
                read += len(piece)
                if read >= read_bytes:
                    return

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=shared.base_url, timeout=30, limits=limits) as http:
        await asyncio.gather(*(hang_up_after(http, 230 * number) for number in range(40)))
    eventually(lambda: len(shared.charges(account)) == 40)
    assert shared.gateway.held_nano(account) == 0
    assert all(charge.charged_nano > 0 for charge in shared.charges(account))


def test_hanging_up_after_the_finish_waits_for_the_usage(scripted: Rig, scripts: Scripts) -> None:
    """When only the usage can still come, it is awaited and charged (39)."""
    pieces = (chunk(), chunk("abcd"), chunk(finish=True), chunk(usage=REPORTED, choices=False), DONE)
    script = Script(pieces, pause_before=3)
    account = scripted.account("5")
    body = encoded(scripts[0].add(script), stream=True)
    with scripted.http.stream("POST", CHAT, content=body, headers=bearer(scripted, account)) as response:
        read = ""
        for piece in response.iter_text():
            read += piece
            if '"stop"' in read:
                break
    script.proceed.set()
    assert charge_once(scripted, account) == REPORTED_NANO
    assert not scripted.charges(account)[0].estimated


@pytest.mark.parametrize(
    ("directives", "output"),
    [("[[usage-twice]]", 5), ("[[cumulative-usage]]", 5), ("[[usage-in-last-choice]]", 5)],
)
def test_repeated_and_cumulative_usage_counts_once(shared: Rig, directives: str, output: int) -> None:
    """However often the usage is told, the last word is charged, once (41)."""
    account = shared.account("5")
    shared.http.post(
        CHAT, json=prompt(f"[[write 5]] {directives}", stream=True), headers=bearer(shared, account)
    ).raise_for_status()
    charge_once(shared, account)
    assert [charge.completion_tokens for charge in shared.charges(account)] == [output]


def test_a_price_change_in_mid_request_does_not_matter(shared: Rig) -> None:
    """The charge has the unit prices that were admitted, and they multiply to what was charged (42)."""
    account = shared.account("5")
    shared.http.post(CHAT, json=prompt("[[write 5]]"), headers=bearer(shared, account)).raise_for_status()
    charge_once(shared, account)
    (charge,) = shared.charges(account)
    assert (charge.input_price, charge.cached_price, charge.output_price) == (270_000_000, 70_000_000, 1_100_000_000)
    assert charge.charged_nano == charge.prompt_tokens * INPUT_NANO + charge.completion_tokens * OUTPUT_NANO


LIES: list[object] = [
    {"prompt_tokens": -5, "completion_tokens": 3},
    {"prompt_tokens": 5, "completion_tokens": -3},
    {"prompt_tokens": 10**17, "completion_tokens": 1},
    {"prompt_tokens": 2**70, "completion_tokens": 1},
    {"completion_tokens": 3},
    {"prompt_tokens": "5", "completion_tokens": 3},
    {"prompt_tokens": 5.5, "completion_tokens": 3},
    {"prompt_tokens": True, "completion_tokens": 3},
    {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 6}},
    {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": -6}},
    {},
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_lying_usage_is_not_believed(scripted: Rig, scripts: Scripts, lie: object, stream: bool) -> None:
    """Negative, absurd, missing and malformed counts are replaced by a count of ours (44)."""
    pieces: tuple[bytes, ...] = (answer(usage=lie),)
    if stream:
        pieces = (chunk(), *map(chunk, WORDS), chunk(finish=True), chunk(usage=lie, choices=False), DONE)
    kind = "text/event-stream" if stream else "application/json"
    account = scripted.account("5")
    body = encoded(scripts[0].add(Script(pieces, content_type=kind)), stream=stream)
    response = scripted.http.post(CHAT, content=body, headers=bearer(scripted, account))
    assert response.status_code == 200
    charged = charge_once(scripted, account)
    counted = -(-len(body) // 4) * INPUT_NANO + len(WORDS) * OUTPUT_NANO
    # An impossible count of cached tokens alone leaves the rest of the report believable.
    assert charged in (counted, 5 * INPUT_NANO + 3 * OUTPUT_NANO)


def test_a_usage_beyond_the_models_limits_is_cut_to_them(shared: Rig) -> None:
    """A believable but impossible report is charged up to the model's context and ceiling (44)."""
    account = shared.account("5")
    body = prompt("[[usage prompt=9000000 completion=9000000]]")
    shared.http.post(CHAT, json=body, headers=bearer(shared, account)).raise_for_status()
    assert charge_once(shared, account) == 65_536 * INPUT_NANO + 8_192 * OUTPUT_NANO


@pytest.mark.parametrize("told", [True, False])
def test_money_taken_back_during_a_call_is_not_charged_below_zero(scripted: Rig, scripts: Scripts, told: bool) -> None:
    """A refund while a call runs leaves nothing to charge: the cost is booked as uncollected, the balance stays 0."""
    pieces = (chunk(), chunk("abcd"), chunk(finish=True), chunk(usage=REPORTED, choices=False), DONE)
    script = Script(pieces, pause_before=1)
    account = scripted.account("0.01")
    body = prompt(scripts[0].add(script), stream=True)
    with scripted.http.stream("POST", CHAT, json=body, headers=bearer(scripted, account)) as response:
        rest = response.iter_text()
        next(rest)
        scripted.store.write_now(
            take_back,
            account_id=account,
            target=PROMOTION,
            amount_nano=10_000_000,
            kind=TransferKind.ADJUSTMENT,
            reference=f"refund-{account}",
            note="test",
            now_us=scripted.clock.now_us(),
        )
        if told:
            scripted.sync()
        script.proceed.set()
        assert "[DONE]" in "".join(rest)
    assert charge_once(scripted, account) == 0
    assert [charge.uncollected_nano for charge in scripted.charges(account)] == [REPORTED_NANO]
    assert scripted.store.read_now(balance_nano, credit_of(account)) == 0


def test_what_was_heard_until_the_process_ends_is_charged(scripts: Scripts, moody: MoodyStore, tmp_path: Path) -> None:
    """A client has left, its answer is heard on because it is billed anyway, and the process stops meanwhile."""
    upstream, url = scripts
    script = Script((chunk(), *map(chunk, WORDS)), ending="hang")
    name = upstream.add(script)
    body = msgspec.json.encode(prompt(name, stream=True))
    with run_rig(
        moody,
        tmp_path,
        timeouts=Timeouts(connect_s=2, first_byte_s=30, idle_s=30),
        change_catalog=lambda catalog: with_routes(catalog, url, bills_after_disconnect=True),
    ) as rig:
        key = rig.credit_key(account := rig.account("5"))
        with rig.http.stream("POST", CHAT, content=body, headers={"authorization": f"Bearer {key}"}) as stream:
            heard, parts = "", stream.iter_text()
            while heard.count(WORDS[0]) < len(WORDS):
                heard += next(parts)
    (charged_nano,) = moody.read_now(lambda conn: conn.scalars(select(usage_events.c.charged_nano)).all())
    # Nothing was learned of how long its answers are: the floor of its hold.
    assert charged_nano == -(-len(body) // 4) * INPUT_NANO + 256 * OUTPUT_NANO
    assert moody.read_now(balance_nano, credit_of(account)) == 5 * 10**9 - charged_nano
