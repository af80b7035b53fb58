"""Clients that leave before the end of an answer that thinks, or that the upstream bills anyway."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.support.gateway.gateway_rig import MODEL, Rig, eventually
from tests.support.gateway.reasoning_streams import (
    FORMATS,
    OUTPUT_TOKENS,
    PROMPT_TOKENS,
    TRUE_NANO,
    WORDS,
    Format,
    connect,
    read_until,
    reasoning_rig,
)
from tests.support.gateway.scripted_upstream import Script, ScriptedUpstream, answer, chunk
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.domain.charges import Charge
from tokenbooth.gateway.upstream.base import Timeouts
from tokenbooth.store.tables import usage_events

CHAT = FORMATS["chat"]
USAGE = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": OUTPUT_TOKENS}
Running = tuple[Rig, ScriptedUpstream]


@pytest.fixture(scope="module", params=[True, False], ids=["room", "no room"])
def has_room(request: pytest.FixtureRequest) -> bool:
    """Whether the account has room for answers that are read on."""
    return bool(request.param)


@pytest.fixture(scope="module", params=FORMATS)
def spoken(request: pytest.FixtureRequest) -> Format:
    """A wire format."""
    return FORMATS[request.param]


@pytest.fixture(scope="module")
def taught(spoken: Format, has_room: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway that has seen one whole answer of the model in this format."""
    settings = GatewaySettings(max_draining_per_account=16 if has_room else 0)
    with reasoning_rig(tmp_path_factory.mktemp("taught"), upstream_format=spoken.upstream, settings=settings) as (
        rig,
        scripts,
    ):
        assert [charge.charged_nano for charge in listen(rig, scripts, spoken)] == [TRUE_NANO]
        yield rig, scripts


def listen(rig: Rig, scripts: ScriptedUpstream, spoken: Format) -> list[Charge]:
    """Hear an answer to its end; returns what it was charged."""
    account = rig.account("50")
    body = spoken.body(scripts.add(spoken.script()))
    headers = {"authorization": f"Bearer {rig.credit_key(account)}", "content-type": "application/json"}
    rig.http.post(spoken.path, content=body, headers=headers).raise_for_status()
    return rig.charges(account)


def charge_of(rig: Rig, account: str) -> Charge:
    """The account's one charge; nothing stays held."""
    eventually(lambda: len(rig.charges(account)) == 1)
    (charge,) = rig.charges(account)
    assert rig.gateway.held_nano(account) == 0
    return charge


@pytest.mark.parametrize("words", [WORDS, 3, 0])
def test_leaving_a_model_that_thinks_saves_nothing(taught: Running, has_room: bool, spoken: Format, words: int) -> None:
    """Behind the last word, in the middle, before the first byte: the true cost, or within a tenth of it."""
    rig, scripts = taught
    account = rig.account("50")
    pause = spoken.last_word - WORDS + words if words else 0
    script = spoken.script(pause_before=pause)
    sock = connect(rig, rig.credit_key(account), spoken.path, spoken.body(scripts.add(script)))
    if words:
        read_until(sock, lambda read: read.count(b"word ") == words)
    eventually(lambda: script.calls == 1)
    sock.close()
    if has_room:
        script.proceed.set()
    charge = charge_of(rig, account)
    script.proceed.set()
    assert charge.estimated is not has_room
    if has_room:
        assert charge.charged_nano == TRUE_NANO
    else:
        assert abs(charge.charged_nano - TRUE_NANO) <= TRUE_NANO // 10


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("chat", {"reasoning_effort": "low"}),
        ("chat", {"enable_thinking": True}),
        ("chat", {"thinking": {"type": "enabled"}}),
        ("responses", {"reasoning": {"effort": "low"}}),
        ("messages", {"thinking": {"type": "enabled", "budget_tokens": 20_000}}),
    ],
    ids=str,
)
def test_a_request_that_asks_to_think_is_read_on(tmp_path: Path, path: str, fields: dict[str, object]) -> None:
    """Whatever the catalogue says of the model."""
    spoken = FORMATS[path]
    with reasoning_rig(tmp_path, upstream_format=spoken.upstream, reasoning=False) as (rig, scripts):
        account = rig.account("50")
        script = spoken.script(pause_before=0)
        sock = connect(rig, rig.credit_key(account), spoken.path, spoken.body(scripts.add(script), **fields))
        eventually(lambda: script.calls == 1)
        sock.close()
        script.proceed.set()
        assert charge_of(rig, account).charged_nano == TRUE_NANO


