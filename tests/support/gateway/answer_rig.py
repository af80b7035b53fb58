"""A gateway in front of an upstream that says what a test wrote down: in each format what one call gets, and its price.

Every kind of token has a price of its own, so that no two mistakes cost the same. Only tests import this.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import httpx
import msgspec

from tests.support.gateway.gateway_rig import (
    EVERY_FORMAT,
    MODEL,
    UPSTREAM_KEY,
    Rig,
    eventually,
    open_moody_store,
    run_rig,
    speaking_only,
)
from tests.support.gateway.scripted_upstream import Script, ScriptedUpstream, serve_scripts
from tokenbooth.config.catalog import Catalog, Route, Upstream, WireFormat
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.config.upstream_kinds import KINDS
from tokenbooth.config.upstream_table import GENERIC
from tokenbooth.domain.charges import Charge
from tokenbooth.domain.pricing import Price, TokenRates
from tokenbooth.gateway.upstream.base import Timeouts

Json = dict[str, Any]
Format = Literal["chat", "completions", "responses", "messages", "translated", "embeddings"]
"""The format of a client and its upstream; `translated` is a message made of a chat completion."""
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
WRITING: Final = FORMATS[:-1]
OF_CHOICES: Final[tuple[Format, ...]] = ("chat", "completions", "translated")
CHATS_ONLY: Final[tuple[WireFormat, ...]] = ("openai.chat",)
Way = Literal["whole", "streamed", "whole as stream", "stream as whole"]
"""How an answer comes and what was asked for; the last two say first what comes."""
WAYS: Final[tuple[Way, ...]] = get_args(Way)
PATHS: Final[Mapping[Format, str]] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/anthropic/v1/messages",
    "translated": "/anthropic/v1/messages",
    "embeddings": "/v1/embeddings",
}
# Nano-dollars a token.
INPUT, CACHED, CACHE_WRITE, OUTPUT, REASONING = 271, 67, 349, 1_103, 1_709
PRICE: Final = Price(
    TokenRates(
        input=INPUT * 10**6,
        cached_input=CACHED * 10**6,
        cache_write=CACHE_WRITE * 10**6,
        output=OUTPUT * 10**6,
        reasoning=REASONING * 10**6,
    )
)
PLAIN, THINKING = "plain", "thinking"
MAX_OUTPUT: Final = 100_000
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Counts:
    """The tokens of an answer, none of them in two of these."""

    fresh: int
    output: int
    cached: int = 0
    written: int = 0
    reasoning: int = 0

    @property
    def nano(self) -> int:
        """What they cost, in nano-dollars."""
        prompt = self.fresh * INPUT + self.cached * CACHED + self.written * CACHE_WRITE
        return prompt + self.output * OUTPUT + self.reasoning * REASONING


@dataclass(frozen=True, slots=True)
class Charged:
    """What a call cost.

    Attributes:
        sent_bytes: the size of the request.
        charges: one, or none.
    """

    sent_bytes: int
    charges: Sequence[Charge]

    @property
    def charged_nano(self) -> int | None:
        """The charge; None for none."""
        return self.charges[0].charged_nano if self.charges else None

    @property
    def estimated(self) -> bool:
        """Whether it was counted by us."""
        return self.charges[0].estimated

    def estimate_nano(self, text_bytes: int, pieces: int = 0) -> int:
        """What it costs where nothing is reported: four bytes a token, and no fewer tokens than pieces of text."""
        return -(-self.sent_bytes // 4) * INPUT + max(-(-text_bytes // 4), pieces) * OUTPUT


@dataclass(frozen=True, slots=True)
class Outcome(Charged):
    """What a client got, and what it paid.

    Attributes:
        answer: what arrived.
    """

    answer: httpx.Response

    @property
    def shown_nano(self) -> int | None:
        """The cost that the client was told last, and the same everywhere in a whole answer; None for none."""
        told = [float(cost) for cost in re.findall(rb'"cost":([0-9.e-]+)', self.answer.content)]
        if "x-cost-usd" in self.answer.headers:
            told.append(float(self.answer.headers["x-cost-usd"]))
        assert self.is_stream or len(set(told)) < 2
        return round(told[-1] * 10**9) if told else None

    @property
    def is_stream(self) -> bool:
        """Whether events came."""
        return self.answer.headers["content-type"].startswith("text/event-stream")

    @property
    def ended(self) -> bool:
        """Whether the answer came to its end, as its format tells that."""
        if not self.is_stream:
            return self.answer.status_code == 200
        said = self.answer.content
        return said.endswith(b"data: [DONE]\n\n") or any(
            b'"type":"%b"' % kind in said.rsplit(b"\n\n", 2)[-2]
            for kind in (b"message_stop", b"response.completed", b"response.incomplete")
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """One call.

    Attributes:
        form: the format.
        answer: what the upstream says.
        stream: whether a stream is asked for.
        model: the model's name.
        more: further fields of the request.
    """

    form: Format
    answer: Script | bytes
    stream: bool
    model: str = PLAIN
    more: Mapping[str, object] = field(default_factory=dict)

    def body(self, said: str) -> bytes:
        """The request, whose only text is `said`."""
        body: Json = {"model": self.model}
        match self.form:
            case "completions":
                body["prompt"] = said
            case "responses" | "embeddings":
                body["input"] = said
            case _:
                body["messages"] = [{"role": "user", "content": said}]
        if self.form in ("messages", "translated"):
            body["max_tokens"] = MAX_OUTPUT
        elif self.form in ("chat", "completions") and self.stream:
            body["stream_options"] = {"include_usage": True}
        if self.form != "embeddings":
            body["stream"] = self.stream
        return msgspec.json.encode({**body, **self.more})


class AnswerRig:
    """A gateway whose models are at one upstream, which speaks every format, or chats only.

    Its models are `plain`, `thinking`, and one for each kind of upstream, which has the kind's name and thinks.
    """

    def __init__(self, rig: Rig, upstream: ScriptedUpstream) -> None:
        self.rig = rig
        self._upstream = upstream

    def ask(self, form: Format, answer: Script | bytes, *, stream: bool, model: str = PLAIN, **more: object) -> Outcome:
        """What one call of a new account gets, and what it is charged."""
        asked = Asked(form, answer, stream, model, more)
        sent, account = self._prepared(asked), self.rig.account("1000")
        got = self.rig.http.post(PATHS[form], content=sent, headers=self._headers(account))
        return Outcome(len(sent), self.rig.charges(account), got)

    def ask_all(self, calls: Iterable[Asked]) -> list[Outcome]:
        """The same for many calls, some of them at once."""
        prepared = [(PATHS[asked.form], self._prepared(asked), self.rig.account("1000")) for asked in calls]
        headers = [self._headers(account) for _, _, account in prepared]

        async def run() -> list[httpx.Response]:
            room = asyncio.Semaphore(_AT_ONCE)
            async with httpx.AsyncClient(base_url=self.rig.base_url, timeout=60) as client:

                async def call(number: int) -> httpx.Response:
                    path, sent, _ = prepared[number]
                    async with room:
                        return await client.post(path, content=sent, headers=headers[number])

                return await asyncio.gather(*map(call, range(len(prepared))))

        answers = asyncio.run(run())
        return [
            Outcome(len(sent), self.rig.charges(account), got)
            for got, (_, sent, account) in zip(answers, prepared, strict=True)
        ]

    def leave(self, asked: Asked, seen: bytes, *, goes_on: bool = False) -> Charged:
        """What a client is charged that hangs up when it has seen this; the upstream's script goes on behind that."""
        account = self.rig.account("1000")
        sent, read = self._prepared(asked), b""
        with self.rig.http.stream("POST", PATHS[asked.form], content=sent, headers=self._headers(account)) as answer:
            for piece in answer.iter_raw():
                read += piece
                if seen in read:
                    break
        if goes_on and isinstance(asked.answer, Script):
            asked.answer.proceed.set()
        eventually(lambda: len(self.rig.charges(account)) == 1)
        return Charged(len(sent), self.rig.charges(account))

    def _prepared(self, asked: Asked) -> bytes:
        answer = asked.answer
        script = answer if isinstance(answer, Script) else Script((answer,), content_type=media_type(answer))
        return asked.body(self._upstream.add(script))

    def _headers(self, account: str) -> dict[str, str]:
        return {"x-api-key": self.rig.credit_key(account), "content-type": "application/json"}


