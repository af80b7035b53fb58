"""CSV files."""

import pytest

from tokenbooth.kit.csv import csv_text, plain_cell


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_no_cell_is_a_formula(text: str) -> None:
    """A spreadsheet would run it for whoever opens the file."""
    assert plain_cell(text) == f"'{text}"


def test_cells_are_quoted_where_they_must_be() -> None:
    """Commas, quotes and line breaks stay inside of their cell."""
    assert csv_text([["a", 1], ["b,c", '"d"'], ["e\nf", "g"]]) == 'a,1\r\n"b,c","""d"""\r\n"e\nf",g\r\n'