def test_a_model_that_was_seen_to_think_is_read_on(tmp_path: Path) -> None:
    """An operator who did not say that it reasons loses one answer at most."""
    with reasoning_rig(tmp_path, reasoning=False) as (rig, scripts):
        listen(rig, scripts, CHAT)
        account = rig.account("50")
        script = CHAT.script(pause_before=CHAT.last_word)
        sock = connect(rig, rig.credit_key(account), CHAT.path, CHAT.body(scripts.add(script)))
        read_until(sock, lambda read: read.count(b"word ") == WORDS)
        sock.close()
        script.proceed.set()
        assert charge_of(rig, account).charged_nano == TRUE_NANO


@pytest.mark.parametrize("what", ["not streamed", "streamed, answered in one piece"])
def test_an_answer_in_one_piece_is_read_on(tmp_path: Path, what: str) -> None:
    """Its upstream does not hear of the hang-up, and bills all of it, also where a stream was asked for."""
    script = Script((b" ", answer(usage=USAGE)), content_type="application/json", pause_before=1)
    with reasoning_rig(tmp_path, reasoning=False) as (rig, scripts):
        account = rig.account("50")
        body = CHAT.body(scripts.add(script), stream=what != "not streamed")
        sock = connect(rig, rig.credit_key(account), CHAT.path, body)
        eventually(lambda: rig.gateway.held_nano(account) > 0 and script.calls == 1)
        if what != "not streamed":
            # Until the head is there nobody knows that it will come in one piece.
            first = Script((answer(usage=USAGE),), content_type="application/json")
            other = rig.account("50")
            rig.post(rig.credit_key(other), {"model": MODEL, "messages": [_says(scripts.add(first))], "stream": True})
        sock.close()
        script.proceed.set()
        charge = charge_of(rig, account)
        assert (charge.charged_nano, charge.estimated) == (TRUE_NANO, False)


