"""What any bytes of an upstream may be at best, read without the product; for bytes that nobody described.

Where it cannot tell, it takes the side of the product: a target that asks it finds less, and nothing that is right.
"""

import json
import re
from typing import Final

from fuzz.failures import CANARY

_ESCAPED: Final = re.compile(rb"\\u00([2-7][0-9a-fA-F])")
# The words without which no answer of any format has an end; a whole answer ends with its last bracket.
_ENDS: Final = re.compile(
    rb"\[DONE\]|message_stop|response\.completed|response\.incomplete"
    rb'|"(?:finish_reason|stop_reason)"\s*:\s*"(?!(?:null|none|\s*)")',
    re.IGNORECASE,
)
_LINE_ENDS: Final = re.compile(rb"\r\n|\r|\n")
# Names that stand for the operator's own wherever they stand: at the top, in a usage, in a message, in a response.
_PRIVATE: Final = frozenset(("system_fingerprint", "provider", "cost_details", "request_id", "user_id", "organization"))
# What has an id that comes back: items, blocks, calls.
_HOLDERS: Final = ("message", "response")


def may_end(body: bytes) -> bool:
    """Whether there is anything that may end an answer; no for a stream without any such word."""
    begin = body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    written = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), body)
    return begin in (b"{", b"[") or _ENDS.search(written) is not None


def is_private(body: bytes) -> bool:
    """Whether the canary stands in places of the operator's own alone, as far as all of the body can be read."""
    canary = CANARY.encode()
    for text in (body,) if body.lstrip()[:1] == b"{" else _LINE_ENDS.split(body):
        if canary not in text:
            continue
        if text.startswith(b":"):
            continue
        try:
            told: object = json.loads(text.removeprefix(b"data:").decode(), object_pairs_hook=_without_doubles)
        except (ValueError, RecursionError):
            return False
        if not isinstance(told, dict) or CANARY in json.dumps(_public(told), ensure_ascii=False):
            return False
    return True


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(pairs) != len({name for name, _ in pairs}):
        raise ValueError("a name stands twice")
    return dict(pairs)


def _public(told: dict[str, object]) -> dict[str, object]:
    """What is left without the operator's own, at the top and in what an event is about."""
    public = {name: value for name, value in told.items() if name not in _PRIVATE and name not in ("id", "model")}
    for name in (*_HOLDERS, "usage"):
        held = public.get(name)
        if isinstance(held, dict):
            public[name] = _public(held)
    return public
