"""Checks of what an upstream sent: whether it is an answer, and in the form that was asked for."""

from tokenbooth.gateway.errors import FailedAnswer, UpstreamFailure, UpstreamReportedError
from tokenbooth.gateway.exchange import Exchange
from tokenbooth.gateway.formats.json.half_characters import without_halves
from tokenbooth.gateway.formats.meter import Meter
from tokenbooth.gateway.formats.sse import BrokenStream, is_event_stream, is_real, without_mark


def check_end(exchange: Exchange, meter: Meter, last: bytes = b"") -> None:
    """Check that a stream which has come to its end was an answer.

    Args:
        exchange: whose answer it is.
        meter: of the stream.
        last: what came of it last.

    Raises:
        UpstreamFailure: it was none.
    """
    if meter.failed:
        raise UpstreamReportedError("the upstream reports an error", last)
    if not meter.saw_end_marker and not meter.may_end_without_marker():
        if exchange.is_whole and not exchange.began:
            # It was announced as JSON, and is neither that nor events.
            raise FailedAnswer("the answer is not JSON of its format")
        raise UpstreamFailure("the stream ended before its answer did")
    if not exchange.began and not meter.delivered().events and not meter.has_answer():
        raise FailedAnswer("the stream is empty")


def json_of(exchange: Exchange, body: bytes) -> bytes:
    """A whole answer as JSON; some upstreams stream although they are not asked to.

    Raises:
        FailedAnswer: it is a stream without an answer.
        UNREADABLE: it is a stream that tells no answer.
    """
    if body.startswith(b"{"):
        return without_halves(body)
    if not is_event_stream(body):
        return without_halves(without_mark(body))
    outbound = exchange.routed.outbound
    meter = outbound.meter(lambda usage: 0)
    try:
        passing = meter.feed(body)
        passing += meter.end_of_body()
    except BrokenStream as mistake:
        raise FailedAnswer(str(mistake)) from mistake
    if meter.failed or not (meter.saw_end_marker or meter.may_end_without_marker()):
        raise FailedAnswer("the stream ended before its answer did", body)
    if not (is_real(passing) or meter.has_answer()):
        raise FailedAnswer("the stream is empty")
    return outbound.as_answer(body)
