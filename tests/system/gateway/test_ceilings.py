"""Output ceilings over HTTP: which one an upstream gets, whether it keeps it, and what an account costs till then."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import structlog
from structlog.testing import capture_logs

from tests.support.gateway.ceiling_upstream import MODEL_MOST, CeilingUpstream, ceilings_in
from tests.support.gateway.gateway_rig import (
    CHAT,
    MODEL,
    UPSTREAM_KEY,
    JumpingClock,
    MoodyStore,
    Rig,
    eventually,
    prompt,
    run_rig,
)
from tests.support.servers import serve
from tokenbooth.config.catalog import Catalog, Model, Route, Upstream
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.config.upstream_kinds import KINDS
from tokenbooth.domain.pricing import Price, TokenRates
from tokenbooth.kit.clock import Clock

FORMATS = frozenset(("openai.chat", "openai.completions", "openai.responses", "anthropic.messages"))
# $3 and $15 a million: an answer of the model's maximum costs $0.12288.
PRICE = Price(TokenRates(input=3_000_000_000, output=15_000_000_000, cached_input=3_000_000_000, cache_write=0))
MOST_NANO = 122_880_000 + 3_000_000
DAY_S = 86_400


def at(*urls: str, kinds: tuple[str, ...] = (), formats: frozenset[str] = FORMATS) -> Model:
    """The model at upstreams of these kinds, `generic` by default; the first is all but surely asked first."""
    named = kinds or ("generic",) * len(urls)
    routes = tuple(
        Route(
            Upstream(f"up-{n}", f"{url}/v1", UPSTREAM_KEY, False, formats, kind=KINDS[kind]),
            "m",
            weight=10 ** (12 * (len(urls) - n)),
        )
        for n, (url, kind) in enumerate(zip(urls, named, strict=True))
    )
    return Model(MODEL, PRICE, PRICE, routes, 128_000, MODEL_MOST, 2_000, False, None, frozenset())


@contextmanager
def gateway(
    store: MoodyStore, data_dir: Path, model: Model, *, clock: Clock | None = None, hold_wait_ms: int = 100
) -> Iterator[Rig]:
    """A gateway that offers one model."""

    def only(catalog: Catalog) -> Catalog:
        return replace(catalog, models={MODEL: model})

    settings = GatewaySettings(hold_wait_ms=hold_wait_ms)
    with run_rig(store, data_dir, clock=clock, gateway_settings=settings, change_catalog=only) as rig:
        yield rig


@contextmanager
def upstreams(*apps: CeilingUpstream) -> Iterator[list[str]]:
    """The URLs of upstreams that run while the block runs."""
    if not apps:
        yield []
        return
    with serve(apps[0], lifespan="off") as first, upstreams(*apps[1:]) as others:
        yield [first, *others]


@asynccontextmanager
async def caller(rig: Rig, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with as many connections as it likes."""
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        base_url=rig.base_url, headers=headers, timeout=60, limits=httpx.Limits(max_connections=None)
    ) as http:
        yield http


async def hundred_at_once(rig: Rig, upstream: CeilingUpstream, key: str, fields: Mapping[str, object]) -> Counter[str]:
    """A hundred calls at once, none of which is answered before each is decided; returns how they ended."""
    assert upstream.answers_after is not None
    async with caller(rig, key) as http:
        tasks = [asyncio.create_task(http.post(CHAT, json=prompt("hi", **fields))) for _ in range(100)]
        await asyncio.to_thread(eventually, lambda: sum(task.done() for task in tasks) + upstream.at_once == len(tasks))
        upstream.answers_after.set()
        answers = await asyncio.gather(*tasks)
    return Counter("ok" if a.status_code == 200 else a.json()["error"]["code"] for a in answers)


def upstream_bill_nano(upstream: CeilingUpstream) -> int:
    """What the operator owes for what was written."""
    return sum(10 * 3_000 + written * 15_000 for written in upstream.written)


