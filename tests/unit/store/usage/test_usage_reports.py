"""Usage reports from the store."""

import random
from itertools import product

import pytest

from tests.support.billing.billing_rows import DAY_US, HOUR_US, add_usage, charge
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tokenbooth.domain.charges import Charge
from tokenbooth.kit.errors import InvalidRequest
from tokenbooth.store.engine import Store
from tokenbooth.store.usage import request_pages, usage_reports
from tokenbooth.store.usage.request_pages import FoundRequests, Position, list_requests, list_requests_of_key
from tokenbooth.store.usage.usage_reports import GroupBy, Span, Sums, usage_by

ME = "acct_1"


def many_charges() -> list[Charge]:
    """Eighty requests over three days, by three keys, of two models, and some of another account."""
    dice = random.Random(7)
    return [
        charge(
            dice.choice([ME, ME, ME, "acct_2"]),
            finished_at_us=NOW_US - dice.randrange(3 * DAY_US),
            key_id=dice.choice(["key_a", "key_b", "key_c"]),
            model=dice.choice(["small", "large"]),
            cost_nano=dice.randrange(1_000_000),
        )
        for _ in range(80)
    ]


def group_of(made: Charge, group_by: GroupBy) -> str:
    """The group that a request belongs to."""
    match group_by:
        case GroupBy.DAY:
            return str(made.finished_at_us - made.finished_at_us % DAY_US)
        case GroupBy.KEY:
            return made.key_id
        case GroupBy.MODEL:
            return made.model


SPANS = [
    Span(NOW_US - 3 * DAY_US, NOW_US + HOUR_US),
    Span(NOW_US - 2 * DAY_US - 12_345, NOW_US - 7 * HOUR_US + 99),
    Span(NOW_US - DAY_US + 60_000_000, NOW_US - DAY_US + 120_000_000),
    Span(NOW_US - DAY_US + 1, NOW_US - DAY_US + HOUR_US + 1),
    Span(NOW_US + DAY_US, NOW_US + 2 * DAY_US),
]


def sums_of(charges: list[Charge], span: Span, group_by: GroupBy, key_id: str | None) -> dict[str, Sums]:
    """What the report should say, added up request by request."""
    expected: dict[str, Sums] = {}
    for made in charges:
        if made.account_id == ME and span.from_us <= made.finished_at_us < span.to_us and key_id in (None, made.key_id):
            group = group_of(made, group_by)
            one = Sums(1, made.prompt_tokens, made.cached_tokens, made.completion_tokens, made.charged_nano)
            expected[group] = expected.get(group, Sums()) + one
    return expected


def test_sums_are_those_of_the_single_requests(store: Store) -> None:
    """For every grouping, and for spans that begin and end within an hour."""
    charges = many_charges()
    store.write_now(add_usage, *charges)
    for span, group_by, key_id in product(SPANS, GroupBy, (None, "key_a")):
        expected = sums_of(charges, span, group_by, key_id)
        found = store.read_now(usage_by, ME, span, group_by, key_id=key_id)
        assert (found, list(found)) == (expected, sorted(expected)), (span, group_by, key_id)


