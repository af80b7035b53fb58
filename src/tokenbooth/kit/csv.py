"""CSV files that spreadsheets open without running anything that stands in them."""

import csv
import io
from collections.abc import Iterable
from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def csv_text(rows: Iterable[Iterable[str | int]]) -> str:
    """The rows as RFC 4180 has them, with CRLF."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def plain_cell(text: str) -> str:
    """A text from outside that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
