"""Answers that come after their time-out, or never: what is told, charged and booked as uncollected."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from structlog.testing import capture_logs

from tests.support.gateway.gateway_rig import MODEL, Rig, eventually, prompt
from tests.support.gateway.reasoning_streams import FORMATS, OUTPUT_TOKENS, TRUE_NANO, Format, connect, reasoning_rig
from tests.support.gateway.scripted_upstream import Ending, Script, answer, chunk
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.domain.money import format_usd
from tokenbooth.gateway.upstream.base import Timeouts

CHAT = FORMATS["chat"]
USAGE = {"prompt_tokens": 10, "completion_tokens": OUTPUT_TOKENS}
JSON = "application/json"
QUICK = Timeouts(connect_s=5, first_byte_s=0.3, idle_s=20, whole_answer_s=0.3)


def settings(per_account: int = 16, *, read_on_s: float = 20) -> GatewaySettings:
    """Room for answers that are read on, and the time for each."""
    return GatewaySettings(max_draining_per_account=per_account, whole_answer_timeout_s=read_on_s)


def ask(rig: Rig, account: str, spoken: Format, said: str, *, stream: bool) -> httpx.Response:
    """Send a prompt and wait for the answer."""
    headers = {"authorization": f"Bearer {rig.credit_key(account)}", "content-type": "application/json"}
    return rig.http.post(spoken.path, content=spoken.body(said, stream=stream), headers=headers)


def late(stream: bool, spoken: Format = CHAT) -> Script:
    """An answer that comes when the test says so."""
    return (
        spoken.script(pause_before=0) if stream else Script((answer(usage=USAGE),), content_type=JSON, pause_before=0)
    )


def message(refused: httpx.Response) -> str:
    """What a refusal says."""
    said: str = refused.json()["error"]["message"]
    return said


@pytest.mark.parametrize("spoken", FORMATS.values(), ids=FORMATS)
def test_a_late_stream_is_read_on_in_every_format(tmp_path: Path, spoken: Format) -> None:
    """The 504 says that it will be charged and is not to be repeated; then the true cost is charged."""
    with reasoning_rig(tmp_path, upstream_format=spoken.upstream, timeouts=QUICK, settings=settings()) as (
        rig,
        scripts,
    ):
        account = rig.account("50")
        script = late(stream=True, spoken=spoken)
        refused = ask(rig, account, spoken, scripts.add(script), stream=True)
        held_nano = rig.gateway.held_nano(account)
        script.proceed.set()
        assert refused.status_code == 504
        assert refused.headers["x-should-retry"] == "false"
        assert "read to its end and charged" in message(refused)
        assert held_nano > 0
        eventually(lambda: rig.gateway.held_nano(account) == 0)
        assert [(charge.charged_nano, charge.estimated) for charge in rig.charges(account)] == [(TRUE_NANO, False)]


@pytest.mark.parametrize("headless", [True, False], ids=["before the head", "behind the head"])
def test_a_late_whole_answer_is_read_on(tmp_path: Path, headless: bool) -> None:
    """Also where the upstream had sent its head at once; the client's connection serves others meanwhile."""
    script = Script(
        (*(() if headless else (b"",)), answer(usage=USAGE)), content_type=JSON, pause_before=0 if headless else 1
    )
    with reasoning_rig(tmp_path, timeouts=QUICK, settings=settings()) as (rig, scripts):
        account = rig.account("50")
        refused = ask(rig, account, CHAT, scripts.add(script), stream=False)
        quick = Script((answer(usage={"prompt_tokens": 1, "completion_tokens": 1}),), content_type=JSON)
        other = ask(rig, rig.account("1"), CHAT, scripts.add(quick), stream=False)
        script.proceed.set()
        assert (refused.status_code, other.status_code) == (504, 200)
        eventually(lambda: rig.gateway.held_nano(account) == 0)
        assert rig.charged_nano(account) == TRUE_NANO


