"""The corpus of answers: every row has a source, none stands twice, and what it lacks is shown."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec
import pytest

from tests.support.gateway.corpus.rows import CASES, SERVERS, Case, Row, Server
from tests.support.gateway.corpus.servers import ROWS

# A report on GitHub, or a title of at least three words.
_SOURCE: Final = re.compile(r"[\w.-]+/[\w.-]+#\d+|\S+ \S+ \S.*")


def table() -> str:
    """How many rows there are for each server and case; a dash where there is none."""
    rows_of = Counter((row.server, row.case) for row in ROWS)
    widths = [max(map(len, SERVERS)), *map(len, CASES)]

    def line(*cells: str) -> str:
        return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))

    def cell(server: Server, case: Case) -> str:
        return str(rows_of[server, case] or "-")

    return "\n".join([line("", *CASES), *(line(server, *(cell(server, case) for case in CASES)) for server in SERVERS)])


def test_every_server_answers_and_the_table_shows_the_gaps(record_property: Callable[[str, object], None]) -> None:
    """No server is forgotten; a case without a public source stays a gap that everybody sees."""
    record_property("shown", f"Rows of the corpus, {len(ROWS)} in all\n{table()}")

    assert {row.server for row in ROWS} == set(SERVERS)
    assert {row.case for row in ROWS} == set(CASES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_names_its_source(row: Row) -> None:
    """A row is worth nothing without the page or the report that it was written after."""
    assert all(_SOURCE.fullmatch(source) for source in row.source.split("; "))


def test_no_row_stands_twice() -> None:
    """Two rows of one server differ in their names and in what is answered or asked for."""
    names = Counter(row.name for row in ROWS)
    answers = Counter((row.server, row.wire, row.streamed, row.answer) for row in ROWS)

    assert [name for name, times in names.items() if times > 1] == []
    assert [server for (server, *_), times in answers.items() if times > 1] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_does_not_contradict_itself(row: Row) -> None:
    """What has to be read of an answer fits its case, and its own counts."""
    if row.case in ("error in 200", "error event"):
        assert row.failed
    if row.case == "streamed":
        assert row.streamed
        assert not row.failed
    if row.case == "whole":
        assert not row.streamed
        assert not row.failed
    if row.case == "tools":
        assert row.tool_calls
    if row.case == "cached":
        assert row.usage is not None
        assert row.usage.cached_tokens + row.usage.cache_write_tokens > 0
    if row.case == "reasoning":
        assert row.reasoning or row.usage is not None
    for usage in (row.usage, row.prompt_usage):
        if usage is not None:
            assert usage.cached_tokens + usage.cache_write_tokens <= usage.prompt_tokens
            assert usage.reasoning_tokens <= usage.completion_tokens
    assert row.usage is None or row.prompt_usage is None


@pytest.mark.parametrize("row", [row for row in ROWS if not row.failed], ids=lambda row: row.name)
def test_the_arguments_of_a_finished_call_are_json(row: Row) -> None:
    """Pieces were put together in the right order; only a custom tool takes text that is none."""
    for call in row.tool_calls:
        if b"custom" not in row.answer:
            assert isinstance(msgspec.json.decode(call.arguments), dict)
