"""Comma-separated values for spreadsheets."""

import pytest

from tokenbooth.kit.csv import csv_text, text_cell


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_formula_becomes_a_text(text: str) -> None:
    """What a customer called a key is never computed."""
    assert text_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "1-2", "key"])
def test_other_texts_stay(text: str) -> None:
    """Only the beginning counts."""
    assert text_cell(text) == text


def test_rows_are_quoted_where_needed() -> None:
    """As RFC 4180 says, with numbers as they are."""
    assert csv_text([("a", "b"), ('say "x"', -5), ("1,2", "3\n4")]) == 'a,b\r\n"say ""x""",-5\r\n"1,2","3\n4"\r\n'