@pytest.mark.parametrize("name", ["max_completion_tokens", "n_predict", "max_output_tokens", "max_new_tokens"])
@pytest.mark.parametrize("obeys", [("max_tokens",), ("n_predict", "max_tokens"), ()])
async def test_what_an_account_costs_is_its_money_and_one_call(
    name: str, obeys: tuple[str, ...], moody: MoodyStore, tmp_path: Path
) -> None:
    """A hundred calls at once on $0.05: the upstream's bill is at most what was charged plus one call (P9)."""

    upstream = CeilingUpstream(obeys=obeys, answers_after=threading.Event())
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig:
        account = rig.account("0.05")
        ended = await hundred_at_once(rig, upstream, rig.credit_key(account), {name: 1})
        assert ended == {"ok": 1, "budget_reserved": 99}
        assert ceilings_in(upstream.bodies) == [{"max_tokens": 1}]
        assert upstream_bill_nano(upstream) <= rig.charged_nano(account) + MOST_NANO


async def test_one_after_the_other_costs_one_call_as_well(moody: MoodyStore, tmp_path: Path) -> None:
    """The first answer beyond its ceiling is the last one that is not paid for (P9)."""
    upstream = CeilingUpstream()
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig:
        account = rig.account("0.05")
        key = rig.credit_key(account)
        codes = [rig.post(key, prompt("hi", max_tokens=1)).status_code for _ in range(5)]
        assert codes == [200, 402, 402, 402, 402]
        assert upstream_bill_nano(upstream) <= rig.charged_nano(account) + MOST_NANO


async def test_as_many_run_at_once_as_the_money_pays_without_a_ceiling(moody: MoodyStore, tmp_path: Path) -> None:
    """Eight times the model's maximum is $0.98, so of a hundred calls on $1 eight run at an upstream nobody knows."""

    upstream = CeilingUpstream(obeys=("max_tokens",), answers_after=threading.Event())
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig:
        ended = await hundred_at_once(rig, upstream, rig.credit_key(rig.account("1")), {"max_tokens": 5})
        assert (ended["ok"], upstream.most_at_once) == (8, 8)


async def test_one_that_was_seen_to_stop_has_no_such_bound(moody: MoodyStore, tmp_path: Path) -> None:
    """After one answer that was cut off at its ceiling a hundred run at once, streamed or not."""

    upstream = CeilingUpstream(obeys=("max_tokens",))
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig:
        key = rig.credit_key(rig.account("0.2"))
        assert rig.post(key, prompt("hi", max_tokens=7)).status_code == 200
        upstream.answers_after = threading.Event()
        ended = await hundred_at_once(rig, upstream, key, {"max_tokens": 5})
        assert ended == {"ok": 100}


async def test_calls_without_a_ceiling_are_not_bounded(moody: MoodyStore, tmp_path: Path) -> None:
    """They hold the model's maximum, so that nothing has to be proven."""

    upstream = CeilingUpstream(writes=3, answers_after=threading.Event())
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig:
        ended = await hundred_at_once(rig, upstream, rig.credit_key(rig.account("1000")), {})
        assert ended == {"ok": 100}
        assert ceilings_in(upstream.bodies) == [{}] * 100


async def test_a_proof_counts_for_its_format_alone(moody: MoodyStore, tmp_path: Path) -> None:
    """An upstream that keeps the ceiling of chats may ignore the one of another endpoint."""
    upstream = CeilingUpstream(obeys=("max_tokens",))
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig:
        account = rig.account("0.05")
        key = rig.credit_key(account)
        assert rig.post(key, prompt("hi", max_tokens=7)).status_code == 200
        async with caller(rig, key) as http:
            body = {"model": MODEL, "input": "hi", "max_output_tokens": 5}
            answers = await asyncio.gather(*(http.post("/v1/responses", json=body) for _ in range(20)))
        assert Counter(a.status_code for a in answers)[200] == 1
        assert upstream_bill_nano(upstream) <= rig.charged_nano(account) + MOST_NANO


