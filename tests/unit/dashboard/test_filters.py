"""How pages write things, the chart's geometry, and why a request cost what it cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.dashboard.dashboard import charge
from tokenbooth.dashboard import filters
from tokenbooth.dashboard.chart import HEIGHT, WIDTH, draw
from tokenbooth.dashboard.price_breakdown import explain
from tokenbooth.domain.pricing import Price, TokenRates, cost_nano
from tokenbooth.domain.usage import Usage
from tokenbooth.domain.windows import DAY_US
from tokenbooth.store.usage.request_pages import RequestView
from tokenbooth.store.usage.usage_reports import Span, Sums

MINUTE_US = 60_000_000


@pytest.mark.parametrize(
    ("amount_nano", "exact", "glance"),
    [
        (0, "$0.00", "$0.00"),
        (1, "$0.000000001", "$0.000000001"),
        (297_000, "$0.000297", "$0.0002"),
        (24_996_600_000, "$24.9966", "$24.99"),
        (1_234_567_890_000_000, "$1,234,567.89", "$1,234,567.89"),
        (-1_500_000_000, "-$1.50", "-$1.50"),
    ],
)
def test_money(amount_nano: int, exact: str, glance: str) -> None:
    """Exact where it counts; at a glance never more than there is."""
    assert (filters.usd(amount_nano), filters.about(amount_nano)) == (exact, glance)


@pytest.mark.parametrize(
    ("minutes", "text"),
    [(0, "1 min"), (59, "59 min"), (60, "1 h"), (134, "2 h 14 min"), (1_440, "1 d"), (1_505, "1 d 1 h")],
)
def test_lengths_of_time(minutes: int, text: str) -> None:
    """The two largest units."""
    assert filters.span(minutes * MINUTE_US) == text


def test_prose_is_escaped() -> None:
    """Backticks mark code; nothing else becomes markup."""
    assert filters.prose("a `b` <i>") == "a <code>b</code> &lt;i&gt;"
    assert filters.prose("a ` b") == "a ` b"


@given(st.dictionaries(st.integers(0, 29), st.integers(0, 10**15)))
def test_bars_stay_in_the_chart(spends: dict[int, int]) -> None:
    """Every day has its place, a day with spend is seen, the highest reaches the line."""
    days = {str(day * DAY_US): Sums(requests=1, charged_nano=spend) for day, spend in spends.items()}
    chart = draw(days, Span(0, 30 * DAY_US))
    assert len(chart.bars) == 30
    for bar in chart.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
        assert chart.top <= round(bar.y, 1) <= round(bar.y + bar.height, 1) <= HEIGHT
        assert (bar.height > 0) == (bar.charged_nano > 0)
    assert chart.total.charged_nano == sum(spends.values())


def _view(usage: Usage, rates: TokenRates, per_request_nano: int, charged_nano: int) -> RequestView:
    one = charge("acct_1", "key_1", 0)
    return RequestView(
        request_id=one.request_id,
        key_id=one.key_id,
        pool=str(one.pool),
        subscription_id="",
        model=one.model,
        endpoint=one.endpoint,
        finished_at_us=0,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=0,
        input_price=rates.input,
        cached_price=rates.cached_input,
        cache_write_price=rates.cache_write,
        output_price=rates.output,
        per_request_nano=per_request_nano,
        charged_nano=charged_nano,
        estimated=False,
    )


@given(
    st.tuples(*[st.integers(0, 10**6)] * 4),
    st.tuples(*[st.integers(0, 10**12)] * 4),
    st.integers(0, 10**9),
)
def test_the_explanation_is_the_price(counts: tuple[int, ...], prices: tuple[int, ...], per_request_nano: int) -> None:
    """The lines add up to what the gateway charges for the same tokens at the same prices."""
    fresh, cached, written, output = counts
    usage = Usage(
        prompt_tokens=fresh + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written,
        completion_tokens=output,
        reasoning_tokens=0,
    )
    rates = TokenRates(input=prices[0], cached_input=prices[1], cache_write=prices[2], output=prices[3])
    charged_nano = cost_nano(Price(rates, per_request_nano), usage)
    explained = explain(_view(usage, rates, per_request_nano, charged_nano))
    assert (explained.computed_nano, explained.note) == (charged_nano, None)


def test_a_charge_below_its_price_says_why() -> None:
    """Where the money did not suffice, the line says so."""
    usage = Usage(prompt_tokens=10, cached_tokens=0, cache_write_tokens=0, completion_tokens=0, reasoning_tokens=0)
    rates = TokenRates(input=10**9, cached_input=0, cache_write=0, output=0)
    explained = explain(_view(usage, rates, 0, 5_000))
    assert (explained.parts[0].cost_text, explained.note) == (
        "$0.00001",
        "No more than this was free, so no more was charged.",
    )


@pytest.mark.parametrize(
    ("window", "words"), [("5h", "5 hours"), ("1h", "hour"), ("30m", "30 minutes"), ("1d", "day"), ("7d", "7 days")]
)
def test_windows_read_as_words(window: str, words: str) -> None:
    """A window as configured follows the word "every"."""
    assert filters.every(window) == words


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36",
            "Chrome on Linux",
        ),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/141.0 Safari/537.36 Edg/141.0", "Edge on Windows"),
        ("Mozilla/5.0 (Android 15; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0", "Firefox on Android"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Version/18.1 Mobile Safari/604.1", "Safari on iOS"),
        ("python-httpx/0.28", "python-httpx/0.28"),
        ("x" * 200, "x" * 60),
        ("", "Unknown browser"),
    ],
)
def test_browsers_have_names(user_agent: str, name: str) -> None:
    """Where somebody is logged in is told as people call it; what tells nothing is shown as it is, cut."""
    assert filters.browser_name(user_agent) == name


def test_ids_are_shortened() -> None:
    """A long id is cut to what is recognised, a short one is left."""
    assert (filters.short_id("operator"), filters.short_id("mkey_066135e28eee9d6e4c")) == (
        "operator",
        "mkey_066135e28…",
    )