@pytest.mark.parametrize("stream", [True, False])
def test_without_room_an_estimate_is_charged_at_once(tmp_path: Path, stream: bool) -> None:
    """The 504 says how much; where nothing was learned, the rest of what was allowed is booked as uncollected."""
    with reasoning_rig(tmp_path, reasoning=False, timeouts=QUICK, settings=settings(0)) as (rig, scripts):
        account = rig.account("50")
        script = late(stream)
        refused = ask(rig, account, CHAT, scripts.add(script), stream=stream)
        script.proceed.set()
        (charge,) = rig.charges(account)
        assert refused.status_code == 504
        assert refused.headers["x-should-retry"] == "false"
        assert f"${format_usd(charge.charged_nano)}" in message(refused)
        assert (charge.completion_tokens, charge.estimated) == (256, True)
        most_nano = charge.prompt_tokens * 270 + 100_000 * 1_100
        assert charge.charged_nano + charge.uncollected_nano == most_nano


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("ending", ["cut", "hang"])
def test_a_late_answer_that_never_comes_costs_its_customer_nothing(
    tmp_path: Path, stream: bool, ending: Ending
) -> None:
    """What the upstream may bill for it is the operator's loss, and is logged."""
    script = Script(() if ending == "hang" else (b" ",), ending, headless=ending == "hang", pause_before=0)
    with (
        capture_logs() as logs,
        reasoning_rig(tmp_path, timeouts=QUICK, settings=settings(read_on_s=0.5)) as (rig, scripts),
    ):
        account = rig.account("50")
        refused = ask(rig, account, CHAT, scripts.add(script), stream=stream)
        script.proceed.set()
        eventually(lambda: rig.gateway.held_nano(account) == 0)
        (charge,) = rig.charges(account)
        assert refused.status_code == 504
        assert (charge.charged_nano, charge.uncollected_nano > 0) == (0, True)
    assert "late_answer_lost" in {log["event"] for log in logs}


def test_an_error_after_a_time_out_costs_nothing(tmp_path: Path) -> None:
    """An upstream that answers 500 in the end has failed."""
    script = Script((b"{}",), status=500, content_type=JSON, pause_before=0)
    with reasoning_rig(tmp_path, timeouts=QUICK, settings=settings()) as (rig, scripts):
        account = rig.account("50")
        assert ask(rig, account, CHAT, scripts.add(script), stream=False).status_code == 504
        script.proceed.set()
        eventually(lambda: rig.gateway.held_nano(account) == 0)
        assert rig.charged_nano(account) == 0


def test_a_late_answer_costs_at_most_what_was_held(tmp_path: Path) -> None:
    """An upstream that ignores its ceiling is the operator's trouble: the rest is uncollected."""
    with reasoning_rig(tmp_path, timeouts=QUICK, settings=settings()) as (rig, scripts):
        account = rig.account("50")
        headers = {"authorization": f"Bearer {rig.credit_key(account)}"}
        script = late(stream=False)
        body = prompt(scripts.add(script), max_tokens=100)
        refused = rig.http.post(CHAT.path, json=body, headers=headers)
        held_nano = rig.gateway.held_nano(account)
        script.proceed.set()
        assert refused.status_code == 504
        eventually(lambda: rig.gateway.held_nano(account) == 0)
        (charge,) = rig.charges(account)
        assert (charge.charged_nano, charge.uncollected_nano) == (held_nano, TRUE_NANO - held_nano)


def test_no_answer_is_lost_to_time_outs(tmp_path: Path) -> None:
    """Three rounds of twenty calls at once, each too late: the upstream's bill is charged, or told as uncollected."""
    with reasoning_rig(tmp_path, reasoning=False, timeouts=QUICK, settings=settings()) as (rig, scripts):
        account = rig.account("1")
        key = rig.credit_key(account)
        asked: list[Script] = []
        for _ in range(3):
            script = late(stream=False)
            body = prompt(scripts.add(script), max_tokens=OUTPUT_TOKENS)
            with ThreadPoolExecutor(20) as pool:
                statuses = list(pool.map(lambda _, body=body: rig.post(key, body).status_code, range(20)))
            assert set(statuses) <= {504, 429, 402}
            script.proceed.set()
            eventually(lambda: rig.gateway.held_nano(account) == 0)
            asked.append(script)
        bill_nano = sum(script.calls for script in asked) * TRUE_NANO
        told_nano = sum(charge.charged_nano + charge.uncollected_nano for charge in rig.charges(account))
        assert bill_nano > 0
        assert abs(told_nano - bill_nano) <= bill_nano // 20


def test_a_client_that_left_before_the_time_out_pays_as_well(tmp_path: Path) -> None:
    """The place that its answer was given when it left is the one in which it is read on."""
    with reasoning_rig(tmp_path, timeouts=QUICK, settings=settings(1)) as (rig, scripts):
        account = rig.account("50")
        script = late(stream=True)
        with capture_logs() as logs:
            sock = connect(rig, rig.credit_key(account), CHAT.path, CHAT.body(scripts.add(script)))
            eventually(lambda: script.calls == 1)
            sock.close()
            eventually(lambda: "upstream_timed_out" in {log["event"] for log in logs})
        script.proceed.set()
        eventually(lambda: rig.gateway.held_nano(account) == 0)
        assert rig.charged_nano(account) == TRUE_NANO


