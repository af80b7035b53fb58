"""Names of tools that chat completions take, and the way back."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.gateway.errors import Refusal
from tokenbooth.gateway.formats.anthropic.tool_names import ToolNames
from tokenbooth.gateway.formats.json.body import raw

TAKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


@given(st.lists(st.text(min_size=1, max_size=140), min_size=1, max_size=8))
def test_every_name_is_taken_and_comes_back(own: list[str]) -> None:
    """Each name has one form there, no two have the same, and a name that is taken is not touched."""
    names = ToolNames()
    sent = {name: msgspec.json.decode(names.sent(raw(name), "tools"), type=str) for name in own}

    assert all(TAKEN.fullmatch(name) for name in sent.values())
    assert len(set(sent.values())) == len(sent)
    assert {names.own.get(name, name) for name in sent.values()} == set(own)
    assert all(sent[name] == name for name in own if TAKEN.fullmatch(name))
    assert [names.sent(raw(name), "tools") for name in own] == [raw(sent[name]) for name in own]


def test_names_with_one_beginning_stay_apart() -> None:
    """Coding agents put the name of a server before each: what differs is at the end."""
    names = ToolNames()
    first, second = (names.sent(raw(f"mcp__{'server_' * 9}__{end}"), "tools") for end in ("read", "write"))

    assert first != second


@pytest.mark.parametrize("name", [b"null", b"7", b'""', b'"%b"' % (b"x" * 600), b"{}"])
def test_what_is_no_name_is_refused(name: bytes) -> None:
    """Empty, longer than any, or something else."""
    with pytest.raises(Refusal) as refused:
        ToolNames().sent(msgspec.Raw(name), "tools")

    assert (refused.value.code, refused.value.param) == ("invalid_parameter", "tools")
