"""From what an upstream said (or did not say) to what is charged, and to what is learned for later estimates."""

from enum import Enum, auto
from typing import Final

import structlog

from tokenbooth.domain.usage import InvalidUsage, Usage
from tokenbooth.gateway.formats.base import REASONING_OUTPUT_FLOOR, OutboundRequest, PricedRequest, UpstreamAnswer
from tokenbooth.gateway.formats.meter import Delivered, Meter
from tokenbooth.gateway.formats.thinking import effort_of, thinks
from tokenbooth.gateway.settlement.estimates import Estimates
from tokenbooth.gateway.settlement.settle import BilledUsage

# In a longer answer nobody looks for its text only to learn from it.
_LONGEST_LESSON_BYTES: Final = 256 * 1024
_SHORTEST_TEXT_BYTES: Final = 200
_EMBEDDINGS: Final = "embeddings"
_NOTHING_SEEN: Final = Delivered(events=0, text_bytes=0)
_log = structlog.get_logger(__name__)


class Unseen(Enum):
    """What is charged of an answer that was cut, beside what was seen of it; as learned for its model."""

    NOTHING = auto()
    """The upstream stopped writing with us, and showed all that it wrote."""
    THINKING = auto()
    """It stopped with us, but may have thought before the text, or instead of it."""
    REST = auto()
    """It writes to the end, whether or not somebody reads."""


class Figures:
    """What was learned, as it counts for one account."""

    __slots__ = ("account_id", "estimates")

    def __init__(self, estimates: Estimates, account_id: str) -> None:
        self.estimates = estimates
        self.account_id = account_id


NOTHING_LEARNED: Final = Figures(Estimates(), "")


def count_stream(
    request: PricedRequest, meter: Meter, figures: Figures = NOTHING_LEARNED, *, request_id: str, upstream: str
) -> BilledUsage:
    """What a stream consumed that came to its end: the usage that came, else a count of what was streamed."""
    usage = meter.usage
    if usage is not None and not _is_nothing(usage):
        if _is_whole(request, usage):
            return BilledUsage(_bounded(request, usage, request_id, upstream), estimated=False)
        filled = _filled(request, usage, meter.delivered(), figures, upstream)
        # What a translated answer shows is what is charged.
        meter.usage = filled.usage = _bounded(request, filled.usage, request_id, upstream)
        return filled
    if meter.invalid_usage:
        _tell_invalid(request_id, upstream)
    counted = estimate(request, meter.delivered(), figures)
    if meter.prompt_usage is not None and meter.prompt_usage.prompt_tokens:
        # The prompt was told before the answer; only the output has to be counted.
        counted = _bounded(request, meter.prompt_usage, request_id, upstream)._replace(
            completion_tokens=max(counted.completion_tokens, meter.prompt_usage.completion_tokens),
        )
    return BilledUsage(counted, estimated=True, text_bytes=meter.delivered().text_bytes)


def count_cut(
    request: PricedRequest, meter: Meter | None, unseen: Unseen, figures: Figures, *, request_id: str, upstream: str
) -> BilledUsage:
    """What an answer consumed whose end nobody heard.

    Args:
        request: what was asked.
        meter: of the stream; None when nothing of an answer was read.
        unseen: what counts beside what was seen.
        figures: what was learned.
        request_id, upstream: for the log.
    """
    if meter is None:
        return BilledUsage(_with_unseen(request, estimate(request, _NOTHING_SEEN, figures), unseen, figures), True)
    if meter.has_final_usage():
        return count_stream(request, meter, figures, request_id=request_id, upstream=upstream)
    delivered = meter.delivered()
    counted = _with_unseen(request, estimate(request, delivered, figures), unseen, figures)
    told = meter.usage or meter.prompt_usage
    if told is None:
        return BilledUsage(counted, estimated=True, text_bytes=delivered.text_bytes)
    told = _bounded(request, told._replace(untold_tokens=0), request_id, upstream)
    prompt_told = meter.prompt_usage is not None and meter.prompt_usage.prompt_tokens > 0
    return BilledUsage(
        # Told before the end it is a lower bound, but for a prompt that the format tells first.
        told._replace(
            prompt_tokens=told.prompt_tokens if prompt_told else max(told.prompt_tokens, counted.prompt_tokens),
            completion_tokens=max(told.completion_tokens, counted.completion_tokens),
            reasoning_tokens=max(told.reasoning_tokens, counted.reasoning_tokens),
        ),
        estimated=True,
        text_bytes=delivered.text_bytes,
    )


def most_billed(request: PricedRequest, counted: BilledUsage, figures: Figures) -> Usage:
    """What the upstream may bill for an answer that was cut; all that it was allowed where nothing was learned."""
    if figures.estimates.answer_tokens(request.model.name, effort_of(request.fields)) is not None:
        return counted.usage
    most = max(counted.usage.completion_tokens, request.output_ceiling * request.choices)
    return counted.usage._replace(completion_tokens=most)