@pytest.mark.parametrize("status", [504, 524])
def test_a_time_out_of_something_in_between_is_free(tmp_path: Path, status: int) -> None:
    """The upstream failed: nothing is charged, and a program is told not to repeat it."""
    with reasoning_rig(tmp_path) as (rig, scripts):
        account = rig.account("50")
        refused = ask(rig, account, CHAT, scripts.add(Script((b"{}",), status=status)), stream=False)
        assert (refused.status_code, refused.headers["x-should-retry"]) == (504, "false")
        assert "Nothing was charged" in message(refused)
        assert rig.charges(account) == []


def test_the_official_client_does_not_repeat_it(tmp_path: Path) -> None:
    """It would pay for each of its tries."""
    with reasoning_rig(tmp_path, timeouts=QUICK, settings=settings()) as (rig, scripts):
        account = rig.account("50")
        script = late(stream=False)
        with (
            rig.client(rig.credit_key(account), max_retries=3) as client,
            pytest.raises(openai.APIStatusError) as caught,
        ):
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": scripts.add(script)}])
        script.proceed.set()
        eventually(lambda: rig.gateway.held_nano(account) == 0)
        assert (caught.value.status_code, script.calls) == (504, 1)


def test_a_silent_head_is_no_answer_yet(tmp_path: Path) -> None:
    """A stream whose head comes at once has to begin within the time to the first byte, not within that of silence."""
    timeouts = Timeouts(connect_s=5, first_byte_s=20, idle_s=0.2)
    with reasoning_rig(tmp_path, timeouts=timeouts) as (rig, scripts):
        account = rig.account("50")
        script = Script((b"", *CHAT.script().pieces), pause_before=1)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, rig, account, CHAT, scripts.add(script), stream=True)
            eventually(lambda: script.calls == 1)
            # Longer than an answer may be silent once it has begun.
            with pytest.raises(TimeoutError):
                asked.result(timeout=0.6)
            script.proceed.set()
            assert asked.result(timeout=20).status_code == 200


def test_a_stream_that_breaks_says_what_was_charged(tmp_path: Path) -> None:
    """In its error event, and in the log."""
    with capture_logs() as logs, reasoning_rig(tmp_path, reasoning=False) as (rig, scripts):
        account = rig.account("50")
        script = Script((chunk(), chunk("abcd")), "cut")
        read = ask(rig, account, CHAT, scripts.add(script), stream=True).text
        charged = format_usd(rig.charged_nano(account))
        assert f"cost ${charged}" in read
    assert [log["charged_usd"] for log in logs if log["event"] == "stream_broken"] == [charged]


@pytest.mark.parametrize(
    "noise", [b": processing\n\n", b'event: ping\ndata: {"type": "ping"}\n\n'], ids=["comment", "ping"]
)
def test_noise_is_no_event(tmp_path: Path, noise: bytes) -> None:
    """An upstream that only kept its connection open before it failed has delivered nothing."""
    with reasoning_rig(tmp_path) as (rig, scripts):
        account = rig.account("50")
        refused = ask(rig, account, CHAT, scripts.add(Script((noise, noise), "cut")), stream=True)
        assert (refused.status_code, refused.json()["error"]["code"]) == (502, "upstream_error")
        assert rig.charges(account) == []


@pytest.mark.parametrize(
    "noise", [b": processing\n\n", b'event: ping\ndata: {"type": "ping"}\n\n'], ids=["comment", "ping"]
)
def test_noise_does_not_begin_an_answer(tmp_path: Path, noise: bytes) -> None:
    """The time to the first real event goes on: 504, and the answer is read on and costs what it cost."""
    with reasoning_rig(tmp_path, timeouts=QUICK, settings=settings()) as (rig, scripts):
        account = rig.account("50")
        script = Script((noise, *CHAT.script().pieces), pause_before=1)
        refused = ask(rig, account, CHAT, scripts.add(script), stream=True)
        script.proceed.set()
        assert (refused.status_code, refused.headers["x-should-retry"]) == (504, "false")
        eventually(lambda: len(rig.charges(account)) == 1)
        assert rig.charged_nano(account) == TRUE_NANO


def test_a_half_event_before_the_time_out_is_kept(tmp_path: Path) -> None:
    """What is read on goes on where the time-out cut it: the usage is that of the whole answer."""
    with reasoning_rig(tmp_path, timeouts=QUICK, settings=settings()) as (rig, scripts):
        account = rig.account("50")
        stream = b"".join(CHAT.script().pieces)
        script = Script((stream[:20], stream[20:]), pause_before=1)
        refused = ask(rig, account, CHAT, scripts.add(script), stream=True)
        script.proceed.set()
        assert refused.status_code == 504
        eventually(lambda: len(rig.charges(account)) == 1)
        assert rig.charged_nano(account) == TRUE_NANO