def _says(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_fifty_hang_ups_at_once(tmp_path: Path) -> None:
    """Sixteen are read on, each with its hold; the rest is charged at once, as learned from another account."""
    with reasoning_rig(tmp_path) as (rig, scripts):
        listen(rig, scripts, CHAT)
        account = rig.account("500")
        key = rig.credit_key(account)
        script = CHAT.script(pause_before=CHAT.last_word)
        body = CHAT.body(scripts.add(script))
        sockets = [connect(rig, key, CHAT.path, body) for _ in range(50)]
        for sock in sockets:
            read_until(sock, lambda read: read.count(b"word ") == WORDS)
        for sock in sockets:
            sock.close()
        eventually(lambda: len(rig.charges(account)) == 34)
        cut = rig.charges(account)
        held_nano = rig.gateway.held_nano(account)
        script.proceed.set()
        eventually(lambda: len(rig.charges(account)) == 50)
        read_on = [charge for charge in rig.charges(account) if not charge.estimated]
        assert held_nano >= 16 * TRUE_NANO
        assert all(abs(charge.charged_nano - TRUE_NANO) <= TRUE_NANO // 10 for charge in cut)
        assert [charge.charged_nano for charge in read_on] == 16 * [TRUE_NANO]
        assert rig.gateway.held_nano(account) == 0


def test_a_teacher_of_cheap_answers_pays_for_the_dear_ones(tmp_path: Path) -> None:
    """A hundred answers without thinking hide nothing of what the model does, nor from whoever taught that."""
    cheap = {"prompt_tokens": 10, "completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 0}}
    short = (chunk("a"), chunk(finish=True), chunk(usage=cheap, choices=False), b"data: [DONE]\n\n")
    with reasoning_rig(tmp_path, settings=GatewaySettings(max_draining_per_account=0)) as (rig, scripts):
        for _ in range(3):
            listen(rig, scripts, CHAT)
        account = rig.account("50")
        key = rig.credit_key(account)
        for _ in range(100):
            rig.post(key, {"model": MODEL, "messages": [_says(scripts.add(Script(short)))], "stream": True})
        script = CHAT.script(pause_before=CHAT.last_word)
        sock = connect(rig, key, CHAT.path, CHAT.body(scripts.add(script)))
        read_until(sock, lambda read: read.count(b"word ") == WORDS)
        sock.close()
        eventually(lambda: len(rig.charges(account)) == 101)
        script.proceed.set()
        dear = max(charge.charged_nano for charge in rig.charges(account))
        assert abs(dear - TRUE_NANO) <= TRUE_NANO // 10


def test_nothing_learned_is_the_floor_of_the_hold(tmp_path: Path) -> None:
    """Until one answer was heard to its end, thinking counts for what a hold sets aside for it."""
    with reasoning_rig(tmp_path, settings=GatewaySettings(max_draining_per_account=0)) as (rig, scripts):
        account = rig.account("50")
        script = CHAT.script(pause_before=0)
        sock = connect(rig, rig.credit_key(account), CHAT.path, CHAT.body(scripts.add(script)))
        eventually(lambda: script.calls == 1)
        sock.close()
        assert charge_of(rig, account).completion_tokens == 4_096
        script.proceed.set()


def test_an_upstream_that_fails_for_a_client_that_left(tmp_path: Path) -> None:
    """Before its first event nothing is paid; behind it what was heard, and thinking as learned."""
    with reasoning_rig(tmp_path) as (rig, scripts):
        listen(rig, scripts, CHAT)
        charged = []
        for events in (0, CHAT.last_word):
            account = rig.account("50")
            pieces = CHAT.script().pieces[:events]
            script = Script((*pieces, b": nothing more\n\n"), "cut", pause_before=events)
            sock = connect(rig, rig.credit_key(account), CHAT.path, CHAT.body(scripts.add(script)))
            eventually(lambda script=script: script.calls == 1)  # type: ignore[misc]
            if events:
                read_until(sock, lambda read: read.count(b"word ") == WORDS)
            sock.close()
            script.proceed.set()
            eventually(lambda account=account: rig.gateway.held_nano(account) == 0)  # type: ignore[misc]
            charged.append(rig.charged_nano(account))
        assert charged[0] == 0
        assert abs(charged[1] - TRUE_NANO) <= TRUE_NANO // 10


def test_reading_on_has_an_end(tmp_path: Path) -> None:
    """An upstream that never ends, but never falls silent either, is cut after the time of a whole answer."""
    settings = GatewaySettings(whole_answer_timeout_s=0.5)
    with reasoning_rig(tmp_path, settings=settings, timeouts=Timeouts(5, 30, 30)) as (rig, scripts):
        listen(rig, scripts, CHAT)
        account = rig.account("50")
        script = Script(CHAT.script().pieces[: CHAT.last_word], "hang")
        sock = connect(rig, rig.credit_key(account), CHAT.path, CHAT.body(scripts.add(script)))
        read_until(sock, lambda read: read.count(b"word ") == WORDS)
        sock.close()
        assert abs(charge_of(rig, account).charged_nano - TRUE_NANO) <= TRUE_NANO // 10
        assert script.gone.wait(5)


@pytest.mark.parametrize("ends", [True, False], ids=["within drain_s", "not within it"])
def test_a_stop_while_an_answer_is_read_on(tmp_path: Path, ends: bool) -> None:
    """It is waited for; what does not end in time is charged as learned, since its client had left before."""
    script = CHAT.script(pause_before=CHAT.last_word)
    with reasoning_rig(tmp_path) as (rig, scripts):
        listen(rig, scripts, CHAT)
        account = rig.account("50")
        sock = connect(rig, rig.credit_key(account), CHAT.path, CHAT.body(scripts.add(script)))
        read_until(sock, lambda read: read.count(b"word ") == WORDS)
        sock.close()
        # It has left, and the answer is still under way.
        eventually(lambda: rig.gateway._drains.places.shares.used == 1)
        if ends:
            threading.Timer(0.3, script.proceed.set).start()
        store = rig.store
    query = select(usage_events.c.charged_nano, usage_events.c.estimated).where(usage_events.c.account_id == account)
    ((charged_nano, estimated),) = store.read_now(lambda conn: conn.execute(query).all())
    script.proceed.set()
    assert estimated is not ends
    assert abs(charged_nano - TRUE_NANO) <= TRUE_NANO // 10