def count_answer(
    outbound: OutboundRequest,
    answer: UpstreamAnswer,
    body: bytes,
    figures: Figures = NOTHING_LEARNED,
    *,
    request_id: str,
    upstream: str,
) -> BilledUsage:
    """What a whole answer consumed, of which `body` is what came."""
    try:
        reported = answer.reported_usage()
    except InvalidUsage:
        reported = None
        _tell_invalid(request_id, upstream)
    if reported is not None and not _is_nothing(reported):
        if _is_whole(outbound.request, reported):
            return BilledUsage(_bounded(outbound.request, reported, request_id, upstream), estimated=False)
        filled = _filled(outbound.request, reported, _text_of(outbound, body), figures, upstream)
        filled.usage = _bounded(outbound.request, filled.usage, request_id, upstream)
        return filled
    delivered = _text_of(outbound, body)
    return BilledUsage(estimate(outbound.request, delivered, figures), estimated=True, text_bytes=delivered.text_bytes)


def estimate(request: PricedRequest, delivered: Delivered, figures: Figures = NOTHING_LEARNED) -> Usage:
    """A count without the upstream's word: by the learned ratios, and no fewer output tokens than events with text."""
    # An image counts for half of what it may at most: nobody measured it.
    prompt = figures.estimates.prompt_tokens(figures.account_id, request.model.name, request.text_bytes)
    prompt += request.parts_tokens // 2
    return Usage(
        prompt_tokens=min(prompt, request.most_prompt_tokens),
        completion_tokens=min(
            _text_tokens(request, delivered, figures), request.model.max_output_tokens * request.choices
        ),
    )


def learn(figures: Figures, request: PricedRequest, usage: Usage) -> bool:
    """Learn from the usage of an answer that came to its end; returns whether `learn_text` should follow."""
    estimates, model = figures.estimates, request.model.name
    thinking = usage.reasoning_tokens > 0 or thinks(request)
    estimates.learn(
        figures.account_id,
        model,
        effort_of(request.fields) if thinking else "",
        text_bytes=0 if request.parts_tokens else request.text_bytes,
        prompt_tokens=usage.prompt_tokens,
        answer_tokens=_of_one(request, usage.completion_tokens),
    )
    return thinking or estimates.is_texts_turn()


def learn_stream(figures: Figures, request: PricedRequest, usage: Usage, meter: Meter) -> None:
    """Learn from a stream that came to its end."""
    if learn(figures, request, usage):
        _learn_text(figures, request, usage, meter.delivered())


def learn_answer(figures: Figures, outbound: OutboundRequest, usage: Usage, body: bytes) -> None:
    """Learn from a whole answer."""
    if learn(figures, outbound.request, usage) and len(body) <= _LONGEST_LESSON_BYTES:
        _learn_text(figures, outbound.request, usage, _text_of(outbound, body))


def _learn_text(figures: Figures, request: PricedRequest, usage: Usage, delivered: Delivered) -> None:
    estimates, account_id, model = figures.estimates, figures.account_id, request.model.name
    if not (usage.reasoning_tokens or thinks(request)):
        if delivered.text_bytes >= _SHORTEST_TEXT_BYTES:
            estimates.learn_text(account_id, model, text_bytes=delivered.text_bytes, tokens=usage.completion_tokens)
        return
    # Some servers show what the model thinks, so that little is unseen; others don't count it apart.
    unseen = usage.completion_tokens - _text_tokens(request, delivered, figures)
    if usage.reasoning_tokens:
        unseen = min(unseen, usage.reasoning_tokens)
    estimates.learn_thinking(account_id, model, effort_of(request.fields), _of_one(request, max(unseen, 0)))


def _text_tokens(request: PricedRequest, delivered: Delivered, figures: Figures) -> int:
    by_bytes = figures.estimates.text_tokens(figures.account_id, request.model.name, delivered.text_bytes)
    return max(delivered.events, by_bytes)


def _with_unseen(request: PricedRequest, seen: Usage, unseen: Unseen, figures: Figures) -> Usage:
    """What was seen, and what may be assumed of the rest, within the ceiling of the answer."""
    if unseen is Unseen.NOTHING:
        return seen
    thinking = _thinking_tokens(request, figures) if _thinks(request, figures) else 0
    output = seen.completion_tokens + thinking
    if unseen is Unseen.REST:
        learned = figures.estimates.answer_tokens(request.model.name, effort_of(request.fields))
        output = max(output, (request.floor_tokens if learned is None else learned) * request.choices)
    output = max(seen.completion_tokens, min(output, request.output_ceiling * request.choices))
    return seen._replace(completion_tokens=output, reasoning_tokens=min(thinking, output - seen.completion_tokens))