def outcomes_of(directory: Path, calls: Sequence[Asked]) -> list[Outcome]:
    """What each of many calls comes to; the translated ones at an upstream that speaks chats only."""
    found: dict[int, Outcome] = {}
    for is_translated, formats in ((False, EVERY_FORMAT), (True, CHATS_ONLY)):
        chosen = [number for number, asked in enumerate(calls) if (asked.form == "translated") is is_translated]
        (directory / str(is_translated)).mkdir()
        with run_answer_rig(directory / str(is_translated), *formats) as rig:
            found.update(zip(chosen, rig.ask_all(calls[number] for number in chosen), strict=True))
    return [found[number] for number in range(len(calls))]


def media_type(answer: bytes) -> str:
    """What a body is announced as."""
    return "application/json" if answer[:1] in (b"{", b"[") else "text/event-stream"


@contextmanager
def run_answer_rig(directory: Path, *formats: WireFormat) -> Iterator[AnswerRig]:
    """Run it while the block runs, in front of an upstream that speaks `formats`."""
    store = open_moody_store(directory / "tokenbooth.db")
    try:
        with serve_scripts() as (upstream, url):

            def change(catalog: Catalog) -> Catalog:
                return speaking_only(_with_models(catalog, url), *formats)

            with run_rig(
                store,
                directory,
                timeouts=Timeouts(connect_s=5, first_byte_s=20, idle_s=20),
                gateway_settings=GatewaySettings(rest_after_failures=1_000_000),
                change_catalog=change,
            ) as rig:
                yield AnswerRig(rig, upstream)
    finally:
        store.close()


def _with_models(catalog: Catalog, url: str) -> Catalog:
    kinds = {PLAIN: GENERIC, THINKING: GENERIC, **{name: name for name in KINDS}}
    models = {}
    for name, kind in kinds.items():
        upstream = Upstream(f"at-{kind}", f"{url}/v1", UPSTREAM_KEY, False, kind=KINDS[kind])
        models[name] = replace(
            catalog.models[MODEL],
            name=name,
            price=PRICE,
            upstream_price=PRICE,
            routes=(Route(upstream, "up", 1),),
            context_tokens=2_000_000,
            max_output_tokens=500_000,
            reasoning=name != PLAIN,
        )
    return replace(catalog, models=models)
