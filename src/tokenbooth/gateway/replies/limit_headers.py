"""The headers that tell a client its limits: requests, tokens, money."""

from functools import lru_cache
from typing import Final

from tokenbooth.domain.money import format_usd
from tokenbooth.domain.rates import RequestRate, TokenRate
from tokenbooth.gateway.access.cache import KeyState
from tokenbooth.gateway.access.pool import Pool
from tokenbooth.kit.clock import iso_ms

# Of a second, in milliseconds, without zeros at the end.
_FRACTIONS: Final = tuple((b".%03d" % milliseconds).rstrip(b"0").rstrip(b".") for milliseconds in range(1_000))


def limit_lines(key: KeyState, pool: Pool | None, monotonic_us: int) -> bytes:
    """The `x-ratelimit-…` and `x-budget-…` header lines; one without a limit is absent.

    Args:
        key: who asks.
        pool: what pays, if that was looked up.
        monotonic_us: the time that rates go by, microseconds.
    """
    requests, tokens, _ = key.rates()
    lines = b"" if requests is None else _rate_lines(requests, b"requests", monotonic_us)
    if tokens is not None:
        lines += _rate_lines(tokens, b"tokens", monotonic_us)
    return lines if pool is None else lines + _budget_lines(pool)


def _rate_lines(rate: RequestRate | TokenRate, unit: bytes, monotonic_us: int) -> bytes:
    limit = rate.limit
    left = max(limit - rate.used(monotonic_us), 0)
    reset = duration(rate.reset_us(monotonic_us))
    return b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %b\r\n" % (
        unit,
        limit,
        unit,
        left,
        unit,
        reset,
    )


def _budget_lines(pool: Pool) -> bytes:
    allowance, cap, window = pool.allowance, pool.cap, pool.window
    left_nano = allowance.unspent_nano()
    if cap is not None:
        left_nano = min(left_nano, cap.unspent_nano())
    lines = b"x-budget-remaining: %b\r\n" % format_usd(max(left_nano, 0)).encode()
    limited = cap if window is None else allowance
    if limited is not None:
        lines = _limit_line(limited.limit_nano) + lines
    return lines if window is None else lines + _reset_line(window.end_us)


# Many requests in a row have the same limit, and the same end of their window.
@lru_cache(maxsize=4_096)
def _limit_line(limit_nano: int) -> bytes:
    return b"x-budget-limit: %b\r\n" % format_usd(limit_nano).encode()


@lru_cache(maxsize=256)
def _reset_line(end_us: int) -> bytes:
    return b"x-budget-reset: %b\r\n" % iso_ms(end_us).encode()


def duration(wait_us: int) -> bytes:
    """A duration as OpenAI writes it: "0s", "20ms", "1.5s", "6m0s"."""
    milliseconds = -(-wait_us // 1_000)
    if milliseconds == 0:
        return b"0s"
    if milliseconds < 1_000:
        return b"%dms" % milliseconds
    seconds, fraction = milliseconds // 1_000, _FRACTIONS[milliseconds % 1_000]
    if seconds < 60:
        return b"%d%bs" % (seconds, fraction)
    return b"%dm%d%bs" % (seconds // 60, seconds % 60, fraction)
