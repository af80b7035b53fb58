"""What a stream of chat completion chunks says, read without the product: by the standard library, event by event.

Slow and strict: where it cannot tell, it says so, and the target asserts nothing.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

CANARY: Final = "canary-of-the-operator"
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
# WHATWG, "Server-sent events", 9.2.5: a byte order mark at the beginning is ignored.
_MARK: Final = b"\xef\xbb\xbf"
_PRIVATE: Final = frozenset(("id", "system_fingerprint", "provider", "x_groq", "user_id", "request_id", "organization"))
_PRIVATE_OF_USAGE: Final = frozenset(("cost", "cost_details", "is_byok", "cost_in_usd_ticks"))
_ABSENT: Final = (None, "", False, "null")


@dataclass(slots=True)
class Told:
    """What a stream says, up to its end marker.

    Attributes:
        failed: an event reports an error.
        ended: the end marker has come.
        finished: a choice has said why it ended.
        has_text: something was said.
        shows_canary: the canary stands somewhere else than in a place that is the operator's own.
    """

    failed: bool = False
    ended: bool = False
    finished: bool = False
    has_text: bool = False
    shows_canary: bool = False


def told_by(stream: bytes) -> Told | None:
    """Read a stream; None when something of it is no chunk, so that nobody can tell what it means."""
    told = Told()
    for data in _data_of_events(stream):
        if data == b"[DONE]":
            told.ended = True
            return told
        try:
            event: object = json.loads(data.decode(), object_pairs_hook=_without_doubles)
        except (ValueError, RecursionError):
            return None
        if not isinstance(event, dict) or not _take(told, event):
            return None
        if told.failed:
            return told
    return told


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(pairs) != len({name for name, _ in pairs}):
        raise ValueError("a name stands twice")
    return dict(pairs)


def _take(told: Told, event: Mapping[str, object]) -> bool:
    """Take an event into account; returns whether it is a chunk, or an error in the place of one."""
    if _is_said(event.get("error")):
        told.failed = True
        return True
    choices = event.get("choices")
    if not isinstance(choices, list):
        return False
    for choice in choices:
        if not isinstance(choice, dict):
            return False
        delta = choice.get("delta")
        if delta is not None and not isinstance(delta, dict):
            return False
        reason = choice.get("finish_reason")
        if reason not in ("stop", "length", "tool_calls", "content_filter", *_ABSENT):
            return False
        told.finished = told.finished or reason not in _ABSENT
        content = (delta or {}).get("content")
        told.has_text = told.has_text or (isinstance(content, str) and content != "")
    public = {name: value for name, value in event.items() if name not in _PRIVATE}
    usage = public.get("usage")
    if isinstance(usage, dict):
        public["usage"] = {name: value for name, value in usage.items() if name not in _PRIVATE_OF_USAGE}
    told.shows_canary = told.shows_canary or CANARY in json.dumps(public, ensure_ascii=False)
    return True


def _is_said(value: object) -> bool:
    return value not in (*_ABSENT, {}, [])


def _data_of_events(stream: bytes) -> Iterator[bytes]:
    """The data of each event that has some; one that is not ended counts as well."""
    data: list[bytes] = []
    for line in _LINE_END.split(stream.removeprefix(_MARK)):
        if not line:
            if data:
                yield b"\n".join(data)
            data = []
            continue
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" ").strip())
        elif name == b"error" or line.lstrip().startswith(b"{"):
            # Neither is a field of the specification, and both are how some server tells an error.
            yield b""
    if data:
        yield b"\n".join(data)
