"""Mutators: one for a JSON document, one for a stream of events. Both are pure functions of bytes and a seed."""

import random
import re
from typing import Final

from fuzz.tree import mutated, parse, value, write

_EVENT: Final = re.compile(rb"(.*?(?:\r?\n){2})", re.DOTALL)
_PIECES: Final = (
    *(b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\n", b"\r", b"data: ", b"data:", b"event: error\n", b": keep-alive\n\n"),
    *(b"data: [DONE]\n\n", b'"usage":{', b'"usage": null', b'"error":', b'"choices":[]', b"\\", b'"', b"{", b"}"),
    *(
        b"\\ud800",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\x00",
        b'"content":"',
        b'"type":"message_stop"',
        b'"type":"response.completed"',
    ),
)


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """A document with something changed: as a rule still JSON."""
    if rng.randrange(8):
        try:
            return write(mutated(parse(data), rng), rng)
        except (ValueError, RecursionError):
            pass
    return _change_bytes(data, rng) if data else write(value(rng), rng)


def mutate_stream(data: bytes, rng: random.Random) -> bytes:
    """A stream with events changed, repeated, moved, left out or cut."""
    events = [event for event in _EVENT.split(data) if event]
    if not events:
        return b"data: " + write(value(rng), rng) + b"\n\n"
    at = rng.randrange(len(events))
    match rng.randrange(8):
        case 0:
            events.insert(rng.randrange(len(events) + 1), events[at])
        case 1:
            del events[at]
        case 2:
            other = rng.randrange(len(events))
            events[at], events[other] = events[other], events[at]
        case 3 | 4 | 5:
            events[at] = _change_event(events[at], rng)
        case 6:
            events[at] = _change_bytes(events[at], rng)
        case _:
            events[at] = events[at].replace(b"\n", rng.choice((b"\r\n", b"\n\n", b"\r")))
    return b"".join(events)


def _change_event(event: bytes, rng: random.Random) -> bytes:
    head, marker, content = event.partition(b"data:")
    ending = content[len(content.rstrip()) :]
    try:
        return head + marker + b" " + write(mutated(parse(content), rng), rng) + ending
    except (ValueError, RecursionError):
        return head + b"data: " + write(value(rng), rng) + b"\n\n"


def _change_bytes(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice((0, 0, 1, 4, 40)))
    return data[:start] + rng.choice((*_PIECES, b"", data[start:end] * 2)) + data[end:]
