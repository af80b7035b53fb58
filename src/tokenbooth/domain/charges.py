"""A charge: everything that is known of one finished request; the record of the charge log and a usage event.

It holds no prompt, no answer and no key. Field names are short-lived on disk (a log lives until its commit), so they
are written out; order matters, because the log stores records as arrays.
"""

from enum import StrEnum
from typing import NamedTuple

from tokenbooth.domain.usage import Usage


class PoolKind(StrEnum):
    """What a request was paid from."""

    CREDIT = "credit"
    WINDOW = "window"


class Charge(NamedTuple):
    """One priced answer; a tuple, because one is made, written and stored for every request.

    Attributes:
        request_id: ours; a charge is applied once per request id, whatever the number of replays.
        account_id: the customer.
        key_id: the API key.
        pool: whether credit or a window paid.
        subscription_id: the subscription; empty for credit.
        window_start_us: the window that admitted the request; 0 for credit.
        model: the model as the client named it.
        endpoint: the route's name, such as "chat.completions".
        upstream: the upstream's name in the configuration.
        finished_at_us: when it was settled, UTC microseconds.
        prompt_tokens, cached_tokens, cache_write_tokens, completion_tokens, reasoning_tokens: what is billed.
        input_price, cached_price, cache_write_price, output_price: the admitted tier, nano-USD per million tokens.
        per_request_nano: the fixed part of the admitted price, nano-USD.
        charged_nano: what the customer pays, nano-USD.
        uncollected_nano: what the answer cost above that, nano-USD.
        upstream_cost_nano: what the operator pays, nano-USD.
        estimated: counted by us, because the upstream reported nothing.
    """

    request_id: str
    account_id: str
    key_id: str
    pool: PoolKind
    subscription_id: str
    window_start_us: int
    model: str
    endpoint: str
    upstream: str
    finished_at_us: int
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    input_price: int
    cached_price: int
    cache_write_price: int
    output_price: int
    per_request_nano: int
    charged_nano: int
    uncollected_nano: int
    upstream_cost_nano: int
    estimated: bool

    @property
    def usage(self) -> Usage:
        """The counts as one value."""
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
            cache_write_tokens=self.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens,
        )


def new_charge(
    *,
    request_id: str,
    account_id: str,
    key_id: str,
    pool: PoolKind,
    subscription_id: str,
    window_start_us: int,
    model: str,
    endpoint: str,
    upstream: str,
    finished_at_us: int,
    prompt_tokens: int,
    cached_tokens: int,
    cache_write_tokens: int,
    completion_tokens: int,
    reasoning_tokens: int,
    input_price: int,
    cached_price: int,
    cache_write_price: int,
    output_price: int,
    per_request_nano: int,
    charged_nano: int,
    uncollected_nano: int,
    upstream_cost_nano: int,
    estimated: bool,
) -> Charge:
    """A charge, as its own constructor makes it, at a twentieth of the cost: that one is a function in Python."""
    return tuple.__new__(
        Charge,
        (
            request_id,
            account_id,
            key_id,
            pool,
            subscription_id,
            window_start_us,
            model,
            endpoint,
            upstream,
            finished_at_us,
            prompt_tokens,
            cached_tokens,
            cache_write_tokens,
            completion_tokens,
            reasoning_tokens,
            input_price,
            cached_price,
            cache_write_price,
            output_price,
            per_request_nano,
            charged_nano,
            uncollected_nano,
            upstream_cost_nano,
            estimated,
        ),
    )
