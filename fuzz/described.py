"""Answers of upstreams from a description: what is said, where it is cut, what fails, and what is the operator's own.

The description is made first and the bytes from it, so what has to come of them is known without reading them.
"""

import json
from dataclasses import dataclass
from typing import Final

from fuzz.booth import WAYS, Asked, Sent
from fuzz.choices import Choices
from fuzz.failures import CANARY, EVENTS, WHOLE, WORDS
from fuzz.written import Event, Says, Truth, Writer, story_of
from tokenbooth.domain.usage import Usage

_STATUSES: Final = (500, 400, 401, 402, 403, 404, 408, 413, 422, 429, 502, 503, 529, 302, 418)
_HEADERS: Final = (
    *(("x-request-id", f"req_{CANARY}"), ("openai-organization", CANARY), ("server", CANARY), ("location", CANARY)),
    *(("x-ratelimit-remaining-requests", CANARY), ("set-cookie", CANARY), ("openrouter-provider", CANARY)),
)
_LINE_ENDS: Final = (b"\n", b"\r\n", b"\r")


@dataclass(slots=True)
class Described:
    """An answer with its truth."""

    asked: Asked
    sent: Sent
    truth: Truth


def described(choices: Choices) -> Described:
    """An answer with its truth."""
    path, wire = choices.pick(WAYS)
    embeds = wire == "openai.embeddings"
    stream = not embeds and choices.below(3) != 2
    several = path in ("/v1/chat/completions", "/v1/completions") and choices.happens(6)
    asked = Asked(path, wire, stream, 2 if several else 1)
    if choices.happens(12):
        return _status(asked, choices)
    in_events = stream != (choices.happens(8) and not embeds)
    if choices.happens(12):
        return _of_whole(asked, choices, choices.pick(WHOLE), Truth(failed=True))
    writer = Writer(story_of(asked, choices), choices)
    if not in_events:
        body, truth = writer.whole()
        return _of_whole(asked, choices, body, truth)
    return _of_events(asked, choices, list(writer.events()), writer.usage)


def plain(asked: Asked) -> Described:
    """An answer that is in order."""
    choices = Choices(b"")
    writer = Writer(story_of(asked, choices), choices)
    if not asked.stream:
        return _of_whole(asked, choices, *writer.whole())
    return _of_events(asked, choices, list(writer.events()), writer.usage)


def _status(asked: Asked, choices: Choices) -> Described:
    status = choices.pick(_STATUSES)
    words = choices.pick(WORDS)
    body = choices.pick((json.dumps({"error": {"message": words, "request_id": CANARY}}).encode(), words.encode(), b""))
    return Described(asked, Sent([body], status, _headers(choices)), Truth(failed=True))


def _headers(choices: Choices) -> list[tuple[str, str]]:
    return [header for header in _HEADERS if choices.happens(2)]


def _of_whole(asked: Asked, choices: Choices, body: bytes, truth: Truth) -> Described:
    """An answer in one piece, whole or cut."""
    breaks = choices.happens(16)
    if not breaks and len(body) > 2 and choices.happens(12):
        # The last byte of an object is its end.
        body = body[: 1 + choices.below(256) * (len(body) - 2) // 256]
        truth = Truth(failed=True)
    if breaks:
        truth = Truth(failed=True)
    if choices.happens(12):
        body = choices.pick((b"\n\n", b"\xef\xbb\xbf", b" \r\n")) + body
    kind = choices.pick(("application/json", "application/json; charset=utf-8", "text/event-stream", "text/plain"))
    headers = [("content-type", kind), *_headers(choices)]
    return Described(asked, Sent(_cut(body, choices), 200, headers, breaks), truth)


def _of_events(asked: Asked, choices: Choices, events: list[Event], usage: Usage | None) -> Described:
    """A stream: with a failure in it, or cut, or neither."""
    if choices.happens(4):
        failure = Event(choices.pick(EVENTS), Says.NOTHING, fails=True)
        events.insert(min(choices.below(12), len(events)), failure)
    arrived = len(events)
    if choices.happens(4):
        arrived = min(choices.below(16), arrived)
    breaks = choices.happens(10)
    end = choices.pick(_LINE_ENDS)
    written = [end.join(event.lines) for event in events]
    body = b"".join(one + end * 2 for one in written[:arrived])
    is_torn = False
    if arrived < len(events) and choices.happens(2):
        # Within the data there is no whole JSON before its last byte.
        before, name, rest = written[arrived].partition(b"data: {")
        data = rest[: rest.rfind(b"}")]
        if name:
            body += before + name + data[: choices.below(256) * len(data) // 256]
            is_torn = True
    if not is_torn and arrived and choices.happens(8):
        # An event that the end of the body ends, but a broken connection does not.
        body = body[: len(body) - len(end) * (1 + choices.below(2))]
        arrived -= breaks
    if choices.happens(10):
        body = b"\xef\xbb\xbf" + body
    truth = _truth(asked, events[:arrived], is_torn=is_torn, breaks=breaks)
    if not truth.failed and any(event.tells_usage for event in events[:arrived]):
        truth.usage = usage
    kind = choices.pick(("text/event-stream", "Text/Event-Stream;charset=UTF-8", "application/json", "text/plain"))
    headers = [("content-type", kind), *_headers(choices)]
    return Described(asked, Sent(_cut(body, choices), 200, headers, breaks), truth)


def _truth(asked: Asked, events: list[Event], *, is_torn: bool, breaks: bool) -> Truth:
    truth = Truth()
    finished: set[int] = set()
    ended = gave_up = False
    for event in events:
        if event.fails:
            truth.failed = True
            break
        truth.says = max(truth.says, event.says)
        truth.text += event.text
        gave_up = gave_up or event.gives_up
        if event.finishes is not None:
            finished.add(event.finishes)
        if event.is_last:
            ended = True
            break
    if not truth.failed:
        may_end_here = ended or (len(finished) >= asked.choices and asked.wire != "openai.responses")
        # Of a whole answer nothing is read before the connection has done its part.
        breaks_off = (is_torn and not ended) or (breaks and not (ended and asked.stream))
        truth.failed = gave_up or not may_end_here or breaks_off
    if not truth.failed and truth.says is not Says.SOMETHING:
        # An empty answer may be taken for a failure.
        truth.failed = None
    return truth


def _cut(body: bytes, choices: Choices) -> list[bytes]:
    """The body in pieces as they arrive."""
    size = choices.pick((len(body) or 1, 1_000, 60, 7, 1))
    return [body[at : at + size] for at in range(0, len(body), size)]
