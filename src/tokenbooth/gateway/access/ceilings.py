"""Whether upstreams keep the output ceilings that they are sent, and what follows for admission.

Until an upstream was seen to stop at a ceiling of ours, calls with one are bounded by what they would cost without it.
One that went beyond its ceiling is not trusted with any for a day: its calls hold the model's maximum. Nothing here
waits; what was seen is written by `save`, which a job runs.
"""

import re
from dataclasses import dataclass
from typing import Final

import structlog

from tokenbooth.config.catalog import Model, Route, WireFormat
from tokenbooth.config.upstream_fields import CEILING_FIELDS
from tokenbooth.domain.upstreams import CeilingHealth
from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.formats.base import PricedRequest
from tokenbooth.gateway.formats.thinking import is_asked_to_think, switches_thinking_off, thinks
from tokenbooth.kit.clock import Clock
from tokenbooth.store.ceilings import CeilingKey, CeilingRow, load_ceilings, save_ceilings
from tokenbooth.store.engine import Store

DISTRUST_US: Final = 24 * 3_600 * 1_000_000
_REFUSED: Final = re.compile("|".join(CEILING_FIELDS).encode())
_TOLD_EVERY_US: Final = 3_600 * 1_000_000
_TOLERATED_PERCENT: Final = 2
_TOLERATED_TOKENS: Final = 16
# Where nobody reports. Vocabularies have tokens of 128 blanks or line ends, of which JSON makes two bytes each: with
# fewer bytes a client could have an honest upstream distrusted.
_LONGEST_TOKEN_BYTES: Final = 256
_BYTES_PER_TOKEN: Final = 4
_SMALLEST_DEFAULT: Final = 256
_PROVING_CONTEXT_PERCENT: Final = 90
_WIRES: Final[dict[str, WireFormat]] = {
    "chat.completions": "openai.chat",
    "completions": "openai.completions",
    "responses": "openai.responses",
    "messages": "anthropic.messages",
}
_WITH_CEILING: Final[tuple[WireFormat, ...]] = (
    "openai.chat",
    "openai.completions",
    "openai.responses",
    "anthropic.messages",
)
_log = structlog.get_logger(__name__)


@dataclass(init=False, slots=True, eq=False)
class _Seen:
    """What is known of one ceiling.

    Attributes:
        stopped_at: a ceiling at which an answer stopped that servers have by themselves as well; 0 for none.
        told_at_us: when a refused ceiling was last logged.
        times_exceeded: since the start.
    """

    key: CeilingKey
    obeyed_at_us: int | None
    exceeded_at_us: int | None
    sent_tokens: int
    reported_tokens: int
    stopped_at: int
    told_at_us: int
    times_exceeded: int

    def __init__(self, row: CeilingRow) -> None:
        self.key = row.key
        self.take_over(row)
        self.stopped_at = 0
        self.told_at_us = 0
        self.times_exceeded = 0

    def take_over(self, row: CeilingRow) -> None:
        self.obeyed_at_us = row.obeyed_at_us
        self.exceeded_at_us = row.exceeded_at_us
        self.sent_tokens = row.sent_tokens
        self.reported_tokens = row.reported_tokens

    def is_distrusted(self, now_us: int) -> bool:
        return self.exceeded_at_us is not None and now_us < self.exceeded_at_us + DISTRUST_US

    def row(self) -> CeilingRow:
        return CeilingRow(self.key, self.obeyed_at_us, self.exceeded_at_us, self.sent_tokens, self.reported_tokens)


