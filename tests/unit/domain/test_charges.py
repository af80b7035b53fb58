"""A charge: its usage as one value, and every value in its place."""

from tokenbooth.domain.charges import Charge, PoolKind, new_charge
from tokenbooth.domain.usage import Usage


def test_the_counts_are_one_usage() -> None:
    """Every count stands in its place."""
    charge = Charge(
        request_id="req_1",
        account_id="acct_1",
        key_id="key_1",
        pool=PoolKind.CREDIT,
        subscription_id="",
        window_start_us=0,
        model="m",
        endpoint="chat.completions",
        upstream="u",
        finished_at_us=1,
        prompt_tokens=10,
        cached_tokens=3,
        cache_write_tokens=2,
        completion_tokens=7,
        reasoning_tokens=4,
        input_price=1,
        cached_price=1,
        cache_write_price=1,
        output_price=1,
        per_request_nano=0,
        charged_nano=1,
        uncollected_nano=0,
        upstream_cost_nano=1,
        estimated=False,
    )

    assert charge.usage == Usage(
        prompt_tokens=10, completion_tokens=7, cached_tokens=3, cache_write_tokens=2, reasoning_tokens=4
    )


def test_a_new_charge_has_every_value_in_its_place() -> None:
    """As its own constructor puts them, which takes them by name as well."""
    values = {name: number for number, name in enumerate(Charge._fields)}
    kinds = {name: kind(values[name]) for name, kind in Charge.__annotations__.items() if kind in (int, str)}
    charge = Charge(**kinds, pool=PoolKind.WINDOW, estimated=True)

    assert new_charge(**charge._asdict()) == charge
