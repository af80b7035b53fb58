"""From what an upstream said (or did not say) to what is charged."""

from dataclasses import replace
from typing import Final

import structlog

from tokenbooth.domain.usage import InvalidUsage, Usage
from tokenbooth.gateway.settle import Counted
from tokenbooth.gateway.speech import Delivered, Meter, PricedRequest, Speech

_BYTES_PER_TOKEN: Final = 4
_log = structlog.get_logger(__name__)


def count_stream(request: PricedRequest, meter: Meter, *, request_id: str, upstream: str) -> Counted:
    """What a stream consumed: the usage that came, else a count of what was streamed."""
    if meter.usage is not None and not _is_nothing(meter.usage):
        return Counted(_bounded(request, meter.usage, request_id, upstream), estimated=False)
    if meter.invalid_usage:
        _tell_invalid(request_id, upstream)
    counted = estimate(request, meter.delivered())
    if meter.prompt_usage is not None and meter.prompt_usage.prompt_tokens:
        # The prompt was told before the answer; only the output has to be counted.
        counted = replace(
            _bounded(request, meter.prompt_usage, request_id, upstream),
            completion_tokens=max(counted.completion_tokens, meter.prompt_usage.completion_tokens),
        )
    return Counted(counted, estimated=True)


def count_answer(speech: Speech, body: bytes, *, request_id: str, upstream: str) -> Counted:
    """What a whole answer consumed.

    Raises:
        UNREADABLE: the body is no answer.
        UpstreamFailure: the body says that there is no answer.
    """
    try:
        reported = speech.reported_usage(body)
    except InvalidUsage:
        reported = None
        _tell_invalid(request_id, upstream)
    if reported is not None and not _is_nothing(reported):
        return Counted(_bounded(speech.request, reported, request_id, upstream), estimated=False)
    texts = speech.answer_text.findall(body)
    delivered = Delivered(events=0, text_bytes=sum(map(len, texts)))
    return Counted(estimate(speech.request, delivered), estimated=True)


def estimate(request: PricedRequest, delivered: Delivered) -> Usage:
    """A count without the upstream's word: four bytes a token, and no fewer output tokens than events with text."""
    # An image counts for half of what it may at most: nobody measured it.
    prompt = -(-request.text_bytes // _BYTES_PER_TOKEN) + request.parts_tokens // 2
    output = max(delivered.events, -(-delivered.text_bytes // _BYTES_PER_TOKEN))
    return Usage(
        prompt_tokens=min(prompt, request.most_prompt_tokens),
        completion_tokens=min(output, request.model.max_output_tokens * request.choices),
    )


def _is_nothing(usage: Usage) -> bool:
    """No prompt has no tokens: an upstream that reports zeros has not counted."""
    return usage.prompt_tokens == 0 and usage.completion_tokens == 0


def _bounded(request: PricedRequest, usage: Usage, request_id: str, upstream: str) -> Usage:
    """The reported usage, cut to what the model can do at all."""
    most_prompt = request.most_prompt_tokens
    most_output = request.model.max_output_tokens * request.choices
    if usage.prompt_tokens <= most_prompt and usage.completion_tokens <= most_output:
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


def _tell_invalid(request_id: str, upstream: str) -> None:
    _log.warning(
        "usage_invalid",
        request_id=request_id,
        upstream=upstream,
        note="The upstream reported impossible token counts; the answer was counted by us and marked estimated.",
    )
