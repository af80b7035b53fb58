"""Whether an answer says that an output ceiling cut it off."""

import re
from typing import Final

from tokenbooth.gateway.formats.json.body import UNREADABLE
from tokenbooth.gateway.formats.schema import decode_ending
from tokenbooth.gateway.formats.sse import data_of, split_events

# Most answers say nothing of the kind, and are not looked at closely.
_STOPPED: Final = re.compile(
    rb'"(?:finish_reason|stop_reason|reason)"\s*:\s*"(?:length|max_tokens|max_output_tokens)"', re.IGNORECASE
)
_STOPS: Final = frozenset(("length", "max_tokens", "max_output_tokens"))


def is_cut_off(answer: bytes) -> bool:
    """Whether a whole answer says that a ceiling cut it off.

    Only where its format says why it ended: a client can have the same words echoed or written by the model elsewhere.
    """
    return _STOPPED.search(answer) is not None and _says_so(answer)


def are_cut_off(events: bytes) -> bool:
    """Whether one of these events of a stream says that a ceiling cut the answer off; see `is_cut_off`."""
    return _STOPPED.search(events) is not None and any(_says_so(data_of(event)) for event in split_events(events))


def _says_so(data: bytes) -> bool:
    try:
        ending = decode_ending(data)
    except UNREADABLE:
        return False
    reasons = [choice.finish_reason for choice in ending.choices or ()]
    reasons.append(ending.stop_reason)
    if ending.type == "message_delta" and ending.delta is not None:
        reasons.append(ending.delta.stop_reason)
    incomplete = ending.incomplete_details if ending.response is None else ending.response.incomplete_details
    reasons.append(None if incomplete is None else incomplete.reason)
    return any(reason is not None and reason.lower() in _STOPS for reason in reasons)