@pytest.mark.parametrize("ceiling", [256, 1_000, 4_096])
async def test_where_servers_stop_by_themselves_proves_nothing_alone(
    ceiling: int, moody: MoodyStore, tmp_path: Path
) -> None:
    """A server that knows no ceiling of ours stops at its own; whoever guesses that has not shown anything."""

    upstream = CeilingUpstream(obeys=("its_own",))
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig:
        key = rig.credit_key(rig.account("1"))
        upstream.obeys = ("max_tokens",)
        for _ in range(3):
            assert rig.post(key, prompt("hi", max_tokens=ceiling)).status_code == 200
        upstream.answers_after = threading.Event()
        ended = await hundred_at_once(rig, upstream, key, {"max_tokens": 5})
        assert ended["ok"] < 10
        assert rig.post(key, prompt("hi", max_tokens=ceiling * 2)).status_code == 200
        upstream.answers_after = threading.Event()
        assert await hundred_at_once(rig, upstream, key, {"max_tokens": 5}) == {"ok": 100}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}, "max_tokens"),
        ("/v1/completions", {"prompt": "hi"}, "max_tokens"),
        ("/v1/responses", {"input": "hi"}, "max_output_tokens"),
        ("/anthropic/v1/messages", {"messages": [{"role": "user", "content": "hi"}]}, "max_tokens"),
    ],
)
async def test_beyond_a_ceiling_is_an_error_and_a_day_of_mistrust(
    path: str, body: dict[str, object], field: str, moody: MoodyStore, tmp_path: Path, clock: JumpingClock
) -> None:
    """In every format: a line, a figure, the maximum is held for a day, after a restart too, then no longer (37)."""
    upstream = CeilingUpstream()
    asked = {"model": MODEL, **body, field: 10}
    with upstreams(upstream) as urls:
        with gateway(moody, tmp_path, at(*urls), clock=clock) as rig, capture_logs() as logs:
            account = rig.account("0.5")
            key = rig.credit_key(account)
            headers = {"authorization": f"Bearer {key}"}
            assert rig.http.post(path, json=asked, headers=headers).status_code == 200
            lines = [line for line in logs if line["event"] == "ceiling_exceeded"]
            assert [(x["log_level"], x["sent_tokens"], x["reported_tokens"]) for x in lines] == [("error", 10, 8_192)]
            health = {h.upstream: h for h in rig.gateway.ceiling_health() if h.times_exceeded}
            assert (health["up-0"].times_exceeded, health["up-0"].is_distrusted) == (1, True)
            poor = rig.credit_key(rig.account("0.1"))
            small = prompt("hi", max_tokens=10)
            assert rig.post(poor, small).json()["error"]["code"] == "insufficient_credits"
        with gateway(moody, tmp_path, at(*urls), clock=clock) as rig:
            assert rig.post(poor, small).json()["error"]["code"] == "insufficient_credits"
            clock.jump(DAY_S)
            assert rig.post(poor, small).status_code == 200


async def test_another_field_begins_anew(moody: MoodyStore, tmp_path: Path) -> None:
    """Where the operator has named the field that is obeyed, the day of mistrust is over."""
    upstream = CeilingUpstream(obeys=("n_predict",))
    with upstreams(upstream) as urls:
        with gateway(moody, tmp_path, at(*urls)) as rig:
            assert rig.post(rig.credit_key(rig.account("0.5")), prompt("hi", max_tokens=10)).status_code == 200
        renamed = replace(at(*urls, formats=frozenset(("openai.chat",))), output_limit_field="n_predict")
        with gateway(moody, tmp_path, renamed) as rig:
            assert rig.post(rig.credit_key(rig.account("0.05")), prompt("hi", max_tokens=10)).status_code == 200
            assert ceilings_in(upstream.bodies)[-1] == {"n_predict": 10}


async def test_a_little_beyond_is_none(moody: MoodyStore, tmp_path: Path) -> None:
    """Two percent and sixteen tokens: servers count their end marks differently."""
    upstream = CeilingUpstream(writes=1_036)
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig:
        key = rig.credit_key(rig.account("1"))
        rig.post(key, prompt("hi", max_tokens=1_000))
        assert not any(h.times_exceeded for h in rig.gateway.ceiling_health())
        upstream.writes = 1_037
        rig.post(key, prompt("hi", max_tokens=1_000))
        assert [h.times_exceeded for h in rig.gateway.ceiling_health() if h.times_exceeded] == [1]


