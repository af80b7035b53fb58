"""Calls through the real relay to upstreams that say what a target wants: no socket, no store, no disk.

Admission, metering, counting, settlement and the answer's framing are the product's own. Each call begins with a fresh
relay and a rich account, so that nothing that one call teaches changes what the next one costs.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from fuzz.hand_loop import HandLoop
from tests.support.catalog_samples import sample_model
from tests.support.fakes import FakeClock
from tests.support.gateway.formats import speaking
from tokenbooth.config.catalog import Catalog, Model, Upstream, WireFormat
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.domain.allowance import Allowance
from tokenbooth.domain.charges import Charge
from tokenbooth.gateway.access.admission import Admission, Admitted
from tokenbooth.gateway.access.cache import AccountState, KeyState
from tokenbooth.gateway.access.ceilings import Ceilings
from tokenbooth.gateway.access.pool import Pools
from tokenbooth.gateway.access.prompt_ratio import PromptRatios
from tokenbooth.gateway.billing import Billing
from tokenbooth.gateway.drains import Drains
from tokenbooth.gateway.errors import Refusal, UpstreamBroke
from tokenbooth.gateway.exchange import Exchange
from tokenbooth.gateway.failed_attempts import FailedAttempts
from tokenbooth.gateway.formats.base import PricedRequest
from tokenbooth.gateway.formats.json.body import decode_fields
from tokenbooth.gateway.late_answers import LateAnswers
from tokenbooth.gateway.registry import ENDPOINTS
from tokenbooth.gateway.relay import Relay
from tokenbooth.gateway.settlement.charge_log import ChargeLog, Segment
from tokenbooth.gateway.settlement.charge_queue import ChargeQueue, QueuedCharge
from tokenbooth.gateway.settlement.estimates import Estimates
from tokenbooth.gateway.settlement.settle import Settler
from tokenbooth.gateway.upstream.base import UpstreamRequest
from tokenbooth.gateway.upstream.failure_log import FailureLog
from tokenbooth.gateway.upstream.routing import Routing, rest_rules
from tokenbooth.http.connection import ClientConnection
from tokenbooth.http.exchange import HttpExchange
from tokenbooth.kit.places import ByteShares, Caller
from tokenbooth.store.engine import Store, make_engine

Json = dict[str, object]

PROMPT: Final = "What is the weather like?"
_RICH_NANO: Final = 10**18
_SETTINGS: Final = GatewaySettings()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for.

    Attributes:
        path: the endpoint.
        wire: what the upstream speaks; another format than the endpoint's means a translation.
        stream: whether a stream is asked for.
        choices: how many answers are.
    """

    path: str
    wire: WireFormat
    stream: bool
    choices: int = 1

    @property
    def is_translated(self) -> bool:
        """Whether the upstream speaks another format than the client."""
        return self.path.endswith("/messages") and self.wire == "openai.chat"


WAYS: Final[tuple[tuple[str, WireFormat], ...]] = (
    ("/v1/chat/completions", "openai.chat"),
    ("/v1/completions", "openai.completions"),
    ("/v1/responses", "openai.responses"),
    ("/anthropic/v1/messages", "anthropic.messages"),
    ("/anthropic/v1/messages", "openai.chat"),
    ("/v1/embeddings", "openai.embeddings"),
)
"""Each endpoint with what an upstream may speak for it."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What an upstream sends.

    Attributes:
        chunks: the body as it arrives.
        status: of the answer.
        headers: by their names in lower case.
        breaks: whether the connection breaks behind the chunks, instead of ending the answer.
    """

    chunks: Sequence[bytes]
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    breaks: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call.

    Attributes:
        status: what the client got.
        head: the status line and the headers.
        body: the body, or as much of it as left.
        is_complete: whether the answer came to its end.
        charges: what was charged; one at most.
        upstreams_asked: how many upstreams were.
    """

    status: int
    head: bytes
    body: bytes
    is_complete: bool
    charges: list[Charge]
    upstreams_asked: int

    @property
    def charged_nano(self) -> int:
        """What the customer pays, in nano-USD."""
        return sum(charge.charged_nano for charge in self.charges)


class _Connection(ClientConnection):
    """The client's connection."""

    def __init__(self) -> None:
        self.written = b""
        self.has_ended = False

    def write(self, data: bytes) -> None:
        self.written += data

    def common_headers(self) -> bytes:
        return b""

    def ended(self, exchange: HttpExchange) -> None:
        self.has_ended = True

    def read_on(self) -> None:
        """The request has no body here: it was read before."""

    def abort(self) -> None:
        """The answer is cut."""


