"""The table of usage names in the documentation: it holds the names that are read, and no other."""

from tests.system.docs.pages import codes, read, rows, section
from tokenbooth.domain import usage


def test_every_name_that_is_read_stands_in_the_table() -> None:
    """In the order in which they are looked for."""
    told = [codes(row[1]) for row in rows(section(read("upstreams.md"), "What usage is read"))[1:]]

    assert [tuple(names) for names in told] == [
        usage.PROMPT_NAMES,
        usage.COMPLETION_NAMES,
        (usage.TOTAL_NAME,),
        usage.PROMPT_DETAILS,
        usage.COMPLETION_DETAILS,
        usage.CACHED_NAMES,
        usage.CACHE_WRITE_NAMES,
        (usage.CACHE_CREATION, *usage.CACHE_CREATION_NAMES),
        usage.REASONING_NAMES,
    ]