async def test_what_was_seen_obeyed_is_known_after_a_restart(moody: MoodyStore, tmp_path: Path) -> None:
    """Or every start would bound every account anew."""

    upstream = CeilingUpstream(obeys=("max_tokens",))
    with upstreams(upstream) as urls:
        with gateway(moody, tmp_path, at(*urls)) as rig:
            assert rig.post(rig.credit_key(rig.account("1")), prompt("hi", max_tokens=7)).status_code == 200
        upstream.answers_after = threading.Event()
        with gateway(moody, tmp_path, at(*urls)) as rig:
            ended = await hundred_at_once(rig, upstream, rig.credit_key(rig.account("0.2")), {"max_tokens": 5})
            assert ended == {"ok": 100}


async def test_mistrust_is_known_to_the_process_that_takes_over(moody: MoodyStore, tmp_path: Path) -> None:
    """What was seen is in the database, so that one in another directory holds the model's maximum from the start."""
    upstream = CeilingUpstream()
    (tmp_path / "other").mkdir()
    with upstreams(upstream) as urls:
        with gateway(moody, tmp_path, at(*urls)) as rig:
            rig.post(rig.credit_key(rig.account("1")), prompt("hi", max_tokens=10))
            rig.on_loop(rig.gateway.sync_ceilings())
        with gateway(moody, tmp_path / "other", at(*urls)) as other:
            poor = other.credit_key(other.account("0.05"))
            assert other.post(poor, prompt("hi", max_tokens=10)).json()["error"]["code"] == "insufficient_credits"


async def test_the_next_upstream_gets_its_own_field(moody: MoodyStore, tmp_path: Path) -> None:
    """A call that fails over from one kind to another carries the ceiling under the other's name."""
    first = CeilingUpstream(refuses=(500, {"error": {"message": "x"}}))
    second = CeilingUpstream(obeys=("max_completion_tokens",))
    with upstreams(first, second) as urls, gateway(moody, tmp_path, at(*urls, kinds=("vllm", "openai"))) as rig:
        answer = rig.post(rig.credit_key(rig.account("1")), prompt("hi", n_predict=9))
        assert answer.status_code == 200
        assert ceilings_in(first.bodies) == [{"max_tokens": 9}]
        assert ceilings_in(second.bodies) == [{"max_completion_tokens": 9}]
        assert second.written == [9]


async def test_kinds_that_take_one_get_a_ceiling_that_nobody_named(moody: MoodyStore, tmp_path: Path) -> None:
    """Others hold the model's maximum without one."""
    upstream = CeilingUpstream(writes=3)
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls, kinds=("anthropic",))) as rig:
        assert rig.post(rig.credit_key(rig.account("1")), prompt("hi")).status_code == 200
        assert ceilings_in(upstream.bodies) == [{"max_tokens": MODEL_MOST}]


async def test_a_kind_whose_ceiling_does_not_bound_thinking_holds_the_maximum(
    moody: MoodyStore, tmp_path: Path
) -> None:
    """Where the model thinks or is asked to; else the ceiling is what is held."""
    upstream = CeilingUpstream(writes=3)
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls, kinds=("qwen",))) as rig:
        key = rig.credit_key(rig.account("0.05"))
        thinking = rig.post(key, prompt("hi", max_tokens=10, enable_thinking=True))
        assert thinking.json()["error"]["code"] == "insufficient_credits"
        assert rig.post(key, prompt("hi", max_tokens=10)).status_code == 200


@pytest.mark.parametrize("status", [400, 422])
async def test_a_refused_ceiling_is_told_to_the_operator(status: int, moody: MoodyStore, tmp_path: Path) -> None:
    """An error line that names the setting to look at, once; the customer is told as before."""
    message = "max_tokens is too large: 8192. This model supports at most 4096 completion tokens."
    upstream = CeilingUpstream(refuses=(status, {"error": {"message": message}}))
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig, capture_logs() as logs:
        key = rig.credit_key(rig.account("1"))
        answers = [rig.post(key, prompt("hi", max_tokens=8_000)) for _ in range(3)]
        assert [(a.status_code, a.json()["error"]["message"]) for a in answers] == [(status, message)] * 3
        lines = [line for line in logs if line["event"] == "ceiling_refused"]
        assert [line["log_level"] for line in lines] == ["error"]
        assert "max_output_tokens" in lines[0]["action"]


