"""Target: the bytes of a request, through every reader, to what each kind of upstream would get.

What must hold: it is read or refused, and nothing else; what is sent names each field that bears money once, in its own
letters, and an upstream that takes the first of two names reads the same as one that takes the last; the ceiling,
the choices, the images and the text that are sent are no more than what was priced.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tests.support.catalog_samples import sample_model
from tests.support.gateway.formats import speaking
from tokenbooth.config.catalog import Model
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.config.upstream_fields import FOLDED_CEILINGS, folded
from tokenbooth.gateway.errors import Refusal
from tokenbooth.gateway.formats.anthropic.count_tokens import count_tokens_steps
from tokenbooth.gateway.formats.anthropic.via_chat import TranslatedMessages
from tokenbooth.gateway.formats.base import OutboundRequest, PricedRequest
from tokenbooth.gateway.formats.json.body import decode_fields, encode_fields
from tokenbooth.gateway.formats.json.steps import at_once
from tokenbooth.gateway.formats.openai.chat import model_name
from tokenbooth.gateway.formats.request.parameters import LONGEST_NAME
from tokenbooth.gateway.registry import ENDPOINTS
from tokenbooth.gateway.upstream.routing import Routing, rest_rules
from tokenbooth.kit.clock import SystemClock
from tokenbooth.kit.places import Caller

Json = dict[str, object]
_CALLER: Final = Caller("acct", has_money=True)
_ROUTING: Final = Routing(rest_rules(GatewaySettings()), SystemClock(), random.Random(1))

MAX_DEPTH: Final = 128
UPSTREAM_MODEL: Final = "upstream-name"
MODELS: Final = (
    speaking(sample_model(), "openai.chat", "openai.completions", "openai.embeddings", "openai.responses"),
    speaking(sample_model(reasoning=True, output_limit_field="max_completion_tokens"), "openai.chat"),
    speaking(sample_model(), "anthropic.messages", "openai.chat"),
)
_MONEY: Final = frozenset(
    (
        *("model", "stream", "stream_options", "n", "best_of", "tools", "messages", "input", "prompt", "system"),
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "thinking", "service_tier", "store"),
    )
)
# Spoken of in one format only: elsewhere they are words that no upstream knows.
_SPOKEN_OF: Final = {
    "/chat/completions": _MONEY - {"input", "prompt", "system", "max_output_tokens", "thinking"},
    "/completions": _MONEY - {"input", "system", "tools", "max_output_tokens", "max_completion_tokens", "thinking"},
    "/embeddings": frozenset(("model", "input", "messages", "service_tier", "store")),
    "/responses": frozenset(("model", "stream", "tools", "input", "max_output_tokens", "service_tier", "store")),
    "/messages": frozenset(("model", "stream", "tools", "messages", "system", "max_tokens", "thinking")),
}


def check_body(body: bytes) -> None:
    """Read a body in every way.

    Raises:
        AssertionError: something that must hold does not.
    """
    for model in MODELS:
        _count(body, model)
        for path in ENDPOINTS:
            request = _read(body, path, model)
            if request is not None:
                _check_request(request)


def _read(body: bytes, path: str, model: Model) -> PricedRequest | None:
    """The request as the gateway reads it; None if it is refused."""
    try:
        fields = decode_fields(body, MAX_DEPTH)
        model_name(fields)
        request = ENDPOINTS[path].read(fields, model, len(body), [])
        _ROUTING.route(request, _CALLER)
    except Refusal as refusal:
        _check_refusal(refusal)
        return None
    return request


def _count(body: bytes, model: Model) -> None:
    try:
        fields = decode_fields(body, MAX_DEPTH)
        model_name(fields)
        at_once(count_tokens_steps(fields, model, len(body), []))
    except Refusal as refusal:
        _check_refusal(refusal)


def _check_refusal(refusal: Refusal) -> None:
    assert refusal.status == 400
    assert refusal.code
    assert refusal.message


def _check_request(request: PricedRequest) -> None:
    assert request.text_bytes >= 0
    assert request.choices >= 1
    assert 0 <= request.output_ceiling <= request.model.max_output_tokens
    clamped = (None,) if request.output_ceiling < 2 else (None, request.output_ceiling // 2)
    for route in request.model.routes:
        outbound = request.outbound(route.upstream.formats)
        if outbound is not None:
            for ceiling in clamped:
                _check_sent(
                    outbound,
                    encode_fields(outbound.upstream_fields(replace(route, model=UPSTREAM_MODEL), ceiling)),
                    ceiling,
                )


def _check_sent(outbound: OutboundRequest, sent: bytes, clamped: int | None) -> None:
    request = outbound.request
    last_wins = _parsed(sent, first_wins=False)
    names = [name for name, _ in json.loads(sent, object_pairs_hook=list, parse_float=str, parse_int=str)]
    assert len(names) == len(set(names)), "a name stands twice"
    spoken_of = _SPOKEN_OF[outbound.path]
    assert {name for name in names if name.casefold() in spoken_of} <= spoken_of, "a name in other letters"
    for read in (last_wins, _parsed(sent, first_wins=True)):
        assert read["model"] == UPSTREAM_MODEL
        assert (read.get("stream") is True) == request.stream
        _check_ceilings(outbound, read, clamped)
        assert _choices(outbound.path, read) <= request.choices
        _check_prompt(outbound, read)
    _check_usage_asked(outbound, last_wins)


def _parsed(sent: bytes, *, first_wins: bool) -> Json:
    """As an upstream reads it that takes the last of two equal names, or the first."""

    def build(pairs: list[tuple[str, object]]) -> Json:
        return dict(reversed(pairs)) if first_wins else dict(pairs)

    # A number may be longer than Python converts; none that is looked at below is.
    parsed: Json = json.loads(sent, object_pairs_hook=build, parse_int=lambda text: int(text[:20]))
    return parsed


def _check_ceilings(outbound: OutboundRequest, read: Json, clamped: int | None) -> None:
    priced = outbound.request.output_ceiling if clamped is None else clamped
    if outbound.path == "/embeddings":
        return
    # In a longer name nobody looks for another one.
    names = [name for name in read if len(name) <= LONGEST_NAME]
    ceilings = [read[name] for name in names if folded(name) in FOLDED_CEILINGS]
    assert len(ceilings) <= 1, "two ceilings"
    assert all(type(ceiling) is int and 1 <= ceiling <= priced for ceiling in ceilings)
    assert clamped is None or ceilings == [clamped]


def _choices(path: str, read: Json) -> int:
    """How many answers the upstream writes."""
    if path not in ("/chat/completions", "/completions"):
        return 1
    counts = [count for count in (read.get("n"), read.get("best_of")) if isinstance(count, int)]
    prompts = read.get("prompt") if path == "/completions" else None
    several = isinstance(prompts, list) and not all(isinstance(one, int) for one in prompts)
    return max((1, *counts)) * (len(prompts) if several and isinstance(prompts, list) else 1)


def _check_prompt(outbound: OutboundRequest, read: Json) -> None:
    """Images are counted, and what is not counted as an image is counted as text."""
    request = outbound.request
    # Only an item of the responses format has an output.
    images = [
        image
        for name, holders in (("messages", ("content",)), ("input", ("content", "output")))
        for message in _objects(read.get(name))
        for holder in holders
        for image in _images(message.get(holder))
    ]
    if outbound.path in ("/chat/completions", "/responses", "/messages"):
        assert request.parts_tokens >= len(images) * request.model.image_tokens_max
    # A translation says the same in other words.
    if not isinstance(outbound, TranslatedMessages):
        texts = sum(_text_bytes(value) for name, value in read.items() if name != "model")
        assert texts - sum(map(_text_bytes, images)) <= request.text_bytes


def _images(parts: object) -> Iterator[object]:
    """The images among the parts of a message or an item, also those in the result of a tool and in a document."""
    for part in _objects(parts):
        if part.get("type") in ("image_url", "input_image", "image"):
            yield part.get("image_url") or part.get("source")
        elif part.get("type") == "tool_result":
            yield from _images(part.get("content"))
        elif part.get("type") == "document" and isinstance(source := part.get("source"), dict):
            yield from _images(source.get("content"))


def _objects(value: object) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text_bytes(value: object) -> int:
    """Bytes of every text in a value, names aside."""
    match value:
        case str():
            return len(value.encode())
        case list():
            return sum(map(_text_bytes, value))
        case dict():
            return sum(map(_text_bytes, value.values()))
        case _:
            return 0


def _check_usage_asked(outbound: OutboundRequest, read: Json) -> None:
    options = read.get("stream_options")
    if not outbound.request.stream and outbound.path != "/messages":
        assert "stream_options" not in read
    elif outbound.path in ("/chat/completions", "/completions"):
        assert isinstance(options, dict)
        assert options["include_usage"] is True
    if outbound.path == "/responses":
        assert read["store"] is False
