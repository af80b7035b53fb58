"""Looking for bytes in bytes finds what the operator finds."""

from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.gateway.formats.byte_search import holds


@given(st.binary(max_size=6), st.binary(max_size=2))
def test_bytes_are_found_where_they_are(data: bytes, part: bytes) -> None:
    """At any place, and nowhere else."""
    assert holds(data, part) == (part in data)