async def test_what_was_left_out_is_said(moody: MoodyStore, tmp_path: Path) -> None:
    """A field that is kept back with a value that changes nothing is no reason to refuse the call."""
    upstream = CeilingUpstream(writes=3)
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig:
        fields = {"min_tokens": 0, "ignore_eos": False, "data_sources": [], "seed": 1}
        answer = rig.post(rig.credit_key(rig.account("1")), prompt("hi", **fields))
        assert answer.status_code == 200
        assert answer.headers["x-omitted"] == "min_tokens, ignore_eos, data_sources"
        assert upstream.bodies[-1].keys() == {"model", "messages", "seed"}


async def test_an_account_in_trouble_is_not_the_customers(moody: MoodyStore, tmp_path: Path) -> None:
    """The call goes to the next upstream; with none left it is 502 in our words, and the operator is told (P12)."""
    message = "Your credit balance is too low to access the API. Go to Plans & Billing to upgrade."
    poor = CeilingUpstream(refuses=(400, {"error": {"type": "invalid_request_error", "message": message}}))
    rich = CeilingUpstream(writes=3)
    with upstreams(poor, rich) as urls, gateway(moody, tmp_path, at(*urls)) as rig, capture_logs() as logs:
        key = rig.credit_key(rig.account("1"))
        assert rig.post(key, prompt("hi")).status_code == 200
        assert [line["log_level"] for line in logs if line["event"] == "upstream_account_refused"] == ["error"]
        rich.refuses = poor.refuses
        answer = rig.post(key, prompt("hi"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
        assert "balance" not in answer.text


async def test_images_that_count_for_more_than_was_held(moody: MoodyStore, tmp_path: Path) -> None:
    """An error line names the setting, and the next image holds what the last one counted for."""
    upstream = CeilingUpstream(writes=3, prompt_tokens=30_000)
    image = [{"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}]
    body = {"model": MODEL, "messages": [{"role": "user", "content": image}], "max_tokens": 3}
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig, capture_logs() as logs:
        key = rig.credit_key(rig.account("1"))
        assert rig.post(key, body).status_code == 200
        lines = [line for line in logs if line["event"] == "image_tokens_exceeded"]
        assert [line["log_level"] for line in lines] == ["error"]
        assert "image_tokens_max" in lines[0]["action"]
        poor = rig.credit_key(rig.account("0.02"))
        assert rig.post(poor, body).json()["error"]["code"] == "insufficient_credits"


async def test_nothing_is_left_of_calls_that_ended(moody: MoodyStore, tmp_path: Path) -> None:
    """However a call ends, what it put at risk is given back: answered, refused, failed or hung up."""
    upstream = CeilingUpstream(obeys=("max_tokens",))
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig:
        key = rig.credit_key(rig.account("0.05"))
        upstream.refuses = (500, {"error": {"message": "x"}})
        assert rig.post(key, prompt("hi", max_tokens=5)).status_code == 502
        upstream.refuses = (400, {"error": {"message": "x"}})
        assert rig.post(key, prompt("hi", max_tokens=5)).status_code == 400
        upstream.refuses, upstream.answers_after = None, threading.Event()
        headers = {"authorization": f"Bearer {key}"}
        with pytest.raises(httpx.ReadTimeout):
            rig.http.post(CHAT, json=prompt("hi", max_tokens=5), headers=headers, timeout=0.2)
        upstream.answers_after.set()
        eventually(lambda: rig.gateway.open_requests == 0)
        upstream.answers_after = None
        # A single one may always run, so a second one shows that none is left.
        upstream.writes = 1
        assert [rig.post(key, prompt("hi", max_tokens=5)).status_code for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "[[write 50]]"}]}, "max_tokens"),
        ("/v1/completions", {"prompt": "[[write 50]]"}, "max_tokens"),
        ("/v1/responses", {"input": "[[write 50]]"}, "max_output_tokens"),
        ("/anthropic/v1/messages", {"messages": [{"role": "user", "content": "[[write 50]]"}]}, "max_tokens"),
    ],
)
@pytest.mark.parametrize("native", [False, True])
async def test_a_stop_at_a_ceiling_is_seen_in_every_format(
    native: bool, path: str, body: dict[str, object], field: str, stream: bool, moody: MoodyStore, tmp_path: Path
) -> None:
    """In whole answers and in streams, passed on as they are and translated."""
    formats = FORMATS if native else FORMATS - {"anthropic.messages"}

    def speaks(catalog: Catalog) -> Catalog:
        model = catalog.models[MODEL]
        routes = tuple(replace(r, upstream=replace(r.upstream, formats=formats)) for r in model.routes)
        return replace(catalog, models={MODEL: replace(model, routes=routes)})

    with run_rig(moody, tmp_path, change_catalog=speaks) as rig, capture_logs() as logs:
        headers = {"authorization": f"Bearer {rig.credit_key(rig.account('1'))}"}
        asked = {"model": MODEL, **body, field: 20, "stream": stream}
        assert rig.http.post(path, json=asked, headers=headers).status_code == 200
    assert [line["field"] for line in logs if line["event"] == "ceiling_obeyed"] == [field]


