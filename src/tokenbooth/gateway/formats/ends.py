"""Recognising the finish reason of an answer.

Servers write an empty text, null or the text "null" while an answer goes on, so that the field alone proves nothing.
"""

import re
from typing import Final

from tokenbooth.gateway.formats.json.body import UNREADABLE
from tokenbooth.gateway.formats.json.half_characters import decode_with_halves
from tokenbooth.gateway.formats.schema import decode_ended_choices

_NO_WORDS: Final = frozenset(("", "null", "none"))
FINISH: Final = re.compile(rb'"finish_reason"[ \t]*:[ \t]*"(?![ \t]*(?:[Nn]ull|NULL|[Nn]one|NONE)?[ \t]*")')
"""Finds a finish reason of OpenAI's older formats, by the rule of `is_end`."""


def is_end(reason: object) -> bool:
    """Whether a `finish_reason` or a `stop_reason` says that the answer has ended."""
    return isinstance(reason, str) and reason.strip().lower() not in _NO_WORDS


def ended_choices(data: bytes) -> frozenset[int]:
    """The numbers of the choices that end with an event of OpenAI's older formats."""
    try:
        choices = decode_with_halves(decode_ended_choices, data).choices or ()
    except UNREADABLE:
        return frozenset()
    return frozenset(
        choice.index if type(choice.index) is int else 0
        for choice in choices
        if choice is not None and is_end(choice.finish_reason)
    )
