"""Comma-separated values that a spreadsheet opens without harm."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

# What a spreadsheet takes for the beginning of a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def text_cell(text: str) -> str:
    """A text that others may have chosen, as a cell that is never a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """The rows as CSV; texts of others have to be `text_cell`s."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