def test_logs_are_captured() -> None:
    """The tests above would find nothing otherwise."""
    with capture_logs() as logs:
        structlog.get_logger("x").error("seen")
    assert [line["event"] for line in logs] == ["seen"]


@pytest.mark.parametrize(
    ("path", "fields", "field", "said"),
    [
        (
            "/v1/responses",
            {"input": "hi", "metadata": {"reason": "length"}},
            "max_output_tokens",
            {
                "status": "completed",
                "metadata": {"reason": "length"},
                "output": [],
                "usage": {"input_tokens": 10, "output_tokens": 7},
            },
        ),
        (
            "/anthropic/v1/messages",
            {"messages": [{"role": "user", "content": "hi"}]},
            "max_tokens",
            {
                "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"stop_reason": "max_tokens"}}],
                "stop_reason": "tool_use",
                "usage": {"input_tokens": 10, "output_tokens": 7},
            },
        ),
    ],
)
async def test_words_of_the_client_prove_nothing(
    path: str, fields: dict[str, object], field: str, said: dict[str, object], moody: MoodyStore, tmp_path: Path
) -> None:
    """Only where its format says why an answer ended counts: what is echoed, or written by the model, does not (P9)."""
    upstream = CeilingUpstream(refuses=(200, said))
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig, capture_logs() as logs:
        headers = {"authorization": f"Bearer {rig.credit_key(rig.account('1'))}"}
        asked = {"model": MODEL, **fields, field: 7}
        assert rig.http.post(path, json=asked, headers=headers).status_code == 200
        upstream.refuses, upstream.obeys = None, (field,)
        assert not [line for line in logs if line["event"] == "ceiling_obeyed"]
        assert rig.http.post(path, json=asked, headers=headers).status_code == 200
        assert [line["event"] for line in logs if line["event"] == "ceiling_obeyed"] == ["ceiling_obeyed"]


async def test_a_full_context_proves_nothing(moody: MoodyStore, tmp_path: Path) -> None:
    """A prompt that leaves room for seven tokens is cut off at seven by any server (P9)."""
    upstream = CeilingUpstream(obeys=("max_tokens",), prompt_tokens=127_993)
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig, capture_logs() as logs:
        key = rig.credit_key(rig.account("1"))
        assert rig.post(key, prompt("hi", max_tokens=7)).status_code == 200
        assert not [line for line in logs if line["event"] == "ceiling_obeyed"]
        upstream.prompt_tokens = 10
        assert rig.post(key, prompt("hi", max_tokens=7)).status_code == 200
        assert [line["event"] for line in logs if line["event"] == "ceiling_obeyed"] == ["ceiling_obeyed"]


