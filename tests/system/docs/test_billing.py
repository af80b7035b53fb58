"""The numbers of docs/billing.md are what the program computes."""

from datetime import UTC, datetime
from typing import Final

import pytest
from sqlalchemy import select

from tests.support.fair_share import share
from tests.support.store import Customer, new_customer
from tests.system.docs.pages import codes, read, rows, section
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.domain import ledger as domain_ledger
from tokenbooth.domain.allowance import Allowance, hold, settle
from tokenbooth.domain.charges import Charge, PoolKind
from tokenbooth.domain.fair_share import Demand, Share, TooLittle
from tokenbooth.domain.ledger import STRIPE_CLEARING, AccountKind, LedgerAccount, TransferKind
from tokenbooth.domain.money import format_usd, parse_usd
from tokenbooth.domain.plan_changes import charged_from_us
from tokenbooth.domain.pricing import Price, TokenRates, cost_nano, worst_cost_nano
from tokenbooth.domain.usage import Usage
from tokenbooth.domain.windows import DAY_US, parse_duration, window_at
from tokenbooth.gateway.formats.base import OUTPUT_FLOOR, REASONING_OUTPUT_FLOOR
from tokenbooth.gateway.settlement.estimates import Estimates
from tokenbooth.store import ledger
from tokenbooth.store.accounts.credit import change_credit
from tokenbooth.store.engine import Store
from tokenbooth.store.tables import ledger_entries, ledger_transfers
from tokenbooth.store.usage.settlement import apply_charges

PAGE: Final = read("billing.md")
PRICE: Final = Price(
    TokenRates(input=270_000_000, output=1_100_000_000, cached_input=70_000_000, cache_write=270_000_000)
)
ORDINARY: Final = Usage(prompt_tokens=6, completion_tokens=28)
NOW_US: Final = 1_772_704_800_000_000
HOUR_US: Final = DAY_US // 24


def _short(amount_nano: int) -> str:
    """The amount as the examples write it: without zeros at its end."""
    return f"${format_usd(amount_nano).rstrip('0').rstrip('.')}"


@pytest.mark.parametrize(
    ("usage", "sum_shown"),
    [
        (ORDINARY, "6 × 270 + 28 × 1,100"),
        (Usage(prompt_tokens=1_000, completion_tokens=200, cached_tokens=800), "200 × 270 + 800 × 70 + 200 × 1,100"),
        (Usage(prompt_tokens=1_000, completion_tokens=250), "1,000 × 270 + 250 × 1,100"),
        (Usage(prompt_tokens=1_000, completion_tokens=20_000), "1,000 × 270 + 20,000 × 1,100"),
        (Usage(prompt_tokens=464, completion_tokens=8_192), "464 × 270 + 8,192 × 1,100"),
    ],
)
def test_the_sums(usage: Usage, sum_shown: str) -> None:
    """A sum that is written out comes to what the price comes to."""
    cost = cost_nano(PRICE, usage)
    assert f"    {sum_shown} = {cost:,} nano-dollars = {_short(cost)}\n" in PAGE


def test_rounding() -> None:
    """Half a nano-dollar a token is rounded up once for a request, not once for a token."""
    cheap = TokenRates(input=500_000, output=500_000, cached_input=500_000, cache_write=500_000)
    costs = [cost_nano(Price(cheap), Usage(prompt_tokens=tokens, completion_tokens=0)) for tokens in (1, 3)]
    assert _short(500_000) == "$0.0005"
    text = " ".join(PAGE.split())
    assert f"a request of 1 token costs {costs[0]} nano-dollar, and a request of 3 tokens costs {costs[1]}." in text


def test_the_windows() -> None:
    """The example's instant lies in the windows that the table says."""
    at_us = _us("2026-03-05 22:30")
    shown = {codes(row[0])[0]: row[2] for row in rows(section(PAGE, "Windows")) if codes(row[0])}
    computed = {}
    for duration in shown:
        window = window_at(at_us, parse_duration(duration))
        computed[duration] = f"from {_minute(window.start_us)} to {_minute(window.end_us)}"
    assert shown == computed


