"""The headers that tell a client its limits: requests, tokens, money."""

from tokenbooth.clock import iso_ms
from tokenbooth.domain.money import format_usd
from tokenbooth.gateway.admission import Pool, rates_of
from tokenbooth.gateway.refusals import Headers
from tokenbooth.gateway.state import KeyState


def limit_headers(key: KeyState, pool: Pool | None, monotonic_us: int) -> Headers:
    """The `x-ratelimit-…` and `x-budget-…` headers; one without a limit is absent.

    Args:
        key: who asks.
        pool: what pays, if that was looked up.
        monotonic_us: the time that rates go by, microseconds.
    """
    return [*_rate_headers(key, monotonic_us), *(() if pool is None else _budget_headers(pool))]


def _rate_headers(key: KeyState, monotonic_us: int) -> Headers:
    requests, tokens, _ = rates_of(key)
    headers: Headers = []
    for rate, unit in ((requests, b"requests"), (tokens, b"tokens")):
        if rate is None:
            continue
        left = max(rate.limit - rate.used(monotonic_us), 0)
        headers.append((b"x-ratelimit-limit-" + unit, b"%d" % rate.limit))
        headers.append((b"x-ratelimit-remaining-" + unit, b"%d" % left))
        headers.append((b"x-ratelimit-reset-" + unit, duration(rate.reset_us(monotonic_us))))
    return headers


def _budget_headers(pool: Pool) -> Headers:
    headers: Headers = []
    limited = pool.cap if pool.window is None else pool.allowance
    if limited is not None:
        headers.append((b"x-budget-limit", format_usd(limited.limit_nano).encode()))
    left_nano = min(allowance.unspent_nano() for allowance in pool.allowances())
    headers.append((b"x-budget-remaining", format_usd(max(left_nano, 0)).encode()))
    if pool.window is not None:
        headers.append((b"x-budget-reset", iso_ms(pool.window.end_us).encode()))
    return headers


def duration(wait_us: int) -> bytes:
    """A duration as OpenAI writes it: "0s", "20ms", "1.5s", "6m0s"."""
    milliseconds = -(-wait_us // 1_000)
    if milliseconds == 0:
        return b"0s"
    if milliseconds < 1_000:
        return b"%dms" % milliseconds
    minutes, milliseconds = divmod(milliseconds, 60_000)
    seconds = f"{milliseconds / 1_000:.3f}".rstrip("0").rstrip(".") + "s"
    return (f"{minutes}m{seconds}" if minutes else seconds).encode()