class _ChargesInMemory(ChargeLog):
    """A charge log without a disk."""

    def __init__(self) -> None:
        self._is_full = False
        self.charges: list[Charge] = []

    def append(self, charge: Charge) -> Segment:
        """Keep it."""
        self.charges.append(charge)
        return Segment(Path(), fd=-1)


class _NothingToFlush(ChargeQueue):
    """A queue in front of no store."""

    __slots__ = ()

    def add(self, item: QueuedCharge) -> None:
        """What was charged is in the log."""


class _Call:
    """A call that is answered from a script."""

    def __init__(self, sent: Sent) -> None:
        self.sent = True
        self.is_alive = False
        self._sent = sent

    @property
    def status(self) -> int:
        return self._sent.status

    def header(self, name: str) -> str | None:
        return next((value for known, value in self._sent.headers if known == name), None)

    async def begin(self) -> None:
        """The head is there."""

    async def wait_on(self, timeout_s: float) -> None:
        """Nothing is ever late."""

    async def read(self) -> bytes:
        if self._sent.breaks:
            raise UpstreamBroke("the connection ended before the answer did")
        return b"".join(self._sent.chunks)

    async def for_each_chunk(self, consume: Callable[[bytes], bool]) -> None:
        for chunk in self._sent.chunks:
            if not consume(chunk):
                return
        if self._sent.breaks:
            raise UpstreamBroke("the connection ended before the answer did")

    def answer_began(self) -> None:
        """There is no clock."""

    def interrupt(self) -> None:
        """Nobody hangs up."""

    def pause(self) -> None:
        """The client reads."""

    def resume(self) -> None:
        """It does."""

    def end(self) -> None:
        """There is no connection."""


class _Upstreams:
    """Upstreams that answer from a script, one after the other."""

    def __init__(self, answers: Sequence[Sent]) -> None:
        self._answers = answers
        self.asked = 0

    def post(self, upstream: Upstream, request: UpstreamRequest) -> _Call:
        self.asked += 1
        return _Call(self._answers[self.asked - 1])

    async def close(self) -> None:
        """There are no connections."""