def _thinks(request: PricedRequest, figures: Figures) -> bool:
    return thinks(request) or figures.estimates.reasons(request.model.name)


def _thinking_tokens(request: PricedRequest, figures: Figures) -> int:
    learned = figures.estimates.thinking_tokens(request.model.name, effort_of(request.fields))
    if learned is None:
        # The floor of its hold, which is what thinking is given room for at least.
        learned = max(request.floor_tokens, REASONING_OUTPUT_FLOOR)
    return learned * request.choices


def _of_one(request: PricedRequest, tokens: int) -> int:
    return tokens if request.choices == 1 else -(-tokens // request.choices)


def _text_of(outbound: OutboundRequest, body: bytes) -> Delivered:
    return Delivered(events=0, text_bytes=outbound.text_bytes_in(body))


def _is_nothing(usage: Usage) -> bool:
    """No prompt has no tokens: an upstream that reports zeros has not counted."""
    return usage.prompt_tokens == 0 and usage.completion_tokens == 0 and usage.untold_tokens == 0


def _is_whole(request: PricedRequest, usage: Usage) -> bool:
    """Whether all parts were told, and nothing beside them."""
    if usage.prompt_tokens == 0 or usage.untold_tokens:
        return False
    return usage.completion_tokens > 0 or request.endpoint == _EMBEDDINGS


def _filled(request: PricedRequest, usage: Usage, delivered: Delivered, figures: Figures, upstream: str) -> BilledUsage:
    """A usage with what its parts leave open: from the total as far as our count makes that plausible, else our count.

    A total may hold what is no part of the answer, such as cache reads, so it counts for at most twice what we count.
    """
    counted = estimate(request, delivered, figures)
    untold, is_estimated = usage.untold_tokens, False
    if request.endpoint == _EMBEDDINGS:
        # Nothing is written, so all of a total is prompt.
        prompt, is_estimated = _from_total(untold, counted.prompt_tokens)
        return BilledUsage(Usage(prompt, 0), is_estimated)
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if not prompt:
        prompt, is_estimated = _from_total(untold, counted.prompt_tokens)
        untold -= min(prompt, untold)
    if untold and total_tells_thinking(request, upstream):
        completion += untold
    elif not completion:
        completion, is_cut = _from_total(untold, counted.completion_tokens)
        is_estimated = is_estimated or is_cut
    elif untold and _thinks(request, figures):
        completion = max(completion, min(completion + untold, 2 * counted.completion_tokens))
    # What nobody called reasoning has the output's price.
    usage = usage._replace(prompt_tokens=prompt, completion_tokens=completion, untold_tokens=0)
    return BilledUsage(usage, is_estimated, delivered.text_bytes if is_estimated else 0)


def _from_total(untold: int, counted: int) -> tuple[int, bool]:
    """A part that was not told, from what the total leaves for it; and whether that is our count rather."""
    if not untold:
        return counted, counted > 0
    return min(untold, 2 * counted), untold > 2 * counted


def total_tells_thinking(request: PricedRequest, upstream: str) -> bool:
    """Whether what this upstream's total has beyond the parts is thinking, by its kind."""
    return any(
        route.upstream.kind.total_tells_thinking for route in request.model.routes if route.upstream.name == upstream
    )


def within_limits(request: PricedRequest, usage: Usage) -> Usage:
    """A reported usage, cut to what the model can do at all; what is charged and what the client is shown."""
    most_prompt = request.most_prompt_tokens
    most_output = request.model.max_output_tokens * request.choices
    if usage.prompt_tokens <= most_prompt and usage.completion_tokens <= most_output:
        return usage
    prompt = min(usage.prompt_tokens, most_prompt)
    completion = min(usage.completion_tokens, most_output)
    cached = min(usage.cached_tokens, prompt)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cache_write_tokens=min(usage.cache_write_tokens, prompt - cached),
        reasoning_tokens=min(usage.reasoning_tokens, completion),
    )


def _bounded(request: PricedRequest, usage: Usage, request_id: str, upstream: str) -> Usage:
    """Cut a usage to what the model can do at all, and tell the operator when something was cut."""
    bounded = within_limits(request, usage)
    if bounded is usage:
        return usage
    _log.warning(
        "usage_out_of_bounds",
        request_id=request_id,
        upstream=upstream,
        model=request.model.name,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        note="The upstream reports more than the model's limits allow; charged up to them. "
        "Check context_tokens and max_output_tokens of the model, or the upstream.",
    )
    return bounded


def _tell_invalid(request_id: str, upstream: str) -> None:
    _log.warning(
        "usage_invalid",
        request_id=request_id,
        upstream=upstream,
        note="The upstream reported impossible token counts; the answer was counted by us and marked estimated.",
    )