def test_pages_show_every_request_once_newest_first(store: Store) -> None:
    """Also when several were finished in the same microsecond."""
    charges = [charge(ME, finished_at_us=NOW_US - second // 3) for second in range(25)]
    store.write_now(add_usage, *charges, charge("acct_2", finished_at_us=NOW_US))
    seen: list[str] = []
    after: Position | None = None
    while True:
        page = store.read_now(list_requests, ME, limit=4, after=after)
        seen += [view.request_id for view in page.requests]
        if page.next is None:
            break
        after = page.next
    in_order = sorted(charges, key=lambda made: (made.finished_at_us, made.request_id), reverse=True)
    assert seen == [made.request_id for made in in_order]


def test_pages_behind_a_position_do_not_move_when_requests_arrive(store: Store) -> None:
    """New ones appear before it."""
    store.write_now(add_usage, *(charge(ME, finished_at_us=NOW_US - second) for second in range(6)))
    first = store.read_now(list_requests, ME, limit=3)
    after = first.next
    assert after == Position(first.requests[-1].finished_at_us, first.requests[-1].request_id)
    expected = store.read_now(list_requests, ME, limit=3, after=after)
    store.write_now(add_usage, *(charge(ME, finished_at_us=NOW_US + second) for second in range(1, 4)))
    assert store.read_now(list_requests, ME, limit=3, after=after) == expected


def test_single_requests_of_a_key_and_a_span(store: Store) -> None:
    """From the first microsecond of a span to the last, and of one key only."""
    charges = [charge(ME, finished_at_us=NOW_US + n, key_id="key_a" if n % 2 else "key_b") for n in range(6)]
    store.write_now(add_usage, *charges)
    within = store.read_now(list_requests, ME, limit=9, span=Span(NOW_US + 1, NOW_US + 4))
    assert [view.finished_at_us - NOW_US for view in within.requests] == [3, 2, 1]
    of_key = _of_key(store, "key_a", limit=9, span=Span(NOW_US, NOW_US + 6))
    assert ([view.finished_at_us - NOW_US for view in of_key.requests], of_key.next) == ([5, 3, 1], None)
    assert _of_key(store, "key_a", limit=9, span=Span(NOW_US + 2, NOW_US + 3)) == FoundRequests([], None)


def _of_key(store: Store, key_id: str, *, limit: int, span: Span, after: Position | None = None) -> FoundRequests:
    """A page of a key's requests."""
    return store.read_now(list_requests_of_key, ME, key_id, limit=limit, after=after, span=span)


def test_a_keys_requests_are_found_between_many_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every one once, newest first, although a page looks at few requests of the account; also behind a silence."""
    monkeypatch.setattr(request_pages, "LOOKED_AT", 5)
    dice = random.Random(11)
    charges = [
        charge(
            ME,
            finished_at_us=NOW_US - dice.choice([0, 40 * DAY_US]) - dice.randrange(4 * HOUR_US),
            key_id=dice.choice(["key_a", *["key_b"] * 9]),
        )
        for _ in range(120)
    ]
    store.write_now(add_usage, *charges, charge(ME, finished_at_us=NOW_US + 1, key_id="key_b"))
    span, seen, pages = Span(NOW_US - 60 * DAY_US, NOW_US + DAY_US), [], 0
    after: Position | None = None
    while True:
        page = _of_key(store, "key_a", limit=2, span=span, after=after)
        seen += [view.request_id for view in page.requests]
        pages += 1
        if page.next is None:
            break
        after = page.next
    expected = sorted(
        (made for made in charges if made.key_id == "key_a"),
        key=lambda made: (made.finished_at_us, made.request_id),
        reverse=True,
    )
    assert seen == [made.request_id for made in expected]
    assert pages < len(charges) // 2


def test_a_report_of_too_many_rows_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of days by key, of hours, and of single requests; what stays within the bound is added up."""
    monkeypatch.setattr(usage_reports, "MAX_ROWS", 5)
    store.write_now(add_usage, *(charge(ME, finished_at_us=NOW_US + n, key_id=f"key_{n}") for n in range(6)))
    hour_us = NOW_US - NOW_US % HOUR_US
    day_us = NOW_US - NOW_US % DAY_US
    whole_days = Span(day_us, day_us + DAY_US)
    for span, group_by in (
        (whole_days, GroupBy.KEY),
        (Span(hour_us, hour_us + HOUR_US), GroupBy.DAY),
        (Span(NOW_US, NOW_US + 60_000_000), GroupBy.MODEL),
    ):
        with pytest.raises(InvalidRequest) as refused:
            store.read_now(usage_by, ME, span, group_by)
        assert refused.value.code == "report_too_large"
    assert store.read_now(usage_by, ME, whole_days, GroupBy.DAY)[str(day_us)].requests == 6
    assert store.read_now(usage_by, ME, whole_days, GroupBy.KEY, key_id="key_1")["key_1"].requests == 1