@dataclass(init=False, slots=True, eq=False)
class Standing:
    """How the upstreams of a model stand in one format.

    Attributes:
        model: for which this was put together.
        proven: whether each of them was seen to stop at a ceiling of ours.
        some_think_apart: whether one of them bounds the answer alone, without the thinking before it.
    """

    model: Model
    own: list[_Seen]
    of_its_upstreams: list[_Seen]
    proven: bool
    some_think_apart: bool

    def __init__(self, model: Model, own: list[_Seen], of_its_upstreams: list[_Seen], some_think_apart: bool) -> None:
        self.model = model
        self.own = own
        self.of_its_upstreams = of_its_upstreams
        self.some_think_apart = some_think_apart
        self.proven = False
        self.look_again()

    def look_again(self) -> None:
        """Take over what was seen meanwhile."""
        self.proven = all(seen.obeyed_at_us is not None for seen in self.own)


class Ceilings:
    """What was seen of each upstream and model."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen: dict[CeilingKey, _Seen] = {}
        self._standings: dict[str, dict[str, Standing]] = {endpoint: {} for endpoint in (*_WIRES, "embeddings")}
        self._thinking_standings: dict[str, dict[str, Standing]] = {endpoint: {} for endpoint in self._standings}
        self._some_exceeded = False
        self._unsaved: dict[CeilingKey, _Seen] = {}
        self._parts_percent: dict[str, int] = {}

    async def load(self) -> None:
        """Know what earlier runs saw, and what other processes did.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        for row in await self._store.read(load_ceilings):
            seen = self._seen.get(row.key)
            if seen is None:
                seen = self._seen[row.key] = _Seen(row)
            elif row.key not in self._unsaved:
                seen.take_over(row)
            self._some_exceeded = self._some_exceeded or seen.exceeded_at_us is not None
        self._look_again()

    async def save(self) -> None:
        """Write down what was seen since the last time.

        Raises:
            StoreUnavailable: the store does not answer; nothing is forgotten.
        """
        unsaved, self._unsaved = self._unsaved, {}
        if not unsaved:
            return
        try:
            await self._store.write(save_ceilings, [seen.row() for seen in unsaved.values()])
        except BaseException:
            self._unsaved = {**unsaved, **self._unsaved}
            raise

    def standing(self, request: PricedRequest) -> Standing:
        """How the upstreams of a request's model stand in its format, for calls that think or for those that don't."""
        standings = self._thinking_standings if _is_asked_to_think(request) else self._standings
        of_endpoint = standings[request.endpoint]
        standing = of_endpoint.get(request.model.name)
        if standing is None or standing.model is not request.model:
            standing = of_endpoint[request.model.name] = self._put_together(request)
        return standing

    def must_hold_maximum(self, request: PricedRequest, standing: Standing) -> bool:
        """Whether no ceiling bounds the call: one of the upstreams went beyond one, or thinks beside it."""
        if self._some_exceeded:
            now_us = self._clock.now_us()
            if any(seen.is_distrusted(now_us) for seen in standing.of_its_upstreams):
                return True
        return standing.some_think_apart and thinks(request)

    def compare(
        self,
        request: PricedRequest,
        route: Route,
        wire: WireFormat,
        clamped_output_tokens: int | None,
        usage: Usage,
        *,
        estimated: bool,
        text_bytes: int,
        held_maximum: bool,
        stopped: bool,
    ) -> None:
        """Compare what an answer has with the ceiling that was sent for it.

        Args:
            request, route, wire, clamped_output_tokens: what was asked, of whom, and how.
            usage: what was reported, or counted by us.
            estimated: whether it was counted.
            text_bytes: the text of an answer that was counted, as JSON.
            held_maximum: whether the call held the model's maximum.
            stopped: whether the answer says that a ceiling cut it off.
        """
        if request.parts_tokens and not estimated:
            self._learn_parts(request, usage.prompt_tokens)
        output = text_bytes // _LONGEST_TOKEN_BYTES if estimated else usage.completion_tokens
        most = request.output_ceiling if clamped_output_tokens is None else clamped_output_tokens
        if output <= most * request.choices and not stopped:
            # Nearly every answer: it kept the ceiling, whether or not that was sent.
            return
        ceiling = request.sent_ceiling(route, clamped_output_tokens)
        if ceiling is None:
            return
        if held_maximum and not estimated and not route.upstream.kind.bounds_reasoning:
            output -= usage.reasoning_tokens
        tolerated = ceiling + ceiling * _TOLERATED_PERCENT // 100 + _TOLERATED_TOKENS
        if output > tolerated * request.choices:
            seen = self._seen_of(request.model, route, wire, asked_to_think=_is_asked_to_think(request))
            self._exceeded(request, seen, ceiling, output)
        elif stopped and not estimated and _may_prove(request, ceiling, usage):
            seen = self._seen_of(request.model, route, wire, asked_to_think=_is_asked_to_think(request))
            self._stopped(seen, ceiling, output)

    def parts_tokens(self, request: PricedRequest) -> int:
        """The most tokens that a request's images and other parts count for, by what was seen of its model."""
        percent = self._parts_percent.get(request.model.name)
        return request.parts_tokens if percent is None else request.parts_tokens * percent // 100

    def refused(self, request: PricedRequest, route: Route, wire: WireFormat, body: bytes) -> None:
        """An upstream refused a request: say so where its ceiling is the reason, once an hour."""
        if not _REFUSED.search(body):
            return
        seen, now_us = self._seen_of(request.model, route, wire, asked_to_think=False), self._clock.now_us()
        if now_us < seen.told_at_us + _TOLD_EVERY_US:
            return
        seen.told_at_us = now_us
        _log.error(
            "ceiling_refused",
            upstream=seen.key.upstream,
            model=request.model.name,
            field=seen.key.field,
            action="If it refuses often: correct the model's max_output_tokens to what this upstream allows, or "
            "output_limit_field to the name that it knows; `tokenbooth doctor --ask` asks.",
        )

    def report(self) -> list[CeilingHealth]:
        """How often each upstream and model went beyond a ceiling since the start, and whether it is distrusted."""
        now_us = self._clock.now_us()
        worst: dict[tuple[str, str], CeilingHealth] = {}
        for seen in self._seen.values():
            name = (seen.key.upstream, seen.key.model)
            known = worst.get(name)
            worst[name] = CeilingHealth(
                upstream=name[0],
                model=name[1],
                times_exceeded=seen.times_exceeded + (0 if known is None else known.times_exceeded),
                is_distrusted=seen.is_distrusted(now_us) or (known is not None and known.is_distrusted),
            )
        return [worst[name] for name in sorted(worst)]

    def _learn_parts(self, request: PricedRequest, prompt_tokens: int) -> None:
        """Images that count for more than was held for them: hold more for the next ones, and say so."""
        if prompt_tokens <= request.text_bytes + request.extra_tokens:
            return
        name, from_parts = request.model.name, prompt_tokens - request.text_bytes // _BYTES_PER_TOKEN
        percent = -(-from_parts * 100 // request.parts_tokens)
        if percent <= self._parts_percent.get(name, 100):
            return
        self._parts_percent[name] = percent
        _log.error(
            "image_tokens_exceeded",
            model=name,
            prompt_tokens=prompt_tokens,
            held_tokens=request.parts_tokens,
            action=f"Raise image_tokens_max of the model to {request.model.image_tokens_max * percent // 100} or more; "
            "until the next start that is what its images hold.",
        )

    def _exceeded(self, request: PricedRequest, seen: _Seen, ceiling: int, output: int) -> None:
        was_distrusted = seen.is_distrusted(self._clock.now_us())
        seen.obeyed_at_us, seen.exceeded_at_us = None, self._clock.now_us()
        seen.sent_tokens, seen.reported_tokens = ceiling, output // request.choices
        seen.stopped_at = 0
        seen.times_exceeded += 1
        self._some_exceeded = True
        self._changed(seen)
        if not was_distrusted:
            _log.error(
                "ceiling_exceeded",
                upstream=seen.key.upstream,
                model=seen.key.model,
                field=seen.key.field,
                sent_tokens=ceiling,
                reported_tokens=seen.reported_tokens,
                action="Its calls hold the model's maximum for a day. Find the name of the ceiling that it obeys with "
                "`tokenbooth doctor --ask`, and set output_limit_field.",
            )

    def _stopped(self, seen: _Seen, ceiling: int, output: int) -> None:
        """An answer was cut off: at our ceiling, or at one that the server has by itself?"""
        # At its own it might stop above ours, or below.
        if seen.obeyed_at_us is not None or output > ceiling or output * 100 < ceiling * 98 - 100:
            return
        if _is_usual_default(ceiling) and seen.stopped_at in (0, ceiling):
            # A server that knows no ceiling of ours may stop right there; not at two different ones.
            seen.stopped_at = ceiling
            return
        seen.obeyed_at_us = self._clock.now_us()
        self._changed(seen)
        _log.info(
            "ceiling_obeyed",
            upstream=seen.key.upstream,
            model=seen.key.model,
            field=seen.key.field,
            note="It was seen to stop at a ceiling of ours; calls with one are no longer bounded for that.",
        )

    def _changed(self, seen: _Seen) -> None:
        self._unsaved[seen.key] = seen
        self._look_again()

    def _look_again(self) -> None:
        for standings in (self._standings, self._thinking_standings):
            for of_endpoint in standings.values():
                for standing in of_endpoint.values():
                    standing.look_again()

    def _put_together(self, request: PricedRequest) -> Standing:
        model, asked_to_think = request.model, _is_asked_to_think(request)
        wire = _WIRES.get(request.endpoint)
        own: list[_Seen] = []
        if wire is not None:
            own = [
                self._seen_of(model, route, _spoken(route, wire), asked_to_think=asked_to_think)
                for route in model.routes
            ]
        return Standing(
            model,
            own,
            [
                self._seen_of(model, route, each, asked_to_think=thinking)
                for route in model.routes
                for each in _WITH_CEILING
                if each in route.upstream.formats
                # What goes beyond its ceiling when it does not think goes beyond it when it does.
                for thinking in ((False, True) if asked_to_think else (False,))
            ],
            any(not route.upstream.kind.bounds_reasoning for route in model.routes),
        )

    def _seen_of(self, model: Model, route: Route, wire: WireFormat, *, asked_to_think: bool) -> _Seen:
        upstream, field = route.upstream, model.ceiling_field(route, wire)
        key = CeilingKey(
            upstream.name, upstream.base_url, route.model, wire, f"{field} (thinking)" if asked_to_think else field
        )
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = _Seen(CeilingRow(key, None, None, 0, 0))
        return seen


def _is_asked_to_think(request: PricedRequest) -> bool:
    """Whether a request asks a model to think that does not do so by itself.

    A ceiling may bound the answer alone: that it was kept without thinking says nothing of calls that think.
    """
    return not request.model.reasoning and is_asked_to_think(request)


def _may_prove(request: PricedRequest, ceiling: int, usage: Usage) -> bool:
    """Whether an answer that was cut off can show that it was cut off by the ceiling, and for calls of its kind."""
    model = request.model
    if request.choices != 1 or ceiling >= model.max_output_tokens:
        return False
    # At the end of its context every model stops, and the client chooses how much of that its prompt leaves.
    if (usage.prompt_tokens + usage.completion_tokens) * 100 > model.context_tokens * _PROVING_CONTEXT_PERCENT:
        return False
    # Where the thinking of a model that thinks by itself was switched off, nothing is known of it.
    return not (model.reasoning and switches_thinking_off(request.fields))


def _spoken(route: Route, wire: WireFormat) -> WireFormat:
    """The format in which a route is asked: messages are translated for those that speak chats only."""
    return "openai.chat" if wire == "anthropic.messages" and wire not in route.upstream.formats else wire


def _is_usual_default(ceiling: int) -> bool:
    """Whether servers are known to stop at this number of tokens when nobody names one."""
    return ceiling >= _SMALLEST_DEFAULT and (ceiling & (ceiling - 1) == 0 or ceiling % 500 == 0)