def call(asked: Asked, *answers: Sent) -> Outcome:
    """Ask, and be answered by one upstream after the other.

    Raises:
        AssertionError: something was left held, counted or running.
    """
    clock, charges = FakeClock(), _ChargesInMemory()
    ceilings, ratios, upstreams = Ceilings(_store(), clock), PromptRatios(), _Upstreams(answers)
    settler = Settler(clock=clock, log=charges, ratios=ratios, queue=_NothingToFlush(most=1))
    drains = Drains(most=8, most_per_account=2)
    billing, failed_attempts = Billing(settler, ceilings, Estimates()), FailedAttempts(FailureLog(clock))
    late_answers = LateAnswers(billing, drains, failed_attempts, read_on_s=100)
    relay = Relay(upstreams, billing, ceilings, late_answers, failed_attempts, keep_alive_s=10)
    pools = Pools(store=_store(), clock=clock, catalog=_no_plans)
    admission = Admission(
        clock=clock,
        catalog=_no_plans,
        pools=pools,
        ratios=ratios,
        ceilings=ceilings,
        grace_us=0,
        hold_share_percent=100,
        hold_wait_s=0,
        may_admit=lambda: True,
    )
    request = _request(asked, len(answers))
    key = KeyState("key", b"digest", AccountState("acct", 0, False, Allowance(_RICH_NANO)), None, None, None, None)
    connection, loop = _Connection(), HandLoop()
    http = HttpExchange(
        connection,
        "POST",
        asked.path,
        [],
        is_1_1=False,
        keep_alive=False,
        expects_continue=False,
        most_body_bytes=1,
        bodies=ByteShares(1),
    )
    exchange = Exchange(http, "req_1", clock)
    exchange.key = key
    exchange.caller = Caller(key.account.account_id, has_money=True)
    exchange.read(ENDPOINTS[asked.path], request)
    exchange.routed = Routing(rest_rules(_SETTINGS), clock, random.Random(1)).route(request, exchange.caller)
    loop.run_until_complete(_run(pools, admission, relay, exchange))
    _check_nothing_is_left(exchange.admitted, drains, loop)
    head, _, body = connection.written.partition(b"\r\n\r\n")
    return Outcome(int(head.split()[1]), head, body, connection.has_ended, charges.charges, upstreams.asked)


async def _run(pools: Pools, admission: Admission, relay: Relay, exchange: Exchange) -> None:
    """Run an exchange as the gateway does."""
    assert exchange.key is not None
    try:
        exchange.pool = await pools.lookup(exchange.key)
        exchange.admitted = await admission.decide(exchange.key, exchange.request, exchange.pool)
        exchange.routed.take(exchange.admitted.clamped_output_tokens)
        exchange.admitted.commit()
        await relay.run(exchange)
    except Refusal as refusal:
        exchange.refuse(refusal)


def _check_nothing_is_left(admitted: Admitted, drains: Drains, loop: HandLoop) -> None:
    loop.check()
    assert not loop.timers(), "a timer is left"
    loop.close()
    account = admitted.key.account
    assert not admitted.hold.open, "the hold is never ended"
    assert account.credit.held_nano == 0
    assert (account.unproven_calls, drains.places.shares.used) == (0, 0)


def _no_plans() -> Catalog:
    return Catalog({}, {})


@cache
def _store() -> Store:
    """What nothing here asks."""
    return Store(make_engine("sqlite:///:memory:"))


@cache
def _model(wire: WireFormat, upstreams: int) -> Model:
    """A model that nothing of the corpus is out of the bounds of, at so many upstreams."""
    model = replace(
        speaking(sample_model(reasoning=True), *(wire,) * upstreams),
        context_tokens=2_000_000,
        max_output_tokens=500_000,
    )
    routes = tuple(
        replace(route, upstream=replace(route.upstream, name=f"upstream-{number}"))
        for number, route in enumerate(model.routes)
    )
    return replace(model, routes=routes)


def _request(asked: Asked, upstreams: int) -> PricedRequest:
    model = _model(asked.wire, upstreams)
    fields: Json = {"model": "m"}
    match asked.path:
        case "/v1/embeddings":
            fields["input"] = PROMPT
        case "/v1/completions":
            fields |= {"prompt": PROMPT, "stream": asked.stream, "n": asked.choices}
        case "/v1/responses":
            fields |= {"input": PROMPT, "stream": asked.stream}
        case "/v1/chat/completions":
            fields |= {"messages": [{"role": "user", "content": PROMPT}], "stream": asked.stream, "n": asked.choices}
        case _:
            thinking = {"type": "enabled", "budget_tokens": 1_024}
            message = {"role": "user", "content": PROMPT}
            fields |= {"messages": [message], "stream": asked.stream, "max_tokens": 6_000, "thinking": thinking}
    body = msgspec.json.encode(fields)
    return ENDPOINTS[asked.path].read(decode_fields(body, 128), model, len(body), [])