@pytest.mark.parametrize(
    "thinking", [{"reasoning_effort": "high"}, {"chat_template_kwargs": {"enable_thinking": True}}, {"think": True}]
)
async def test_a_proof_without_thinking_counts_for_calls_that_do_not_think(
    thinking: dict[str, object], moody: MoodyStore, tmp_path: Path
) -> None:
    """A ceiling may bound the answer alone; once it was seen to bound the thinking too, such calls are free (P9)."""
    upstream = CeilingUpstream(obeys=("max_tokens",))
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig:
        account = rig.account("0.2")
        key = rig.credit_key(account)
        assert rig.post(key, prompt("hi", max_tokens=7)).status_code == 200
        upstream.obeys, upstream.answers_after = (), threading.Event()
        ended = await hundred_at_once(rig, upstream, key, {"max_tokens": 5, **thinking})
        assert ended["ok"] == 1
        assert upstream_bill_nano(upstream) <= rig.charged_nano(account) + MOST_NANO
        # It went beyond its ceiling while it thought, which is no reason to distrust it where it does not.
        upstream.obeys = ("max_tokens",)
        small = rig.credit_key(rig.account("0.05"))
        assert rig.post(small, prompt("hi", max_tokens=7)).status_code == 200


async def test_a_proof_with_thinking_is_kept(moody: MoodyStore, tmp_path: Path) -> None:
    """Calls that think are bounded no longer once one of them was cut off, after a restart neither."""
    upstream = CeilingUpstream(obeys=("max_tokens",))
    asked = {"max_tokens": 5, "reasoning_effort": "high"}
    with upstreams(upstream) as urls:
        with gateway(moody, tmp_path, at(*urls)) as rig, capture_logs() as logs:
            assert rig.post(rig.credit_key(rig.account("1")), prompt("hi", **asked)).status_code == 200
            assert [x["field"] for x in logs if x["event"] == "ceiling_obeyed"] == ["max_tokens (thinking)"]
        upstream.answers_after = threading.Event()
        with gateway(moody, tmp_path, at(*urls)) as rig:
            assert await hundred_at_once(rig, upstream, rig.credit_key(rig.account("0.2")), asked) == {"ok": 100}


async def test_thinking_that_was_switched_off_proves_nothing_of_a_model_that_thinks(
    moody: MoodyStore, tmp_path: Path
) -> None:
    """It thinks by itself in the next call (P9)."""
    upstream = CeilingUpstream(obeys=("max_tokens",))
    with upstreams(upstream) as urls, gateway(moody, tmp_path, replace(at(*urls), reasoning=True)) as rig:
        key = rig.credit_key(rig.account("1"))
        with capture_logs() as logs:
            assert rig.post(key, prompt("hi", max_tokens=7, enable_thinking=False)).status_code == 200
            assert not [line for line in logs if line["event"] == "ceiling_obeyed"]
            assert rig.post(key, prompt("hi", max_tokens=7)).status_code == 200
            assert [line for line in logs if line["event"] == "ceiling_obeyed"]


@pytest.mark.parametrize("nested", ["chat_template_kwargs", "parameters"])
async def test_thinking_asked_for_inside_an_object_holds_the_maximum_as_well(
    nested: str, moody: MoodyStore, tmp_path: Path
) -> None:
    """Where the ceiling does not bound it; a server reads such fields like those beside them."""
    upstream = CeilingUpstream(writes=3)
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls, kinds=("qwen",))) as rig:
        key = rig.credit_key(rig.account("0.05"))
        thinking = rig.post(key, prompt("hi", max_tokens=10, **{nested: {"enable_thinking": True}}))
        assert thinking.json()["error"]["code"] == "insufficient_credits"


async def test_long_tokens_are_no_reason_for_mistrust(moody: MoodyStore, tmp_path: Path) -> None:
    """Twenty tokens of a hundred blanks without a usage are twenty, not five hundred; 8,192 tokens are beyond (P6)."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": " " * 2_000}}
    upstream = CeilingUpstream(refuses=(200, {"id": "c", "object": "chat.completion", "choices": [choice]}))
    with upstreams(upstream) as urls, gateway(moody, tmp_path, at(*urls)) as rig:
        key = rig.credit_key(rig.account("1"))
        assert rig.post(key, prompt("hi", max_tokens=20)).status_code == 200
        assert not any(h.times_exceeded for h in rig.gateway.ceiling_health())
        choice["message"] = {"role": "assistant", "content": "word" * MODEL_MOST}
        assert rig.post(key, prompt("hi", max_tokens=20)).status_code == 200
        assert [h.times_exceeded for h in rig.gateway.ceiling_health() if h.times_exceeded] == [1]