def test_the_fair_share() -> None:
    """A call near the end of a window gets the share and the ceiling of the table."""
    free_nano, demand = parse_usd("0.01"), _demand(text_bytes=4_000, output_ceiling=8_192)
    decided = share(PRICE, demand, free_nano=free_nano, hold_share_percent=25, tokens_per_byte_bp=5_000)
    assert isinstance(decided, Share)
    prompt_tokens = demand.prompt_tokens(5_000)
    shown = [row[1] for row in rows(section(PAGE, "Holds and settlement")) if row[0]]
    assert shown == [
        _short(free_nano),
        _short(free_nano // 4),
        _short(worst_cost_nano(PRICE, prompt_tokens=demand.prompt_tokens(10_000), output_tokens=8_192)),
        _short(worst_cost_nano(PRICE, prompt_tokens=prompt_tokens, output_tokens=8_192)),
        _short(worst_cost_nano(PRICE, prompt_tokens=prompt_tokens, output_tokens=0)),
        f"{decided.clamped_output_tokens:,} tokens",
        _short(decided.amount_nano),
    ]
    refused = share(PRICE, demand, free_nano=0, hold_share_percent=25, tokens_per_byte_bp=5_000)
    assert isinstance(refused, TooLittle)
    assert f"the floor is\n{_short(refused.floor_nano)}." in PAGE


def test_an_ordinary_hold_is_the_worst_case() -> None:
    """On a fresh window a short request holds what the page says, whole."""
    demand = _demand(text_bytes=400, output_ceiling=8_192)
    decided = share(PRICE, demand, free_nano=parse_usd("0.14"), hold_share_percent=25, tokens_per_byte_bp=5_000)
    assert decided == Share(9_136_480, clamped_output_tokens=None)


def test_a_change_of_plan_in_the_last_hour() -> None:
    """The difference of a whole window is charged, and what it brings is worth about that."""
    period_us = 31 * DAY_US
    from_us = charged_from_us(
        NOW_US + period_us - HOUR_US,
        period_start_us=NOW_US,
        period_end_us=NOW_US + period_us,
        window_us=5 * HOUR_US,
    )
    hours = (NOW_US + period_us - from_us) // HOUR_US
    charged_usd = 40 * hours / (period_us // HOUR_US)
    assert f"$40 × {hours} / {period_us // HOUR_US} = ${charged_usd:.2f}" in PAGE
    assert "at most $0.28 more" in PAGE


def test_uncollected_cost() -> None:
    """An answer above its hold and the balance is divided as the example says."""
    balance = Allowance(limit_nano=parse_usd("0.01"))
    held = hold((balance,), parse_usd("0.0025"))
    assert held is not None
    settled = settle(held, parse_usd("0.0112"))
    assert settled is not None
    assert (
        f"The customer pays {_short(settled.charged_nano)}, and {_short(settled.uncollected_nano)} is\nuncollected."
        in PAGE
    )


def test_an_estimate_without_anything_learned() -> None:
    """The example's bytes and events come to the tokens of its sum."""
    figures = Estimates()
    text = " ".join(PAGE.split())
    assert "A request of 4,000 bytes; 250 events with 900 bytes of text" in text
    assert figures.prompt_tokens("a", "m", 4_000) == 1_000
    assert max(250, figures.text_tokens("a", "m", 900)) == 250


def test_thinking_that_nobody_saw() -> None:
    """Of ten answers, nine of which think at most 20,000 tokens, the example's number is learned."""
    figures = Estimates()
    for tokens in (*range(4_000, 20_001, 2_000), 30_000):
        figures.learn_thinking("a", "m", "", tokens)
    assert figures.thinking_tokens("m", "") == 20_000


def test_the_bounds_of_reading_on() -> None:
    """The page has the defaults of the settings."""
    text, settings = " ".join(PAGE.split()), GatewaySettings()
    assert (
        f"An account has room for {settings.max_draining_per_account} answers at once that are read on "
        "(`gateway.max_draining_per_account`), and all accounts together for "
        f"{settings.max_draining} (`gateway.max_draining`)"
    ) in text
    assert f"`gateway.first_byte_timeout_s` ({settings.first_byte_timeout_s:g} s)" in text
    assert f"`gateway.whole_answer_timeout_s` ({settings.whole_answer_timeout_s:,.0f} s)" in text
    assert f"*thinking* is {REASONING_OUTPUT_FLOOR:,} tokens" in text
    assert f"*answer* is {OUTPUT_FLOOR} tokens" in text


def test_the_entries_of_each_event(store: Store) -> None:
    """Played through on a real ledger, each event posts the entries that the table shows."""
    spender = new_customer(store, now_us=NOW_US)
    debtor = new_customer(store, now_us=NOW_US, email="ben@example.com")
    cost = cost_nano(PRICE, ORDINARY)
    _top_up(store, spender, "50", now_us=NOW_US)
    _change(store, spender, TransferKind.GRANT, "25", now_us=NOW_US + 1)
    store.write_now(apply_charges, [_charge(spender, PoolKind.CREDIT, cost)], now_us=NOW_US + 2)
    store.write_now(apply_charges, [_charge(spender, PoolKind.WINDOW, cost)], now_us=NOW_US + 3)
    _change(store, debtor, TransferKind.ADJUSTMENT, "12", now_us=NOW_US + 4)
    _change(store, debtor, TransferKind.ADJUSTMENT, "-30", now_us=NOW_US + 5)
    _top_up(store, debtor, "50", now_us=NOW_US + 6)
    table = rows(section(PAGE, "For operators: the ledger"))
    shown = [sorted(row[1].split(", ")) for row in table if row[1].startswith("`")]
    # The payment of a plan needs a subscription; the grant of twelve dollars only prepares the last two.
    played = [entries for entries in _transfers(store) if entries != _grant_of_twelve()]
    assert [row for row in shown if "`revenue:subscriptions` +60.00" not in row] == played


def test_every_account_of_the_ledger_is_named() -> None:
    """The table has each account of the program by its id, and each kind that has owners."""
    named = {name for row in rows(section(PAGE, "For operators: the ledger")) for name in codes(row[0])}
    fixed = {account.id for account in vars(domain_ledger).values() if isinstance(account, LedgerAccount)}
    assert fixed <= named
    assert {str(kind) for kind in AccountKind} == {name.partition(":")[0] for name in named}


def _grant_of_twelve() -> list[str]:
    return sorted(["`promotion:grants` −12.00", "`credit:<account>` +12.00"])


def _transfers(store: Store) -> list[list[str]]:
    """The entries of each transfer as the page writes them, in the order of time."""
    owners = {
        "credit": "<account>",
        "debt": "<account>",
        "window_spend": "<subscription>:<start>",
        "key_spend": "<key>",
    }
    lines = store.read_now(
        lambda conn: conn.execute(
            select(ledger_transfers.c.created_at_us, ledger_entries.c.account_id, ledger_entries.c.amount_nano)
            .join(ledger_transfers, ledger_transfers.c.id == ledger_entries.c.transfer_id)
            .order_by(ledger_transfers.c.created_at_us)
        ).all()
    )
    found: dict[int, list[str]] = {}
    for at_us, account, amount_nano in lines:
        kind, _, owner = account.partition(":")
        sign = "−" if amount_nano < 0 else "+"
        found.setdefault(at_us, []).append(f"`{kind}:{owners.get(kind, owner)}` {sign}{format_usd(abs(amount_nano))}")
    return [sorted(entries) for entries in found.values()]


def _top_up(store: Store, customer: Customer, amount: str, *, now_us: int) -> None:
    store.write_now(
        ledger.add_credit,
        account_id=customer.account_id,
        source=STRIPE_CLEARING,
        amount_nano=parse_usd(amount),
        kind=TransferKind.TOP_UP,
        reference=f"stripe:session:{now_us}",
        note="test",
        now_us=now_us,
    )


def _change(store: Store, customer: Customer, kind: TransferKind, amount: str, *, now_us: int) -> None:
    store.write_now(
        change_credit,
        account=customer.email,
        kind=kind,
        amount_nano=parse_usd(amount),
        reason="test",
        reference=None,
        now_us=now_us,
    )


def _charge(customer: Customer, pool: PoolKind, cost: int) -> Charge:
    return Charge(
        request_id=f"req_{pool}",
        account_id=customer.account_id,
        key_id="key_test",
        pool=pool,
        subscription_id="sub_test" if pool is PoolKind.WINDOW else "",
        window_start_us=NOW_US if pool is PoolKind.WINDOW else 0,
        model="a/model",
        endpoint="chat.completions",
        upstream="test",
        finished_at_us=NOW_US,
        prompt_tokens=ORDINARY.prompt_tokens,
        cached_tokens=0,
        cache_write_tokens=0,
        completion_tokens=ORDINARY.completion_tokens,
        reasoning_tokens=0,
        input_price=PRICE.rates.input,
        cached_price=PRICE.rates.cached_input,
        cache_write_price=PRICE.rates.cache_write,
        output_price=PRICE.rates.output,
        per_request_nano=0,
        charged_nano=cost,
        uncollected_nano=0,
        upstream_cost_nano=cost,
        estimated=False,
    )


def _demand(*, text_bytes: int, output_ceiling: int) -> Demand:
    return Demand(
        text_bytes=text_bytes,
        extra_tokens=64,
        context_tokens=65_536,
        choices=1,
        output_ceiling=output_ceiling,
        floor_tokens=256,
    )


def _us(minute: str) -> int:
    return int(datetime.strptime(minute, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp()) * 1_000_000


def _minute(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M")
