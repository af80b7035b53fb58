"""From what an upstream said (or did not say) to what is charged."""

from typing import Final

import structlog

from tokenbooth.domain.usage import InvalidUsage, Usage, from_openai
from tokenbooth.gateway.chat_request import ChatRequest
from tokenbooth.gateway.meter import TEXT, Delivered, StreamMeter
from tokenbooth.gateway.openai import reported_usage
from tokenbooth.gateway.settle import Counted

_BYTES_PER_TOKEN: Final = 4
_log = structlog.get_logger(__name__)


def count_stream(request: ChatRequest, meter: StreamMeter, *, request_id: str, upstream: str) -> Counted:
    """What a stream consumed: the usage that came, else a count of what was streamed."""
    if meter.usage is not None and not _is_nothing(meter.usage):
        return Counted(_bounded(request, meter.usage, request_id, upstream), estimated=False)
    if meter.invalid_usage:
        _tell_invalid(request_id, upstream)
    return Counted(estimate(request, meter.delivered()), estimated=True)


def count_answer(request: ChatRequest, body: bytes, *, request_id: str, upstream: str) -> Counted:
    """What a whole answer consumed.

    Raises:
        msgspec.DecodeError: the body is no answer.
    """
    reported = reported_usage(body)
    if reported is not None:
        try:
            usage = from_openai(reported)
            if not _is_nothing(usage):
                return Counted(_bounded(request, usage, request_id, upstream), estimated=False)
        except InvalidUsage:
            _tell_invalid(request_id, upstream)
    texts = TEXT.findall(body)
    delivered = Delivered(events=0, text_bytes=sum(map(len, texts)))
    return Counted(estimate(request, delivered), estimated=True)


def estimate(request: ChatRequest, delivered: Delivered) -> Usage:
    """A count without the upstream's word: four bytes a token, and no fewer output tokens than events with text."""
    # An image counts for half of what it may at most: nobody measured it.
    prompt = -(-request.text_bytes // _BYTES_PER_TOKEN) + request.parts_tokens // 2
    output = max(delivered.events, -(-delivered.text_bytes // _BYTES_PER_TOKEN))
    return Usage(
        prompt_tokens=min(prompt, request.model.context_tokens),
        completion_tokens=min(output, request.model.max_output_tokens * request.choices),
    )


def _is_nothing(usage: Usage) -> bool:
    """No prompt has no tokens: an upstream that reports zeros has not counted."""
    return usage.prompt_tokens == 0 and usage.completion_tokens == 0


def _bounded(request: ChatRequest, usage: Usage, request_id: str, upstream: str) -> Usage:
    """The reported usage, cut to what the model can do at all."""
    most_prompt = request.model.context_tokens
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
