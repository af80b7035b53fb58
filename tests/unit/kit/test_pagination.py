"""Pages of a list."""

import base64

import pytest

from tokenbooth.kit.pagination import InvalidCursor, page_number, read_cursor, write_cursor

ROW_ID = "req_" + "0" * 26


def test_a_cursor_is_read_as_it_was_written() -> None:
    """Its text is safe in an address."""
    text = write_cursor(1_772_704_800_000_000, ROW_ID)
    assert text.isascii()
    assert text.replace("_", "").replace("-", "").isalnum()
    assert read_cursor(text) == (1_772_704_800_000_000, ROW_ID)


@pytest.mark.parametrize("plain", ["", "1", f"x:{ROW_ID}", "1:req_1", f"1:{ROW_ID} ", f"{10**17}:{ROW_ID}"])
def test_anything_else_is_no_cursor(plain: str) -> None:
    """Also what has the right encoding."""
    for text in (plain, base64.urlsafe_b64encode(plain.encode()).decode().rstrip("="), "A" * 200, "é"):
        with pytest.raises(InvalidCursor):
            read_cursor(text)


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("3", 3), ("9", 5), ("0", 1), ("-1", 1), ("x", 1), ("", 1), ("٣", 1), ("9" * 9, 1)]
)
def test_a_page_has_a_number_that_exists(text: str, number: int) -> None:
    """Whatever stands in the address."""
    assert page_number(text, last=5) == number
