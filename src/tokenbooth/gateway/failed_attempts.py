"""What the operator reads of an exchange whose attempts at upstreams failed, one line for each attempt."""

from collections.abc import Mapping
from typing import Final

import structlog

from tokenbooth.domain.money import format_usd
from tokenbooth.gateway.errors import (
    FailedAnswer,
    UpstreamFailure,
    UpstreamReportedError,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from tokenbooth.gateway.exchange import Exchange
from tokenbooth.gateway.upstream.base import UpstreamCall
from tokenbooth.gateway.upstream.errors import PASSED_STATUSES, reason_for_log, speaks_of_our_account
from tokenbooth.gateway.upstream.failure_log import FailureEvent, FailureLog, Told, kind_of_status

_ACCOUNT_LOGGED_EVERY_US: Final = 3_600 * 1_000_000
_log = structlog.get_logger(__name__)


class FailedAttempts:
    """Logs and counts the failed attempts of exchanges."""

    def __init__(self, failures: FailureLog) -> None:
        self._failures = failures
        # When an upstream's refusal of our account may be logged again, in monotonic microseconds.
        self._account_due_us: dict[str, int] = {}

    def log_failure(self, exchange: Exchange, failure: UpstreamFailure, *, moved_on: bool) -> None:
        """An attempt failed before its answer began.

        Args:
            exchange: whose attempt it was.
            failure: what happened.
            moved_on: whether another upstream is asked.
        """
        detail = str(failure)
        if isinstance(failure, FailedAnswer) and (reason := _reason(exchange, failure.body)):
            detail = f"{detail}: {reason}"
        status = 200 if isinstance(failure, FailedAnswer) else None
        more = {"status": status, "detail": detail, "note": _note(moved_on=moved_on)}
        self._log_attempt(exchange, "upstream_failed", _kind_of(failure), more)

    def log_status(self, exchange: Exchange, call: UpstreamCall, body: bytes, *, moved_on: bool) -> None:
        """An upstream answered with another status than 200.

        Args:
            exchange: whose attempt it was.
            call: the call that was answered so.
            body: what it said; empty where that was not read.
            moved_on: whether another upstream is asked.
        """
        kind = kind_of_status(call.status)
        if call.status in PASSED_STATUSES and not (moved_on or speaks_of_our_account(body)):
            # Its reason is told to the customer; here it might repeat what they wrote.
            self._log_attempt(exchange, "upstream_refused_request", kind, {"status": call.status})
            return
        more: dict[str, object] = {"status": call.status, "note": _note(moved_on=moved_on)}
        if body:
            more["detail"] = _reason(exchange, body)
        self._log_attempt(exchange, "upstream_failed", kind, more)

    def log_account(self, exchange: Exchange, status: int) -> None:
        """Our account is refused: once an hour, and without a rest for the upstream, as a customer may have said so."""
        now_us, upstream = exchange.clock.monotonic_us(), exchange.upstream
        if now_us < self._account_due_us.get(upstream, now_us):
            return
        self._account_due_us[upstream] = now_us + _ACCOUNT_LOGGED_EVERY_US
        _log.error(
            "upstream_account_refused",
            request_id=exchange.request_id,
            upstream=upstream,
            status=status,
            action="Look at your account there: is it paid, is its quota used up? The customer got a 502 without this.",
        )

    def log_broken_stream(self, exchange: Exchange, failure: UpstreamFailure, charged_nano: int) -> None:
        """The upstream failed in mid-stream; `charged_nano` is what that cost the customer, in nano-USD."""
        more: dict[str, object] = {
            "detail": str(failure),
            "charged_usd": format_usd(charged_nano),
            "note": "The upstream failed in mid-stream; what came until then is charged.",
        }
        self._log_attempt(exchange, "stream_broken", _kind_of(failure), more)

    def log_timed_out(self, exchange: Exchange, note: str) -> None:
        """No answer in time; `note` says what becomes of it."""
        self._log_attempt(exchange, "upstream_timed_out", "timeout", {"note": note})

    def log_lost(self, exchange: Exchange, failure: Exception, *, counts: bool) -> None:
        """An answer that was late never came; `counts` is False where its time-out was counted before."""
        more: dict[str, object] = {
            "detail": str(failure),
            "note": "The upstream timed out and gave no answer. Nothing was charged; what it may bill is in "
            "uncollected.",
        }
        self._log_attempt(exchange, "late_answer_lost", _kind_of(failure), more, counts=counts)

    def _log_attempt(
        self, exchange: Exchange, event: FailureEvent, kind: str, more: Mapping[str, object], *, counts: bool = True
    ) -> None:
        key = exchange.admitted.key
        fields: dict[str, object] = {
            "request_id": exchange.request_id,
            "account": key.account.account_id,
            "key": key.key_id,
            **more,
        }
        told = Told(event, exchange.upstream, exchange.request.model.name, kind)
        self._failures.tell(told, fields, counts=counts)


def _reason(exchange: Exchange, body: bytes) -> str:
    # Of all upstreams, because another one is asked by now.
    return reason_for_log(body, [route.upstream.api_key for route in exchange.request.model.routes])


def _note(*, moved_on: bool) -> str:
    if moved_on:
        return "Another upstream is asked."
    return "The call failed before its answer began; nothing was charged."


def _kind_of(failure: Exception) -> str:
    """What a figure and a line call it."""
    match failure:
        case FailedAnswer():
            return "failed_answer"
        case UpstreamUnreachable():
            return "unreachable"
        case UpstreamTimedOut():
            return "timeout"
        case UpstreamReportedError():
            return "reported_error"
        case _:
            return "broken_answer"
